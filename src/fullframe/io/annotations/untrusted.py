"""Files and numbers from elsewhere: opened, parsed and checked so that none can hang or fill the memory."""

import json
import os
import reprlib
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_FILE = 1 << 30
"""Bytes of a file that is read."""
LARGEST_JSON = 13 << 28
"""Bytes of memory that a parsed JSON file may take, by a rough estimate."""
LARGEST_COORDINATE = 1e6
"""Pixels: no photo is wider."""


class EntryError(ValueError):
    """An entry that cannot be used; the message says where it stands and what to do."""


def read_bytes(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: if it cannot be opened.
        ValueError: for a folder, pipe or device, or more than LARGEST_FILE bytes; names the file.
    """
    # Without O_NONBLOCK, opening a pipe that nobody writes to waits for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if path.is_dir():  # Windows cannot open one
        raise ValueError(f"{path} is a folder, not a file")
    with open(os.open(path, flags), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise ValueError(f"{path} is a pipe or device, not a file")
        content = file.read(LARGEST_FILE + 1) if state.st_size <= LARGEST_FILE else b""
    if state.st_size > LARGEST_FILE or len(content) > LARGEST_FILE:
        raise ValueError(f"{path} is larger than {LARGEST_FILE >> 20} MB: split it")
    return content


def json_memory(content: bytes) -> int:
    """Bytes that a JSON file and what is parsed of it take at most, roughly.

    CPython's size of the text, of a list's items, of keys, of lists, and of objects.
    """
    sizes = {b",": 48, b":": 100, b"[": 64, b"{": 300}
    return 2 * len(content) + sum(size * content.count(mark) for mark, size in sizes.items())


def printable(text: str) -> str:
    """Text out of a file, for messages: no control characters, which could steer the terminal.

    >>> printable("a\\x1b[2Jb")
    'a?[2Jb'
    """
    return "".join(c if c.isprintable() else "?" for c in text)


def parse_json(content: bytes, path: Path) -> Any:
    """A JSON file's content.

    Raises:
        ValueError: for anything else, or what would take too much memory; names the file.
    """
    memory = json_memory(content)
    if memory > LARGEST_JSON:
        raise ValueError(f"{path} would take about {memory / 2**30:.0f} GB of memory: split it")
    if not content.strip(b"\xef\xbb\xbf \t\r\n"):
        raise ValueError(f"{path}: the file is empty")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error


def numbers(values: Any, count: int | None, name: str, where: str) -> NDArray[np.float64]:
    """A JSON list as an array (count,); null is NaN.

    Raises:
        EntryError: if it is not a list of `count` numbers (any number of them for None).
    """
    fine = isinstance(values, list) and all(type(value) in (int, float, type(None)) for value in values)
    if not fine or (count is not None and len(values) != count):
        found = f"{len(values)} values" if isinstance(values, list) else reprlib.repr(values)
        wanted = "numbers" if count is None else f"{count} numbers"
        raise EntryError(f"{where}: {name} must be {wanted}, found {found}")
    try:
        return np.array(values, np.float64)
    except OverflowError:
        raise EntryError(f"{where}: {name} has a number that is too large") from None


def number(value: Any, name: str, where: str) -> float:
    """A finite number.

    Raises:
        EntryError: for anything else.
    """
    (result,) = numbers([value], 1, name, where).tolist()
    if not np.isfinite(result):
        raise EntryError(f"{where}: {name} must be a finite number, found {reprlib.repr(value)}")
    return float(result)


def whole_number(value: Any) -> int | None:
    """A number that counts or names something, also written as text or as 3.0; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    return None


def track_number(value: Any) -> int | None:
    """The number of a track; None for anything else than a whole number from 0 on."""
    found = whole_number(value)
    return found if found is not None and 0 <= found < 2**53 else None


def image_size(width: Any, height: Any, where: str) -> tuple[int, int] | None:
    """Width and height in px; None if neither is known.

    Raises:
        EntryError: if they are no plausible numbers of pixels.
    """
    if width in (None, 0) and height in (None, 0):
        return None
    sides = whole_number(width), whole_number(height)
    if not all(side is not None and 0 < side <= LARGEST_COORDINATE for side in sides):
        raise EntryError(
            f"{where}: width and height {reprlib.repr([width, height])} are not whole numbers of px"
        )
    return sides  # type: ignore[return-value]


def box_xyxy(corners: NDArray[np.float64], what: str, where: str) -> NDArray[np.float32]:
    """A box from its corners x1, y1, x2, y2 (4,).

    Args:
        what: it is called in messages, with its numbers as they stand in the file.

    Raises:
        EntryError: if it is not finite or has no area.
    """
    if not (np.abs(corners) <= LARGEST_COORDINATE).all():  # not for NaN either
        raise EntryError(f"{where}: {what} is not finite or far too large")
    if (corners[2:] <= corners[:2]).any():
        raise EntryError(f"{where}: {what} has no area; width and height must be above 0")
    return corners.astype(np.float32)


def confidences(points: NDArray[np.float64]) -> tuple[NDArray[np.float32], int]:
    """Keypoints (K, 3) with a confidence of 0 to 1, and how many of them were no numbers.

    COCO's visibilities 1 (hidden) and 2 (visible) both become 1. A point without confidence has no place,
    whatever its coordinates; one that is not finite, or far outside of any photo, has no confidence.
    """
    missing = points[:, 2] <= 0
    broken = ~missing & ~(np.abs(points) <= LARGEST_COORDINATE).all(axis=1)
    points = np.where((missing | broken)[:, None], 0, points)
    points[:, 2] = points[:, 2].clip(0, 1)
    return points.astype(np.float32), int(broken.sum())

"""Long work in small files, so that a killed run goes on where it stopped."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.files import atomic_path, write_npz

CHUNK = 256
"""People in a file, unless they take long."""

Arrays = dict[str, NDArray[Any]]
Advance = Callable[[str, int, int], object]
"""Called with the name of a stage, how much of it is done, and how much there is."""

_CAPTION = "made_by.json"


def silent(stage: str, done: int, total: int) -> None:
    """An Advance that tells nobody."""


class WorkError(ValueError):
    """The files of an earlier run cannot be used; the message says what to do."""


def claim(folder: Path, made_by: Mapping[str, Any]) -> None:
    """Make a folder for work, or see that the work in it is the same.

    Args:
        folder: made if it does not exist.
        made_by: everything that decides about the results, as JSON.

    Raises:
        WorkError: the folder holds other work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    caption = folder / _CAPTION
    wanted = json.loads(json.dumps(made_by))
    if not caption.is_file():
        if any(folder.iterdir()):
            raise WorkError(f"{folder} holds other files: choose another output with -o, or remove it")
        with atomic_path(caption) as temporary:
            temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(caption.read_text(encoding="utf-8"))
    except ValueError:
        found = {}
    different = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
    if different:
        raise WorkError(
            f"{folder} holds the work of a run with another {', '.join(different)}: choose another output "
            "with -o, or remove this folder to begin anew"
        )


def in_chunks(
    folder: Path,
    count: int,
    make: Callable[[int, int], Arrays],
    advance: Advance = silent,
    size: int = CHUNK,
) -> Arrays:
    """What `make` gives for all of `count` items; what is on disk already is not made again.

    Args:
        folder: of the files; its name is the stage's.
        count: of items.
        make: for the items from start to end, arrays whose rows are joined along the first axis.
        size: items per file.

    Raises:
        WorkError: a file is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Arrays] = []
    for start in range(0, count, size):
        end, path = min(start + size, count), folder / f"{start:09d}.npz"
        if path.is_file():
            parts.append(_load(path))
        else:
            parts.append(make(start, end))
            write_npz(path, parts[-1], compress=False)
        advance(folder.name, end, count)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}


def _load(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # zipfile, zlib and numpy each have their own way to fail
        raise WorkError(f"{path}: damaged ({error}); remove this file and run the same command") from error

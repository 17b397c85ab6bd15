"""Reading .npz archives whose sizes are checked before anything is unpacked."""

import errno
import os
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIMIT = 2 << 30
"""Bytes that the arrays of an archive may have together: a few kilobytes can unpack to gigabytes."""


class NotRegularFileError(ValueError):
    """A folder, pipe, device or loop of links in the place of a file; the message names it."""


def require_regular_file(path: str | Path) -> None:
    """Refuses folders, pipes and devices, which would block or never end.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be reached.
        NotRegularFileError: it is something else than a regular file, or its links form a loop.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotRegularFileError(f"{path}: its symbolic links form a loop") from error
        raise
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise NotRegularFileError(f"{path}: not a regular file but {kind}")


def read_npz(
    path: str | Path,
    required: Iterable[str] = (),
    optional: Iterable[str] | None = (),
    limit: int = LIMIT,
) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz archive; only those asked for are unpacked.

    Args:
        path: of the archive.
        required: names of arrays.
        optional: names of arrays that may be missing; None for all others.
        limit: bytes that these arrays may have together.

    Raises:
        OSError: the file is missing or cannot be opened.
        ValueError: it is damaged or no .npz, lacks a required array, holds Python objects, or is larger than
            the limit; the message names the file.
    """
    require_regular_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
            required = list(required)
            if missing := [name for name in required if name not in members]:
                raise ValueError(f"it lacks {', '.join(missing)}; it has {', '.join(members)[:500]}")
            others = members if optional is None else optional
            wanted = dict.fromkeys([*required, *(name for name in others if name in members)])
            total = sum(members[name].file_size for name in wanted)
            if total > limit:
                raise ValueError(f"its arrays have {total / 1e6:.0f} MB, the limit is {limit / 1e6:.0f} MB")
            arrays = {}
            for name in wanted:
                with archive.open(members[name]) as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
            return arrays
    except OSError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each have their own way to fail
        raise ValueError(f"{path}: not a usable .npz file: {error or type(error).__name__}") from error

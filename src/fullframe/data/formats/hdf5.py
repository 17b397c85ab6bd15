"""HDF5 files, which Matlab's .mat files are since version 7.3."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fullframe.data.formats.paths import need


@contextmanager
def open_hdf5(path: Path, keys: Sequence[str], where: str) -> Iterator[Any]:
    """An h5py.File that has these keys.

    Raises:
        FileNotFoundError: the file is missing.
        ImportError: h5py is not installed.
        ValueError: the file is damaged, of another kind, or lacks a key.
    """
    need(path, where=where)
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"reading {path.name} needs h5py: pip install 'fullframe[data]'") from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path}: damaged, or not an HDF5 file ({error}); download it again from {where}"
        ) from error
    with file:
        if missing := [key for key in keys if key not in file]:
            raise ValueError(f"{path}: lacks {', '.join(missing)}; it has {', '.join(file)}; see {where}")
        yield file

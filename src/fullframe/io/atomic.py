"""Files that are either whole or absent, and .npz files of results."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from fullframe.io.npz import read_npz

# Of atomic_path: four random digits, four of the computer's name, six of the process.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}([0-9a-f]{6})?(\.[^.]*)?")
_COMPUTER = f"{zlib.crc32(socket.gethostname().encode()) & 0xFFFF:04x}"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name in the folder of `path`; what was written there takes the name `path` at the end.

    After any exception, Ctrl-C included, the temporary file is removed and an older file at `path` is
    untouched. The suffix stays, for writers that choose the format by it.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        yield temporary
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has the name of the file to write", str(path))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Another hidden name in the same folder for a file or folder, which `remove_abandoned` knows."""
    token = f"{secrets.token_hex(2)}{_COMPUTER}{os.getpid():06x}"
    return path.with_name(f".{path.stem}.{token}{path.suffix}")


def is_temporary(name: str) -> bool:
    """Whether a file has the name of one that `atomic_path` has not finished; a killed process leaves it."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_abandoned(folder: Path) -> None:
    """Remove the files and folders of `temporary_path` that processes of this computer left when killed.

    Not on Windows, where a process cannot be looked up without touching it.
    """
    if os.name == "nt" or not folder.is_dir():
        return
    for name in os.listdir(folder):
        found = _TEMPORARY.fullmatch(name)
        process = found[1] if found else None
        if process is None or found is None or name[found.start(1) - 4 : found.start(1)] != _COMPUTER:
            continue
        try:
            os.kill(int(process, 16), 0)  # sends nothing
        except ProcessLookupError:
            with suppress(OSError):
                remove(folder / name)
        except OSError:  # of another user
            continue


def remove(path: Path) -> None:
    """Remove a file or folder; a folder vanishes from sight at once, so that a kill leaves no part of it."""
    if path.is_dir() and not path.is_symlink():
        hidden = path if is_temporary(path.name) else temporary_path(path)
        os.replace(path, hidden)
        shutil.rmtree(hidden)
    else:
        path.unlink(missing_ok=True)


def write_npz(path: str | Path, arrays: Mapping[str, Any], compress: bool = True) -> None:
    """Write arrays as one .npz, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **arrays)


def save_npz(path: str | Path, arrays: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Write an .npz of arrays and a header: the values that are not arrays, as JSON."""
    write_npz(path, {"header": np.array(json.dumps(header)), **arrays})


@contextmanager
def load_npz(path: str | Path, what: str) -> Iterator[dict[str, Any]]:
    """Read what `save_npz` wrote: arrays and the values of the header, by name.

    Args:
        what: "a clip", for the message: any error inside the `with` means that the file is not one.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is something else.
    """
    try:
        values: dict[str, Any] = read_npz(path, ("header",), optional=None)
        header = json.loads(str(values.pop("header")))
        if not isinstance(header, dict):
            raise ValueError("its header is not an object")
        yield values | header
    except OSError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and json each have their own way to fail
        raise ValueError(f"{path} is not {what} written by fullframe: {error}") from error


def digest(path: str | Path) -> str:
    """SHA-256 of a file of any size."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()

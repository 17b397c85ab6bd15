"""Folders of work that can be stopped at any moment and resumed.

Everything that takes long enough to be interrupted keeps what is done in a `WorkDir`:

    with WorkDir(folder, {"model": card.sha256, "people": len(people)}) as work:
        shards = work.shards("predictions", count=len(people), size=512)
        for start, end in shards.missing():
            shards.save(start, predict(people[start:end]))  # a dict of arrays
    arrays = shards.joined()

The same request resumes, another one is refused, and a shard is there either whole or not at all. Something
that changes all the time, such as the state of an optimiser, goes into a `StateFile`.
"""

import hashlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import filelock
import numpy as np
from numpy.typing import NDArray

from fullframe.io.atomic import atomic_path, digest, is_temporary, remove, temporary_path, write_npz
from fullframe.io.npz import require_regular_file
from fullframe.io.progress import Progress, silent

T = TypeVar("T")
REQUEST = "request.json"
"""The file in a WorkDir that says what the work is."""

Arrays = dict[str, NDArray[Any]]
Span = tuple[int, int]
"""Consecutive items: the first, and the one after the last."""
Workers = Callable[[Callable[[int, int], None], Sequence[Span]], Iterable[Span]]
"""Calls a function for each span, in any order and any process, and yields each span when it is done."""

_LOCK = ".lock"
_HOLDER = ".holder"  # the process that has the lock; for messages alone
_CHECKSUMS = "checksums.json"
_ARRAYS = "arrays.npz"
_SHA256_BYTES = hashlib.sha256().digest_size
_log = logging.getLogger(__name__)


class WorkError(ValueError):
    """The files of an earlier run cannot be used; the message says what to do."""


class FolderLock:
    """Keeps other commands out of a folder until `release`, or the end of the process.

    Args:
        path: the folder, which exists.
        wait_s: seconds to wait while another command uses it.

    Raises:
        FileNotFoundError: there is no such folder.
        WorkError: the folder is in use; the message says by which process.
    """

    def __init__(self, path: Path, wait_s: float = 0.0) -> None:
        self.path = path
        self._lock = filelock.FileLock(path / _LOCK, thread_local=False)
        try:
            self._lock.acquire(timeout=wait_s)
        except filelock.Timeout as error:
            raise WorkError(
                f"{path} is in use by another fullframe command{self._holder()}: wait for its end, or choose "
                "another output"
            ) from error
        text = f"process {os.getpid()} on {socket.gethostname()}"
        try:
            (path / _HOLDER).write_text(text, encoding="utf-8")
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Let other commands use the folder."""
        if self._lock.is_locked:
            (self.path / _HOLDER).unlink(missing_ok=True)
        self._lock.release()

    def _holder(self) -> str:
        try:
            return f" ({(self.path / _HOLDER).read_text(encoding='utf-8')[:200]})"
        except (OSError, ValueError):
            return ""


class WorkDir:
    """A folder with the finished parts of one piece of work, locked against other commands until `close`.

    Opening it removes the temporary files of killed runs. A lock ends with its process.

    Args:
        path: the folder; created if it does not exist.
        request: everything that decides about the results (options, digests of inputs), as JSON; other
            values are stored as str. The version of fullframe is added.
        restart: remove the work of another request instead of refusing it: for hidden folders beside an
            output, which the user did not choose.
        wait_s: seconds to wait while another command uses the folder.

    Attributes:
        path: the folder.
        discarded: what differed in the work that `restart` removed, "" if nothing was removed.

    Raises:
        WorkError: the folder holds the work of another request, or other files, or is in use.
    """

    def __init__(
        self, path: str | Path, request: Mapping[str, Any], *, restart: bool = False, wait_s: float = 0.0
    ) -> None:
        self.path = Path(path)
        self.discarded = ""
        wanted = json.loads(json.dumps({**request, "fullframe": version("fullframe")}, default=str))
        while True:
            self._make_folder()
            try:
                self._refuse_other_files()
                self._lock = FolderLock(self.path, wait_s)
                break
            except FileNotFoundError:  # the command that had the folder has just removed it
                continue
        try:
            self._open(wanted, restart)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "WorkDir":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other commands use the folder."""
        self._lock.release()

    def _make_folder(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            file = next(path for path in (self.path, *self.path.parents) if path.exists())
            raise WorkError(
                f"{self.path} cannot be a folder: {file} is a file; choose another output"
            ) from error

    def clear_stage(self, name: str) -> None:
        """Remove a folder of the work, so that everything in it is computed again."""
        remove(self.path / name)

    def remove(self) -> None:
        """Delete the folder with everything in it."""
        if os.name == "nt":  # where a file that is open, as the lock is, cannot be removed
            self.close()
            remove(self.path)
            return
        # While it is locked, since another command may wait for that; a kill leaves a hidden folder.
        remove(self.path)
        self.close()

    def shards(self, name: str = "", *, size: int, count: int | None = None) -> "Shards":
        """The parts of a stage of the work.

        Args:
            name: of a folder in this one, for people to read: "reading_photos"; "" for this folder itself.
            size: items in a shard.
            count: all items; None if that is not known yet, as in a stream.
        """
        return Shards(self.path / name, size, count)

    def state(self, name: str = "state.pt") -> "StateFile":
        """A file in the folder that is replaced again and again."""
        return StateFile(self.path / name)

    def _refuse_other_files(self) -> None:
        names = {path.name for path in self.path.iterdir()}
        if REQUEST not in names and any(
            name not in (_LOCK, _HOLDER) and not is_temporary(name) for name in names
        ):
            raise WorkError(f"{self.path} holds other files: choose another output, or remove this folder")

    def _open(self, wanted: dict[str, Any], restart: bool) -> None:
        self._refuse_other_files()  # another command may have come between
        file = self.path / REQUEST
        if file.is_file():
            self.discarded = _differences(file, wanted)
            if self.discarded and not restart:
                raise WorkError(
                    f"{self.path} holds work with other settings ({self.discarded}): choose another output, "
                    "or remove this folder to start over"
                )
        if self.discarded:
            self._clear()
        for folder, folders, files in os.walk(self.path):
            for name in filter(is_temporary, folders + files):
                remove(Path(folder, name))
        if self.discarded or not file.is_file():
            with atomic_path(file) as temporary:
                temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")

    def _clear(self) -> None:
        """Remove what was done; the request goes last, so that after a kill this is still a WorkDir."""
        for path in self.path.iterdir():
            if path.name not in (REQUEST, _LOCK, _HOLDER):
                remove(path)


def file_state(path: str | Path) -> str:
    """Size and time of change of a file, by which a change is noticed; empty where there is none."""
    if not os.path.isfile(path):  # nor is one with a name that is too long
        return ""
    state = os.stat(path)
    return f"{state.st_size} {state.st_mtime_ns}"


def read_request(path: str | Path) -> dict[str, Any]:
    """The request of the work in a folder.

    Raises:
        WorkError: there is none, or it is damaged.
    """
    file = Path(path) / REQUEST
    try:
        request = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WorkError(f"{file}: no such file") from error
    except (ValueError, RecursionError) as error:
        raise WorkError(f"{file} is damaged: remove the folder {path} to start over") from error
    return dict(request) if isinstance(request, dict) else {}


class Shards:
    """The parts of a stage of work: folders named by their first item, each there whole or not at all.

    A shard holds files of any kind and their SHA-256. Instances can be sent to other processes.

    Args:
        path: the folder of the shards.
        size: items in a shard, the last one excepted.
        count: all items; None if unknown.
    """

    def __init__(self, path: Path, size: int, count: int | None = None) -> None:
        self.path, self.size, self.count = path, size, count

    @property
    def spans(self) -> list[Span]:
        """The items of each shard.

        Raises:
            ValueError: the number of items is unknown.
        """
        if self.count is None:
            raise ValueError(f"{self.path}: the number of items is unknown")
        return [self._span(start) for start in range(0, self.count, self.size)]

    def missing(self) -> list[Span]:
        """What remains to be done; damaged shards are removed with a warning and are part of it."""
        return [span for span in self.spans if not self.is_done(span[0])]

    def is_done(self, start: int) -> bool:
        """Whether a shard is there and undamaged; if it is damaged, it is removed with a warning."""
        folder = self.folder(start)
        if not folder.is_dir():
            return False
        try:
            content = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
            good = content["items"] == list(self._span(start)) and all(
                digest(folder / name) == checksum for name, checksum in content["sha256"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            good = False
        if not good:
            _log.warning("%s is damaged and is computed again", folder)
            remove(folder)
        return good

    def folder(self, start: int) -> Path:
        """The folder of the shard that begins with item `start`."""
        return self.path / f"{start:09d}"

    @contextmanager
    def writing(self, start: int) -> Iterator[Path]:
        """A temporary folder to write files into, which becomes the shard at the end.

        After any exception nothing remains of it. A shard that is there already is kept as it is: a worker
        may have been killed between finishing a shard and reporting it.
        """
        target = self.folder(start)
        temporary = temporary_path(target)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            checksums = {file.name: digest(file) for file in sorted(temporary.iterdir())}
            content = {"items": self._span(start), "sha256": checksums}
            (temporary / _CHECKSUMS).write_text(json.dumps(content, indent=1), encoding="utf-8")
            if not target.is_dir():
                os.rename(temporary, target)
        finally:
            if temporary.exists():
                remove(temporary)

    def save(self, start: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a shard of arrays."""
        with self.writing(start) as folder:
            save_arrays(folder, arrays)

    def load(self, start: int) -> Arrays:
        """The arrays of a shard that is done.

        Raises:
            WorkError: it is damaged.
        """
        folder = self.folder(start)
        try:
            with np.load(folder / _ARRAYS, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except Exception as error:  # zipfile, zlib and numpy each have their own way to fail
            raise WorkError(
                f"{folder} is damaged ({error}): remove this folder and run the same command"
            ) from error

    def joined(self) -> Arrays:
        """The arrays of all shards, joined along the first axis; empty without items."""
        parts = [self.load(start) for start, _ in self.spans]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}

    def invalidate(self, items: Iterable[int]) -> None:
        """Remove the shards of some items, so that they are computed again."""
        for start in {item - item % self.size for item in items}:
            remove(self.folder(start))

    def run(
        self, write: Callable[[int, int], None], progress: Progress = silent, workers: Workers | None = None
    ) -> None:
        """Have the missing shards written.

        Args:
            write: writes the shard of the items from start to end.
            progress: its stage is the name of the folder.
            workers: where `write` is called; in this process if None.
        """
        missing = self.missing()
        done = (self.count or 0) - sum(end - start for start, end in missing)
        for start, end in (workers or in_process)(write, missing):
            done += end - start
            progress(self.path.name.replace("_", " "), done, self.count)

    def compute(
        self, make: Callable[[int, int], Arrays], progress: Progress = silent, workers: Workers | None = None
    ) -> Arrays:
        """The joined arrays of all items, of which the missing ones are computed.

        Args:
            make: the arrays of the items from start to end.
            progress, workers: as for `run`.
        """
        self.run(lambda start, end: self.save(start, make(start, end)), progress, workers)
        return self.joined()

    def _span(self, start: int) -> Span:
        end = start + self.size
        return start, end if self.count is None else min(end, self.count)


def save_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays of a shard that `Shards.load` reads: for use in `Shards.writing`."""
    write_npz(folder / _ARRAYS, arrays, compress=False)


def in_process(function: Callable[[int, int], None], spans: Sequence[Span]) -> Iterator[Span]:
    """Workers: this process, one span after another."""
    for start, end in spans:
        function(start, end)
        yield start, end


class StateFile:
    """A file that is replaced again and again, followed by its SHA-256; the one before it is kept too.

    Args:
        path: of the file; the one before it is <stem>.previous<suffix>.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.previous = path.with_name(f"{path.stem}.previous{path.suffix}")

    def save(self, content: bytes | memoryview) -> None:
        """Replace the content; it is on the disk when this returns.

        Raises:
            OSError: it cannot be written (a full disk, say); the file before is then untouched.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as temporary:
            with temporary.open("wb") as file:
                file.write(content)
                file.write(hashlib.sha256(content).digest())
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists():
                os.replace(self.path, self.previous)

    def load(self, parse: Callable[[bytes], T]) -> T | None:
        """The last usable content; None if nothing was saved yet. Warns of a file that is not.

        Args:
            parse: what the content is; ValueError if it cannot be used.

        Raises:
            WorkError: there are files, but none can be used.
        """
        unusable = [path for path in (self.path, self.previous) if path.exists()]
        for path in unusable:
            try:
                return parse(read_state(path))
            except WorkError as error:
                _log.warning("%s", error)
            except ValueError as error:
                _log.warning("%s cannot be used: %s", path, error)
        if unusable:
            raise WorkError(f"{', '.join(map(str, unusable))}: damaged; remove them to start over")
        return None

    def clear(self) -> None:
        """Remove the files."""
        self.path.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)


def read_state(path: Path) -> bytes:
    """The content of a StateFile.

    Raises:
        OSError: it cannot be read.
        WorkError: it is damaged.
        ValueError: it is no regular file.
    """
    require_regular_file(path)
    content = path.read_bytes()
    if hashlib.sha256(content[:-_SHA256_BYTES]).digest() != content[-_SHA256_BYTES:]:
        raise WorkError(f"{path} is damaged")
    return content[:-_SHA256_BYTES]


def _differences(file: Path, wanted: dict[str, Any]) -> str:
    """Which settings a recorded request has other than the wanted one: "method none, now cliff"."""
    before, now = (dict(_flat(values)) for values in (read_request(file.parent), wanted))
    return ", ".join(
        f"{key}: {_short(before.get(key))}, now {_short(now.get(key))}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:28]}...{text[-28:]}"

"""Long work in small files, so that a killed run goes on where it stopped, and many can share it."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

Span = tuple[int, int]
"""Some items: the first, and the one after the last."""
Workers = Callable[[Callable[[int, int], None], Sequence[Span]], Iterable[Span]]
"""Have a function called for spans, in any order and anywhere; tells which are done, as they are done."""

CAPTION = "made_by.json"
"""The file that tells what the work of a folder is."""


def silent(stage: str, done: int, total: int) -> None:
    """An Advance that tells nobody."""


def here(make: Callable[[int, int], None], spans: Sequence[Span]) -> Iterator[Span]:
    """Workers: this process, one span after another."""
    for start, end in spans:
        make(start, end)
        yield start, end


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
    caption = folder / CAPTION
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
    workers: Workers = here,
) -> Arrays:
    """What `make` gives for all of `count` items; what is on disk already is not made again.

    Args:
        folder: of the files; its name is the stage's.
        count: of items.
        make: for the items from start to end, arrays whose rows are joined along the first axis.
        size: items per file.
        workers: who makes them.

    Raises:
        WorkError: a file is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spans = [(start, min(start + size, count)) for start in range(0, count, size)]
    made = {path.name for path in folder.iterdir()}
    missing = [(start, end) for start, end in spans if _file(folder, start).name not in made]
    done = count - sum(end - start for start, end in missing)

    def write(start: int, end: int) -> None:
        if not _file(folder, start).is_file():  # it is there if a worker was killed a little later
            write_npz(_file(folder, start), make(start, end), compress=False)

    for start, end in workers(write, missing):
        done += end - start
        advance(folder.name, done, count)
    parts = [_load(_file(folder, start)) for start, _ in spans]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start:09d}.npz"


def _load(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # zipfile, zlib and numpy each have their own way to fail
        raise WorkError(f"{path}: damaged ({error}); remove this file and run the same command") from error

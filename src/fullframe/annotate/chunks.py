"""Long work in small files, so that a killed run goes on where it stopped, and many can share it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.io.atomic import WorkError, write_npz

CHUNK = 256
"""People in a file, unless they take long."""

Arrays = dict[str, NDArray[Any]]
Advance = Callable[[str, int, int], object]
"""Called with the name of a stage, how much of it is done, and how much there is."""

Span = tuple[int, int]
"""Some items: the first, and the one after the last."""
Workers = Callable[[Callable[[int, int], None], Sequence[Span]], Iterable[Span]]
"""Have a function called for spans, in any order and anywhere; tells which are done, as they are done."""


def silent(stage: str, done: int, total: int) -> None:
    """An Advance that tells nobody."""


def here(make: Callable[[int, int], None], spans: Sequence[Span]) -> Iterator[Span]:
    """Workers: this process, one span after another."""
    for start, end in spans:
        make(start, end)
        yield start, end


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
    missing = [(start, end) for start, end in spans if chunk_file(folder, start).name not in made]
    done = count - sum(end - start for start, end in missing)

    def write(start: int, end: int) -> None:
        if not chunk_file(folder, start).is_file():  # it is there if a worker was killed a little later
            write_npz(chunk_file(folder, start), make(start, end), compress=False)

    for start, end in workers(write, missing):
        done += end - start
        advance(folder.name, done, count)
    parts = [_load(chunk_file(folder, start)) for start, _ in spans]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}


def chunk_file(folder: Path, start: int) -> Path:
    """The file of the items from `start` on."""
    return folder / f"{start:09d}.npz"


def _load(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # zipfile, zlib and numpy each have their own way to fail
        raise WorkError(f"{path}: damaged ({error}); remove this file and run the same command") from error

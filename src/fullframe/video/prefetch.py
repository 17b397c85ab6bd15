"""Work that overlaps: things made ahead in a thread, and worked on by several at a time, in order."""

import ctypes
import platform
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

_GLIBC = platform.libc_ver()[0] == "glibc"

T = TypeVar("T")
R = TypeVar("R")


def ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The items, made in a thread of their own; at most `depth` wait to be taken.

    What they raise is raised here. When this is closed, no further item is made.
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: T | None, error: BaseException | None) -> None:
        while not closed.is_set():
            try:
                waiting.put((item, error), timeout=0.1)
                break
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(item, None)
                if closed.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # to be raised where the items are taken
            put(None, error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        thread.join()


def ordered_map(
    work: Callable[[T], R], items: Iterable[T], workers: int, waiting: int = 0
) -> Generator[R, None, None]:
    """work(item) of every item in their order, by as many threads.

    Meanwhile torch runs on one core in each of them and for the caller, who keeps all cores busy already.

    Args:
        waiting: results that may wait to be taken beside the items being worked on.
    """
    pending: deque[Future[R]] = deque()
    with (
        _torch_on_one_core(),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > workers + waiting:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def _torch_on_one_core() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def limit_malloc_arenas() -> None:
    """Let threads use memory that others have freed, from now on in the whole process.

    glibc has a heap for each thread, and keeps what is freed: 150 MB for 1080p. What is larger than the maps
    of a network, which are needed again at once, goes back to the system. Elsewhere nothing is done.
    """
    if _GLIBC:
        M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_THRESHOLD, 16 << 20)


def trim_malloc() -> None:
    """Give the system back what is free, where glibc keeps it: 200 MB after the analysis of a 1080p video."""
    if _GLIBC:
        ctypes.CDLL(None).malloc_trim(0)


def frames_ahead(size: tuple[int, int]) -> int:
    """How many frames of (width, height) px may wait in one place: 24 MB of them, 1 to 8."""
    return min(8, max(1, (24 << 20) // (3 * size[0] * size[1])))

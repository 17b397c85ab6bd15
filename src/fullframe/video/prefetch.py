"""Prefetching in a thread, an ordered parallel map, and memory of threads."""

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


def prefetch(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Iterate over items in a background thread, at most `depth` items ahead of the consumer.

    Exceptions of the iterable are raised here. Closing this generator stops the thread.
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
        except BaseException as error:  # raised in the consumer
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
    function: Callable[[T], R], items: Iterable[T], workers: int, ahead: int = 0
) -> Generator[R, None, None]:
    """function(item) of every item, in order, computed in `workers` threads.

    Meanwhile torch uses one core per thread, the caller's included: together they keep all cores busy.

    Args:
        ahead: finished results that may wait for the consumer, in addition to items in progress.
    """
    pending: deque[Future[R]] = deque()
    with (
        _torch_on_one_core(),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > workers + ahead:
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
    """Make all threads share one heap, from now on in the whole process; without glibc, do nothing.

    glibc has a heap for each thread and keeps freed memory in it: 150 MB for 1080p. Blocks larger than the
    feature maps of a network, which are needed again at once, are returned to the system.
    """
    if _GLIBC:
        M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_THRESHOLD, 16 << 20)


def trim_malloc() -> None:
    """Return free memory to the system, which glibc keeps: 200 MB after the analysis of a 1080p video."""
    if _GLIBC:
        ctypes.CDLL(None).malloc_trim(0)


def prefetch_depth(size: tuple[int, int]) -> int:
    """The number of frames of (width, height) px to prefetch: 24 MB, 1 to 8 frames."""
    return min(8, max(1, (24 << 20) // (3 * size[0] * size[1])))

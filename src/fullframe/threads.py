"""Threads for work that torch and onnxruntime divide badly."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import local
from typing import TypeVar

import torch

T = TypeVar("T")
_THREAD = local()
"""`pooled` in the threads of _pool."""


@contextmanager
def single_thread() -> Iterator[None]:
    """Within, torch's operators use one thread.

    For many small operators: on a busy machine, threads that wait for each other spend most of the time
    spinning, and a fit takes ten times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def concurrently(*calls: Callable[[], T]) -> list[T]:
    """What independent calls return, made in as many threads as torch has in this one.

    Calls that last milliseconds and run on one thread each wait for each other once. Operators that are
    divided among threads do so hundreds of times, which takes long where other programs use the cores.
    Calls of calls are made one after another, for threads that wait for others of the pool may wait forever.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(calls) == 1 or hasattr(_THREAD, "pooled"):
        return [call() for call in calls]
    return list(_pool(threads).map(_call, calls))


def _call(call: Callable[[], T]) -> T:
    return call()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "fullframe", _start)


def _start() -> None:
    _THREAD.pooled = True
    # A thread that first asks gets the number that any thread has set last, in place of its own.
    torch.get_num_threads()
    torch.set_num_threads(1)

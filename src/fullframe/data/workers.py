"""Processes that prepare data."""

import copy
import functools
import multiprocessing
from multiprocessing.context import BaseContext


def worker_context(method: str | None = None) -> BaseContext:
    """What a DataLoader makes its processes with, so that the loss of one cannot stop the others.

    torch ends the processes by an event that they look at all the time. One that was killed while it looked
    would never give back the event's lock, and the main process would wait for it without end.

    Args:
        method: how processes are started; None for the default of the platform.
    """
    context = copy.copy(multiprocessing.get_context(method))
    context.Event = functools.partial(_Flag, context)  # type: ignore[method-assign,assignment]
    return context


class _Flag:
    """What torch uses of an event, without a lock: only the main process writes, one byte."""

    def __init__(self, context: BaseContext) -> None:
        self._byte = context.RawValue("b", 0)

    def set(self) -> None:
        self._byte.value = 1

    def is_set(self) -> bool:
        return bool(self._byte.value)

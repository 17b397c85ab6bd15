"""Messages, progress bars and errors of the command line."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from fullframe.io import progress as io_progress

console = Console(stderr=True, highlight=False)


class UsageError(Exception):
    """A request that cannot be carried out at all; the message says what to change."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn errors that the user's input can cause into `UsageError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename}: no such file" if error.filename else str(error)) from error
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error


def say(text: str, mark: str = "", style: str = "") -> None:
    """Print a line without interpreting markup: file names may contain brackets."""
    console.print(Text.assemble((mark, style), (text, "" if mark else style)), soft_wrap=True)


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warning = record.levelno >= logging.WARNING
        say(record.getMessage(), *(("warning ", "yellow") if warning else ()))


def show_log() -> None:
    """Print what the library logs (`logging.getLogger("fullframe...")`) from level INFO on."""
    logger = logging.getLogger("fullframe")
    logger.setLevel(logging.INFO)
    logger.addHandler(_LogHandler())


class Interrupt:
    """Within the block, the first Ctrl-C prints a message and sets `requested`; the second raises
    KeyboardInterrupt as usual."""

    def __init__(self, message: str) -> None:
        self.requested = False
        self._message = message
        self._previous: Any = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        say(self._message, "stopping: ", "yellow")

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.1f}/s" if task.speed else "")


@contextmanager
def show_progress(disable: bool = False) -> Iterator[io_progress.Progress]:
    """A progress bar on the terminal: stage, items done, speed and remaining time. It is erased at the end.

    Yields:
        The callback for progress. Timing restarts where `done` falls or `total` changes.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=disable) as bar:
        task = bar.add_task("loading", total=None)
        current = bar.tasks[0]

        def update(stage: str, done: int, total: int | None) -> None:
            if done < current.completed or total != current.total:
                bar.reset(task, total=total)
            bar.update(task, description=stage, completed=done)

        yield update

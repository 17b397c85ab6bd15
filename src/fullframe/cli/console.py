"""Messages, progress bars and errors of the command line."""

import logging
import re
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


# Of torch, oneDNN ("primitive"), numpy, onnxruntime and the loader of shared libraries.
_NO_MEMORY = re.compile(
    r"allocate memory|out of memory|could not create a (primitive|memory)|bad_alloc"
    r"|failed to (allocate|map segment)|unable to allocate|cannot allocate",
    re.IGNORECASE,
)


def out_of_memory(error: BaseException) -> str:
    """The message for an error that means that there is not enough memory; "" for others."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if not isinstance(error, MemoryError) and not _NO_MEMORY.search(text):
        return ""
    return (
        f"out of memory ({text}): close other programs, or raise the limit of memory (ulimit -v), and re-run "
        "the command"
    )


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Name the extra of fullframe that brings the package whose import failed."""
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"this page needs one more package ({error}): pip install 'fullframe[{extra}]'"
        ) from error


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn errors that the user's input can cause into `UsageError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename}: no such file" if error.filename else str(error)) from error
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(out_of_memory(error) or str(error)) from error


def say(text: str, mark: str = "", style: str = "") -> None:
    """Print text without interpreting markup or control characters: file names may contain any."""
    text = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    console.print(Text.assemble((mark, style), (text, "" if mark else style)), soft_wrap=True)


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warning = record.levelno >= logging.WARNING
        say(record.getMessage(), *(("warning ", "yellow") if warning else ()))


def show_log() -> None:
    """Print what the library logs (`logging.getLogger("fullframe...")`) from level INFO on."""
    # Pillow warns of large photos, and of damaged tags, which are not used.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logger = logging.getLogger("fullframe")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _LogHandler) for handler in logger.handlers):
        logger.addHandler(_LogHandler())


_interrupted = threading.Event()


def remember_interrupts() -> None:
    """Ctrl-C raises KeyboardInterrupt and is remembered: packages that are being loaded can swallow it."""

    def handle(number: int, frame: FrameType | None) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in nohup
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, handle)


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt after Ctrl-C that something has swallowed."""
    if _interrupted.is_set():
        _interrupted.clear()
        raise KeyboardInterrupt


@contextmanager
def loading() -> Iterator[None]:
    """Says so on the terminal; raises KeyboardInterrupt at the end if Ctrl-C was swallowed meanwhile."""
    with console.status("loading"):
        yield
    raise_if_interrupted()


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
        raise_if_interrupted()
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
    # Elsewhere the bar would be an empty line.
    hidden = disable or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("loading", total=None)
        current = bar.tasks[0]

        def update(stage: str, done: int, total: int | None) -> None:
            raise_if_interrupted()
            if done < current.completed or total != current.total:
                bar.reset(task, total=total)
            bar.update(task, description=stage, completed=done)

        yield update

"""How the command talks to its user."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

console = Console(stderr=True, highlight=False)


class UsageError(Exception):
    """What the user asked for cannot be done at all; the message says what to change."""


def say(text: str, mark: str = "", style: str = "") -> None:
    """Print without reading markup: file names may hold brackets."""
    console.print(Text.assemble((mark, style), (text, "" if mark else style)), soft_wrap=True)


def count(number: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else many}"


def progress_bar(**options: Any) -> Progress:
    """What is being done, how much of how many, and how long it will take; it leaves no trace."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, **options)

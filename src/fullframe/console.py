"""How the command talks to its user."""

from rich.console import Console
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

"""How long work reports its progress; the command line shows it as a bar."""

from typing import Protocol


class Progress(Protocol):
    """A callback for progress."""

    def __call__(self, stage: str, done: int, total: int | None, /) -> object:
        """Report progress.

        Args:
            stage: what is being done, for people to read: "detecting people".
            done: items that are done; it starts at 0 in each stage.
            total: all items of this stage; None if unknown.
        """


def silent(stage: str, done: int, total: int | None, /) -> None:
    """Progress that is not shown: the default everywhere."""

"""Early ends of a training run: Ctrl-C, SIGTERM, and data-loader workers that die."""

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class TrainError(RuntimeError):
    """Training cannot be continued; the message says why and what to do."""


class StopRequest:
    """Turns the first Ctrl-C or SIGTERM into a request; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: object) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def dead_workers_as_errors() -> Iterator[None]:
    """Raise a TrainError for a data-loader worker that died.

    torch raises at any moment, also in the middle of a step, so that nothing there is worth saving.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        # The latter two are raised where a batch is handed over.
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        # As long as a loader is there, which these frames hold, torch raises again whenever a child process
        # ends, wherever that is, also in here.
        with suppress(RuntimeError):
            traceback.clear_frames(error.__traceback__)
        raise TrainError(
            f"a data-loader worker died, possibly out of memory ({error!r}); run the same command to resume "
            "from the last checkpoint, with fewer workers if you set them"
        ) from error

"""A queue that runs one job at a time and reports the positions of the others."""

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False)
class QueuedJob:
    """A job of the queue.

    Attributes:
        run: must not raise.
        moved: called whenever its position in the queue changes, with the number of jobs before it, from 1.
    """

    run: Callable[[], None]
    moved: Callable[[int], None]


class Queue:
    """Runs jobs one after another in a background thread."""

    def __init__(self) -> None:
        self._jobs: list[QueuedJob] = []  # the first one is running
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, job: QueuedJob) -> None:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        self._report_positions()

    def remove(self, job: QueuedJob) -> None:
        """Remove a waiting job; a running one continues."""
        with self._changed:
            if job in self._jobs[1:]:
                self._jobs.remove(job)
        self._report_positions()

    def close(self, timeout: float) -> None:
        """Remove all waiting jobs, and wait up to `timeout` seconds for the running one."""
        with self._changed:
            self._closed = True
            del self._jobs[1:]
            self._changed.notify()
        self._thread.join(timeout)

    def _report_positions(self) -> None:
        with self._changed:
            waiting = list(enumerate(self._jobs))[1:]
        for position, job in waiting:
            job.moved(position)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                job = self._jobs[0]
            try:
                job.run()
            finally:
                with self._changed:
                    self._jobs.pop(0)
            self._report_positions()

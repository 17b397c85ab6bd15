"""One job at a time, and everybody who waits knows their place."""

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False)
class Job:
    """Work for the queue.

    Attributes:
        run: does it; must raise nothing.
        moved: told how many jobs are before this one whenever that changes, from 1.
    """

    run: Callable[[], None]
    moved: Callable[[int], None]


class Queue:
    """Runs jobs one after another in a thread of its own."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []  # the first one is running
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, job: Job) -> None:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        self._tell()

    def remove(self, job: Job) -> None:
        """Take a job out that waits; one that runs goes on."""
        with self._changed:
            if job in self._jobs[1:]:
                self._jobs.remove(job)
        self._tell()

    def close(self, timeout: float) -> None:
        """Forget who waits, and wait up to `timeout` seconds for the job that runs."""
        with self._changed:
            self._closed = True
            del self._jobs[1:]
            self._changed.notify()
        self._thread.join(timeout)

    def _tell(self) -> None:
        with self._changed:
            waiting = list(enumerate(self._jobs))[1:]
        for place, job in waiting:
            job.moved(place)

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
            self._tell()

"""Clips as jobs: one is processed at a time, the others wait."""

import contextlib
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from fullframe.io.text import plural
from fullframe.recovery.outputs import video_files, write_clip
from fullframe.recovery.photo import CameraOptions, Recoverer
from fullframe.recovery.video import process
from fullframe.serve.limits import Limits
from fullframe.view.job_queue import Queue, QueuedJob

State = Literal["waiting", "running", "done", "failed"]


class QueueFullError(Exception):
    """As many clips wait already as may."""


class _CancelledError(Exception):
    """The job was deleted, or the server is closing."""


class _TooSlowError(Exception):
    """The job took longer than it may."""


@dataclass(eq=False)
class ClipJob:
    """A clip on its way to its results.

    Attributes:
        id: unguessable.
        folder: of its files alone.
        upload: the clip; deleted as soon as it is processed.
        kinds: of files to write, see recovery.outputs.VIDEO_OUTPUTS.
        camera: the user's.
        state: where it is.
        before: number of clips that are processed before it.
        stage, done, total: of the progress.
        error: why it failed.
        files: results by name.
        ended: by time.monotonic(); None until then.
        deleted: whether nobody wants it any longer.
    """

    id: str
    folder: Path
    upload: Path
    kinds: tuple[str, ...]
    camera: CameraOptions
    state: State = "waiting"
    before: int = 0
    stage: str = ""
    done: int = 0
    total: int | None = None
    error: str = ""
    files: dict[str, Path] = field(default_factory=dict)
    ended: float | None = None
    deleted: bool = False


class ClipJobs:
    """All clips of a service.

    Args:
        recoverer: the models.
        folder: temporary, for all files.
        limits: of the service.
    """

    def __init__(self, recoverer: Recoverer, folder: Path, limits: Limits) -> None:
        self._recoverer, self._folder, self._limits = recoverer, folder, limits
        self._jobs: dict[str, ClipJob] = {}
        self._queued: dict[str, QueuedJob] = {}
        self._receiving = 0
        self._lock = threading.RLock()
        self._queue = Queue()

    def close(self) -> None:
        """Cancel everything; the running job ends at its next frame."""
        for job in list(self._jobs.values()):
            self.delete(job.id)
        self._queue.close(timeout=30)

    @property
    def open(self) -> int:
        """Clips that wait or are being processed."""
        with self._lock:
            return sum(job.ended is None for job in self._jobs.values())

    @contextlib.contextmanager
    def receiving(self) -> Iterator[Path]:
        """A folder for a clip that is being received; it is removed unless `add` took it.

        Raises:
            QueueFullError: see there.
        """
        with self._lock:
            self._expire()
            if self.open + self._receiving >= self._limits.clips:
                raise QueueFullError
            self._receiving += 1
        folder = self._folder / secrets.token_urlsafe(16)
        folder.mkdir()
        try:
            yield folder
        finally:
            with self._lock:
                self._receiving -= 1
                if folder.name not in self._jobs:
                    shutil.rmtree(folder, ignore_errors=True)

    def add(self, upload: Path, kinds: tuple[str, ...], camera: CameraOptions) -> ClipJob:
        """Queue a clip that lies in a folder of `receiving`."""
        job = ClipJob(upload.parent.name, upload.parent, upload, kinds, camera)

        def moved(position: int) -> None:
            job.before = position

        queued = QueuedJob(lambda: self._run(job), moved)
        with self._lock:
            self._jobs[job.id], self._queued[job.id] = job, queued
        self._queue.add(queued)
        return job

    def get(self, id: str) -> ClipJob | None:
        """A job that was not deleted."""
        with self._lock:
            self._expire()
            return self._jobs.get(id)

    def delete(self, id: str) -> bool:
        """Cancel a job and delete its files; False if there is none."""
        with self._lock:
            job = self._jobs.pop(id, None)
            if job is None:
                return False
            job.deleted = True
            self._queue.remove(self._queued.pop(id))
            if job.state != "running":  # else its thread deletes them when it has ended
                shutil.rmtree(job.folder, ignore_errors=True)
        return True

    def _expire(self) -> None:
        finished = sorted((job.ended, job.id) for job in self._jobs.values() if job.ended is not None)
        old = [id for ended, id in finished if time.monotonic() - ended > self._limits.expiry_s]
        too_many = [id for _, id in finished[: max(0, len(finished) - self._limits.kept)]]
        for id in {*old, *too_many}:
            self.delete(id)

    def _run(self, job: ClipJob) -> None:
        with self._lock:
            if job.deleted:
                return
            job.state, job.before = "running", 0
        try:
            job.files = self._recover(job)
            state: State = "done"
        except _CancelledError:
            state = "failed"
        except _TooSlowError:
            state = "failed"
            job.error = f"processing took longer than {plural(round(self._limits.clip_s), 'second')}"
        except ValueError as error:
            state, job.error = "failed", str(error).replace(f"{job.upload}: ", "")
        except Exception as error:  # one bad clip must not end the service
            state, job.error = "failed", f"the clip could not be processed: {error or type(error).__name__}"
        with self._lock:
            job.state, job.ended = state, time.monotonic()
            for path in job.folder.iterdir() if job.folder.is_dir() else ():
                if path not in job.files.values():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            if job.deleted:
                shutil.rmtree(job.folder, ignore_errors=True)

    def _recover(self, job: ClipJob) -> dict[str, Path]:
        end = time.monotonic() + self._limits.clip_s

        def progress(stage: str, done: int, total: int | None) -> None:
            if job.deleted:
                raise _CancelledError
            if time.monotonic() > end:
                raise _TooSlowError
            job.stage, job.done, job.total = stage, done, total

        files = video_files(job.folder / "clip", job.kinds)
        overlay = files.pop("overlay", None)
        result = process(self._recoverer, job.upload, job.camera, overlay=overlay, progress=progress)
        written = [overlay] if overlay is not None and result.drawn else []
        progress("writing files", 0, None)
        written += write_clip(replace(result.clip, video=""), self._recoverer.body, files)
        return {path.name: path for path in written}

"""`fullframe app`: a page that takes photos and short clips and shows their people in 3D."""

import contextlib
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import viser

from fullframe.recovery.photo import Recoverer
from fullframe.view.queue import Job, Queue
from fullframe.view.recover_upload import UploadResult, recover_upload
from fullframe.view.server import pages, serve, wait_for_interrupt
from fullframe.view.uploads import LIMITS, UploadError, check_upload, limit_uploads, too_large
from fullframe.view.viewer import Viewer

EXPIRY_MINUTES = 60
"""Time after which an upload and its results are deleted, while their page is open."""

_PREFIX, _LOCK = "fullframe_app_", ".lock"
_STARTING_SECONDS = 60
_DRAW_SECONDS = 0.5
"""Time in which a browser is expected to update the page."""
_WELCOME = (
    "**Choose a photo or a short clip with people in it.** Everyone is shown as a 3D body that you can view "
    f"from any side.\n\n{LIMITS}\n\nYour file stays on the computer that serves this page. It is deleted "
    f"when you close the page, and after {EXPIRY_MINUTES} minutes."
)


class _VisitorLeft(Exception):
    """The visitor has closed the page while their upload was being processed."""


def serve_app(recoverer: Recoverer, host: str, port: int, ready: Callable[[str], object]) -> None:
    """Serve the page until Ctrl-C, then delete all uploads.

    Args:
        ready: called with the address of the page.

    Raises:
        OSError: if the host is not available.
    """
    queue = Queue()
    with (
        _temporary_folder() as folder,
        serve(host, port, "fullframe") as server,
    ):
        with pages(server, lambda client: UploadPage(client, recoverer, queue, folder)):
            wait_for_interrupt(server, ready)
        queue.close(timeout=10)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder for uploads, deleted at the end; those of killed servers are deleted first.

    A server locks its folder. The lock ends with its process.
    """
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, filelock.Timeout):
            state = old.lstat()
            ours = stat.S_ISDIR(state.st_mode) and (os.name == "nt" or state.st_uid == os.getuid())
            file = old / _LOCK
            # Without a lock file, a server may just be starting.
            if ours and (file.exists() or time.time() - state.st_mtime > _STARTING_SECONDS):
                with filelock.FileLock(file, timeout=0):
                    shutil.rmtree(old, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name,
        filelock.FileLock(Path(name) / _LOCK),
    ):
        yield Path(name)


class UploadPage:
    """One open page, with at most one upload and one result.

    Args:
        queue: shared by all pages.
        folder: temporary; the page creates its own folder in it.
    """

    def __init__(self, client: viser.ClientHandle, recoverer: Recoverer, queue: Queue, folder: Path) -> None:
        self._client, self._recoverer, self._queue = client, recoverer, queue
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._job: Job | None = None
        self._viewer: Viewer | None = None
        self._downloads: viser.GuiFolderHandle | None = None
        self._timer: threading.Timer | None = None
        self._gone = False
        self._lock = threading.RLock()  # the queue, the page and the timer change the state
        gui = client.gui
        gui.add_markdown(_WELCOME, order=0)
        self._status = gui.add_markdown("", visible=False, order=2)
        self._bar = gui.add_progress_bar(0, animated=True, visible=False, order=3)
        self._button = self._add_button()
        limit_uploads(client, self._refuse)

    def close(self) -> None:
        """Remove the job from the queue and delete all files."""
        with self._lock:
            self._gone = True
            if self._job is not None:
                self._queue.remove(self._job)
            self._clear(page=False)
            shutil.rmtree(self._folder, ignore_errors=True)

    # Uploading

    def _add_button(self) -> viser.GuiUploadButtonHandle:
        button = self._client.gui.add_upload_button(
            "Choose a photo or clip", mime_type="image/*,video/*", icon=viser.Icon.UPLOAD, order=1
        )
        button.on_upload(lambda event: self._receive(event.target.value))
        return button

    def _receive(self, upload: viser.UploadedFile) -> None:
        # viser shows "uploading" for ever if the button is removed before the browser has drawn its end.
        time.sleep(_DRAW_SECONDS)
        with self._lock:
            if self._gone or self._job is not None:
                return
            # The old button keeps the content of the file in memory.
            self._button.remove()
            self._clear()
            try:
                file = self._folder / f"upload{check_upload(upload.content)}"
                file.write_bytes(upload.content)
            except (UploadError, OSError) as error:
                self._button = self._add_button()
                self._say(f"**{error}**")
                return
            name = Path(upload.name.replace("\\", "/")).name
            self._job = Job(lambda: self._process(file, name), self._show_position)
            job = self._job
        self._say("Received.", busy=True)
        self._queue.add(job)

    def _refuse(self, size: int) -> None:
        # In a thread: the server's event loop must not wait for the lock.
        threading.Thread(target=self._report_too_large, args=(size,), daemon=True).start()

    def _report_too_large(self, size: int) -> None:
        with self._lock:
            if not self._gone and self._job is None:
                # Replaced, since viser disables the button until its upload ends.
                self._button.remove()
                self._button = self._add_button()
                self._say(f"**{too_large(size)}**")

    # Processing

    def _show_position(self, position: int) -> None:
        self._say(f"In the queue: {position} before you.", busy=True)

    def _process(self, file: Path, name: str) -> None:
        try:
            self._recover(file, name)
        finally:
            if self._gone:  # files were written after the page was closed
                shutil.rmtree(self._folder, ignore_errors=True)

    def _recover(self, file: Path, name: str) -> None:
        try:
            result = recover_upload(self._recoverer, file, name, self._progress)
            message = ""
        except _VisitorLeft:
            return
        except ValueError as error:
            result, message = None, str(error).replace(f"{file}: ", "")
        except Exception as error:  # one bad file must not stop the server
            result, message = None, f"The file could not be processed: {error or type(error).__name__}"
        with self._lock:
            self._job = None
            if self._gone:
                return
            self._button = self._add_button()
            if result is None:
                self._clear()
                self._say(f"**{message}**")
            else:
                self._present(result)

    def _progress(self, stage: str, done: int, total: int | None) -> None:
        if self._gone:
            raise _VisitorLeft
        share = done / total if total else None
        text = stage.capitalize()
        self._say(f"{text} ..." if share is None else f"{text}: {share:.0%}", True, share)

    def _say(self, text: str, busy: bool = False, share: float | None = None) -> None:
        with self._lock:
            if self._gone:
                return
            self._status.content, self._status.visible = text, True
            self._bar.visible, self._bar.animated = busy, share is None
            self._bar.value = 100 * min(1.0, 1.0 if share is None else share)

    # The result

    def _present(self, result: UploadResult) -> None:
        number = len(set(result.clip.track_ids.tolist()))
        self._say({0: "**No person found.**", 1: "Found one person."}.get(number, f"Found {number} people."))
        gui = self._client.gui
        self._downloads = gui.add_folder("Downloads", order=4)
        with self._downloads:
            for file in result.files:
                button = gui.add_button(file.name, icon=viser.Icon.DOWNLOAD)
                button.on_click(lambda _, file=file: self._send(file))
        self._viewer = Viewer(self._client, result.clip, self._recoverer.body)
        self._timer = threading.Timer(60 * EXPIRY_MINUTES, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _send(self, file: Path) -> None:
        try:
            content = file.read_bytes()
        except FileNotFoundError:  # deleted between the click and now
            return
        self._client.send_file_download(file.name, content, save_immediately=True)

    def _expire(self) -> None:
        with self._lock:
            if not self._gone and self._job is None:
                self._clear()
                self._say(f"Your result was deleted after {EXPIRY_MINUTES} minutes. Choose the file again.")

    def _clear(self, page: bool = True) -> None:
        """Delete the files, and remove the last result from the page if that is still open."""
        if self._timer is not None:
            self._timer.cancel()
        if self._viewer is not None:
            self._viewer.close(page)
            self._viewer = None
        if self._downloads is not None and page:
            self._downloads.remove()
        self._downloads = None
        for path in self._folder.iterdir() if self._folder.exists() else ():
            if path.is_dir():  # the work on a clip
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

"""`fullframe app`: a page for whoever has a photo or a short clip and wants the people in it in 3D."""

import shutil
import tempfile
import threading
import time
from pathlib import Path

import viser

from fullframe.recover.photo import Recoverer
from fullframe.view.queue import Job, Queue
from fullframe.view.recover_upload import Recovered, recover_upload
from fullframe.view.server import address, say_until_ctrl_c, serve, tabs
from fullframe.view.uploads import LIMITS, UploadError, check_upload, limit_uploads, too_large
from fullframe.view.viewer import Viewer

KEPT_MINUTES = 60
"""How long an upload and its results are kept for a page that stays open."""

_DRAWN = 0.5
"""Seconds that a browser may take to draw."""
_WELCOME = (
    "**Choose a photo or a short clip with people in it.** You get everybody as a 3D body, seen from any "
    f"side.\n\n{LIMITS}\n\nYour file stays on the computer that serves this page. It is deleted when you "
    f"close the page, and after {KEPT_MINUTES} minutes."
)


class _Gone(Exception):
    """The visitor for whom a job runs has left."""


def serve_app(recoverer: Recoverer, host: str, port: int) -> None:
    """Serve the page until Ctrl-C; everything uploaded is deleted then.

    Raises:
        OSError: if nothing can listen on the host.
    """
    queue = Queue()
    with (
        tempfile.TemporaryDirectory(prefix="fullframe_app_", ignore_cleanup_errors=True) as folder,
        serve(host, port, "fullframe") as server,
    ):
        with tabs(server, lambda client: Tab(client, recoverer, queue, Path(folder))):
            say_until_ctrl_c(f"open {address(server)} (Ctrl-C ends)")
        queue.close(timeout=10)


class Tab:
    """One open page: it has at most one upload and one result.

    Args:
        queue: of all pages.
        folder: temporary; the page's files go into a folder of its own in it.
    """

    def __init__(self, client: viser.ClientHandle, recoverer: Recoverer, queue: Queue, folder: Path) -> None:
        self._client, self._recoverer, self._queue = client, recoverer, queue
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._job: Job | None = None
        self._viewer: Viewer | None = None
        self._downloads: viser.GuiFolderHandle | None = None
        self._clock: threading.Timer | None = None
        self._gone = False
        self._lock = threading.RLock()  # for what the queue, the page and the clock change
        gui = client.gui
        gui.add_markdown(_WELCOME, order=0)
        self._status = gui.add_markdown("", visible=False, order=2)
        self._bar = gui.add_progress_bar(0, animated=True, visible=False, order=3)
        self._button = self._add_button()
        limit_uploads(client, self._refuse)

    def close(self) -> None:
        """Stop, and delete everything."""
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
        button.on_upload(lambda event: self._take(event.target.value))
        return button

    def _take(self, upload: viser.UploadedFile) -> None:
        # The page says "uploading" for ever if its button is gone before it has drawn the end of the upload.
        time.sleep(_DRAWN)
        with self._lock:
            if self._gone or self._job is not None:
                return
            # The old button would keep the file's content in memory.
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
            self._job = Job(lambda: self._work(file, name), self._wait)
            job = self._job
        self._say("Received.", busy=True)
        self._queue.add(job)

    def _refuse(self, size: int) -> None:
        # Not in the server's event loop, which must not wait for the lock.
        threading.Thread(target=self._say_too_large, args=(size,), daemon=True).start()

    def _say_too_large(self, size: int) -> None:
        with self._lock:
            if not self._gone and self._job is None:
                # A new one, since the page has disabled the old one until its upload ends.
                self._button.remove()
                self._button = self._add_button()
                self._say(f"**{too_large(size)}**")

    # Working

    def _wait(self, place: int) -> None:
        self._say(f"In the queue: {place} before you.", busy=True)

    def _work(self, file: Path, name: str) -> None:
        try:
            result = recover_upload(self._recoverer, file, name, self._progress)
            message = ""
        except _Gone:
            return
        except ValueError as error:
            result, message = None, str(error).replace(f"{file}: ", "")
        except Exception as error:  # one bad file must not end the service for the others
            result, message = None, f"This did not work: {error or type(error).__name__}"
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

    def _progress(self, doing: str, share: float | None) -> None:
        if self._gone:
            raise _Gone
        self._say(f"{doing} ..." if share is None else f"{doing}: {share:.0%}", True, share)

    def _say(self, text: str, busy: bool = False, share: float | None = None) -> None:
        with self._lock:
            if self._gone:
                return
            self._status.content, self._status.visible = text, True
            self._bar.visible, self._bar.animated = busy, share is None
            self._bar.value = 100 * min(1.0, 1.0 if share is None else share)

    # The result

    def _present(self, result: Recovered) -> None:
        number = len(set(result.clip.track_ids.tolist()))
        self._say({0: "**Nobody was found.**", 1: "Found one person."}.get(number, f"Found {number} people."))
        gui = self._client.gui
        self._downloads = gui.add_folder("Downloads", order=4)
        with self._downloads:
            for file in result.files:
                button = gui.add_button(file.name, icon=viser.Icon.DOWNLOAD)
                button.on_click(lambda _, file=file: self._send(file))
        self._viewer = Viewer(self._client, result.clip, self._recoverer.body)
        self._clock = threading.Timer(60 * KEPT_MINUTES, self._expire)
        self._clock.daemon = True
        self._clock.start()

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
                self._say(f"Your result was deleted after {KEPT_MINUTES} minutes. Choose the file again.")

    def _clear(self, page: bool = True) -> None:
        """Delete the files, and take the last result out of the page if that is still open."""
        if self._clock is not None:
            self._clock.cancel()
        if self._viewer is not None:
            self._viewer.close(page)
            self._viewer = None
        if self._downloads is not None and page:
            self._downloads.remove()
        self._downloads = None
        for file in self._folder.iterdir() if self._folder.exists() else ():
            file.unlink(missing_ok=True)

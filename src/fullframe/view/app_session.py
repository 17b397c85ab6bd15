"""One open page of `fullframe app`: its files, their results, and the scene that shows one of them."""

import asyncio
import contextlib
import json
import logging
import secrets
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import viser
import websockets
from websockets.asyncio.server import ServerConnection

from fullframe.assets import EXAMPLE_CLIP, EXAMPLE_PHOTO
from fullframe.body.body_model import BodyModel
from fullframe.export import RIGS
from fullframe.recovery.outputs import RIGGED
from fullframe.recovery.photo import Recoverer
from fullframe.view.job_queue import Queue, QueuedJob
from fullframe.view.recover_upload import FILES, Choices, UploadResult, is_clip, recover_upload
from fullframe.view.results import body_named, load_clip
from fullframe.view.upload_checks import LIMITS, MAX_BYTES, UploadError, check_upload, too_large
from fullframe.view.viewer import Viewer

EXPIRY_MINUTES = 60
"""Time after which an upload and its results are deleted, while their page is open."""
MAX_FILES = 100
"""Files of one page at a time."""

_log = logging.getLogger(__name__)
_PRIVACY = (
    "Files stay on the computer that serves this page. They are deleted when you close the page, and after "
    f"{EXPIRY_MINUTES} minutes."
)


class _Removed(Exception):
    """The file was removed, or the page closed, while it was being processed."""


@dataclass(eq=False)
class _Entry:
    """A file of the page.

    Attributes:
        folder: of the upload and its results.
        file: the upload; None until it has arrived.
        state: "uploading", "waiting", "working", "done", "failed" or "removed".
        text: what happens, or has gone wrong.
        share: of the work that is done, 0 to 1; None if unknown.
        size: of the upload in bytes.
    """

    id: int
    name: str
    folder: Path
    choices: Choices
    size: int = 0
    file: Path | None = None
    state: str = "uploading"
    text: str = ""
    share: float | None = None
    example: bool = False
    job: QueuedJob | None = None
    result: UploadResult | None = None
    body: BodyModel | None = None
    timer: threading.Timer | None = None

    def files(self) -> list[Path]:
        """The picture with the bodies, then the downloads."""
        return [] if self.result is None else [self.result.picture, *self.result.files]


@dataclass
class _Upload:
    """The file that is arriving."""

    entry: _Entry
    path: Path
    received: int = 0


class Session:
    """Everything of one page. It is deleted with the page.

    Args:
        command: the command line that recovers with the same models, without its inputs.
        queue: shared by all pages.
        folder: temporary; the session creates its own folder in it.
    """

    def __init__(self, recoverer: Recoverer, command: list[str], queue: Queue, folder: Path) -> None:
        self.token = secrets.token_urlsafe(16)
        self._recoverer, self._command, self._queue = recoverer, command, queue
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._entries: dict[int, _Entry] = {}
        self._next_id = 0
        self._upload: _Upload | None = None
        self._closed = False
        self._lock = threading.RLock()  # the queue, the socket and timers change the state
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        # The viewer is made and closed in this one thread.
        self._scene = ThreadPoolExecutor(1)
        self._client: viser.ClientHandle | None = None
        self._viewer: Viewer | None = None
        self._shown: int | None = None

    # The socket

    async def talk(self, connection: ServerConnection) -> None:
        """Serve the page's websocket until it is closed."""
        self._loop = asyncio.get_running_loop()
        sender = asyncio.create_task(self._send_all(connection))
        try:
            await asyncio.to_thread(self._greet)
            async for message in connection:
                # One after another, and none in the event loop, which serves everybody.
                await asyncio.to_thread(self._receive, message)
        except websockets.ConnectionClosed:
            pass
        except (ValueError, KeyError, TypeError) as error:  # not from our page
            _log.debug("a websocket is closed: %r", error)
            await connection.close(1003)
        finally:
            sender.cancel()
            await asyncio.to_thread(self.close)

    async def _send_all(self, connection: ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await connection.send(json.dumps(await self._outbox.get()))

    def _send(self, message: dict[str, Any]) -> None:
        """Send from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server is stopping
                self._loop.call_soon_threadsafe(self._outbox.put_nowait, message)

    def _greet(self) -> None:
        self._send(
            {
                "kind": "hello",
                "token": self.token,
                "command": self._command,
                "limits": LIMITS,
                "privacy": _PRIVACY,
                "maxBytes": MAX_BYTES,
                "photoFiles": FILES["photo"],
                "clipFiles": FILES["clip"],
                "rigs": list(RIGS),
                "rigged": RIGGED,
                "save": Choices().save,
            }
        )
        for file in (EXAMPLE_PHOTO, EXAMPLE_CLIP):
            self._add_example(file)
        self.show(0)

    def _receive(self, message: str | bytes) -> None:
        """Act on a message of the page: an action as JSON, or a part of the upload.

        Raises:
            ValueError, KeyError, TypeError: if it is none.
        """
        if isinstance(message, bytes):
            self._receive_part(message)
            return
        action = json.loads(message)
        kind = action["kind"]
        if kind == "upload":
            self._begin_upload(action)
        elif kind == "show":
            self.show(int(action["id"]))
        elif kind == "again":
            self._again(int(action["id"]), action["choices"])
        elif kind == "remove":
            self._remove(int(action["id"]))
        else:
            raise ValueError(f"no action {kind!r:.50}")

    def _tell(self, entry: _Entry) -> None:
        """Send the state of a file."""
        base = f"/files/{self.token}/{entry.id}/"
        result = entry.result
        number = len(set(result.clip.track_ids.tolist())) if result is not None else None
        self._send(
            {
                "kind": "entry",
                "id": entry.id,
                "name": entry.name,
                "state": entry.state,
                "text": entry.text,
                "share": entry.share,
                "example": entry.example,
                "clip": entry.file is not None and is_clip(entry.file),
                "people": number,
                "picture": f"{base}0/{result.picture.stat().st_mtime_ns}" if result is not None else None,
                "files": [
                    {"name": file.name, "address": f"{base}{k}", "bytes": file.stat().st_size}
                    for k, file in enumerate(entry.files()[1:], 1)
                ],
            }
        )

    def _set(self, entry: _Entry, state: str, text: str = "", share: float | None = None) -> None:
        with self._lock:
            if not self._closed and entry.state != "removed":
                entry.state, entry.text, entry.share = state, text, share
                self._tell(entry)

    def file(self, path: str) -> Path | None:
        """A file by its address within the session: number of the entry, number of the file."""
        numbers = path.split("/")[:2]
        with self._lock:
            if len(numbers) == 2 and all(number.isascii() and number.isdigit() for number in numbers):
                entry = self._entries.get(int(numbers[0]))
                files = entry.files() if entry is not None else []
                return files[int(numbers[1])] if int(numbers[1]) < len(files) else None
        return None

    # Files

    def _add(self, name: str, choices: Choices, size: int = 0) -> _Entry:
        folder = self._folder / str(self._next_id)
        folder.mkdir()
        entry = _Entry(self._next_id, name, folder, choices, size)
        self._entries[entry.id] = entry
        self._next_id += 1
        return entry

    def _add_example(self, file: Path) -> None:
        """An entry with a result that ships with the package."""
        clip = replace(load_clip(file.with_suffix(".npz")), video=str(file))
        with self._lock:
            entry = self._add(file.name, Choices())
            entry.file, entry.example, entry.state = file, True, "done"
            entry.body = body_named(clip.body, None, clip.betas.shape[1])
            picture = file.with_name(f"{file.stem}_overlay{'.mp4' if is_clip(file) else '.jpg'}")
            entry.result = UploadResult(clip, picture, [picture, file.with_suffix(".npz")])
            self._tell(entry)

    def _begin_upload(self, action: dict[str, Any]) -> None:
        if self._upload is not None:
            raise ValueError("an upload began before the end of another")
        name, size = str(action["name"]), int(action["size"])
        name = Path(name.replace("\\", "/")).name[:200].encode("utf-8", "replace").decode() or "upload"
        with self._lock:
            if self._closed:
                return
            entry = self._add(name, Choices(), size)
            problem = too_large(size) if size > MAX_BYTES else ""
            if len(self._entries) > MAX_FILES:
                problem = f"A page holds {MAX_FILES} files: remove some, then choose this one again."
            try:
                entry.choices = Choices.from_message(action["choices"])
            except ValueError as error:
                problem = problem or str(error)
            self._send({"kind": "begun", "id": entry.id, "wanted": not problem})
            if problem:
                self._set(entry, "failed", problem)
                return
            self._upload = _Upload(entry, entry.folder / "part")
            self._upload.path.touch()
            self._set(entry, "uploading", "uploading", 0.0)
        if size == 0:
            self._receive_part(b"")

    def _receive_part(self, part: bytes) -> None:
        upload = self._upload
        if upload is None or upload.received + len(part) > upload.entry.size:
            raise ValueError("more than was announced")
        upload.received += len(part)
        entry = upload.entry
        with self._lock:
            if entry.state != "removed":
                try:
                    with upload.path.open("ab") as file:
                        file.write(part)
                except OSError as error:
                    self._set(entry, "failed", f"The file could not be stored: {error.strerror}")
        self._send({"kind": "received", "id": entry.id})
        if upload.received < entry.size:
            self._set(entry, entry.state, entry.text, upload.received / entry.size)
            return
        self._upload = None
        if entry.state != "uploading":
            return
        try:
            suffix = check_upload(upload.path.read_bytes())
        except (UploadError, OSError) as error:
            upload.path.unlink(missing_ok=True)
            self._set(entry, "failed", str(error))
            return
        with self._lock:
            if entry.state == "uploading":
                entry.file = upload.path.rename(entry.folder / f"upload{suffix}")
                self._enqueue(entry)

    def _again(self, number: int, choices: Any) -> None:
        """Recover a file once more with other choices."""
        with self._lock:
            entry = self._entries.get(number)
            if entry is None or entry.file is None or entry.state not in ("done", "failed") or self._closed:
                return
            try:
                entry.choices = Choices.from_message(choices)
                if entry.example:
                    entry.file = Path(shutil.copy(entry.file, entry.folder / f"upload{entry.file.suffix}"))
                    entry.example = False
            except (ValueError, OSError) as error:
                self._set(entry, entry.state, str(error))
                return
            self._enqueue(entry)

    def _enqueue(self, entry: _Entry) -> None:
        job = entry.job = QueuedJob(
            lambda: self._process(entry), lambda n: self._set(entry, "waiting", f"waiting, {n} before it")
        )
        self._set(entry, "waiting", "waiting")
        self._queue.add(job)

    def _remove(self, number: int) -> None:
        with self._lock:
            entry = self._entries.pop(number, None)
            if entry is None:
                return
            self._forget(entry)
            entry.state = "removed"
            self._send({"kind": "gone", "id": number})
        if self._shown == number:
            self.show(None)

    def _forget(self, entry: _Entry) -> None:
        """Delete the files of an entry, and stop working on it."""
        if entry.job is not None:
            self._queue.remove(entry.job)
        if entry.timer is not None:
            entry.timer.cancel()
        entry.result = None
        shutil.rmtree(entry.folder, ignore_errors=True)

    def _expire(self, entry: _Entry) -> None:
        with self._lock:
            if self._closed or entry.state != "done":
                return
            self._forget(entry)
            entry.file = None
            self._set(entry, "failed", f"Deleted after {EXPIRY_MINUTES} minutes. Choose the file again.")
        if self._shown == entry.id:
            self.show(None)

    def close(self) -> None:
        """Remove all jobs from the queue and delete all files."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for entry in self._entries.values():
                self._forget(entry)
            shutil.rmtree(self._folder, ignore_errors=True)
        self._scene.submit(self._close_viewer, False)
        self._scene.shutdown(wait=True)

    # Processing

    def _process(self, entry: _Entry) -> None:
        try:
            self._recover(entry)
        finally:
            if self._closed or entry.state == "removed":  # files were written after it was removed
                shutil.rmtree(self._folder if self._closed else entry.folder, ignore_errors=True)

    def _recover(self, entry: _Entry) -> None:
        def progress(stage: str, done: int, total: int | None) -> None:
            if self._closed or entry.state == "removed":
                raise _Removed
            self._set(entry, "working", stage, done / total if total else None)

        if entry.file is None:
            return
        try:
            result = recover_upload(self._recoverer, entry.file, entry.name, entry.choices, progress)
        except _Removed:
            return
        except ValueError as error:
            self._set(entry, "failed", str(error).replace(f"{entry.file}: ", ""))
        except Exception as error:  # one bad file must not stop the server
            self._set(entry, "failed", f"The file could not be processed: {error or type(error).__name__}")
        else:
            with self._lock:
                if self._closed or entry.state == "removed":
                    return
                entry.result, entry.body = result, self._recoverer.body
                if entry.timer is not None:
                    entry.timer.cancel()
                entry.timer = threading.Timer(60 * EXPIRY_MINUTES, self._expire, (entry,))
                entry.timer.daemon = True
                entry.timer.start()
                turns = result.clip.camera_angles.max(initial=0)
                self._set(entry, "done", f"the camera turns by {turns:.0f}°" if turns > 0 else "")
            if self._shown == entry.id:
                self.show(entry.id)

    # The scene

    def attach(self, client: viser.ClientHandle) -> None:
        """The scene is open in the page's frame."""
        self._client = client
        self.show(self._shown)

    def detach(self, client: viser.ClientHandle) -> None:
        """The frame has been closed, or loaded again."""
        if self._client is client:
            self._client = None
            with contextlib.suppress(RuntimeError):  # closed already
                self._scene.submit(self._close_viewer, False)

    def show(self, number: int | None) -> None:
        """Show the result of a file in the scene, now or as soon as the scene is open; None clears it."""
        self._shown = number
        with contextlib.suppress(RuntimeError):  # closed already
            self._scene.submit(self._show)

    def _show(self) -> None:
        client, entry = self._client, self._entries.get(-1 if self._shown is None else self._shown)
        self._close_viewer(client is not None)
        if client is None or entry is None or self._closed:
            return
        result, body = entry.result, entry.body
        if result is None or body is None:
            return
        try:
            self._viewer = Viewer(client, result.clip, body)
        except Exception as error:  # a scene that has just been closed
            _log.debug("the scene is not shown: %r", error)

    def _close_viewer(self, page: bool) -> None:
        if self._viewer is not None:
            self._viewer.close(page)
            self._viewer = None

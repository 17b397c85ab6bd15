"""`fullframe app`: a page that takes photos and short clips and shows their people in 3D.

The page and its websocket are ours; the scene in it is viser's page, in a frame. All have one port.
"""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import viser
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from fullframe.assets import APP
from fullframe.io.temporary_folder import temporary_folder
from fullframe.recovery.photo import Recoverer
from fullframe.view.app_session import Session
from fullframe.view.job_queue import Queue
from fullframe.view.server import Server, pages, path_of, serve, wait_for_interrupt

FOLDERS = "fullframe_app_"
"""Prefix of the folders for uploads."""
_PAGE = {
    "/": ("app.html", "text/html; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
}
_SCENE, _FILES = "/scene/", "/files/"
_SHOWN = {".jpg": "image/jpeg", ".mp4": "video/mp4"}
# Nothing is loaded from elsewhere, and no script runs that is not in app.js.
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; object-src 'none'; "
    "frame-ancestors 'none'"
)


def serve_app(
    recoverer: Recoverer, command: list[str], host: str, port: int, ready: Callable[[str], object]
) -> None:
    """Serve the page until Ctrl-C, then delete all uploads.

    Args:
        command: the command line that recovers with the same models, without its inputs.
        ready: called with the address of the page.

    Raises:
        OSError: if the host is not available.
    """
    queue = Queue()
    with temporary_folder(FOLDERS) as folder:
        site = AppSite(lambda: Session(recoverer, command, queue, folder))
        with serve(host, port, "fullframe", site) as server:
            with pages(server, lambda client: site.scene(server, client)):
                wait_for_interrupt(server, ready)
            site.close()
            queue.close(timeout=10)


class AppSite:
    """The page, its websocket, and the files of all visitors; each visitor's addresses hold a secret.

    Args:
        open_session: called for each page that is opened.
    """

    socket = "/events"

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self._open_session = open_session
        self._sessions: dict[str, Session] = {}

    def respond(self, request: Request) -> Response | None:
        """The page or a file of it; None for the scene."""
        path = request.path.partition("?")[0]
        if path.startswith(_SCENE):
            return None
        if path in _PAGE:
            name, kind = _PAGE[path]
            policy = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
            return _response(200, (APP / name).read_bytes(), {"Content-Type": kind, **policy})
        token, _, rest = path.removeprefix(_FILES).partition("/")
        session = self._sessions.get(token) if path.startswith(_FILES) else None
        file = session.file(rest) if session is not None else None
        try:
            content = file.read_bytes() if file is not None else None
        except OSError:  # deleted in the meantime
            content = None
        if file is None or content is None:
            return _response(404, b"not found\n", {"Content-Type": "text/plain"})
        return _file(file, content, request.headers.get("Range"))

    async def talk(self, connection: ServerConnection) -> None:
        """The session of one page, until that is closed."""
        session = self._open_session()
        self._sessions[session.token] = session
        try:
            await session.talk(connection)
        finally:
            del self._sessions[session.token]

    def scene(self, server: Server, client: viser.ClientHandle) -> "SceneView":
        """The scene in the frame of a page."""
        return SceneView(self._sessions.get(path_of(server, client).removeprefix(_SCENE)), client)

    def close(self) -> None:
        for session in list(self._sessions.values()):
            session.close()


class SceneView:
    """viser's page in the frame of a session's; empty without one."""

    def __init__(self, session: Session | None, client: viser.ClientHandle) -> None:
        self._session, self._client = session, client
        if session is not None:
            client.gui.set_panel_label("Controls")
            client.gui.main_panel.minimize()
            session.attach(client)

    def close(self) -> None:
        if self._session is not None:
            self._session.detach(self._client)


def _response(status: int, content: bytes, headers: dict[str, str]) -> Response:
    phrase = {200: "OK", 206: "Partial Content", 404: "Not Found", 416: "Range Not Satisfiable"}[status]
    safe = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return Response(status, phrase, Headers(headers | safe | {"Content-Length": str(len(content))}), content)


def _file(file: Path, content: bytes, wanted: str | None) -> Response:
    """A picture to be shown, or another file to be kept; players of videos ask for parts of them."""
    kind = _SHOWN.get(file.suffix)
    headers = {"Content-Type": kind or "application/octet-stream", "Accept-Ranges": "bytes"}
    if kind is None:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file.name)}"
    part = re.fullmatch(r"bytes=(\d{1,12})-(\d{0,12})", wanted or "")
    if part is None:
        return _response(200, content, headers)
    first = int(part[1])
    last = min(int(part[2] or len(content)), len(content) - 1)
    if first > last:
        return _response(416, b"", headers | {"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return _response(206, content[first : last + 1], headers)

"""The web server of all pages."""

import contextlib
import functools
import io
import logging
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Protocol

import viser
import websockets.asyncio.server
from viser import _messages
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from fullframe.view.same_origin import is_local, refusal

_log = logging.getLogger(__name__)


class Server(viser.ViserServer):
    """viser's server without share URLs: every visitor of the page could publish it on the internet."""

    def request_share_url(self, verbose: bool = True) -> None:
        return None


class Site(Protocol):
    """Pages of our own, with viser's in a frame: its addresses are those for which `respond` returns None.

    Attributes:
        socket: the address of the site's own websocket.
    """

    socket: str

    def respond(self, request: Request) -> Response | None:
        """The answer to a request."""

    async def talk(self, connection: ServerConnection) -> None:
        """Serve a websocket until it is closed."""


class Page(Protocol):
    """The page of one visitor."""

    def close(self) -> None:
        """The visitor has left. Called once, in any thread."""


@contextlib.contextmanager
def serve(host: str, port: int, title: str, site: Site | None = None) -> Iterator[Server]:
    """A running server, stopped at the end of the block.

    Requests and websockets that other web pages open are refused. Where other computers can reach the page, a
    warning is logged.

    Args:
        port: if it is taken, the next free one is used.
        site: pages in place of viser's.

    Raises:
        ValueError: if there is no such port.
        OSError: if nothing can listen on this host; the message says so.
    """
    port = _free_port(host, port)
    if not is_local(host):
        _log.warning(
            "--host %s: everybody in this network can open this page and see and use all of it: there is no "
            "password and no encryption",
            host,
        )
    with contextlib.redirect_stdout(io.StringIO()), _own_requests_only(host, site):  # viser's greeting
        server = Server(host, port, label=title, verbose=False)
    try:
        server.scene.set_up_direction("+y")
        server.scene.configure_default_lights(cast_shadow=False)
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        server.gui.main_panel.dock_right()

        @server.on_client_connect
        def _(client: viser.ClientHandle) -> None:
            # No page takes files through viser, which keeps whatever a client sends, of any size, in memory.
            client.gui._websock_interface.unregister_handler(_messages.FileTransferStartUpload)

        yield server
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


def _free_port(host: str, port: int) -> int:
    """The first port from `port` on that can be listened on; 0 remains 0, for any."""
    if not 0 <= port <= 65535:
        raise ValueError(f"--port {port}: there is no such port, choose one from 1024 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, 0), family=family).close()
    except OSError as error:
        raise OSError(f"cannot listen on --host {host}: {error.strerror or error}") from error
    for candidate in range(port, 65536):
        with contextlib.suppress(OSError):
            socket.create_server((host, candidate), family=family).close()
            return candidate
    raise OSError(f"--port {port}: it is taken, as are all above it; choose a lower one")


@contextlib.contextmanager
def _own_requests_only(host: str, site: Site | None) -> Iterator[None]:
    """A viser server created in this block refuses the requests of other web pages, and serves a site.

    viser has no option for it: it answers HTTP in the `process_request` that it gives to websockets' `serve`.
    That is called for websockets as well, before their handshake, so ours is put before it.
    """
    original = websockets.asyncio.server.serve

    @functools.wraps(original, updated=())
    def serve_own(
        handle: Callable[[ServerConnection], Awaitable[None]],
        *arguments: Any,
        process_request: Callable[..., Any],
        **options: Any,
    ) -> Any:
        def check(connection: ServerConnection, request: Request) -> Any:
            reason = refusal(request.headers, host, connection.local_address[0])
            if reason:
                response: Response = connection.respond(HTTPStatus.FORBIDDEN, f"fullframe: {reason}\n")
                return response
            if site is not None and request.headers.get("Upgrade") != "websocket":
                answer = site.respond(request)
                if answer is not None:
                    return answer
                request = replace(request, path="/")
            return process_request(connection, request)

        async def talk(connection: ServerConnection) -> None:
            own = (
                site is not None and connection.request is not None and connection.request.path == site.socket
            )
            await (site.talk if site is not None and own else handle)(connection)

        return original(talk, *arguments, process_request=check, **options)

    websockets.asyncio.server.serve = serve_own  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        websockets.asyncio.server.serve = original  # type: ignore[misc]


@contextlib.contextmanager
def pages(server: Server, open_page: Callable[[viser.ClientHandle], Page]) -> Iterator[None]:
    """Open a page for each visitor, and close it when the visitor leaves or the block ends."""
    opened: dict[int, Page] = {}

    def close(client_id: int) -> None:
        # May be called twice: the visitor leaves while the block ends.
        page = opened.pop(client_id, None)
        if page is not None:
            page.close()

    @server.on_client_connect
    def _(client: viser.ClientHandle) -> None:
        opened[client.client_id] = open_page(client)
        if client.client_id not in server.get_clients():  # left before the page was ready
            close(client.client_id)

    @server.on_client_disconnect
    def _(client: viser.ClientHandle) -> None:
        close(client.client_id)

    try:
        yield
    finally:
        for client_id in list(opened):
            close(client_id)


def path_of(server: Server, client: viser.ClientHandle) -> str:
    """The path of the address under which a visitor has opened viser's page; "" if they have left.

    viser keeps it only in its private state.
    """
    connection = server._websock_server._live_connections.get(client.client_id)
    return "" if connection is None or connection.request is None else connection.request.path


def address(server: Server) -> str:
    """The address of the page for a browser."""
    host = server.get_host()
    shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{server.get_port()}"


def wait_for_interrupt(server: Server, ready: Callable[[str], object]) -> None:
    """Call `ready` with the address of the page, and return on Ctrl-C or SIGTERM."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        ready(address(server))
        threading.Event().wait()

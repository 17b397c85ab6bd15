"""The web server of all pages."""

import contextlib
import io
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import viser


class Server(viser.ViserServer):
    """viser's server without share URLs: every visitor of the page could publish it on the internet."""

    def request_share_url(self, verbose: bool = True) -> None:
        return None


class Page(Protocol):
    """The page of one visitor."""

    def close(self) -> None:
        """The visitor has left. Called once, in any thread."""


@contextlib.contextmanager
def serve(host: str, port: int, title: str) -> Iterator[Server]:
    """A running server, stopped at the end of the block.

    Args:
        port: if it is taken, the next free one is used.

    Raises:
        OSError: if nothing can listen on this host; the message says so.
    """
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise OSError(f"cannot listen on --host {host}: {error.strerror or error}") from error
    with contextlib.redirect_stdout(io.StringIO()):  # viser's greeting
        server = Server(host, port, label=title, verbose=False)
    try:
        server.scene.set_up_direction("+y")
        server.scene.configure_default_lights(cast_shadow=False)
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        server.gui.main_panel.dock_right()
        yield server
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


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

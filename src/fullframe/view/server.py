"""The web server under all pages."""

import contextlib
import io
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import viser

from fullframe.cli.console import say


class Server(viser.ViserServer):
    """viser's server without its way to the public internet, which anybody with the page open could take."""

    def request_share_url(self, verbose: bool = True) -> None:
        return None


class _Tab(Protocol):
    """What one visitor sees."""

    def close(self) -> None:
        """Stop: the visitor has left. Called once, in any thread."""


@contextlib.contextmanager
def serve(host: str, port: int, title: str) -> Iterator[Server]:
    """A running server; it stops at the end of the block.

    Args:
        port: the next free one is taken if it is not free.

    Raises:
        OSError: if nothing can listen on this host; the message says so.
    """
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise OSError(f"cannot listen on --host {host}: {error.strerror or error}") from error
    with contextlib.redirect_stdout(io.StringIO()):  # viser's own greeting
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
def tabs(server: Server, open_tab: Callable[[viser.ClientHandle], _Tab]) -> Iterator[None]:
    """A tab for each visitor, closed when the visitor leaves, or at the end of the block."""
    opened: dict[int, _Tab] = {}

    def close(client_id: int) -> None:
        # Two may want to at the same time: the visitor leaves while the block ends.
        tab = opened.pop(client_id, None)
        if tab is not None:
            tab.close()

    @server.on_client_connect
    def _(client: viser.ClientHandle) -> None:
        opened[client.client_id] = open_tab(client)
        if client.client_id not in server.get_clients():  # left before the tab was there
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
    """Where a browser finds the page."""
    host = server.get_host()
    shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{server.get_port()}"


def say_until_ctrl_c(line: str) -> None:
    """Tell the user where to look, and return on Ctrl-C, or when the system asks the process to end."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        say(line)
        threading.Event().wait()

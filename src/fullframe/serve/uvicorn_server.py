"""The web server of the service."""

import contextlib
import secrets
import socket
from collections.abc import Callable

import uvicorn

from fullframe.recovery.photo import Recoverer
from fullframe.serve.api import create_app
from fullframe.serve.limits import Limits
from fullframe.video.prefetch import limit_malloc_arenas
from fullframe.view.same_origin import is_local


def serve_api(
    recoverer: Recoverer,
    host: str,
    port: int,
    token: str | None,
    limits: Limits,
    ready: Callable[[str, str | None], object],
) -> None:
    """Serve until Ctrl-C or SIGTERM, then end all jobs and delete all files.

    Args:
        port: 0 for any that is free.
        token: that requests need; None for a random one where other computers can reach the server, and for
            none where they cannot.
        ready: called with the address and the token.

    Raises:
        OSError: nothing can listen on this host and port; the message says so.
    """
    limit_malloc_arenas()
    if token is None and not is_local(host):
        token = secrets.token_urlsafe(24)
    with _listen(host, port) as listener:
        app = create_app(recoverer, host, token, limits)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=10)
        shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
        shown = f"[{shown}]" if ":" in shown else shown
        ready(f"http://{shown}:{listener.getsockname()[1]}", token)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise OSError(f"--port {port}: there is no such port, choose one from 1024 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(f"cannot listen on --host {host} --port {port}: {why}; choose another port") from error

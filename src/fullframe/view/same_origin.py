"""Refusing requests that other web pages make to the pages of fullframe.

A browser lets any web page open websockets to this computer and show its images. It says which page asks
(Origin, Sec-Fetch-Site) and which host name was resolved (Host), which differs from ours if a foreign name
was made to resolve to this computer (DNS rebinding).
"""

import ipaddress
import socket
from typing import Protocol
from urllib.parse import urlsplit

_THIS_COMPUTER = {"localhost", "127.0.0.1", "::1"}


class Headers(Protocol):
    """Headers of a request, as `email.message.Message` and `websockets.Headers` have them."""

    def get_all(self, name: str, /) -> list[str] | None: ...


def is_local(host: str) -> bool:
    """Whether only this computer can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def refusal(headers: Headers, host: str, local_ip: str) -> str:
    """Why a request is refused; "" if it comes from our own page or from no page.

    Args:
        headers: of the request.
        host: that the server was asked to listen on.
        local_ip: the address of this computer that the client has connected to.
    """
    ours = {*_THIS_COMPUTER, host.lower()}
    if not is_local(host):
        name = socket.gethostname().lower()
        ours |= {local_ip.removeprefix("::ffff:"), name, f"{name}.local"}
    given, origins, sites, modes, uses = (
        headers.get_all(name) or []
        for name in ("Host", "Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
    )
    asked = _authority(f"http://{given[0]}") if len(given) == 1 else None
    if asked is None or asked[0] not in ours:
        return f"this page is not available under the host name {', '.join(given)[:100]!r}"
    for origin in origins:
        asking = _authority(origin)
        if asking is None or asking[0] not in ours or asking[1] != asked[1]:
            return f"requests of other pages are refused: {origin[:100]!r}"
    # Images and frames are requested without an Origin.
    link = modes == ["navigate"] and uses == ["document"]
    if not link and any(site not in ("same-origin", "none") for site in sites):
        return "requests of other pages are refused"
    return ""


def _authority(url: str) -> tuple[str, int] | None:
    """Host and port of an http address without a path, None for anything else."""
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None or url != f"http://{parts.netloc}":
            return None
        if "@" in parts.netloc:
            return None
        return parts.hostname, 80 if parts.port is None else parts.port
    except ValueError:
        return None

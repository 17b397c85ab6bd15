"""Web pages of others are refused, by every server of ours."""

import asyncio
import http.client
import logging
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

viser = pytest.importorskip("viser", reason="needs the extra view")
websockets = pytest.importorskip("websockets", reason="needs the extra view")

from fullframe.view.mjpeg_server import MjpegServer  # noqa: E402
from fullframe.view.server import serve  # noqa: E402

# Headers of a request; PORT is that of the server.
OWN = [
    {"Host": "127.0.0.1:PORT"},
    {"Host": "localhost:PORT"},
    {"Host": "[::1]:PORT"},
    {"Host": "LOCALHOST:PORT", "Origin": "http://localhost:PORT"},
    {"Host": "127.0.0.1:PORT", "Origin": "http://127.0.0.1:PORT"},
    {"Host": "[::1]:PORT", "Origin": "http://[::1]:PORT"},
    {"Host": "localhost:9000", "Origin": "http://localhost:9000"},  # through an SSH tunnel
    {"Host": "localhost:PORT", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"},
    {"Host": "localhost:PORT", "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    {  # a link on another page
        "Host": "localhost:PORT",
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    },
]
FOREIGN = [
    {"Host": "127.0.0.1:PORT", "Origin": "http://evil.example"},
    {"Host": "127.0.0.1:PORT", "Origin": "null"},
    {"Host": "127.0.0.1:PORT", "Origin": ""},
    {"Host": "127.0.0.1:PORT", "Origin": "http://evil.example:PORT"},
    {"Host": "127.0.0.1:PORT", "Origin": "http://127.0.0.1:9"},  # another server on this computer
    {"Host": "127.0.0.1:PORT", "Origin": "https://127.0.0.1:PORT"},
    {"Host": "127.0.0.1:PORT", "Origin": "http://127.0.0.1.evil.example:PORT"},
    {"Host": "127.0.0.1:PORT", "Origin": "http://localhost:PORT@evil.example"},
    {"Host": "127.0.0.1:PORT", "Origin": "http://localhost:PORT/evil"},
    {"Host": "127.0.0.1:PORT", "Origin": "http://localhost:99999999"},
    {"Host": "127.0.0.1:PORT", "Origin": "file://"},
    {"Host": "127.0.0.1:PORT", "Origin": "http://[::1"},
    {"Host": "evil.example:PORT"},  # DNS rebinding
    {"Host": "evil.example:PORT", "Origin": "http://evil.example:PORT"},
    {"Host": "localhost.evil.example:PORT"},
    {"Host": "127.0.0.1@evil.example"},
    {"Host": "10.0.0.1:PORT"},
    {"Host": ""},
    {"Host": "["},
    {"Host": "localhost:PORT", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {
        "Host": "localhost:PORT",
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "iframe",
    },
]
WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def status(port: int, headers: dict[str, str], path: str = "/") -> int:
    """The status of the answer to a GET request with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value.replace("PORT", str(port)))
    connection.endheaders()
    try:
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def port():
    with serve("127.0.0.1", 0, "test") as server:
        yield server.get_port()


@pytest.fixture(scope="module")
def live_port():
    with MjpegServer() as server:
        server.show(np.zeros((8, 8, 3), np.uint8))
        yield int(server.address.rpartition(":")[2])


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_own_pages_are_served(port, live_port, headers):
    assert status(port, headers) == 200
    assert status(port, {**headers, **WEBSOCKET}) == 101
    assert status(live_port, headers) == 200
    assert status(live_port, headers, "/stream") == 200


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_of_others_are_refused(port, live_port, headers):
    assert status(port, headers) == 403
    assert status(port, {**headers, **WEBSOCKET}) == 403
    assert status(live_port, headers) == 403
    assert status(live_port, headers, "/stream") == 403


@pytest.mark.parametrize("second", ["Host: evil.example", "Origin: http://evil.example"])
def test_doubled_headers_are_refused(port, live_port, second):
    for each in (port, live_port):
        with socket.create_connection(("127.0.0.1", each), timeout=20) as connection:
            text = f"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n{second}\r\n\r\n"
            connection.sendall(text.encode())
            assert connection.recv(100).split()[1] in (b"400", b"403")


@pytest.mark.parametrize("origin, ours", [("http://localhost:PORT", True), ("http://evil.example", False)])
def test_websocket(port, origin, ours):
    """What the server sends to its own page, a foreign one does not receive."""

    async def receive():
        async with websockets.connect(
            f"ws://localhost:{port}",
            origin=origin.replace("PORT", str(port)),
            subprotocols=[f"viser-v{viser.__version__}"],
        ) as connection:
            return await connection.recv()

    # Playwright, which other tests use, keeps an event loop running in this thread.
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(lambda: asyncio.run(receive()))
    if ours:
        assert received.result()
    else:
        with pytest.raises(websockets.InvalidStatus, match="403"):
            received.result()


def test_for_the_network(caplog):
    name = socket.gethostname()
    with caplog.at_level(logging.WARNING), serve("0.0.0.0", 0, "test") as server:
        assert "no password" in caplog.text
        assert "everybody" in caplog.text
        port = server.get_port()
        for host in ("localhost", "127.0.0.1", name):
            assert status(port, {"Host": f"{host}:PORT", "Origin": f"http://{host}:PORT", **WEBSOCKET}) == 101
        for host in ("evil.example", "10.20.30.40"):
            assert status(port, {"Host": f"{host}:PORT", "Origin": f"http://{host}:PORT", **WEBSOCKET}) == 403


@pytest.mark.parametrize("port", [-1, 65536, 70000, 80000, 10**9])
def test_ports_that_do_not_exist(port):
    message = f"--port {port}: there is no such port"
    with pytest.raises(ValueError, match=message), serve("127.0.0.1", port, "test"):
        pass


def test_a_taken_port_at_the_end():
    with (
        socket.create_server(("127.0.0.1", 65535)),
        pytest.raises(OSError, match="--port 65535: it is taken"),
        serve("127.0.0.1", 65535, "test"),
    ):
        pass


def test_a_taken_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serve("127.0.0.1", port, "test") as server:
            assert server.get_port() != port
            assert status(server.get_port(), {"Host": "localhost:PORT"}) == 200

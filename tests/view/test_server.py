import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("viser", reason="needs the extra view")

from fullframe.view.server import pages


class Server:
    """What `pages` uses of viser's, whose callbacks run in threads of their own."""

    def __init__(self):
        self.clients = {}

    def on_client_connect(self, function):
        self._connect = function

    def on_client_disconnect(self, function):
        self._disconnect = function

    def get_clients(self):
        return dict(self.clients)

    def come(self, number):
        self.clients[number] = SimpleNamespace(client_id=number)
        self._connect(self.clients[number])

    def go(self, number):
        self._disconnect(self.clients.pop(number))


class Page:
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


def test_pages_are_closed_when_visitors_leave_or_at_the_end():
    server, opened = Server(), []
    with pages(server, lambda client: opened.append(Page()) or opened[-1]):
        for number in range(3):
            server.come(number)
        server.go(1)
        assert [page.closed for page in opened] == [0, 1, 0]
    assert [page.closed for page in opened] == [1, 1, 1]


def test_visitors_leave_while_it_ends():
    """Closing twice, in two threads at once, would free a video's decoder twice."""
    server, opened, start = Server(), [], threading.Barrier(2)

    def leave():
        start.wait()
        for number in range(500):
            server.go(number)

    with pages(server, lambda client: opened.append(Page()) or opened[-1]):
        for number in range(500):
            server.come(number)
        thread = threading.Thread(target=leave)
        thread.start()
        start.wait()
    thread.join()
    assert [page.closed for page in opened] == [1] * 500


def test_a_visitor_leaves_before_the_tab_is_built():
    server, page = Server(), Page()

    def slow(client):
        server.go(client.client_id)
        return page

    with pages(server, slow):
        server.come(0)
        assert page.closed == 1
    assert page.closed == 1

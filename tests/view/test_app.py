"""The page of `fullframe app`, over its websocket, and what it leaves behind: nothing."""

import http.client
import io
import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from browsers import wait_until
from test_upload_checks import photo
from waving import waving_clip

pytest.importorskip("viser", reason="needs the extra view")

from websockets import ConnectionClosed
from websockets.sync.client import connect

from fullframe.assets import EXAMPLE_PHOTO
from fullframe.body import load_body
from fullframe.recovery.photo import Recoverer
from fullframe.results.clip import clip_of
from fullframe.view import app, app_session
from fullframe.view.job_queue import Queue
from fullframe.view.recover_upload import UploadResult
from fullframe.view.results import load_clip
from fullframe.view.server import serve

CHOICES = {"fov": None, "lockFeet": False, "save": ["npz"]}


class Browser:
    """A page of the app without its scene.

    `states` are those that each file had, by its number.
    """

    def __init__(self, port: int) -> None:
        self.socket = connect(f"ws://127.0.0.1:{port}/events", max_size=None)
        self.hello = json.loads(self.socket.recv(timeout=60))
        self.entries, self.states, self.gone = {}, {}, []
        self._port = port

    def see(self, condition) -> None:
        """Read messages until something is as wanted."""
        while not condition():
            message = json.loads(self.socket.recv(timeout=60))
            if message["kind"] == "entry":
                self.entries[message["id"]] = message
                self.states.setdefault(message["id"], []).append(message["state"])
            elif message["kind"] == "gone":
                self.gone.append(message["id"])

    def act(self, kind: str, **values) -> None:
        self.socket.send(json.dumps({"kind": kind, **values}))

    def upload(self, name: str, content: bytes, choices: dict = CHOICES) -> None:
        self.act("upload", name=name, size=len(content), choices=choices)
        for start in range(0, len(content), 1000):
            self.socket.send(content[start : start + 1000])

    def get(self, address: str, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request("GET", address, headers=headers)
        return connection.getresponse()


@pytest.fixture
def recover(monkeypatch):
    """Stands for the recovery: it waits at a gate, and fails for files of this name."""
    gate = threading.Event()
    gate.set()

    def recover_upload(recoverer, file, name, choices, progress):
        gate.wait(60)
        progress("finding people", 1, 2)
        if name == "broken.jpg":
            raise ValueError(f"{file}: truncated")
        made = [file.with_name(f"{Path(name).stem}.{kind}") for kind in ("jpg", *choices.save)]
        for path in made:
            path.write_bytes(b"0123456789")
        return UploadResult(waving_clip(load_body(), 2, 1), made[0], made[1:])

    monkeypatch.setattr(app_session, "recover_upload", recover_upload)
    return gate


@pytest.fixture
def port(tmp_path, recover):
    (tmp_path / "app").mkdir()
    recoverer = SimpleNamespace(body=load_body())
    queue = Queue()
    site = app.AppSite(lambda: app_session.Session(recoverer, ["fullframe", "run"], queue, tmp_path / "app"))
    with serve("127.0.0.1", 0, "test", site) as server:
        yield server.get_port()
        recover.set()
        site.close()
        queue.close(10)


@pytest.fixture
def browser(port):
    browser = Browser(port)
    browser.see(lambda: len(browser.entries) == 2)
    yield browser
    browser.socket.close()


def test_examples_are_shown_at_once(browser):
    photo, clip = browser.entries.values()
    assert photo["state"] == clip["state"] == "done" and photo["example"] and clip["example"]
    assert (photo["people"], clip["people"]) == (3, 1) and clip["clip"] and not photo["clip"]
    for entry, kind in ((photo, "image/jpeg"), (clip, "video/mp4")):
        answer = browser.get(entry["picture"])
        assert answer.status == 200 and answer.headers["Content-Type"] == kind and len(answer.read()) > 50_000
    npz = io.BytesIO(browser.get(photo["files"][1]["address"]).read())
    assert len(np.load(npz)["pose"]) == 3


def test_all_of_many_files_are_processed_and_bad_ones_say_why(browser):
    for number in range(18):
        browser.upload(f"{number}.png", photo("png"))
    browser.upload("notes.txt", b"hello")
    browser.upload("nothing.jpg", b"")
    browser.upload("broken.jpg", photo("jpeg"))
    browser.upload("..\\x/last <b>.jpg", photo("jpeg"))
    browser.see(lambda: len(browser.entries) == 24 and browser.entries[23]["state"] == "done")
    states = [entry["state"] for entry in browser.entries.values()]
    assert states == ["done"] * 20 + ["failed"] * 3 + ["done"]
    assert "not a photo or clip" in browser.entries[20]["text"] and "empty" in browser.entries[21]["text"]
    assert browser.entries[22]["text"] == "truncated" and browser.entries[23]["name"] == "last <b>.jpg"
    assert list(dict.fromkeys(browser.states[5])) == ["uploading", "waiting", "working", "done"]


def test_files_wait_for_others_and_can_be_removed(browser, recover, tmp_path):
    recover.clear()
    for name in ("a.png", "b.png", "c.png"):
        browser.upload(name, photo("png"))
    browser.see(lambda: len(browser.entries) == 5 and browser.entries[4]["text"] == "waiting, 2 before it")
    browser.act("remove", id=3)
    browser.act("remove", id=2)  # which is being processed
    browser.see(lambda: browser.gone == [3, 2] and browser.entries[4]["text"] == "waiting, 1 before it")
    recover.set()
    browser.see(lambda: browser.entries[4]["state"] == "done")
    left = {path.name for path in (tmp_path / "app").rglob("*") if path.is_file()}
    assert left == {"upload.png", "c.jpg", "c.npz"}


def test_recover_again_with_other_choices(browser):
    browser.act("again", id=0, choices={"fov": 50, "save": ["glb", "json"]})
    browser.see(lambda: browser.states[0][-1] == "done" and "working" in browser.states[0])
    assert [file["name"] for file in browser.entries[0]["files"]] == ["three_people.json", "three_people.glb"]
    assert not browser.entries[0]["example"]
    browser.act("again", id=0, choices={"fov": 500, "save": []})
    browser.see(lambda: "camera angle" in browser.entries[0]["text"])
    assert browser.entries[0]["state"] == "done"


def test_downloads(browser, port):
    browser.upload("a.png", photo("png"))
    browser.see(lambda: browser.entries.get(2, {}).get("state") == "done")
    (file,) = browser.entries[2]["files"]
    answer = browser.get(file["address"])
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''a.npz"
    assert answer.read() == b"0123456789" and file["bytes"] == 10
    # Players of videos ask for parts.
    parts = (("bytes=2-4", 206, b"234"), ("bytes=7-", 206, b"789"), ("bytes=10-", 416, b""))
    for wanted, status, content in parts:
        answer = browser.get(browser.entries[2]["picture"], Range=wanted)
        assert (answer.status, answer.read()) == (status, content)
    mine = file["address"]
    folder = f"/files/{browser.hello['token']}"
    assert mine == f"{folder}/2/1"
    for address in (f"{folder}/9/1", f"{folder}/2/7", f"{folder}/2/../../x", f"{folder}/2", "/etc"):
        assert browser.get(address).status == 404
    other = Browser(port)
    assert other.hello["token"] != browser.hello["token"]
    assert browser.get(mine.replace(browser.hello["token"], other.hello["token"])).status == 404
    other.socket.close()


def test_a_closed_page_leaves_nothing_behind(browser, recover, tmp_path):
    recover.clear()
    browser.upload("a.png", photo("png"))
    browser.upload("b.png", photo("png"))
    browser.see(lambda: browser.entries.get(3, {}).get("state") == "waiting")
    browser.socket.close()
    wait_until(lambda: not any((tmp_path / "app").iterdir()))
    recover.set()
    time.sleep(0.2)
    assert not any((tmp_path / "app").iterdir())


HOSTILE = {
    "no JSON": ["{"],
    "no action": ["{}"],
    "a list": ["[]"],
    "an unknown action": ['{"kind": "eval"}'],
    "content without a file": [b"x"],
    "more than announced": ['{"kind": "upload", "name": "a", "size": 1, "choices": {"save": []}}', b"xx"],
    "two at a time": ['{"kind": "upload", "name": "a", "size": 1, "choices": {"save": []}}'] * 2,
    "a strange number": ['{"kind": "show", "id": [1]}'],
}


@pytest.mark.parametrize("messages", HOSTILE.values(), ids=HOSTILE)
def test_sockets_that_are_no_page_of_ours_are_closed(browser, messages):
    for message in messages:
        browser.socket.send(message)
    with pytest.raises(ConnectionClosed):
        browser.see(lambda: False)
    assert browser.socket.close_code == 1003


def test_limits(browser, monkeypatch):
    monkeypatch.setattr(app_session, "MAX_BYTES", 100)
    monkeypatch.setattr(app_session, "MAX_FILES", 3)
    browser.act("upload", name="large.png", size=300_000_000, choices=CHOICES)
    browser.act("upload", name="many.png", size=50, choices=CHOICES)
    browser.see(lambda: len(browser.entries) == 4)
    assert "300 MB; the limit" in browser.entries[2]["text"] and "remove some" in browser.entries[3]["text"]


@pytest.mark.slow
def test_the_example_is_what_is_recovered_today(photo_path):
    shipped = load_clip(EXAMPLE_PHOTO.with_suffix(".npz"))
    now = clip_of(Recoverer()(photo_path))
    assert len(now) == len(shipped) == 3, "run tools/build_examples.py"
    np.testing.assert_allclose(now.translation, shipped.translation, atol=0.1)

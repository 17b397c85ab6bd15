"""The service over HTTP, in a real server: answers, limits, and what is left behind."""

import http.client
import io
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, unquote

import numpy as np
import pytest
import trimesh
from PIL import Image

pytest.importorskip("fastapi_offline", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")

import uvicorn

import fullframe
from fullframe.cli.console import UsageError
from fullframe.cli.serve import _ready as ready
from fullframe.cli.serve import serve as command
from fullframe.recovery.photo import Recoverer
from fullframe.serve import clip_jobs as clips_module
from fullframe.serve.api import create_app
from fullframe.serve.limits import Limits
from fullframe.serve.uvicorn_server import serve_api
from fullframe.video.writer import VideoWriter
from fullframe.view.upload_checks import UploadLimits

Answer = SimpleNamespace


class Client:
    """One request per connection."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            content = response.read()
            kind = response.headers.get_content_type()
            return Answer(
                status=response.status,
                headers=response.headers,
                content=content,
                json=json.loads(content) if kind == "application/json" and content else None,
            )
        finally:
            connection.close()

    def wait(self, path: str, *states: str) -> Answer:
        """The clip once it is in one of the states."""
        while True:
            answer = self("GET", path)
            if answer.json["state"] in states:
                return answer
            time.sleep(0.05)


@contextmanager
def running(recoverer: Recoverer, folder: Path, **options) -> Iterator[Client]:
    """A server whose temporary files are in `folder`."""
    listener = socket.create_server(("127.0.0.1", 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        app = create_app(recoverer, **options)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Client(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(60)
            listener.close()


@pytest.fixture(scope="module")
def recoverer() -> Recoverer:
    return Recoverer(refine=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def client(recoverer: Recoverer, folder: Path) -> Iterator[Client]:
    limits = Limits(
        photo=UploadLimits(2_000_000, 1_000_000), clip=UploadLimits(1_000_000, 300_000, 2), clips=2
    )
    with running(recoverer, folder, limits=limits) as client:
        yield client
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def photo(photo_path: Path) -> bytes:
    with Image.open(photo_path) as image:
        return encoded(image.resize((525, 430)))


def encoded(image: Image.Image, kind: str = "jpeg") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def clip(photo: bytes, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    def make(frames: int = 4, fps: float = 10) -> bytes:
        path = tmp_path_factory.mktemp("clip") / "a.mp4"
        pixels = np.asarray(Image.open(io.BytesIO(photo)))[:, :524]
        with VideoWriter(path, (524, 430), fps=fps) as writer:
            for frame in range(frames):
                writer.write(pixels, frame / fps)
        return path.read_bytes()

    return make


def test_a_photo_as_json(client: Client, recoverer: Recoverer, photo: bytes, folder: Path) -> None:
    answer = client("POST", "/photos?fov=60", photo)
    expected = recoverer(photo, fov=60)
    assert answer.status == 200 and len(answer.json["people"]) == len(expected) == 3
    joints = np.array([person["joints"] for person in answer.json["people"]])
    np.testing.assert_allclose(joints, expected.joints, atol=1e-4)
    assert answer.json["camera"]["source"] == "fov" and answer.json["image"] == ""
    assert leftovers(folder) == []


def calibration(size: tuple[int, int] = (1050, 860), focal: float = 900) -> str:
    """Of a lens with distortion, for an address."""
    matrix = [[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]]
    return quote(json.dumps({"K": matrix, "size": size, "distortion": [-0.2, 0.05, 0, 0, 0]}))


def test_a_calibration(client: Client, recoverer: Recoverer, photo: bytes, clip, folder, tmp_path) -> None:
    """Scaled to the photo, with the distortion of the lens; refused where it does not fit."""
    answer = client("POST", f"/photos?camera={calibration()}", photo)
    (tmp_path / "a.json").write_text(unquote(calibration()))
    expected = recoverer(photo, camera=tmp_path / "a.json")
    camera = answer.json["camera"]
    assert answer.status == 200 and camera["source"] == "calibration" and camera["focal"] == [450, 450]
    joints = np.array([person["joints"] for person in answer.json["people"]])
    np.testing.assert_allclose(joints, expected.joints, atol=1e-4)
    for path, body in (("/photos", photo), ("/clips", clip())):
        answer = client("POST", f"{path}?camera={calibration((1920, 1080))}", body)
        assert answer.status == 422 and "cannot be scaled" in answer.json["detail"]
        assert str(folder) not in answer.json["detail"] and leftovers(folder) == []


def leftovers(folder: Path) -> list[Path]:
    """Files of uploads and results."""
    # Folders may vanish meanwhile, which ends Path.rglob.
    return [Path(where, name) for where, _, names in os.walk(folder) for name in names if name != ".lock"]


def test_a_photo_as_glb_and_overlay(client: Client, photo: bytes) -> None:
    glb = client("POST", "/photos?output=glb", photo)
    assert glb.status == 200 and glb.headers["Content-Type"] == "model/gltf-binary"
    assert len(trimesh.load_scene(io.BytesIO(glb.content), file_type="glb").geometry) == 3
    overlay = client("POST", "/photos?output=overlay", photo)
    assert Image.open(io.BytesIO(overlay.content)).size == (525, 430)


def test_many_photos_at_a_time(client: Client, photo: bytes) -> None:
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client("POST", "/photos", photo))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 6
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/photos", b"", 422, "empty"),
        ("/photos", b"no photo", 415, "not a photo or clip"),
        ("/photos", b"\xff\xd8\xff\xe0" + bytes(100), 415, "not a photo or clip"),
        ("/photos", bytes(2_000_001), 413, "the limit is 2 MB"),
        ("/photos", encoded(Image.new("RGB", (2000, 1000)), "png"), 413, "the limit is 1 megapixels"),
        ("/photos", encoded(Image.effect_noise((300, 200), 90))[:9000], 422, "damaged"),
        ("/photos?focal=1&fov=2", b"x", 422, "only one of"),
        ("/photos?fov=270", b"x", 422, "between 0 and 180"),
        ("/photos?intrinsics=1,2", b"x", 422, "intrinsics"),
        ("/photos?camera=K", b"x", 422, "the calibration: not readable JSON"),
        ("/photos?camera=[]", b"x", 422, "the calibration: expected names and values"),
        ("/photos?camera={}", b"x", 422, "no camera matrix in it"),
        (f"/photos?camera={calibration(focal=-1)}", b"x", 422, "the calibration: camera: "),
        (f"/photos?fov=60&camera={calibration()}", b"x", 422, "only one of"),
        ("/photos?output=stl", b"x", 422, "output"),
        ("/photos?outptu=glb", b"x", 422, "outptu"),
        ("/photos?model=gpt", b"x", 404, "no model 'gpt' here: this server has cliff-lite"),
        ("/clips?save=glb,stl", b"x", 422, "save takes any of"),
        ("/clips", b"no clip", 415, "not a photo or clip"),
        ("/clips", bytes(1_000_001), 413, "the limit is 1 MB"),
        ("/clips", encoded(Image.new("RGB", (20, 10))), 415, "POST it to /photos"),
        ("/none", b"x", 404, "Not Found"),
    ],
)
def test_bad_requests(
    client: Client, path: str, body: bytes, status: int, message: str, folder: Path
) -> None:
    answer = client("POST", path, body)
    assert answer.status == status and message in json.dumps(answer.json["detail"])
    assert leftovers(folder) == []


def test_a_form_is_refused(client: Client) -> None:
    answer = client("POST", "/photos", b"x", Content_Type="multipart/form-data; boundary=a")
    assert answer.status == 415 and "--data-binary" in answer.json["detail"]


def test_clips_that_are_too_long_or_no_photos(client: Client, clip, photo: bytes) -> None:
    answer = client("POST", "/clips", clip(frames=40))
    assert answer.status == 413 and "the limit is 2 s" in answer.json["detail"]
    answer = client("POST", "/photos", clip(frames=2))
    assert answer.status == 415 and "POST it to /clips" in answer.json["detail"]
    answer = client("POST", "/clips", b"\0\0\0 ftypisom" + bytes(2000))
    assert answer.status == 422 and "damaged" in answer.json["detail"]


def test_an_unannounced_size(client: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    connection.request("POST", "/photos", iter([bytes(700_000)] * 4), encode_chunked=True, headers={
        "Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().status == 413


def test_a_clip(client: Client, clip, folder: Path) -> None:
    answer = client("POST", "/clips?save=npz,glb,overlay", clip())
    assert answer.status == 202
    path = answer.headers["Location"]
    done = client.wait(path, "done", "failed").json
    assert done["state"] == "done", done
    assert [name.rpartition("/")[2] for name in done["files"]] == ["clip_overlay.mp4", "clip.npz", "clip.glb"]
    content = client("GET", done["files"][1]).content
    (folder.parent / "a.npz").write_bytes(content)
    result = fullframe.Clip.load(folder.parent / "a.npz")
    assert result.num_frames == 4 and result.video == ""
    assert not [file for file in leftovers(folder) if file.name.startswith("upload")]
    assert client("GET", f"{path}/files/none").status == 404
    assert client("DELETE", path).status == 204
    assert leftovers(folder) == []
    assert (
        client("GET", path).status == client("DELETE", path).status == client("GET", done["files"][0]).status
    )
    assert client("GET", path).status == 404


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Clips whose processing waits for `go`, and reports progress again and again."""
    state = SimpleNamespace(go=threading.Event(), ended=threading.Event())

    def process(recoverer, file, camera, *, overlay, progress):
        try:
            (file.parent / "part").write_bytes(b"half")
            while not state.go.wait(0.02):
                progress("finding people", 1, 4)
            raise ValueError(f"{file}: the end of the test")
        finally:
            state.ended.set()

    monkeypatch.setattr(clips_module, "process", process)
    yield state
    state.go.set()


def test_jobs_are_cancelled_and_the_queue_is_limited(client: Client, clip, slow, folder: Path) -> None:
    first, second = (client("POST", "/clips", clip()) for _ in range(2))
    running, waiting = (answer.headers["Location"] for answer in (first, second))
    assert client.wait(running, "running").json["before"] == 0
    assert client("GET", waiting).json | {"id": ""} == second.json | {"id": "", "before": 1}
    full = client("POST", "/clips", clip())
    assert (
        full.status == 503
        and full.headers["Retry-After"] == "5"
        and "2 clips in progress" in full.json["detail"]
    )
    assert client("GET", "/health").json["clips"] == 2
    assert client("DELETE", waiting).status == 204
    assert client("DELETE", running).status == 204
    assert slow.ended.wait(60)
    while leftovers(folder):
        time.sleep(0.05)
    assert client("GET", running).status == client("GET", waiting).status == 404


def test_a_failed_clip_names_the_reason_and_no_path(client: Client, clip, slow, folder: Path) -> None:
    slow.go.set()
    path = client("POST", "/clips", clip()).headers["Location"]
    failed = client.wait(path, "failed").json
    assert failed["error"] == "the end of the test" and failed["files"] == [] and leftovers(folder) == []
    client("DELETE", path)


def test_a_client_that_goes_away(client: Client, recoverer: Recoverer, photo, folder, monkeypatch) -> None:
    """In the middle of its upload, and while its photo waits: then nothing is recovered for it."""
    with socket.create_connection(("127.0.0.1", client.port)) as half:
        half.sendall(b"POST /clips HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n\r\nhalf")
        while not leftovers(folder):
            time.sleep(0.02)
    go, posed = threading.Event(), []
    detect, pose = recoverer.detect, recoverer.pose
    monkeypatch.setattr(recoverer, "detect", lambda *args: (go.wait(60), detect(*args))[1])
    monkeypatch.setattr(recoverer, "pose", lambda detected: (posed.append(1), pose(detected))[1])
    with socket.create_connection(("127.0.0.1", client.port)) as gone:
        head = f"POST /photos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(photo)}\r\n\r\n"
        gone.sendall(head.encode() + photo)
        while client("GET", "/health").json["photos"] != 1:
            time.sleep(0.02)
    while client("GET", "/health").json["photos"]:
        time.sleep(0.02)
    go.set()
    assert client("POST", "/photos", photo).status == 200
    assert posed == [1] and leftovers(folder) == []


def test_limits_of_photos_and_time(recoverer: Recoverer, photo, tmp_path, monkeypatch) -> None:
    go, detect = threading.Event(), recoverer.detect
    monkeypatch.setattr(recoverer, "detect", lambda *args: (go.wait(60), detect(*args))[1])
    with running(recoverer, tmp_path, limits=Limits(photos=1, photo_s=0.5)) as client:
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(client("POST", "/photos", photo)))
        thread.start()
        while client("GET", "/health").json["photos"] != 1:
            time.sleep(0.01)
        busy = client("POST", "/photos", photo)
        thread.join()
        go.set()
        assert busy.status == 503 and "1 photo in progress" in busy.json["detail"]
        assert answers[0].status == 503 and "not done within 0.5 s" in answers[0].json["detail"]
        with socket.create_connection(("127.0.0.1", client.port)) as slow:
            slow.sendall(b"POST /photos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\nhalf")
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_clips_time_out_and_results_expire(recoverer, clip, slow, tmp_path) -> None:
    limits = Limits(clip_s=0.2, expiry_s=1.0)
    with running(recoverer, tmp_path, limits=limits) as client:
        path = client("POST", "/clips", clip()).headers["Location"]
        assert "longer than 0 seconds" in client.wait(path, "failed").json["error"]
        while client("GET", path).status == 200:
            time.sleep(0.05)
        assert leftovers(tmp_path) == []


def test_closing_the_server_ends_the_jobs(recoverer, clip, slow, tmp_path) -> None:
    with running(recoverer, tmp_path) as client:
        client.wait(client("POST", "/clips", clip()).headers["Location"], "running")
    assert slow.ended.wait(60) and leftovers(tmp_path) == []


def test_health_and_description(client: Client) -> None:
    health = client("GET", "/health").json
    assert health["status"] == "ok" and health["model"] == "cliff-lite" and health["photos"] == 0
    page = client("GET", "/docs").content.decode()
    assert "swagger" in page and "http://" not in page and "https://" not in page  # works offline
    paths = client("GET", "/openapi.json").json["paths"]
    assert set(paths) == {"/health", "/photos", "/clips", "/clips/{id}", "/clips/{id}/files/{name}"}
    assert {"413", "415", "422", "503"} <= set(paths["/photos"]["post"]["responses"])


def test_other_pages_are_refused(client: Client, photo: bytes) -> None:
    assert client("POST", "/photos", photo, Origin="http://evil.example").status == 403
    assert client("GET", "/health", Host="evil.example").status == 403


def test_a_token(recoverer: Recoverer, photo: bytes, tmp_path: Path) -> None:
    token = "s3cret-and-long-enough"
    with running(recoverer, tmp_path, host="0.0.0.0", token=token) as client:
        assert client("GET", "/health").status == 200
        for wrong in ({}, {"Authorization": "Bearer no"}, {"Cookie": "fullframe_token=no"}):
            answer = client("POST", "/photos", photo, **wrong)
            assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        assert client("GET", f"/docs?token={quote('é')}").status == 401
        good = client("POST", "/photos?output=glb", photo, Authorization=f"Bearer {token}", Host="any.name")
        assert good.status == 200
        page = client("GET", f"/docs?token={token}")
        cookie = page.headers["Set-Cookie"]
        assert page.status == 200 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        with_cookie = {"Cookie": cookie.partition(";")[0]}
        assert client("GET", "/openapi.json", **with_cookie).status == 200
        host = f"127.0.0.1:{client.port}"
        assert client("GET", "/openapi.json", Origin=f"http://{host}", **with_cookie).status == 200
        assert client("GET", "/openapi.json", Origin="http://127.0.0.1:1", **with_cookie).status == 401
        assert client("POST", f"/photos?token={token}&output=overlay", photo).status == 200


@pytest.mark.parametrize(("host", "random"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_when_a_token_is_needed(recoverer, host: str, random: bool, monkeypatch) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    seen: list[tuple[str, str | None]] = []
    serve_api(recoverer, host, 0, None, Limits(), lambda *args: seen.append(args))
    ((address, token),) = seen
    assert address.startswith("http://") and (token is not None and len(token) > 20) == random


def test_a_token_of_ones_own_is_not_printed(monkeypatch, capsys) -> None:
    ready("http://a:1", "drawn-at-random-now")
    assert "/docs?token=drawn-at-random-now" in capsys.readouterr().err
    monkeypatch.setenv("FULLFRAME_TOKEN", "my-own-secret-token")
    ready("http://a:1", "my-own-secret-token")
    printed = capsys.readouterr().err
    assert "my-own-secret-token" not in printed and "the token of FULLFRAME_TOKEN" in printed


def test_a_port_that_is_taken(recoverer: Recoverer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"--port {port}: .*choose another port"):
            serve_api(recoverer, "127.0.0.1", port, None, Limits(), print)


def test_impossible_options(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="more than 0"):
        command(queue=0)
    with pytest.raises(UsageError, match="no model none"):
        command(model="none")
    monkeypatch.setenv("FULLFRAME_TOKEN", "short")
    with pytest.raises(UsageError, match="16 or more"):
        command()

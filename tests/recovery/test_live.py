import re
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from video_fixtures import picture

from fullframe.recovery.live import watch
from fullframe.recovery.photo import Recoverer
from fullframe.video.reader import VideoError, VideoReader
from fullframe.view.mjpeg_server import MjpegServer


class Camera:
    """A server that sends a video in small parts: half of them at once, each further one on request."""

    PARTS = 20

    def __init__(self, content: bytes) -> None:
        more = self.more = threading.Semaphore(self.PARTS // 2)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                step = -(-len(content) // Camera.PARTS)
                try:
                    for start in range(0, len(content), step):
                        more.acquire(timeout=0.3)
                        self.wfile.write(content[start : start + step])
                except ConnectionError:
                    pass

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/camera"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def camera(make_video: Any) -> Iterator[Camera]:
    # The person stands still: how many frames are dropped between two depends on the machine.
    options = {"tune": "zerolatency", "g": "10"}
    video = make_video("a.ts", frames=75, options=options, images=lambda index: picture(0))
    camera = Camera(video.read_bytes())
    yield camera
    camera.server.shutdown()
    camera.server.server_close()


def test_a_stream_is_watched_to_its_end(camera: Camera, recoverer: Recoverer, tmp_path: Path) -> None:
    shown: list[np.ndarray] = []

    def show(picture: np.ndarray) -> None:
        shown.append(picture)
        camera.more.release()

    clip = watch(recoverer, camera.address, overlay=tmp_path / "live.mp4", show=show, smooth=False)
    assert 2 <= clip.num_frames <= 75 and len(shown) == clip.num_frames
    # One person; where the machine is busy, so many frames are dropped that another track begins.
    assert len(set(clip.frames)) == len(clip) and (np.diff(clip.track_ids) >= 0).all()
    assert clip.video == camera.address and clip.camera.size == (96, 64)
    assert clip.times[0] == 0 and (np.diff(clip.times) > 0).all()
    with VideoReader(tmp_path / "live.mp4") as reader:
        np.testing.assert_allclose([f.time for f in reader], clip.times, atol=1e-3)


def test_watching_ends_on_request(camera: Camera, recoverer: Recoverer, tmp_path: Path) -> None:
    clip = watch(recoverer, camera.address, overlay=tmp_path / "live.mp4", stop=lambda: True)
    assert clip.num_frames == 1
    with VideoReader(tmp_path / "live.mp4") as reader:
        assert len(list(reader)) == 1


def test_no_camera_is_given(recoverer: Recoverer) -> None:
    with pytest.raises(VideoError, match="camera 97: cannot be opened"):
        watch(recoverer, "97")
    with pytest.raises(VideoError, match="cannot be opened"):
        watch(recoverer, "rtsp://127.0.0.1:9/none")


def test_the_page_shows_what_it_is_given() -> None:
    pictures = [np.full((32, 48, 3), value, np.uint8) for value in (40, 200)]
    with MjpegServer() as page:
        assert page.address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(page.address, timeout=10) as answer:
            assert b'src="stream"' in answer.read()
        page.show(pictures[0])
        with urllib.request.urlopen(f"{page.address}/stream", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
            for picture in pictures:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += answer.read(1)
                length = re.search(rb"Content-Length: (\d+)", head)
                assert length is not None
                jpeg = answer.read(int(length[1]))
                found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
                assert found.shape == picture.shape and abs(int(found.mean()) - int(picture.mean())) < 4
                page.show(pictures[1])
        with MjpegServer() as second:  # its port is taken
            assert second.address != page.address

from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from waving import waving_clip

from fullframe.body import load_body
from fullframe.geometry.camera import Camera
from fullframe.view.backdrops import PHOTO_SIDE, VIDEO_SIDE, Backdrops

BODY = load_body()
FRAMES = 40


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """1280 x 720, a key frame every 15; frame k is of brightness 40 + 5 k, its left half black."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10, options={"g": "15", "bf": "2", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for k in range(FRAMES):
            image = np.full((720, 1280, 3), 40 + 5 * k, np.uint8)
            image[:, :640] = 0
            for packet in stream.encode(av.VideoFrame.from_ndarray(image)):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return path


def test_any_frame_in_any_order(video):
    backdrops = Backdrops(waving_clip(BODY, 1, FRAMES, str(video)))
    assert not backdrops.problem
    for frame in (0, 1, 2, 3, 30, 31, 5, 39, 38, 0, 14, 15, 16, 29, 39, 0):
        picture = backdrops(frame)
        assert picture.shape == (VIDEO_SIDE * 720 // 1280, VIDEO_SIDE, 3)
        assert abs(picture[:, VIDEO_SIDE // 2 + 8 :].mean() - 40 - 5 * frame) < 2.4, frame
        assert picture[:, : VIDEO_SIDE // 2 - 8].mean() < 4
    backdrops.close()


def test_a_photo_is_read_once(tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.full((1000, 4000, 3), (10, 20, 200), np.uint8))
    backdrops = Backdrops(waving_clip(BODY, 1, 1, str(path)))
    path.unlink()
    picture = backdrops(0)
    assert picture.shape == (PHOTO_SIDE // 4, PHOTO_SIDE, 3)
    assert picture[0, 0].tolist() == [200, 20, 10]
    assert backdrops(0) is picture


def test_a_video_of_one_frame(video):
    backdrops = Backdrops(waving_clip(BODY, 1, 1, str(video)))
    assert backdrops(0).shape[1] == VIDEO_SIDE
    backdrops.close()


@pytest.mark.parametrize("content", [None, b"", b"nothing that can be shown"])
def test_without_a_video(tmp_path, content):
    path = tmp_path / "gone.mp4"
    if content is not None:
        path.write_bytes(content)
    backdrops = Backdrops(waving_clip(BODY, 1, 3, str(path)))
    assert "gone.mp4" in backdrops.problem and backdrops(1) is None
    backdrops.close()


def test_the_distortion_of_the_lens_is_undone(video):
    """An edge that is straight in the video bends outwards once barrel distortion is undone."""
    clip = waving_clip(BODY, 1, FRAMES, str(video))
    lens = Camera((900.0, 900.0), (900.0, 360.0), (1280, 720), "calibration", (-0.3, 0.0, 0.0, 0.0))
    backdrops = Backdrops(replace(clip, camera=lens))
    picture = backdrops(35)
    backdrops.close()
    assert picture.shape == (VIDEO_SIDE * 720 // 1280, VIDEO_SIDE, 3)
    edge = [int((row > 100).argmax()) for row in picture[[180, 20], :, 0]]
    expected = lens.undistort(np.array([[640.0, 360.0]]))[0, 0] / 2
    assert abs(edge[0] - expected) < 2 and edge[1] < edge[0] - 3

import cv2
import numpy as np
import pytest

from fullframe.recovery.shots import ShotBoundaryDetector
from fullframe.synth.backgrounds import procedural_background


def cuts(frames) -> list[int]:
    finder = ShotBoundaryDetector()
    return [k for k, frame in enumerate(frames) if finder.is_cut(frame)]


def pan(seed: int, count: int, step: float) -> list[np.ndarray]:
    """A view of half a made-up place that moves by `step` of its own width a frame, to and fro."""
    place = cv2.resize(procedural_background(seed), (1280, 960))
    far = 640 * np.abs((np.arange(count) * step / 2 + 0.5) % 1 * 2 - 1)
    return [np.ascontiguousarray(place[240:720, int(x) : int(x) + 640]) for x in far]


def test_a_cut_is_found_where_it_is():
    shots = [pan(seed, 8, 0.02) for seed in range(1, 12)]
    found = cuts([frame for shot in shots for frame in shot])
    assert found == list(range(8, 88, 8))


def test_fast_pans_are_no_cuts():
    for seed in range(1, 6):
        assert cuts(pan(seed, 30, 0.2)) == []


def test_flashes_and_black_frames_are_no_cuts():
    frames = pan(3, 40, 0.02)
    frames[5] = np.clip(frames[5].astype(int) * 2 + 40, 0, 255).astype(np.uint8)
    frames[15] = np.full_like(frames[15], 255)
    frames[25] = frames[26] = np.zeros_like(frames[25])
    assert cuts(frames) == []


def test_a_cut_through_black_is_found_after_it():
    frames = [*pan(1, 5, 0.02), np.zeros((480, 640, 3), np.uint8), *pan(2, 5, 0.02)]
    assert cuts(frames) == [6]


@pytest.mark.parametrize("shape", [(7, 5), (1, 300), (33, 1001), (2160, 3840)])
def test_frames_of_any_size(shape):
    rng = np.random.default_rng(0)
    frame = cv2.resize(rng.integers(0, 255, (9, 16, 3), np.uint8), shape[::-1])
    assert cuts([frame, frame, frame]) == []


def test_real_clips_spliced(shared):
    demo = shared / "data/photos/demo"
    clips = []
    for name in ("sports2d_demo.mp4", "pose_squats.mp4"):
        video = cv2.VideoCapture(str(demo / name))
        clips.append([cv2.resize(video.read()[1], (640, 360)) for _ in range(60)])
    assert cuts(clips[0]) == []
    assert cuts(clips[1]) == []
    spliced = clips[0][:20] + clips[1][:20] + clips[0][30:50] + clips[1][30:]
    assert cuts(spliced) == [20, 40, 60]

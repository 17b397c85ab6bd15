from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fullframe.recovery import video_tracker
from fullframe.recovery.frame_results import CHUNK, FrameResults
from fullframe.recovery.photo import Recoverer
from fullframe.recovery.video import clip_camera
from fullframe.recovery.video_tracker import (
    MAX_INTERPOLATION_S,
    Detections,
    VideoTracker,
    analyse,
    detect,
    plan_detections,
)
from fullframe.video.reader import Frame, VideoReader

RNG = np.random.default_rng(0)
PLACES = RNG.integers(0, 255, (2, 36, 64, 3), np.uint8)


def frames(times: list[float], place: Callable[[int], int] = lambda index: 0) -> Iterator[Frame]:
    for index, time in enumerate(times):
        yield Frame(index, time, PLACES[place(index)])


def looks(times: list[float], most: int = 4, between: float = MAX_INTERPOLATION_S, **more: Any) -> list[int]:
    views = list(plan_detections(frames(times, **more), between, most))
    assert [view.frame.index for view in views] == list(range(len(times)))
    return [view.frame.index for view in views if view.detect]


def test_looks_are_no_further_apart_than_people_move_evenly() -> None:
    assert looks([i / 30 for i in range(9)]) == [0, 3, 6, 8]
    assert looks([i / 24 for i in range(8)]) == [0, 2, 4, 6, 7]
    assert looks([i / 60 for i in range(12)], most=8) == [0, 6, 11]
    assert looks([i / 240 for i in range(12)]) == [0, 4, 8, 11]  # no more than four frames
    assert looks([i / 240 for i in range(6)], most=1) == list(range(6))
    assert looks([i / 10 for i in range(5)]) == [0, 1, 2, 3, 4]
    assert looks([i / 30 for i in range(5)], between=0) == [0, 1, 2, 3, 4]
    # A pause: the frames on both sides of it are looked at.
    assert looks([0, 1 / 30, 2 / 30, 3 / 30, 5, 5 + 1 / 30, 5 + 2 / 30]) == [0, 3, 4, 6]


def test_one_frame_and_none() -> None:
    assert looks([0.0]) == [0] and looks([]) == []


def test_both_sides_of_a_cut_are_detected() -> None:
    views = list(
        plan_detections(frames([i / 30 for i in range(12)], lambda i: int(i >= 5)), MAX_INTERPOLATION_S, 4)
    )
    assert [view.frame.index for view in views if view.is_cut] == [5]
    assert [view.frame.index for view in views if view.detect] == [0, 3, 4, 5, 8, 11]


def test_every_chunk_can_be_finished_without_the_next() -> None:
    found = looks([i / 60 for i in range(2 * CHUNK + 10)])
    assert {CHUNK - 1, 2 * CHUNK - 1} <= set(found) and len(found) < 2 * CHUNK / 3


def rows_of(recoverer: Recoverer, video: Path) -> FrameResults:
    with VideoReader(video) as reader:
        return FrameResults.joined([part for part, _ in analyse(recoverer, reader, clip_camera(reader), [])])


def test_people_are_found_where_they_are_in_frames_that_are_not_looked_at(
    make_video: Any, recoverer: Recoverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from video_fixtures import picture

    video = make_video(frames=17, images=lambda i: picture(i, people=2))
    quick = rows_of(recoverer, video)
    assert recoverer.detector.calls == 9  # type: ignore[attr-defined]
    monkeypatch.setattr(video_tracker, "MAX_INTERPOLATION_S", 0)
    every = rows_of(recoverer, video)
    assert recoverer.detector.calls == 9 + 17  # type: ignore[attr-defined]
    assert len(quick.frames) == 2 * 17
    np.testing.assert_array_equal(quick.frames, every.frames)
    np.testing.assert_array_equal(quick.track_ids, every.track_ids)
    np.testing.assert_allclose(quick.boxes, every.boxes, atol=1)
    np.testing.assert_allclose(quick.scores, every.scores, atol=1e-6)


def test_people_detected_once_are_in_that_frame_only(recoverer: Recoverer) -> None:
    from video_fixtures import picture

    class Video:
        size, original_size, source = (96, 64), (96, 64), "a.mp4"

    views = list(plan_detections((Frame(i, i / 24, picture(i)) for i in range(5)), MAX_INTERPOLATION_S, 4))
    tracker = VideoTracker(recoverer, clip_camera(Video()), 24)  # type: ignore[arg-type]
    for view in views:
        found = detect(recoverer, view.frame) if view.detect else None
        if found is not None and view.frame.index == 4:
            found = without_people(found)
        tracker.update(view, found)
    rows = tracker.flush()
    assert rows.frames.tolist() == [0, 1, 2] and len(rows.times) == 5


def without_people(found: Detections) -> Detections:
    none: NDArray[np.bool_] = np.zeros(len(found.boxes), bool)
    return Detections(found.boxes[none], found.scores[none], found.keypoints[none])


def test_bodies_are_fitted_to_interpolated_keypoints_between_detections(
    make_video: Any, recoverer: Recoverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fitter:
        def fit(self, keypoints: NDArray, boxes: NDArray, camera: Any, start: Any) -> Any:
            assert (keypoints[..., 2] == 0.5).all()
            self.bodies = start
            self.uncertainty = np.full((len(boxes), 24, 3), 0.07, np.float32)
            return self

    def keypoints(image: NDArray, boxes: NDArray) -> NDArray[np.float32]:
        return np.full((len(boxes), 17, 3), 0.5, np.float32)

    recoverer.fitter = Fitter()  # type: ignore[assignment]
    monkeypatch.setattr(recoverer.detector, "keypoints", keypoints)
    rows = rows_of(recoverer, make_video(frames=6))
    assert recoverer.detector.calls < 6 == len(rows.frames)  # type: ignore[attr-defined]
    assert (rows.uncertainty == np.float32(0.07)).all()

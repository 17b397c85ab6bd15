from dataclasses import fields
from pathlib import Path

import numpy as np

from fullframe.geometry.camera import Camera
from fullframe.io.workdir import WorkDir
from fullframe.recovery.frame_results import FrameResults, FrameStore


def some_rows(first: int, ids: list[int]) -> FrameResults:
    """Two frames from `first` on, with the boxes of `ids` in each."""
    count = 2 * len(ids)
    rng = np.random.default_rng(first)
    return FrameResults(
        times=np.arange(first, first + 2) / 30,
        cuts=np.array([first], np.int64),
        frames=np.repeat([first, first + 1], len(ids)),
        track_ids=np.array(ids * 2, np.int64),
        boxes=rng.random((count, 4), np.float32),
        scores=rng.random(count, np.float32),
        keypoints=rng.random((count, 17, 3), np.float32),
        pose=rng.random((count, 24, 3, 3), np.float32),
        betas=rng.random((count, 11), np.float32),
        translation=rng.random((count, 3), np.float32),
        uncertainty=rng.random((count, 24, 3), np.float32),
    )


def assert_same(one: FrameResults, other: FrameResults) -> None:
    for field in fields(FrameResults):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert a.dtype == b.dtype, field.name
        np.testing.assert_array_equal(a, b, field.name)


def test_a_clip_has_the_confirmed_people_in_order() -> None:
    rows = FrameResults.joined([some_rows(0, [3, -1, 0]), some_rows(2, [1])])
    clip = rows.to_clip(Camera.from_diagonal((64, 48)), "open", "tiny", "a.mp4")
    assert clip.num_frames == 4 and clip.video == "a.mp4" and clip.detected.all()
    assert clip.frames.tolist() == [0, 0, 1, 1, 2, 3] and clip.track_ids.tolist() == [0, 3, 0, 3, 1, 1]
    np.testing.assert_array_equal(clip.pose[0], rows.pose[2])
    np.testing.assert_array_equal(clip.boxes[4:], rows.boxes[6:])


def test_chunks_are_restored(tmp_path: Path) -> None:
    with WorkDir(tmp_path / "work", {"video": "a"}) as work:
        store = FrameStore(work, chunk=2)
        store.add(0, some_rows(0, [3, -1, 0]))
        store.add(1, some_rows(2, [1]))
    with WorkDir(tmp_path / "work", {"video": "a"}) as work:
        store = FrameStore(work, chunk=2)
        chunks = store.load()
        assert len(chunks) == 2 and store.skipped(chunks) is None
        assert_same(chunks[0], some_rows(0, [3, -1, 0]))
        store.finish(frames=4, skipped=1)
        assert store.skipped(chunks) == 1
        # A chunk that is lost later is computed again.
        assert store.skipped(chunks[:1]) is None


def test_chunks_after_a_gap_are_not_restored(tmp_path: Path) -> None:
    with WorkDir(tmp_path / "work", {}) as work:
        store = FrameStore(work, chunk=2)
        store.add(0, some_rows(0, [1]))
        store.add(2, some_rows(4, [1]))
        assert len(store.load()) == 1

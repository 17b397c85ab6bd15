from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from fullframe.geometry.camera import Camera
from fullframe.recovery.frame_results import FrameResults, Work


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
    )


def assert_same(one: FrameResults, other: FrameResults) -> None:
    for field in fields(FrameResults):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert a.dtype == b.dtype, field.name
        np.testing.assert_array_equal(a, b, field.name)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = some_rows(0, [3, -1, 0])
    rows.save(tmp_path / "a.npz")
    assert_same(FrameResults.load(tmp_path / "a.npz"), rows)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "000000.npz").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"000000\.npz is damaged: remove the folder"):
        FrameResults.load(tmp_path / "000000.npz")


def test_a_clip_has_those_who_are_believed_in_order() -> None:
    rows = FrameResults.joined([some_rows(0, [3, -1, 0]), some_rows(2, [1])])
    clip = rows.to_clip(Camera.from_diagonal((64, 48)), "open", "tiny", "a.mp4")
    assert clip.num_frames == 4 and clip.video == "a.mp4" and clip.detected.all()
    assert clip.frames.tolist() == [0, 0, 1, 1, 2, 3] and clip.track_ids.tolist() == [0, 3, 0, 3, 1, 1]
    np.testing.assert_array_equal(clip.pose[0], rows.pose[2])
    np.testing.assert_array_equal(clip.boxes[4:], rows.boxes[6:])


def test_work_is_found_again_for_the_same_request_only(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    work = Work(folder, {"video": "a"})
    work.add(0, some_rows(0, [1]))
    work.add(1, some_rows(2, [1]))
    again = Work(folder, {"video": "a"})
    assert len(again.chunks()) == 2 and again.skipped is None
    assert_same(again.chunks()[1], some_rows(2, [1]))
    again.finish(skipped=4)
    assert Work(folder, {"video": "a"}).skipped == 4
    other = Work(folder, {"video": "b"})
    assert not other.chunks() and other.skipped is None


def test_a_gap_ends_what_is_known(tmp_path: Path) -> None:
    work = Work(tmp_path / "work", {})
    work.add(0, some_rows(0, [1]))
    work.add(2, some_rows(4, [1]))
    assert len(work.chunks()) == 1


def test_only_its_own_files_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    work = Work(folder, {})
    work.add(0, some_rows(0, [1]))
    work.finish(0)
    (folder / "overlay.mp4").touch()
    (folder / "my holiday.mp4").touch()
    Work(folder, {"other": 1})
    Work.clear(folder)
    assert [p.name for p in folder.iterdir()] == ["my holiday.mp4"]
    (folder / "my holiday.mp4").unlink()
    Work.clear(folder)
    assert not folder.exists()

from pathlib import Path

import cv2
import numpy as np
import pytest

from fullframe.cli.console import UsageError
from fullframe.cli.synth import synth
from fullframe.data.formats.spin_npz import SPINList
from fullframe.synth.synthetic_people import SyntheticPeople


def test_frames_agree_with_labels_and_a_second_run_resumes(tmp_path):
    assert synth(out=tmp_path, frames=1, seed=4) == 0
    frames = sorted((tmp_path / "frames").glob("*.jpg"))
    assert [frame.name for frame in frames] == ["train_4_000000.jpg"]
    written = [frame.stat().st_mtime_ns for frame in frames]
    assert synth(out=tmp_path, frames=2, seed=4) == 0
    assert [frame.stat().st_mtime_ns for frame in frames] == written

    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos/1.jpg"), np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(UsageError, match=r"other settings \(backgrounds"):
        synth(out=tmp_path, frames=2, seed=4, backgrounds=tmp_path / "photos")

    listed = SPINList(tmp_path / "labels_train_4.npz", tmp_path / "frames", aspect=4 / 3)
    drawn = SyntheticPeople(seed=4).frame(0, frames[0])
    assert {Path(sample.image).name for sample in listed} == {f"train_4_{k:06d}.jpg" for k in range(2)}
    for kept, sample in zip(listed, drawn, strict=False):
        assert kept.camera.focal == pytest.approx(sample.camera.focal)
        np.testing.assert_allclose(kept.box, sample.box, atol=1e-3)
        np.testing.assert_allclose(kept.pose, sample.pose, atol=1e-5)
        np.testing.assert_allclose(kept.translation, sample.translation, atol=1e-5)
        np.testing.assert_allclose(kept.keypoints["coco17"], sample.keypoints["coco17"], atol=1e-2)
        assert kept.keypoints.keys() == sample.keypoints.keys()


def test_frames_of_other_poses_are_refused(tmp_path):
    labels = tmp_path / "labels.npz"
    for pose in (0.1, 0.2):
        np.savez(labels, pose=np.full((3, 72), pose))
        if pose == 0.1:
            synth(out=tmp_path / "out", frames=1, labels=labels)
    with pytest.raises(UsageError, match=r"other settings \(labels"):
        synth(out=tmp_path / "out", frames=1, labels=labels)


def test_bad_requests(tmp_path):
    with pytest.raises(UsageError, match="frames must be at least 1"):
        synth(out=tmp_path, frames=0)
    with pytest.raises(UsageError, match="unknown split 'test'"):
        synth(out=tmp_path, split="test")
    with pytest.raises(UsageError, match="no photos"):
        synth(out=tmp_path, backgrounds=tmp_path)

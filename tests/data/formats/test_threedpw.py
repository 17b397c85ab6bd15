from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import (
    make_clip,
    matrix,
    threedpw_content,
    write_image,
    write_python2_pickle,
    write_threedpw,
)

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.threedpw import ThreeDPW
from fullframe.io.image import ImageError

VALID = [np.array([1, 1, 0, 1], np.uint8), np.array([0, 1, 1, 1], np.uint8)]
SIZE = (1080, 1920)


@pytest.fixture
def clips(bodies):
    rng, k = np.random.default_rng(0), matrix(1961.0, *SIZE)
    first = make_clip(bodies["male"], "male", 4, k, rng)
    return [first, make_clip(bodies["female"], "female", 4, k, rng, first.extrinsics)]


@pytest.fixture
def root(clips, tmp_path: Path) -> Path:
    write_threedpw(tmp_path, "test", threedpw_content("downtown_walking_00", clips, VALID), SIZE)
    return tmp_path


def test_people_of_valid_frames(root: Path, clips) -> None:
    data = ThreeDPW(root)
    assert len(data) == 6
    assert [(sample.name, sample.frame) for sample in data][2:4] == [
        ("downtown_walking_00/image_00003.jpg#0", 3),
        ("downtown_walking_00/image_00001.jpg#1", 1),
    ]
    assert [sample.body for sample in data] == ["smpl-male"] * 3 + ["smpl-female"] * 3
    sample = data[0]
    assert sample.image == root / "imageFiles/downtown_walking_00/image_00000.jpg"
    assert sample.sequence == "downtown_walking_00" and sample.window == (0, 0, 1)
    assert sample.camera.size == SIZE and sample.camera.focal == pytest.approx((1961, 1961 * 1.004))
    assert sample.betas is not None and sample.betas.shape == (10,)
    assert {a.dtype for a in (sample.box, sample.betas, sample.pose, sample.translation)} == {np.dtype("f4")}
    np.testing.assert_allclose(sample.betas, clips[0].betas, rtol=1e-6)


def test_smpl_joints_and_keypoints_agree_in_the_camera(root: Path, clips, bodies) -> None:
    data = ThreeDPW(root)
    frames = [(0, 0), (0, 1), (0, 3), (1, 1), (1, 2), (1, 3)]
    for sample, (person, frame) in zip(data, frames, strict=True):
        truth = clips[person].joints[frame]
        np.testing.assert_allclose(sample.joints["smpl24"][:, :3], truth, atol=2e-5)
        assert (sample.joints["smpl24"][:, 3] == 1).all()
        arrays = (torch.from_numpy(a)[None] for a in (sample.betas, sample.pose, sample.translation))
        posed = bodies[sample.body.removeprefix("smpl-")](*arrays).joints[0]
        np.testing.assert_allclose(posed, truth, atol=2e-5)

        focal, centre = np.array(sample.camera.focal), np.array(sample.camera.principal_point)
        pixels = sample.joints["smpl24"][:, :2] / sample.joints["smpl24"][:, 2:3] * focal + centre
        coco, smpl = JOINT_SETS["coco17"].names, JOINT_SETS["smpl24"].names
        keypoints = sample.keypoints["coco17"]
        if (person, frame) == (1, 3):
            assert not keypoints.any()  # OpenPose did not find them
        else:
            for name in set(coco) & set(smpl):
                np.testing.assert_allclose(
                    keypoints[coco.index(name), :2], pixels[smpl.index(name)], atol=0.05
                )
            assert keypoints[:, 2] == pytest.approx(0.7)
        np.testing.assert_allclose(sample.box, [*pixels.min(0), *pixels.max(0)], atol=0.05)


def test_images_of_half_the_size(clips, tmp_path: Path) -> None:
    write_threedpw(tmp_path, "test", threedpw_content("a_b_00", clips, VALID), (540, 960))
    full = ThreeDPW(tmp_path)[0]
    assert full.camera.size == SIZE  # labels are for the released images, which the window relates to
    x, y, scale = full.window
    assert (x + scale * -0.5, y + scale * -0.5) == (-0.5, -0.5)  # the upper left corner
    assert (x + scale * 539.5, y + scale * 959.5) == (1079.5, 1919.5)  # the lower right one
    write_image(tmp_path / "imageFiles/a_b_00/image_00000.jpg", (960, 540))
    with pytest.raises(
        ValueError, match=r"image_00000.jpg: 960 x 540 px, but its labels are for 1080 x 1920"
    ):
        ThreeDPW(tmp_path)


def test_occluded_takes_named_sequences_from_all_splits(clips, tmp_path: Path) -> None:
    names = {"train": "courtyard_box_00", "validation": "outdoors_golf_00", "test": "flat_guitar_01"}
    for split, name in names.items():
        write_threedpw(tmp_path, split, threedpw_content(name, clips, VALID), SIZE)
        write_threedpw(tmp_path, split, threedpw_content(f"courtyard_dancing_{split}", clips, VALID), SIZE)
    assert {sample.sequence for sample in ThreeDPW(tmp_path, "occluded")} == set(names.values())
    assert len(ThreeDPW(tmp_path, "train")) == 12


def test_indexing(root: Path) -> None:
    data = ThreeDPW(root)
    assert data[-1].name == data[5].name and [s.name for s in data[4:]] == [data[4].name, data[5].name]
    for index in (6, -7):
        with pytest.raises(IndexError):
            data[index]


def test_missing_files_are_named(root: Path, tmp_path_factory) -> None:
    with pytest.raises(FileNotFoundError, match=r"imageFiles, sequenceFiles.*virtualhumans"):
        ThreeDPW(tmp_path_factory.mktemp("empty"))
    with pytest.raises(FileNotFoundError, match=r"sequenceFiles/train is missing.*virtualhumans"):
        ThreeDPW(root, "train")
    with pytest.raises(
        ValueError, match="unknown split 'val' of 3DPW; choose one of train, validation, test"
    ):
        ThreeDPW(root, "val")
    (root / "imageFiles/downtown_walking_00/image_00000.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"image_00000.jpg is missing.*virtualhumans"):
        ThreeDPW(root)


def test_a_damaged_first_image(root: Path) -> None:
    (root / "imageFiles/downtown_walking_00/image_00000.jpg").write_bytes(b"GIF")
    with pytest.raises(ImageError, match=r"image_00000.jpg: not an image"):
        ThreeDPW(root)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"trans": None}, "not a sequence of 3DPW, it lacks trans"),
        ({"genders": ["x", "f"]}, "person 0 has the gender 'x', expected m or f"),
        ({"poses": [np.zeros((4, 69))] * 2}, r"poses\[0\] is float64 \(4, 69\), expected numbers \(4, 72\)"),
        ({"campose_valid": [np.ones(4)]}, "campose_valid lacks person 1"),
        ({"cam_poses": np.zeros((4, 3, 4))}, "cam_poses is"),
    ],
)
def test_sequences_with_wrong_content(root: Path, clips, change, reason) -> None:
    content = threedpw_content("downtown_walking_00", clips, VALID) | change
    path = root / "sequenceFiles/test/downtown_walking_00.pkl"
    write_python2_pickle(path, {key: value for key, value in content.items() if value is not None})
    with pytest.raises(ValueError, match=rf"downtown_walking_00.pkl: {reason}"):
        ThreeDPW(root)

from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import make_clip, matrix, project
from PIL import Image

from fullframe.data.formats.bedlam import BEDLAM
from fullframe.data.formats.placement import into_camera, rotation_matrices, rotation_vectors


def arrays(body, size: tuple[int, int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The labels of three people as BEDLAM's script makes them, and their joints."""
    k = matrix(1100.0, *size)
    clip = make_clip(body, "female", 3, k, np.random.default_rng(6))
    rest = body.rest_joints(torch.from_numpy(clip.betas[None]).float())[0, 0].numpy()
    poses, moved = zip(
        *(
            into_camera(rotation_matrices(pose), rest + t, rest, view[:3, :3], view[:3, 3])
            for pose, t, view in zip(clip.pose, clip.translation, clip.extrinsics, strict=True)
        ),
        strict=True,
    )
    # The camera's own distance is kept apart from the body's movement.
    views = np.tile(np.eye(4), (3, 1, 1))
    views[:, :3, 3] = [[0.1, 0.2, 3.0]] * 3
    points = np.concatenate((clip.keypoints, np.zeros((3, 21, 2))), 1)
    return {
        "imgname": np.array([f"seq_000000/seq_000000_{i:04d}.png" for i in (0, 0, 5)]),
        "center": np.zeros((3, 2)),
        "scale": np.ones(3),
        "pose_cam": rotation_vectors(np.array(poses)),
        "pose_world": clip.pose,
        "shape": np.tile(clip.betas, (3, 1)),
        "trans_cam": np.array(moved) - views[:, :3, 3],
        "trans_world": clip.translation,
        "gtkps": np.concatenate((points, np.ones((3, 45, 1))), 2),
        "cam_int": np.tile(k, (3, 1, 1)),
        "cam_ext": views,
        "gender": np.array(["female"] * 3),
        "proj_verts": np.zeros((3, 437, 3)),
        "motion_info": np.array(["walk"] * 3),
        "sub": np.array(["rp_anna"] * 3),
    }, clip.joints


def write(root: Path, content: dict[str, np.ndarray], pixels: np.ndarray) -> Path:
    (root / "labels").mkdir()
    np.savez(root / "labels/20221010_3_1000_batch01.npz", **content)
    for name in set(content["imgname"].tolist()):
        path = root / "images/20221010_3_1000_batch01/png" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


def check(sample, joints: np.ndarray, body) -> None:
    given = (torch.from_numpy(a)[None] for a in (sample.betas, sample.pose, sample.translation))
    posed = body(*given).joints[0].numpy().astype(float)
    np.testing.assert_allclose(posed, joints, atol=3e-5)
    pixels = project(posed, sample.camera.intrinsics)
    np.testing.assert_allclose(sample.keypoints["smpl24"][:, :2], pixels, atol=0.05)
    inside = pixels[:22][((pixels[:22] >= 0) & (pixels[:22] <= sample.camera.size)).all(1)]
    np.testing.assert_allclose(sample.box, [*inside.min(0), *inside.max(0)], atol=0.05)


def test_people(tmp_path: Path, bodies) -> None:
    content, joints = arrays(bodies["female"], (1280, 720))
    root = write(tmp_path, content, np.zeros((720, 1280, 3), np.uint8))
    data = BEDLAM(root / "labels", root / "images")
    assert len(data) == 3
    for sample, expected in zip(data, joints, strict=True):
        assert sample.body == "smpl-female" and sample.camera.size == (1280, 720)
        assert Path(sample.image).is_file()
        check(sample, expected, bodies["female"])
    assert len({sample.name for sample in data}) == 3


def test_closeups_are_stored_lying_and_turned_clockwise(tmp_path: Path, bodies) -> None:
    content, joints = arrays(bodies["female"], (720, 1280))
    stored = np.zeros((720, 1280, 3), np.uint8)
    stored[-1, 0] = 255  # lower left; after turning clockwise, upper left
    root = write(tmp_path, content, stored)
    sample = BEDLAM(root / "labels", root / "images")[0]
    assert isinstance(sample.image, np.ndarray) and sample.image.shape == (1280, 720, 3)
    assert sample.image[0, 0].tolist() == [255] * 3 and sample.image.sum() == 3 * 255
    check(sample, joints[0], bodies["female"])


def test_missing_and_wrong_files(tmp_path: Path, bodies) -> None:
    with pytest.raises(FileNotFoundError, match=r"images is missing.*bedlam.is.tue.mpg.de"):
        BEDLAM(tmp_path, tmp_path / "images")
    with pytest.raises(FileNotFoundError, match=r"\*.npz is missing.*bedlam.is.tue.mpg.de"):
        BEDLAM(tmp_path, tmp_path)
    content, _ = arrays(bodies["female"], (1280, 720))
    for change, reason in (
        ({"pose_cam": np.zeros((3, 165))}, "poses of 165 values are SMPL-X's; use the labels for SMPL"),
        ({"gtkps": np.zeros((3, 22, 3))}, "gtkps has shape"),
        ({"gender": np.array(["a"] * 3)}, r"genders are \['a'\]"),
        ({"trans_cam": np.zeros((3, 4))}, r"trans_cam is float64 \(3, 4\), expected numbers \(3, 3\)"),
    ):
        np.savez(tmp_path / "a.npz", **(content | change))
        with pytest.raises(ValueError, match=rf"a.npz: {reason}"):
            BEDLAM(tmp_path, tmp_path)

import sys
from pathlib import Path

import numpy as np
import pytest
from dataset_files import project, write_h36m_clip

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.h36m import CAMERAS, FRONTAL, H36M, h36m_camera
from fullframe.geometry.box import box_from_xyxy

pytest.importorskip("h5py")
pytest.importorskip("cdflib")

# Where the raw files keep some joints.
RAW = {"pelvis": 11, "left_hip": 6, "left_ankle": 8, "right_hip": 1, "right_knee": 2, "neck": 24, "jaw": 14,
       "head": 15, "left_wrist": 19, "right_shoulder": 25}  # fmt: skip


@pytest.fixture(scope="module")
def joints() -> np.ndarray:
    return np.random.default_rng(4).normal((0, 0, 5), 0.4, (12, 32, 3))


@pytest.fixture(scope="module")
def root(joints: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("h36m")
    (root / "images").mkdir()
    masks = np.zeros((12, 200, 160), bool)
    for i, mask in enumerate(masks):
        mask[10 + i : 110 + i, 20:60] = True
    for subject in ("S9", "S11"):
        for camera in CAMERAS[2:]:
            write_h36m_clip(root / subject, "Walking 1", camera, joints, masks)
        write_h36m_clip(root / subject, "_ALL", CAMERAS[2], joints, masks)
    return root


def test_every_fifth_frame(root: Path, joints: np.ndarray) -> None:
    data = H36M(root)
    assert len(data) == 2 * 2 * 3
    assert [s.name for s in data[:3]] == [f"S9_Walking_1.58860488_{i:06d}.jpg#0" for i in (1, 6, 11)]
    sample = data[4]
    assert sample.image == root / "images/S9_Walking_1.60457274_000006.jpg" and sample.frame == 5
    assert sample.camera.size == (1000, 1002) and sample.camera.focal[0] == pytest.approx(1145.511, abs=1e-3)
    assert len(H36M(root, cameras=(FRONTAL,))) == 6


def test_joints_and_keypoints(root: Path, joints: np.ndarray) -> None:
    names = JOINT_SETS["j24"].names
    for sample, frame in zip(H36M(root)[:3], (0, 5, 10), strict=True):
        found, keypoints = sample.joints["j24"], sample.keypoints["j24"]
        assert found[:, 3].sum() == 17 and (found[:, 3] == keypoints[:, 2]).all()
        for name, row in RAW.items():
            np.testing.assert_allclose(found[names.index(name)], [*joints[frame, row], 1], atol=1e-6)
        known = found[:, 3] > 0
        pixels = project(found[known, :3].astype(float), sample.camera.intrinsics)
        np.testing.assert_allclose(keypoints[known, :2], pixels, atol=0.01)
        # The window is 0.9 times the mask, 100 x 40 px.
        window = box_from_xyxy(sample.box[None], aspect=1, enlarge=1.2)
        assert window.size[0] == pytest.approx(90)
        assert window.center[0].tolist() == pytest.approx([39.5, 59.5 + frame])


def test_cameras_by_name() -> None:
    assert h36m_camera("S1_Directions.55011271_000001.jpg").size == (1000, 1000)
    assert h36m_camera("S1_Directions.12345678_000001.jpg") is None
    assert h36m_camera("COCO_train2014_000000000785.jpg") is None


def test_missing_and_wrong_files(root: Path, tmp_path: Path, joints: np.ndarray) -> None:
    for options, reason in (
        ({"split": "val"}, "unknown split 'val'"),
        ({"cameras": ("1",)}, r"unknown cameras \['1'\]"),
    ):
        with pytest.raises(ValueError, match=reason):
            H36M(root, **options)
    with pytest.raises(FileNotFoundError, match=r"images is missing.*human3.6m"):
        H36M(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"S1/MyPoseFeatures/D3_Positions_mono is missing.*human3.6m"):
        H36M(root, "train")
    (tmp_path / "images").mkdir()
    masks = np.zeros((2, 50, 50), bool)
    for subject in ("S9", "S11"):
        write_h36m_clip(tmp_path / subject, "Eating", FRONTAL, joints, masks)
    with pytest.raises(ValueError, match="the mask of frame 0 is empty"):
        H36M(tmp_path)[0]
    with pytest.raises(ValueError, match="has 2 masks, none for frame 5"):
        H36M(tmp_path)[1]
    mask = tmp_path / f"S9/MySegmentsMat/ground_truth_bb/Eating.{FRONTAL}.mat"
    mask.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(ValueError, match=rf"Eating.{FRONTAL}.mat: damaged, or not an HDF5 file"):
        H36M(tmp_path)[0]
    mask.unlink()
    with pytest.raises(FileNotFoundError, match=rf"ground_truth_bb/Eating.{FRONTAL}.mat is missing"):
        H36M(tmp_path)
    poses = tmp_path / f"S9/MyPoseFeatures/D3_Positions_mono/Eating.{FRONTAL}.cdf"
    mask.write_bytes(b"")
    poses.write_bytes(poses.read_bytes()[:20])
    with pytest.raises(ValueError, match=rf"Eating.{FRONTAL}.cdf: damaged, or not a CDF file"):
        H36M(tmp_path)


@pytest.mark.parametrize("package", ["h5py", "cdflib"])
def test_without_the_packages(root: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package}: pip install 'fullframe\[data\]'"):
        H36M(root)[0]

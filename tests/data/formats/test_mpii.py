from pathlib import Path

import numpy as np
import pytest
from dataset_files import write_image

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.mpii import MPII
from fullframe.geometry.box import box_from_xyxy

h5py = pytest.importorskip("h5py")

MPII_NAMES = [
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax"),
    *("neck", "head_top", "right_wrist", "right_elbow", "right_shoulder"),
    *("left_shoulder", "left_elbow", "left_wrist"),
]


@pytest.fixture
def part() -> np.ndarray:
    return np.random.default_rng(7).uniform(1, 300, (4, 16, 2))


@pytest.fixture
def root(part: np.ndarray, tmp_path: Path) -> Path:
    part[2, 5] = 0  # not annotated
    part[3, 7, 1] = -3
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["imgname"] = np.array([b"015601864.jpg", b"015601864.jpg", b"a.jpg", b"b.jpg"])
        file["center"] = np.tile([101.0, 151.0], (4, 1))
        file["scale"] = np.full(4, 1.5)
        file["part"] = part
        file["normalize"] = np.ones(4)
    write_image(tmp_path / "images/015601864.jpg", (320, 240))
    return tmp_path


def test_people_with_all_joints(root: Path, part: np.ndarray) -> None:
    data = MPII(root / "train.h5", root / "images")
    assert [s.name for s in data] == ["015601864.jpg#0", "015601864.jpg#1"]
    sample = data[1]
    assert sample.camera.size == (320, 240) and sample.camera.focal == (400, 400)
    keypoints = sample.keypoints["j24"]
    assert keypoints[:, 2].sum() == 16
    for name, point in zip(MPII_NAMES, part[1], strict=True):  # which count pixels from 1
        np.testing.assert_allclose(keypoints[JOINT_SETS["j24"].names.index(name)], [*point - 1, 1], rtol=1e-5)
    window = box_from_xyxy(sample.box[None], aspect=1, enlarge=1.2)
    assert window.size[0] == pytest.approx(300) and window.center[0].tolist() == pytest.approx([100, 150])


def test_names_as_numbers(root: Path) -> None:
    with h5py.File(root / "train.h5", "a") as file:
        del file["imgname"]
        codes = np.zeros((4, 16))
        codes[:, :13] = [ord(c) for c in "015601864.jpg"]
        file["imgname"] = codes
    assert MPII(root / "train.h5", root / "images")[0].image == root / "images/015601864.jpg"


def test_missing_and_wrong_files(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"valid.h5 is missing.*human-pose.mpi-inf"):
        MPII(root / "valid.h5", root / "images")
    with pytest.raises(FileNotFoundError, match=r"photos is missing"):
        MPII(root / "train.h5", root / "photos")
    with h5py.File(root / "train.h5", "a") as file:
        del file["scale"]
    with pytest.raises(ValueError, match=r"train.h5: lacks scale; it has center, imgname"):
        MPII(root / "train.h5", root / "images")
    (root / "train.h5").write_bytes((root / "train.h5").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"train.h5: damaged, or not an HDF5 file"):
        MPII(root / "train.h5", root / "images")

from pathlib import Path

import numpy as np
import pytest
from dataset_files import matrix, project, write_3dhp_test, write_3dhp_train, write_calibration

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.mpi_inf_3dhp import MPIINF3DHP

RNG = np.random.default_rng(5)
NAMES = JOINT_SETS["j24"].names
# Some joints of the 28 of the training set and the 17 of the test set; "head" is the head top.
OF_28 = {"pelvis": 4, "left_hip": 18, "left_ankle": 20, "right_hip": 23, "spine": 3, "neck": 5, "jaw": 6,
         "head": 7, "left_wrist": 11, "right_shoulder": 14}  # fmt: skip
OF_TEST = {"pelvis": 14, "left_hip": 11, "left_ankle": 13, "right_hip": 8, "spine": 15, "neck": 1, "jaw": 16,
           "head": 0, "left_wrist": 7, "right_shoulder": 2}  # fmt: skip


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("3dhp")
    intrinsics = [matrix(1490.0 + 3 * i, 2048 + i, 2048 - i) for i in range(14)]
    joints = [RNG.normal((0, 0, 5), 0.3, (25, 28, 3)) for _ in range(14)]
    joints[1][10, 20, 0] = 50  # far outside the image
    for subject in range(1, 9):
        for number in (1, 2):
            write_3dhp_train(root / f"S{subject}/Seq{number}", joints, intrinsics)
    return root, joints, intrinsics


def test_training_set(train) -> None:
    root, joints, intrinsics = train
    data = MPIINF3DHP(root, "train")
    per_sequence = 8 * 3 - 1
    assert len(data) == 16 * per_sequence
    assert [s.frame for s in data[:5]] == [0, 10, 20, 0, 20]  # frame 10 of video_1 is left out
    assert {s.sequence for s in data[:per_sequence]} == {
        f"S1/Seq1/video_{v}" for v in (0, 1, 2, 4, 5, 6, 7, 8)
    }
    sample = data[per_sequence - 1]
    assert sample.image == root / "S1/Seq1/imageFrames/video_8/frame_000021.jpg"
    np.testing.assert_allclose(sample.camera.intrinsics, intrinsics[8], atol=1e-5)
    for name, row in OF_28.items():
        np.testing.assert_allclose(
            sample.joints["j24"][NAMES.index(name)], [*joints[8][20, row], 1], atol=1e-5
        )
    known = sample.joints["j24"][:, 3] > 0
    pixels = project(sample.joints["j24"][known, :3].astype(float), sample.camera.intrinsics)
    np.testing.assert_allclose(sample.keypoints["j24"][known, :2], pixels, atol=0.01)
    np.testing.assert_allclose(sample.box, [*pixels.min(0), *pixels.max(0)], atol=0.01)
    assert known.sum() == 17


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory):
    pytest.importorskip("h5py")
    root = tmp_path_factory.mktemp("3dhp_test")
    joints = RNG.normal((0, 0, 4), 0.25, (4, 17, 3))
    size, k = (192, 108), matrix(160.0, 193, 110)
    for number in range(1, 7):
        write_3dhp_test(root / f"mpi_inf_3dhp_test_set/TS{number}", joints, k, [1, 0, 1, 1], size)
    return root, joints, k


def test_test_set(held_out) -> None:
    root, joints, k = held_out
    data = MPIINF3DHP(root)
    assert [s.name for s in data[:3]] == [f"TS1/img_{i:06d}.jpg#0" for i in (1, 3, 4)] and len(data) == 18
    sample = data[1]
    assert sample.image == root / "mpi_inf_3dhp_test_set/TS1/imageSequence/img_000003.jpg"
    assert sample.camera.size == (192, 108)
    np.testing.assert_allclose(sample.camera.intrinsics, k, rtol=1e-5)  # found from joints and pixels
    pixels, pelvis = project(joints, k), joints[2, 14]
    for name, row in OF_TEST.items():
        universal = 1.1 * (joints[2, row] - pelvis)
        np.testing.assert_allclose(sample.joints["j24"][NAMES.index(name)], [*universal, 1], atol=1e-5)
        np.testing.assert_allclose(
            sample.keypoints["j24"][NAMES.index(name)], [*pixels[2, row], 1], atol=1e-3
        )


def test_missing_and_wrong_files(train, held_out, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown split 'val' of MPI-INF-3DHP"):
        MPIINF3DHP(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match=r"S1/Seq1 is missing.*3dhp-dataset"):
        MPIINF3DHP(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match=r"TS1 is missing.*annot_data.mat"):
        MPIINF3DHP(tmp_path)
    root, joints, intrinsics = train
    folder = tmp_path / "S1/Seq1"
    write_3dhp_train(folder, joints, intrinsics)
    write_calibration(folder / "camera.calibration", intrinsics[:4])
    with pytest.raises(
        ValueError, match=r"camera.calibration: line 34 does not hold the intrinsics of camera 4"
    ):
        MPIINF3DHP(tmp_path, "train")
    text = (root / "S1/Seq1/camera.calibration").read_text()
    (folder / "camera.calibration").write_text(text.split("\n", 1)[1])
    with pytest.raises(ValueError, match="line 6 starts with 'extrinsic', expected intrinsic"):
        MPIINF3DHP(tmp_path, "train")
    (folder / "annot.mat").write_bytes((folder / "annot.mat").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"annot.mat: not the annotations of a sequence"):
        MPIINF3DHP(tmp_path, "train")
    root, joints, k = held_out
    write_3dhp_test(tmp_path / "mpi_inf_3dhp_test_set/TS1", joints, k, [0, 0, 0, 0], (192, 108))
    with pytest.raises(ValueError, match=r"TS1/annot_data.mat: no frame is marked as valid"):
        MPIINF3DHP(tmp_path)

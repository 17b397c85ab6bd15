from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.lspet import LSPET, plausible
from fullframe.io.image import ImageError

# A standing person who faces us, pixels counted from 1, in LSP's order.
PERSON = np.array(
    [[40, 180], [42, 140], [42, 100], [58, 100], [58, 140], [60, 180], [25, 105], [28, 80], [32, 52],
     [68, 52], [72, 80], [75, 105], [50, 45], [50, 18]], float,
)  # fmt: skip


def write(root: Path, numbers: list[int], joints: np.ndarray, mat: bool = False) -> Path:
    (root / "images").mkdir(parents=True)
    for number in numbers:
        Image.new("RGB", (100, 200), (number % 256, 0, 0)).save(root / "images" / f"im{number:05d}.jpg")
    if mat:
        scipy.io.savemat(root / "joints.mat", {"joints": joints.transpose(1, 2, 0)})
    else:
        names = np.array([f"im{number:05d}.jpg" for number in numbers])
        np.savez(root / "joints.npz", image=names, joints=joints.astype(np.float32))
    return root


def people(count: int) -> np.ndarray:
    return np.stack([np.concatenate((PERSON, np.ones((14, 1))), axis=1)] * count)


def test_a_person(tmp_path: Path) -> None:
    joints = people(2)
    joints[0, 0, 2] = 0  # right ankle unseen
    (sample, _) = LSPET(write(tmp_path / "lspet", [3, 7], joints))
    assert sample.camera.size == (100, 200) and sample.camera.source == "diagonal"
    assert sample.camera.focal[0] == pytest.approx(np.hypot(100, 200))
    points = sample.keypoints["lsp14"]
    names = JOINT_SETS["lsp14"].names
    assert points[names.index("left_wrist")].tolist() == [
        74,
        104,
        1,
    ]  # counted from 0; their left is our right
    assert points[names.index("right_ankle")].tolist() == [0, 0, 0]
    assert sample.name == "im00003.jpg" and Path(sample.image).name == "im00003.jpg"
    x1, y1, x2, y2 = sample.box
    assert x1 < 24 and x2 > 74 and y1 < 17 and y2 > 179
    assert y2 - y1 == pytest.approx(162 * 1.15) and sample.box.dtype == np.float32


def test_every_twentieth_number_is_held_out(tmp_path: Path) -> None:
    numbers = list(range(15, 65))
    root = write(tmp_path / "lspet", numbers, people(len(numbers)))
    train, val = ([sample.name for sample in LSPET(root, split)] for split in ("train", "val"))
    assert val == ["im00020.jpg", "im00040.jpg", "im00060.jpg"]
    assert len(train) == len(numbers) - 3 and not set(train) & set(val)


@pytest.mark.parametrize("order", ["download", "LSP"])
def test_the_downloads_mat_file(tmp_path: Path, order: str) -> None:
    joints = people(21)
    root = write(tmp_path / "lspet", list(range(1, 22)), joints, mat=True)
    if order == "LSP":  # the smaller data set has its axes the other way round
        scipy.io.savemat(root / "joints.mat", {"joints": joints.transpose(2, 1, 0)})
    (val,) = LSPET(root, "val")
    assert val.name == "im00020.jpg"
    np.testing.assert_allclose(val.keypoints["lsp14"][:, :2], PERSON - 1)
    assert len(LSPET(root)) == 20


def test_impossible_people_are_left_out(tmp_path: Path) -> None:
    joints = people(4)
    joints[1, 12, :2] = (90, 190)  # neck beside the feet
    joints[2, 7, :2] = (95, 5)  # right elbow far away
    joints[3, :, :2] = (PERSON - 50) * [0.2, 1] + 50  # seen from the side: short is possible
    data = LSPET(write(tmp_path / "lspet", [1, 2, 3, 4], joints))
    assert [sample.name for sample in data] == ["im00001.jpg", "im00004.jpg"]
    assert data.left_out == 2


def test_plausible_does_not_depend_on_scale_and_ignores_what_is_unseen() -> None:
    wrong = PERSON.copy()
    wrong[12] = (90, 190)
    seen = np.ones((1, 14), bool)
    for scale in (0.1, 1, 50):
        assert plausible(PERSON[None] * scale, seen)[0] and not plausible(wrong[None] * scale, seen)[0]
    seen[0, 12] = False
    assert plausible(wrong[None], seen)[0]


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.*images, joints.mat.*https://"):
        LSPET(tmp_path / "nowhere")
    root = write(tmp_path / "lspet", [1, 2], people(2))
    (root / "images" / "im00001.jpg").unlink()
    (root / "images" / "im00002.jpg").write_bytes(b"GIF")
    data = LSPET(root)
    with pytest.raises(ImageError, match=r"im00001.jpg: no such file"):
        data[0]
    with pytest.raises(ImageError, match=r"im00002.jpg"):
        data[1]
    with pytest.raises(ValueError, match="unknown split"):
        LSPET(root, "test")
    np.savez(root / "joints.npz", other=np.zeros(3))
    with pytest.raises(ValueError, match=r"joints.npz.*not the joints"):
        LSPET(root)
    np.savez(root / "joints.npz", image=np.array(["im00001.jpg"]), joints=np.zeros((1, 16, 3)))
    with pytest.raises(ValueError, match="14 x 3"):
        LSPET(root)


def test_real(shared: Path) -> None:
    root = shared / "data/photos/lspet"
    train, val = LSPET(root), LSPET(root, "val")
    assert (len(train), len(val), train.left_out, val.left_out) == (773, 175, 44, 8)
    for sample in [train[0], *train[100:110], val[-1]]:
        width, height = sample.camera.size
        points = sample.keypoints["lsp14"]
        assert (points[:, 2] == 1).all()
        assert (points[:, :2] > -0.1 * width).all() and (points[:, :2] < [1.1 * width, 1.1 * height]).all()

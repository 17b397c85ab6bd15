from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from dataset_files import write_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.cliff_npz import CLIFFLabels
from fullframe.data.formats.spin_npz import SPINList, write_spin_npz
from fullframe.data.sample import Sample
from fullframe.geometry.box import box_from_xyxy
from fullframe.geometry.camera import Camera
from fullframe.io.image import ImageError

RNG = np.random.default_rng(3)


def spin_arrays(n: int = 3) -> dict[str, np.ndarray]:
    part = np.concatenate((RNG.uniform(0, 200, (n, 24, 2)), np.ones((n, 24, 1))), 2)
    part[:, 19:] = 0  # no face
    s = np.concatenate((RNG.normal(0, 0.4, (n, 24, 3)), np.ones((n, 24, 1))), 2)
    s[1] = 0  # no 3D
    return {
        "imgname": np.array([f"images/{i}.jpg" for i in range(n)]),
        "center": np.tile([100.0, 120.0], (n, 1)),
        "scale": np.full(n, 1.2),
        "part": part,
        "openpose": np.zeros((n, 25, 3)),
        "S": s,
        "pose": RNG.normal(0, 0.5, (n, 72)),
        "shape": RNG.normal(size=(n, 10)),
        "has_smpl": np.array([1, 0, 1][:n]),
        "gender": np.array(["f", "m", "n"][:n]),
        "maskname": np.array(["", "", ""][:n]),
    }


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for i in range(3):
        write_image(tmp_path / f"images/{i}.jpg", (300, 400))
    return tmp_path


def test_a_list_of_spin(images: Path) -> None:
    arrays = spin_arrays()
    np.savez(images / "list.npz", **arrays)
    data = SPINList(images / "list.npz", images)
    first, second, third = data
    assert first.image == images / "images/0.jpg" and first.camera.size == (300, 400)
    assert first.camera.focal == (500, 500) and first.camera.source == "diagonal"
    assert (first.body, third.body) == ("smpl-female", "smpl-neutral")
    np.testing.assert_allclose(first.keypoints["j24"], arrays["part"][0], rtol=1e-6)
    np.testing.assert_allclose(first.joints["j24"], arrays["S"][0], rtol=1e-6)
    assert second.pose is None and second.betas is None and second.joints == {}
    expected = roma.rotvec_to_rotmat(torch.from_numpy(arrays["pose"][2].reshape(24, 3)))
    np.testing.assert_allclose(third.pose, expected, atol=1e-6)
    np.testing.assert_allclose(third.betas, arrays["shape"][2], rtol=1e-6)
    assert third.translation is None
    # scale * 200 is the height of a window that is enlarged already.
    window = box_from_xyxy(first.box[None], aspect=1, enlarge=1.2)
    assert window.size[0] == pytest.approx(240) and window.center[0].tolist() == pytest.approx([100, 120])
    tall = SPINList(images / "list.npz", images, aspect=4 / 3)[0].box
    assert box_from_xyxy(tall[None], aspect=4 / 3, enlarge=1.2).size[0] == pytest.approx(240)
    assert (tall[3] - tall[1]) / (tall[2] - tall[0]) == pytest.approx(4 / 3)


def test_only_three_keys_are_needed(images: Path) -> None:
    arrays = spin_arrays()
    np.savez(images / "a.npz", **{key: arrays[key] for key in ("imgname", "center", "scale")})
    sample = SPINList(images / "a.npz", images)[0]
    assert sample.pose is None and sample.keypoints == {} and sample.joints == {}
    assert sample.body == "smpl-neutral"
    np.savez(
        images / "b.npz", **{key: arrays[key] for key in ("imgname", "center", "scale", "pose", "shape")}
    )
    assert SPINList(images / "b.npz", images)[1].pose is not None  # no has_smpl: all have it


def test_lists_of_python_2(images: Path) -> None:
    arrays = spin_arrays()
    np.savez(images / "a.npz", **{k: a.astype("S") if a.dtype.kind == "U" else a for k, a in arrays.items()})
    sample = SPINList(images / "a.npz", images)[0]
    assert sample.image == images / "images/0.jpg" and sample.body == "smpl-female"


def test_human36m_has_its_own_cameras(images: Path) -> None:
    arrays = spin_arrays() | {"imgname": np.array(["images/S1_Directions_1.54138969_000001.jpg"] * 3)}
    write_image(images / arrays["imgname"][0], (1000, 1002))
    np.savez(images / "a.npz", **arrays)
    camera = SPINList(images / "a.npz", images)[0].camera
    assert camera.focal == pytest.approx((1145.049, 1143.781), abs=1e-3) and camera.size == (1000, 1002)
    assert camera.principal_point == pytest.approx((512.5415, 515.4515), abs=1e-3)


def random_sample(rng: np.random.Generator, images: Path, number: int, has: set[str]) -> Sample:
    def points(size: int) -> dict[str, np.ndarray]:
        sets = [name for name in JOINT_SETS if f"{size}{name}" in has]
        return {
            name: np.concatenate(
                (
                    rng.normal(0, 9, (len(JOINT_SETS[name]), size)),
                    rng.integers(0, 2, (len(JOINT_SETS[name]), 1)) | 1,
                ),
                1,
            ).astype(np.float32)
            for name in sets
        }

    sample = Sample(
        images / f"images/{number % 3}.jpg",
        Camera(
            (float(rng.uniform(300, 2000)), 900.5),
            (150.25, float(rng.uniform(0, 400))),
            (300, 400),
            "intrinsics",
        ),
        np.array([10, -5, 60, 95], np.float32) + rng.uniform(0, 5, 4).astype(np.float32),
        (0.5, 0.5, 2.0) if "window" in has else (0.0, 0.0, 1.0),
        keypoints=points(2),
        joints=points(3),
        body="open" if "open" in has else "smpl-male",
        kid=0.25 if "kid" in has else 0.0,
        name=f"clip/{number}#é",
        sequence="clip",
        frame=number,
    )
    if "pose" in has:
        sample.pose = roma.random_rotmat(24).numpy().astype(np.float32)
        sample.betas = rng.normal(size=11).astype(np.float32)
    if "translation" in has:
        sample.translation = rng.normal(size=3).astype(np.float32)
    return sample


THINGS = ["window", "open", "kid", "pose", "translation", *(f"{n}{s}" for n in (2, 3) for s in JOINT_SETS)]


@given(st.lists(st.sets(st.sampled_from(THINGS)), min_size=1, max_size=4), st.integers(0, 99))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(images: Path, which: list[set[str]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = [random_sample(rng, images, i, has) for i, has in enumerate(which)]
    write_spin_npz(images / "out.npz", samples, images)
    found = SPINList(images / "out.npz", images)
    assert len(found) == len(samples)
    for before, after in zip(samples, found, strict=True):
        for field in fields(Sample):
            a, b = getattr(before, field.name), getattr(after, field.name)
            if isinstance(a, dict):
                assert a.keys() == b.keys()
                for key in a:
                    np.testing.assert_array_equal(a[key], b[key])
            elif field.name == "pose" and a is not None:
                np.testing.assert_allclose(a, b, atol=3e-6)
            elif isinstance(a, np.ndarray):
                np.testing.assert_array_equal(a, b)
                assert a.dtype == b.dtype
            else:
                assert a == b, field.name


def test_other_programs_can_read_what_is_written(images: Path) -> None:
    has = {"pose", "translation", "2j24", "3j24"}
    samples = [random_sample(RNG, images, i, has) for i in range(2)]
    write_spin_npz(images / "out.npz", samples, images)
    with np.load(images / "out.npz", allow_pickle=False) as file:
        assert file["imgname"].tolist() == ["images/0.jpg", "images/1.jpg"]
        assert (
            file["pose"].shape == (2, 72)
            and file["part"].shape == (2, 24, 3)
            and file["S"].shape == (2, 24, 4)
        )
        window = box_from_xyxy(np.array([s.box for s in samples]), 4 / 3, 1.2)
        np.testing.assert_allclose(file["scale"] * 200, window.size)
        np.testing.assert_allclose(file["center"], window.center)
        assert file["focal_l"][0] == pytest.approx(sum(samples[0].camera.focal) / 2)
        for key in file.files:
            assert file[key].dtype.kind in "iufU", key  # no pickles


def test_other_programs_find_points_of_other_joint_sets(images: Path) -> None:
    sample = random_sample(RNG, images, 0, {"2coco17", "2lsp14", "3lsp14"})
    sample.keypoints["lsp14"][12] = (30, 40, 1)
    sample.keypoints["coco17"][0] = (10, 20, 1)
    write_spin_npz(images / "out.npz", [sample], images)
    with np.load(images / "out.npz") as file:
        part, joints = file["part"][0], file["S"][0]
    # SPIN's list begins with LSP's joints and ends with COCO's nose, eyes and ears.
    assert part[12].tolist() == [30, 40, 1] and part[19].tolist() == [10, 20, 1]
    np.testing.assert_array_equal(joints[:14], sample.joints["lsp14"])
    assert not part[14:19].any() and not joints[14:].any()
    assert SPINList(images / "out.npz", images)[0].keypoints.keys() == {"coco17", "lsp14"}


def test_what_cannot_be_written(images: Path) -> None:
    sample = random_sample(RNG, images, 0, {"pose"})
    with pytest.raises(ValueError, match=r"out.npz: there are no samples"):
        write_spin_npz(images / "out.npz", [], images)
    with pytest.raises(ValueError, match=r"0.jpg is not below the folder"):
        write_spin_npz(images / "out.npz", [sample], images / "elsewhere")
    other = random_sample(RNG, images, 1, {"pose"})
    other.betas = np.zeros(10, np.float32)
    with pytest.raises(ValueError, match=r"betas of one list have one length, these have \[10, 11\]"):
        write_spin_npz(images / "out.npz", [sample, other], images)
    sample.image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="its image is pixels"):
        write_spin_npz(images / "out.npz", [sample], images)
    assert not (images / "out.npz").exists()


def test_missing_and_wrong_files(images: Path) -> None:
    path = images / "list.npz"
    with pytest.raises(FileNotFoundError, match=r"list.npz is missing.*nkolot/SPIN"):
        SPINList(path, images)
    np.savez(path, **spin_arrays())
    with pytest.raises(FileNotFoundError, match="nowhere is missing"):
        SPINList(path, images / "nowhere")
    (images / "images/1.jpg").unlink()
    with pytest.raises(ImageError, match=r"images/1.jpg: no such file"):
        SPINList(path, images)[1]
    whole = path.read_bytes()
    for content in (whole[:-100], whole[:2000], b"", b"PK\3\4" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"list.npz: not a usable .npz"):
            SPINList(path, images)
    for change, reason in (
        ({"scale": None}, r".*it lacks scale; it has imgname"),
        ({"scale": np.ones(2)}, "its arrays differ in length"),
        ({"part": np.zeros((3, 17, 3))}, r"part is float32 \(3, 17, 3\), expected numbers \(3, 24, 3\)"),
        ({"center": np.array([["a", "b"]] * 3)}, "center is <U1"),
        ({"pose": np.array([None] * 3)}, ".*allow_pickle"),
    ):
        arrays = {key: array for key, array in (spin_arrays() | change).items() if array is not None}
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=rf"list.npz: {reason}"):
            SPINList(path, images)


def cliff_arrays() -> dict[str, np.ndarray]:
    arrays = spin_arrays()
    return {
        **{key: arrays[key] for key in ("imgname", "center", "scale", "part", "pose", "shape", "S")},
        "annot_id": np.arange(3),
        "has_smpl": np.ones(3),
        "global_t": RNG.normal((0, 0, 5), 0.5, (3, 3)),
        "focal_l": np.full(3, 500.0),
    }


def test_cliffs_labels(images: Path, bodies) -> None:
    """Made the way that CLIFF's annotator does: SMPL in the camera's frame, keypoints projected from it."""
    arrays = cliff_arrays()
    pose = roma.rotvec_to_rotmat(torch.from_numpy(arrays["pose"]).reshape(3, 24, 3)).float()
    shape, translation = (torch.from_numpy(arrays[key]).float() for key in ("shape", "global_t"))
    joints = bodies["neutral"](shape, pose, translation).joints.numpy()
    j24, smpl = JOINT_SETS["j24"].names, JOINT_SETS["smpl24"].names
    common = sorted(set(j24) & set(smpl))
    rows = [j24.index(name) for name in common]
    points = joints[:, [smpl.index(name) for name in common]]
    arrays["part"][:] = 0
    arrays["part"][:, rows, :2] = points[..., :2] / points[..., 2:] * 500 + [150, 200]
    arrays["part"][:, rows, 2] = 1
    np.savez(images / "cliff.npz", **arrays)
    for i, sample in enumerate(CLIFFLabels(images / "cliff.npz", images)):
        assert sample.body == "smpl-neutral" and sample.joints == {}
        assert sample.camera.focal == (500, 500) and sample.camera.principal_point == (150, 200)
        window = box_from_xyxy(sample.box[None], aspect=4 / 3, enlarge=1.2)
        assert window.size[0] == pytest.approx(240) and window.center[0].tolist() == pytest.approx([100, 120])
        given_ = (torch.from_numpy(a)[None] for a in (sample.betas, sample.pose, sample.translation))
        seen = bodies["neutral"](*given_).joints[0].numpy()[[smpl.index(name) for name in common]]
        pixels = seen[:, :2] / seen[:, 2:] * sample.camera.focal + sample.camera.principal_point
        np.testing.assert_allclose(sample.keypoints["j24"][rows, :2], pixels, atol=0.02)
        assert i < 3


def test_our_lists_are_cliffs_labels_too(images: Path) -> None:
    samples = [random_sample(RNG, images, i, {"pose", "translation", "2j24"}) for i in range(2)]
    for sample in samples:
        sample.betas, sample.body = RNG.normal(size=10).astype(np.float32), "smpl-neutral"
    write_spin_npz(images / "out.npz", samples, images)
    for before, after in zip(samples, CLIFFLabels(images / "out.npz", images), strict=True):
        np.testing.assert_array_equal(before.translation, after.translation)
        np.testing.assert_allclose(
            *(box_from_xyxy(s.box[None], 4 / 3, 1.2).size for s in (before, after)), rtol=1e-5
        )


def test_wrong_cliff_files(images: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cliff.npz is missing.*cliffGT_v1"):
        CLIFFLabels(images / "cliff.npz", images)
    np.savez(images / "cliff.npz", **spin_arrays())
    with pytest.raises(ValueError, match=r"cliff.npz: not CLIFF's labels, it lacks global_t, focal_l"):
        CLIFFLabels(images / "cliff.npz", images)

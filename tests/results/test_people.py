import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.geometry.camera import Camera
from fullframe.results.people import People


def people(count: int, seed: int = 0, **changes: object) -> People:
    rng = np.random.default_rng(seed)
    values: dict = {
        "boxes": rng.random((count, 4)),
        "scores": rng.random(count),
        "track_ids": np.arange(count),
        "keypoints": rng.random((count, 17, 3)),
        "pose": rng.random((count, 24, 3, 3)),
        "betas": rng.random((count, 10)),
        "translation": rng.random((count, 3)),
        "vertices": rng.random((count, 7, 3)),
        "joints": rng.random((count, 24, 3)),
        "faces": rng.integers(0, 7, (5, 3)),
        "camera": Camera((1000.123456789, 1001.0), (320.5, 240.25), (640, 480), "intrinsics"),
        "body": "open",
        "model": "keypoint-fit",
        "image": "Fotos/Zoë 1.jpg",
        "orientation": 6,
    }
    return People(**{**values, **changes})


def assert_equal(first: People, second: People) -> None:
    for name, value in vars(first).items():
        other = getattr(second, name)
        if isinstance(value, np.ndarray):
            assert value.dtype == other.dtype
            np.testing.assert_array_equal(value, other)
        else:
            assert value == other


@settings(max_examples=10)
@given(st.integers(0, 4), st.integers(0, 1000))
def test_saved_and_loaded_without_loss(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("people") / "a.npz"
    original = people(count, seed)
    original.save(path)
    assert_equal(original, People.load(path))


def test_the_file_states_what_its_numbers_mean(tmp_path: Path) -> None:
    people(1).save(tmp_path / "a.npz")
    header = str(np.load(tmp_path / "a.npz")["header"])
    assert "y down" in header and "metres" in header and '"body": "open"' in header


def test_some_of_the_people() -> None:
    all_of_them = people(3)
    assert len(all_of_them[1:]) == 2
    np.testing.assert_array_equal(all_of_them[[2, 0]].betas, all_of_them.betas[[2, 0]])
    np.testing.assert_array_equal(all_of_them[np.array([False, True, False])].boxes, all_of_them.boxes[1:2])
    assert len(all_of_them[1]) == 1 and all_of_them[1].faces.shape == (5, 3)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"People.pose has shape \(3, 24, 3\)"):
        people(3, pose=np.zeros((3, 24, 3)))
    with pytest.raises(ValueError, match="People.betas holds 2 people, People.boxes 3"):
        people(3, betas=np.zeros((2, 10)))


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.npz"
    if content is None:
        np.savez(path, boxes=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="other.npz is not a People file"):
        People.load(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        People.load(tmp_path / "none.npz")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    people(1).save(path)

    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space"):
        people(2).save(path)
    assert len(People.load(path)) == 1
    assert list(tmp_path.iterdir()) == [path]


# What is changed in a good file, and what the message says about it.
IMPOSSIBLE = [
    ({"pose": np.full((2, 24, 3, 3), np.nan)}, "pose holds NaN"),
    ({"pose": np.full((2, 24, 3, 3), 1e30)}, "pose holds 1e"),
    ({"pose": np.zeros((2, 23, 3, 3))}, "pose has shape"),
    ({"boxes": np.full((2, 4), np.inf)}, "boxes holds inf"),
    ({"boxes": np.array([["a"] * 4] * 2)}, "boxes is of type"),
    ({"boxes": np.zeros((2, 4), complex)}, "boxes is of type"),
    ({"scores": np.array([0.5, 1.5])}, "scores holds"),
    ({"scores": np.array([0.5, -0.1])}, "scores holds"),
    ({"keypoints": np.full((2, 17, 3), 2.0)}, "confidences holds 2 to 2"),
    ({"keypoints": np.full((2, 17, 3), np.nan)}, "keypoints holds NaN"),
    ({"betas": np.zeros((2, 0))}, "betas has 0 coefficients"),
    ({"betas": np.zeros((2, 1000))}, "betas has 1000 coefficients"),
    ({"betas": np.full((2, 10), -np.inf)}, "betas holds -inf"),
    ({"translation": np.full((2, 3), 1e30)}, "translation holds"),
    ({"vertices": np.full((2, 7, 3), np.nan)}, "vertices holds NaN"),
    ({"joints": np.full((2, 24, 3), 1e6)}, "joints holds"),
    ({"track_ids": np.array([3, 3])}, "track_ids holds an id twice"),
    ({"track_ids": np.array([0.5, 1])}, "track_ids is of type float64"),
    ({"track_ids": np.arange(3)}, "track_ids holds 3 people"),
    ({"faces": np.array([[0, 1, 7]])}, "faces names vertices that do not exist: 7"),
    ({"faces": np.array([[0, 1, -1]])}, "faces holds -1"),
    ({"reprojection": np.array([-1.0, 0])}, "reprojection holds -1"),
    ({"reliable": np.array([1, 2])}, "reliable is of type int64"),
    ({"uncertainty": np.full((2, 24, 3), -0.1)}, "uncertainty holds -0.1"),
]
IMPOSSIBLE_HEADERS = [
    ({"body": 5}, "body must be text"),
    ({"model": None}, "model must be text"),
    ({"image": ["a"]}, "image must be text"),
    ({"orientation": 9}, "orientation must be 1 to 8"),
    ({"orientation": "x"}, "orientation must be 1 to 8"),
    ({"camera": None}, "camera: "),
    ({"camera": {"focal": [0, 0]}}, "focal length must be positive"),
    ({"camera": {"focal": ["a", 1]}}, "camera: "),
    ({"camera": {"focal": [1e30, 1e30]}}, "camera: impossible numbers"),
    ({"camera": {"focal": [float("nan"), 1]}}, "focal length must be positive"),
    ({"camera": {"principal_point": [float("inf"), 1]}}, "camera: impossible numbers"),
    ({"camera": {"size": [0, 0]}}, "image size must be positive"),
    ({"camera": {"size": [10**9, 10]}}, "camera: impossible numbers"),
    ({"camera": {"size": [640]}}, "camera: "),
    ({"camera": {"source": 3}}, "camera: source must be text"),
    ({"pose": "text"}, "pose is of type"),
]


def rewrite(path: Path, arrays: dict, header: dict) -> None:
    """Replace arrays and values of the header; a dictionary for `camera` replaces some of its values."""
    with np.load(path) as file:
        content = dict(file)
    values = json.loads(str(content.pop("header")))
    if header.get("camera"):
        header = {"camera": {**values["camera"], **header["camera"]}}
    np.savez(path, header=json.dumps({**values, **header}), **{**content, **arrays})


@pytest.mark.parametrize(
    "arrays, header, message",
    [(arrays, {}, message) for arrays, message in IMPOSSIBLE]
    + [({}, header, message) for header, message in IMPOSSIBLE_HEADERS],
)
def test_impossible_values_are_refused(tmp_path: Path, arrays: dict, header: dict, message: str) -> None:
    path = tmp_path / "a.npz"
    people(2).save(path)
    rewrite(path, arrays, header)
    with pytest.raises(ValueError, match=f"a.npz.*{message}"):
        People.load(path)


@pytest.mark.parametrize("missing", ["pose", "boxes", "faces", "reliable", "vertices"])
def test_a_missing_array_is_named(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "a.npz"
    people(2).save(path)
    with np.load(path) as file:
        np.savez(path, **{name: file[name] for name in file.files if name != missing})
    with pytest.raises(ValueError, match=f"a.npz.*it lacks {missing}"):
        People.load(path)


def test_older_files_have_no_uncertainty(tmp_path: Path) -> None:
    known = people(2, uncertainty=np.full((2, 24, 3), 0.05))
    known.save(tmp_path / "new.npz")
    assert (People.load(tmp_path / "new.npz").uncertainty == np.float32(0.05)).all()
    arrays = dict(np.load(tmp_path / "new.npz"))
    del arrays["uncertainty"]
    np.savez(tmp_path / "old.npz", **arrays)
    assert np.isnan(People.load(tmp_path / "old.npz").uncertainty).all()

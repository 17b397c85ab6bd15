import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.body import load_body
from fullframe.geometry.camera import Camera
from fullframe.results.clip import Clip


def clip(frames: list[int], track_ids: list[int], num_frames: int = 5, **changes: object) -> Clip:
    rng = np.random.default_rng(0)
    count = len(frames)
    values: dict = {
        "times": np.arange(num_frames) / 25,
        "frames": frames,
        "track_ids": track_ids,
        "detected": rng.random(count) > 0.5,
        "boxes": rng.random((count, 4)),
        "scores": rng.random(count),
        "keypoints": rng.random((count, 17, 3)),
        "pose": np.tile(np.eye(3), (count, 24, 1, 1)),
        "betas": rng.random((count, 11)),
        "translation": rng.random((count, 3)) + np.array((0, 0, 3)),
        "contacts": rng.random((count, 2)) > 0.5,
        "ground": (0.0, -1.0, 0.0, 1.5),
        "camera": Camera((1000.5, 1001.0), (320.5, 240.25), (640, 480), "intrinsics"),
        "body": "open",
        "model": "cliff-lite",
        "video": "Filme/Zoë 1.mp4",
    }
    return Clip(**{**values, **changes})


def assert_equal(first: Clip, second: Clip) -> None:
    for name, value in vars(first).items():
        other = getattr(second, name)
        if isinstance(value, np.ndarray):
            assert value.dtype == other.dtype
            np.testing.assert_array_equal(value, other)
        else:
            assert value == other


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), unique=True).map(sorted))
def test_saved_and_loaded_without_loss(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("clip") / "a.npz"
    original = clip([frame for frame, _ in rows], [track for _, track in rows])
    original.save(path)
    assert_equal(original, Clip.load(path))


def test_frames_and_tracks() -> None:
    two = clip([0, 0, 2, 4], [3, 7, 3, 7])
    assert (len(two), two.num_frames, two.fps) == (4, 5, 25)
    assert [two.rows_of(f) for f in range(5)] == [
        slice(0, 2),
        slice(2, 2),
        slice(2, 3),
        slice(3, 3),
        slice(3, 4),
    ]
    assert [(track, rows.tolist()) for track, rows in two.tracks()] == [(3, [0, 2]), (7, [1, 3])]
    last = two.take(two.track_ids == 7)
    assert last.num_frames == 5 and last.frames.tolist() == [0, 4] and last.contacts.shape == (2, 2)
    assert clip([], [], 1).fps == 30


def test_contacts_and_ground_are_unknown_unless_given() -> None:
    plain = clip([0, 1], [0, 0], contacts=np.zeros((0, 2)), ground=np.full(4, np.nan))
    assert plain.contacts.shape == (2, 2) and not plain.contacts.any() and np.isnan(plain.ground).all()


def test_people_of_a_frame_have_meshes() -> None:
    body = load_body("open", num_betas=11)
    two = clip([1, 1, 2], [0, 4, 4])
    people = two.people(1, body)
    assert people.track_ids.tolist() == [0, 4] and people.image == two.video
    assert people.vertices.shape == (2, body.num_vertices, 3)
    np.testing.assert_allclose(
        people.joints[:, 0],
        two.translation[:2] + body.rest_joints(*_tensors(two.betas[:2])).numpy()[:, 0],
        atol=1e-5,
    )
    assert len(two.people(0, body)) == 0


def _tensors(*arrays: np.ndarray) -> list:
    import torch

    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": [1, 0]}, "sorted by frame"),
        ({"frames": [0, 0], "track_ids": [1, 0]}, "sorted by frame"),
        ({"frames": [0, 5]}, "has rows of frames 0 to 5"),
        ({"frames": [-1, 0]}, "has rows of frames -1 to 0"),
        ({"pose": np.zeros((2, 24, 3))}, "Clip.pose has shape"),
        ({"boxes": np.zeros((3, 4))}, "Clip.boxes has shape"),
        ({"ground": np.zeros(3)}, "Clip.ground has shape"),
    ],
)
def test_impossible_clips(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip(**{"frames": [0, 1], "track_ids": [0, 0], **changes})


def test_rows_of_one_person_twice_in_a_frame_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        clip([0, 0], [1, 1])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"text"])
def test_other_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is not a clip"):
        Clip.load(path)


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Clip.load(tmp_path / "none.npz")


# What is changed in a good file, and what the message says about it.
IMPOSSIBLE = [
    ({"times": np.array([0, 1, 2, 1, 4.0])}, "times must ascend"),
    ({"times": np.array([0, 1, np.nan, 3, 4])}, "times holds NaN"),
    ({"times": np.array([0, 1, 2, 3, 1e30])}, "times holds 0 to 1e"),
    ({"frames": np.array([0, 0, 9])}, "rows of frames 0 to 9"),
    ({"frames": np.array([-1, 0, 1])}, "rows of frames -1 to 1"),
    ({"frames": np.array([0, 0.5, 1])}, "frames is of type float64"),
    ({"frames": np.array([1, 0, 0])}, "must be sorted"),
    ({"track_ids": np.array([3, 3, 3])}, "a track id twice"),
    ({"track_ids": np.array(["a", "b", "c"])}, "track_ids is of type"),
    ({"pose": np.full((3, 24, 3, 3), np.nan)}, "pose holds NaN"),
    ({"pose": np.zeros((2, 24, 3, 3))}, "Clip.pose has shape"),
    ({"scores": np.array([0, 1, 2.0])}, "scores holds 0 to 2"),
    ({"keypoints": np.full((3, 17, 3), -1.0)}, "confidences holds -1"),
    ({"betas": np.zeros((3, 0))}, "betas has 0 coefficients"),
    ({"betas": np.zeros((3, 301))}, "betas has 301 coefficients"),
    ({"translation": np.full((3, 3), np.inf)}, "translation holds inf"),
    ({"ground": np.array([0, 1, 0, np.inf])}, "ground holds 0 to inf"),
    ({"contacts": np.zeros((3, 2))}, "contacts is of type float64"),
    ({"detected": np.zeros(3, int)}, "detected is of type int64"),
    ({"reprojection": np.full(3, -1.0)}, "reprojection holds -1"),
    ({"reprojection": np.zeros((3, 2))}, r"reprojection has shape \(3, 2\)"),
    ({"reliable": np.ones(3)}, "reliable is of type float64"),
]
IMPOSSIBLE_HEADERS = [
    ({"video": 7}, "video must be text"),
    ({"body": "nothing"}, "body must be one of open, .*, not 'nothing'"),
    ({"camera": {"focal": [0, 1]}}, "camera: "),
    ({"camera": [1, 2]}, "camera: "),
]


@pytest.mark.parametrize(
    "arrays, header, message",
    [(arrays, {}, message) for arrays, message in IMPOSSIBLE]
    + [({}, header, message) for header, message in IMPOSSIBLE_HEADERS],
)
def test_impossible_values_are_refused(tmp_path: Path, arrays: dict, header: dict, message: str) -> None:
    path = tmp_path / "a.npz"
    clip([0, 0, 2], [3, 7, 3]).save(path)
    with np.load(path) as file:
        content = dict(file)
    values = json.loads(str(content.pop("header")))
    np.savez(path, header=json.dumps({**values, **header}), **{**content, **arrays})
    with pytest.raises(ValueError, match=f"a.npz.*{message}"):
        Clip.load(path)


def turned(degrees: float, frames: int = 5) -> np.ndarray:
    angles = np.radians(np.linspace(0, degrees, frames))
    zero, one = np.zeros(frames), np.ones(frames)
    rows = (
        (np.cos(angles), zero, np.sin(angles)),
        (zero, one, zero),
        (-np.sin(angles), zero, np.cos(angles)),
    )
    return np.moveaxis(np.array(rows), 2, 0)


def test_a_still_camera() -> None:
    still = clip([0, 1], [0, 0])
    assert not still.camera_turns and still.in_world(load_body()) is still
    assert (still.camera_rotation == np.eye(3)).all() and (still.camera_angles == 0).all()


def test_a_camera_that_turns(tmp_path: Path) -> None:
    body = load_body(num_betas=11)
    turning = clip([0, 0, 2, 4], [0, 1, 0, 0], camera_rotation=turned(60))
    turning.uncertainty = np.tile(np.float32([0.1, 0.2, 0.3]), (4, 24, 1))
    assert turning.camera_turns and turning.camera_angles == pytest.approx([0, 15, 30, 45, 60])
    turning.save(tmp_path / "a.npz")
    assert_equal(turning, Clip.load(tmp_path / "a.npz"))
    world = turning.in_world(body)
    assert not world.camera_turns
    around_y = np.sqrt(0.01 * np.cos(np.pi / 3) ** 2 + 0.09 * np.sin(np.pi / 3) ** 2)
    np.testing.assert_allclose(world.uncertainty[0], turning.uncertainty[0], atol=1e-6)
    np.testing.assert_allclose(world.uncertainty[3, :, 0], around_y, atol=1e-6)
    for frame in (0, 2, 4):
        seen, there = (each.people(frame, body).vertices for each in (turning, world))
        np.testing.assert_allclose(there, seen @ turning.camera_rotation[frame].T, atol=1e-5)
    back = world.rotated(turning.camera_rotation.swapaxes(1, 2), body)
    np.testing.assert_allclose(back.camera_rotation, turning.camera_rotation, atol=1e-12)
    np.testing.assert_allclose(back.translation, turning.translation, atol=1e-6)
    np.testing.assert_allclose(back.pose, turning.pose, atol=1e-6)


def test_a_rotation_for_each_frame() -> None:
    with pytest.raises(ValueError, match="camera_rotation is of 3 frames, not 5"):
        clip([0], [0], camera_rotation=turned(60, 3))

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.data.formats.placement import into_camera, rotation_matrices, rotation_vectors
from fullframe.data.formats.samples import reduced_window, tight_box, window_box
from fullframe.geometry.box import box_from_xyxy


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_a_body_in_the_world_and_in_the_camera_is_the_same(bodies, seed: int) -> None:
    """Posed with the new root and translation, every vertex lies where the camera sees the old one."""
    rng, body = np.random.default_rng(seed), bodies["male"]
    betas, pose = rng.normal(size=10).astype(np.float32), rotation_matrices(rng.normal(0, 0.7, 72))
    translation, shift = rng.normal(0, 2, (2, 3))
    torch.manual_seed(seed)
    rotation = roma.random_rotmat().double().numpy()
    rest = body.rest_joints(torch.from_numpy(betas[None]))[0, 0].numpy()
    turned, moved = into_camera(pose, rest + translation, rest, rotation, shift)

    def posed(pose, translation):
        arrays = (torch.from_numpy(np.asarray(a, np.float32))[None] for a in (betas, pose, translation))
        return body(*arrays).vertices[0].numpy()

    np.testing.assert_allclose(posed(turned, moved), posed(pose, translation) @ rotation.T + shift, atol=2e-5)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_rotation_vectors_and_matrices(seed: int) -> None:
    torch.manual_seed(seed)
    matrices = roma.random_rotmat((2, 24)).numpy()
    vectors = rotation_vectors(matrices)
    assert vectors.shape == (2, 72)
    np.testing.assert_allclose(rotation_matrices(vectors), matrices, atol=3e-6)


@given(st.floats(-500, 2000), st.floats(-500, 2000), st.floats(0.1, 10), st.sampled_from([1, 4 / 3]))
@settings(max_examples=40)
def test_windows_come_back(x: float, y: float, scale: float, aspect: float) -> None:
    window = box_from_xyxy(window_box(np.array([x, y]), scale, aspect)[None], aspect, enlarge=1.2)
    assert window.size[0] == pytest.approx(200 * scale, rel=1e-3, abs=1e-2)
    np.testing.assert_allclose(window.center[0], [x, y], atol=1e-2)


def test_tight_boxes() -> None:
    assert tight_box(np.array([[1.0, 9.0], [5.0, 2.0]])).tolist() == [1, 2, 5, 9]
    assert tight_box(np.array([[3.0, 4.0]])).tolist() == [2.5, 3.5, 3.5, 4.5]  # still has an area
    assert np.isnan(tight_box(np.zeros((0, 2)))).all()


def test_reduced_windows(tmp_path) -> None:
    assert reduced_window((1920, 1080), (1920, 1080), tmp_path) == (0, 0, 1)
    assert reduced_window((1920, 1080), (480, 270), tmp_path) == (1.5, 1.5, 4)
    assert reduced_window((1001, 667), (500, 333), tmp_path)[2] == pytest.approx(
        2.002
    )  # rounded when reduced
    with pytest.raises(ValueError, match="use the image as it was released"):
        reduced_window((1920, 1080), (1080, 1920), tmp_path)

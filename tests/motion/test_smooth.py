import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_clips import rotations

from fullframe.evaluate.metrics import rotation_error
from fullframe.geometry.rotation import nearest_rotation
from fullframe.motion.smooth import smooth, smooth_robustly, smooth_rotations


def uneven(count: int, seed: int = 0, fps: float = 30) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).uniform(0.3, 1.7, count)) / fps


@settings(max_examples=20)
@given(st.integers(4, 60), st.integers(0, 99), st.floats(0.3, 10))
def test_quadratic_motion_stays_as_it_is_at_uneven_times(count, seed, cutoff):
    times = uneven(count, seed)
    values = np.stack((3 - 2 * times, 1 + times**2), axis=1)
    np.testing.assert_allclose(smooth(values, times, np.ones(count), cutoff), values, atol=1e-4)


@pytest.mark.parametrize("fps", [10, 30, 240])
def test_an_oscillation_keeps_its_phase_and_height(fps):
    times = np.arange(6 * fps) / fps
    weights = np.ones(len(times))
    for frequency in (0.5, 1.0, 2.0):
        wave = np.exp(2j * np.pi * frequency * times)
        found = smooth(np.stack((wave.real, wave.imag), axis=1), times, weights, 2.0)
        response = ((found @ (1, 1j)) / wave)[2 * fps : -2 * fps]
        assert np.abs(np.angle(response)).max() < 0.02
        # Differences see slightly less of an oscillation than derivatives.
        seen = np.sin(np.pi * frequency / fps) * fps / np.pi
        np.testing.assert_allclose(np.abs(response), 1 / (1 + (seen / 2) ** 6), atol=0.01)


def test_unseen_values_do_not_count():
    times = np.arange(40) / 30
    truth = np.sin(3 * times)[:, None]
    weights = np.ones(40)
    weights[15:25] = 0
    broken = np.where(weights[:, None] > 0, truth, 50.0)
    np.testing.assert_allclose(smooth(broken, times, weights, 4.0), truth, atol=0.02)


def test_outliers_hardly_count():
    times = np.arange(90) / 30
    truth = np.stack((np.sin(2 * times), np.cos(times)), axis=1)
    values = truth + np.random.default_rng(0).normal(0, 0.01, truth.shape)
    values[[20, 21, 60]] += 3
    assert np.abs(smooth_robustly(values, times, np.ones(90), 2.0) - truth).max() < 0.05


def turning(times: np.ndarray, speed: float) -> np.ndarray:
    """Three joints that turn about different axes, (T, 3, 3, 3)."""
    axes = np.array([[0, 1, 0], [0.6, 0, 0.8], [1, 0, 0]])
    return rotations(times[:, None, None] * speed * axes)


def smooth_joints(joints: np.ndarray, times: np.ndarray, cutoff: float) -> np.ndarray:
    """Rotations (T, J, 3, 3), joint by joint."""
    weights = np.ones(len(times))
    return np.stack(
        [smooth_rotations(joints[:, j], times, weights, cutoff) for j in range(joints.shape[1])], axis=1
    )


def test_steady_turns_stay_as_they_are_through_180_degrees_and_around():
    times = np.arange(150) / 30
    truth = turning(times, 3.0)
    found = smooth_joints(truth, times, 4.0)
    assert rotation_error(found, truth).max() < 0.5


def test_flips_of_a_few_frames_are_undone():
    times = np.arange(120) / 30
    truth = turning(times, 1.0)
    flipped = truth.copy()
    flipped[40:43, 0] = flipped[40:43, 0] @ np.diag([-1.0, 1.0, -1.0])
    flipped[80, 1] = flipped[80, 1] @ np.diag([1.0, -1.0, -1.0])
    found = smooth_joints(flipped, times, 4.0)
    assert rotation_error(found, truth).max() < 4


@settings(max_examples=10)
@given(st.integers(1, 30), st.integers(0, 99))
def test_rotations_stay_rotations(count, seed):
    given_ones = rotations(np.random.default_rng(seed).normal(0, 3, (count, 4, 3)))
    found = smooth_joints(given_ones, uneven(count, seed), 2.0)
    np.testing.assert_allclose(
        found @ found.swapaxes(-1, -2), np.broadcast_to(np.eye(3), found.shape), atol=1e-6
    )
    assert (np.linalg.det(found) > 0).all()


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_the_nearest_rotation_is_that_of_the_singular_value_decomposition(seed):
    matrices = np.random.default_rng(seed).normal(size=(30, 3, 3))
    u, _, vt = np.linalg.svd(matrices)
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    np.testing.assert_allclose(nearest_rotation(matrices), u @ vt, atol=1e-6)

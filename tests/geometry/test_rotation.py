import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st

from fullframe.geometry.rotation import (
    matrix_to_quaternion,
    matrix_to_rot6d,
    matrix_to_rotvec,
    mean_rotation,
    nearest_rotation,
    ray_rotation,
    rot6d_to_matrix,
    rotvec_to_matrix,
)

tangent = st.floats(-3, 3)


def test_golden_matrix() -> None:
    x = torch.tensor([1, 0.2, 0.1, 0.9, -0.3, 0.4])
    expected = torch.tensor([[0.9535, 0.0458, 0.2980], [0.0953, 0.8918, -0.4422], [-0.2860, 0.4500, 0.8460]])
    torch.testing.assert_close(rot6d_to_matrix(x), expected, atol=1e-4, rtol=0)


def test_round_trip_of_random_rotations() -> None:
    rotation = roma.random_rotmat((50, 24), dtype=torch.float64)
    torch.testing.assert_close(rot6d_to_matrix(matrix_to_rot6d(rotation)), rotation)


def test_result_is_a_rotation_even_for_degenerate_input() -> None:
    matrix = rot6d_to_matrix(torch.zeros(2, 6))
    assert torch.isfinite(matrix).all()


def test_gradient() -> None:
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rot6d_to_matrix, x)


@given(tangent, tangent)
def test_ray_rotation_turns_the_axis_onto_the_ray(x: float, y: float) -> None:
    rotation = ray_rotation(torch.tensor([x, y], dtype=torch.float64))
    ray = torch.tensor([x, y, 1], dtype=torch.float64)
    torch.testing.assert_close(rotation[:, 2], ray / ray.norm())
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.tensor(1.0, dtype=torch.float64))
    # The smallest such rotation turns about an axis that is perpendicular to the optical axis.
    assert abs(roma.rotmat_to_rotvec(rotation)[2]) < 1e-9


def test_ray_rotation_on_the_axis_is_the_identity() -> None:
    torch.testing.assert_close(ray_rotation(torch.zeros(2)), torch.eye(3))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.5, 2.0, 3.14, 3.1415926, torch.pi])
def test_axis_angle_and_back(angle: float) -> None:
    axes = torch.nn.functional.normalize(torch.randn(200, 3, dtype=torch.float64), dim=-1)
    axes[:3] = torch.eye(3)
    matrix = rotvec_to_matrix(angle * axes)
    torch.testing.assert_close(matrix, roma.rotvec_to_rotmat(angle * axes))
    rotvec = matrix_to_rotvec(matrix)
    if angle < 3.1415926:
        torch.testing.assert_close(rotvec, angle * axes, atol=1e-8, rtol=1e-6)
    # A half turn is one about the opposite axis too.
    torch.testing.assert_close(rotvec_to_matrix(rotvec), matrix, atol=1e-7, rtol=0)


def test_axis_angle_in_single_precision() -> None:
    matrix = roma.random_rotmat((1000,))
    torch.testing.assert_close(rotvec_to_matrix(matrix_to_rotvec(matrix)), matrix, atol=2e-6, rtol=0)
    torch.testing.assert_close(matrix_to_rotvec(torch.eye(3)), torch.zeros(3))


def test_quaternions_are_those_of_roma() -> None:
    matrix = roma.random_rotmat((50, 24), dtype=torch.float64)
    assert matrix_to_quaternion(matrix).shape == (50, 24, 4)
    torch.testing.assert_close(roma.unitquat_to_rotmat(matrix_to_quaternion(matrix)), matrix)


def test_gradients_of_axis_angle() -> None:
    rotvec = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotvec_to_matrix, rotvec)
    assert torch.autograd.gradcheck(lambda x: matrix_to_rotvec(rotvec_to_matrix(x)), rotvec)
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    rotvec_to_matrix(zero).sum().backward()
    assert zero.grad is not None and torch.isfinite(zero.grad).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_the_mean_of_two_rotations_is_nearest_to_the_mean_of_their_matrices(share: float) -> None:
    first, second = roma.random_rotmat((2, 50), dtype=torch.float64)
    second[0] = first[0]
    mean = mean_rotation(first, second, torch.tensor(share, dtype=torch.float64))
    nearest = nearest_rotation((share * first + (1 - share) * second).numpy())
    torch.testing.assert_close(mean, torch.from_numpy(nearest), atol=1e-7, rtol=0)

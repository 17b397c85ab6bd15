"""Poses and bodies of data sets in the frame of the camera."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.geometry.rotation import matrix_to_rotvec, rotvec_to_matrix


def rotation_matrices(rotvec: NDArray[Any]) -> NDArray[np.float32]:
    """Axis-angle (..., 3 J) in radians to rotation matrices (..., J, 3, 3)."""
    vectors = torch.from_numpy(np.ascontiguousarray(rotvec, np.float64)).unflatten(-1, (-1, 3))
    matrices: NDArray[np.float64] = rotvec_to_matrix(vectors).numpy()
    return matrices.astype(np.float32)


def rotation_vectors(matrices: NDArray[Any]) -> NDArray[np.float32]:
    """Rotation matrices (..., J, 3, 3) to axis-angle (..., 3 J) in radians."""
    rotations = torch.from_numpy(np.ascontiguousarray(matrices, np.float64))
    vectors: NDArray[np.float64] = matrix_to_rotvec(rotations).flatten(-2).numpy()
    return vectors.astype(np.float32)


def into_camera(
    pose: NDArray[np.float32],
    pelvis: NDArray[Any],
    rest_pelvis: NDArray[Any],
    rotation: NDArray[Any],
    shift: NDArray[Any],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A body of the world seen from the camera, x_camera = rotation x_world + shift.

    The root turns the body about its rest pelvis J0, which stays where it is, so pelvis = J0 + translation
    in any frame (Loper et al., SIGGRAPH Asia 2015).

    Args:
        pose: (24, 3, 3), root in the world.
        pelvis: (3,) in the world, metres.
        rest_pelvis: (3,) J0 of the shaped body in rest.
        rotation: (3, 3).
        shift: (3,) metres.

    Returns:
        pose with the root in the camera frame, and the translation (3,).
    """
    turned = pose.copy()
    turned[0] = rotation @ pose[0]
    return turned, (rotation @ pelvis + shift - rest_pelvis).astype(np.float32)

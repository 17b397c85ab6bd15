"""Rotations that the networks use; everything else about rotations comes from roma."""

import torch
from torch import Tensor
from torch.nn import functional as F


def rot6d_to_matrix(x: Tensor) -> Tensor:
    """Six numbers to a rotation matrix by Gram-Schmidt (Zhou et al., CVPR 2019, eq. 15).

    The six numbers are read as a 3x2 row-major matrix, so its columns are (x0, x2, x4) and (x1, x3, x5):
    the layout of SPIN and CLIFF. HMR 2.0 and PyTorch3D use other layouts.

    Args:
        x: (..., 6).

    Returns:
        (..., 3, 3) rotation matrices whose first two columns span the two input columns.
    """
    a1, a2 = x.unflatten(-1, (3, 2)).unbind(-1)
    b1 = F.normalize(a1, dim=-1, eps=1e-6)
    b2 = F.normalize(a2 - (b1 * a2).sum(-1, keepdim=True) * b1, dim=-1, eps=1e-6)
    return torch.stack((b1, b2, torch.linalg.cross(b1, b2)), dim=-1)


def matrix_to_rot6d(matrix: Tensor) -> Tensor:
    """The first two columns of rotations (..., 3, 3), interleaved: (..., 6). Inverse of rot6d_to_matrix."""
    return matrix[..., :2].flatten(-2)


def ray_rotation(direction: Tensor) -> Tensor:
    """The smallest rotation that turns the optical axis +z onto a viewing ray.

    Left-multiplying a root rotation that was stated relative to the ray by this matrix states it in the
    camera frame. On the optical axis it is the identity.

    Args:
        direction: (..., 2) the ray (x/z, y/z), which for a pixel is (pixel - principal point) / focal length.

    Returns:
        (..., 3, 3) R with R @ (0, 0, 1) = (x, y, 1) / |(x, y, 1)| (Rodrigues' formula, axis z x ray).
    """
    x, y = direction.unbind(-1)
    norm = (x * x + y * y + 1).sqrt()
    rx, ry, c = x / norm, y / norm, 1 / norm
    k = 1 / (1 + c)
    rows = (1 - k * rx * rx, -k * rx * ry, rx, -k * rx * ry, 1 - k * ry * ry, ry, -rx, -ry, c)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))

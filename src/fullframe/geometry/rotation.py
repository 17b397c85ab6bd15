"""Rotations as matrices, axis-angle, unit quaternions and six numbers.

Ours, because roma, which has most of this, imports torch's compiler: 145 MB and two seconds.
"""

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


def rotvec_to_matrix(rotvec: Tensor) -> Tensor:
    """Axis-angle (..., 3), radians, to rotation matrices (..., 3, 3), by Rodrigues' formula."""
    x, y, z = rotvec.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))
    turns = rotvec.norm(dim=-1)[..., None, None] / torch.pi  # half ones
    eye = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return eye + torch.sinc(turns) * cross + 0.5 * torch.sinc(turns / 2).square() * (cross @ cross)


def matrix_to_rotvec(matrix: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) to axis-angle (..., 3), radians, of length 0 to pi."""
    xyzw = matrix_to_quaternion(matrix)
    xyzw = torch.where(xyzw[..., 3:] < 0, -xyzw, xyzw)
    vector, w = xyzw[..., :3], xyzw[..., 3:]
    sine = vector.norm(dim=-1, keepdim=True)
    small = sine < 1e-6
    scale = 2 * torch.atan2(sine, w) / torch.where(small, 1.0, sine)
    return vector * torch.where(small, 2.0, scale)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) to unit quaternions (..., 4), x, y, z, w, of either sign.

    Of the four expressions that give a quaternion times one of its own numbers, the one with the largest is
    taken (Shepperd, Journal of Guidance and Control 1978), so that nothing is divided by a small number.
    """
    a, b, c, d, e, f, g, h, i = matrix.flatten(-2).unbind(-1)
    times = (
        (1 + a - e - i, b + d, c + g, h - f),
        (b + d, 1 - a + e - i, f + h, c - g),
        (c + g, f + h, 1 - a - e + i, d - b),
        (h - f, c - g, d - b, 1 + a + e + i),
    )
    candidates = torch.stack([torch.stack(row, -1) for row in times], -2)  # (..., 4, 4)
    largest = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    return F.normalize(torch.take_along_dim(candidates, largest, -2).squeeze(-2), dim=-1)

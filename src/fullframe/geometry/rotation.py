"""Rotations as matrices, axis-angle, unit quaternions and six numbers: of torch first, then of numpy.

Ours, because roma, which has most of this, imports torch's compiler: 145 MB and two seconds.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
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


def skew(v: Tensor) -> Tensor:
    """Cross product matrices (..., 3, 3) of vectors (..., 3)."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))


def rotvec_to_matrix(rotvec: Tensor) -> Tensor:
    """Axis-angle (..., 3), radians, to rotation matrices (..., 3, 3), by Rodrigues' formula."""
    cross = skew(rotvec)
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
    # Not by take_along_dim, which torch.export cannot trace for any number of people.
    chosen = candidates.gather(-2, largest.expand(*largest.shape[:-2], 1, 4))
    return F.normalize(chosen.squeeze(-2), dim=-1)


def mean_rotation(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """The rotations (..., 3, 3) nearest to share * first + (1 - share) * second, in the sum of squares.

    They lie on the shortest way from one to the other: of its angle t, the angle from `first` is
    atan2((1 - share) sin t, share + (1 - share) cos t).

    Args:
        share: (...) of the first, 0 to 1.
    """
    way = matrix_to_rotvec(first.mT @ second)
    angle = way.norm(dim=-1)
    rest = 1 - share
    part = torch.atan2(rest * angle.sin(), share + rest * angle.cos())
    part = torch.where(angle < 1e-6, rest, part / angle.clamp(min=1e-6))
    return first @ rotvec_to_matrix(part[..., None] * way)


def axis_rotation(axis: int, angle: float) -> NDArray[np.float64]:
    """The right-handed rotation (3, 3) by an angle in radians about the axis x (0), y (1) or z (2)."""
    c, s = math.cos(angle), math.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def rotation_between(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest rotations (N, 3, 3) that turn vectors (N, 3) into the directions of others (Rodrigues)."""
    a = start / np.linalg.norm(start, axis=1, keepdims=True)
    b = end / np.linalg.norm(end, axis=1, keepdims=True)
    x, y, z = np.cross(a, b).T
    zero = np.zeros_like(x)
    skew = np.stack((zero, -z, y, z, zero, -x, -y, x, zero), axis=1).reshape(-1, 3, 3)
    cosine = (a * b).sum(axis=1)[:, None, None]
    return np.eye(3) + skew + skew @ skew / np.maximum(1 + cosine, 1e-6)


def compose_rotvecs(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation vectors (N, 3) of R(first) R(second), by quaternions."""
    a, b = _rotvec_to_quaternion(first), _rotvec_to_quaternion(second)
    w = a[:, 0] * b[:, 0] - (a[:, 1:] * b[:, 1:]).sum(1)
    # np.cross takes longer than all the rest.
    cross = a[:, [2, 3, 1]] * b[:, [3, 1, 2]] - a[:, [3, 1, 2]] * b[:, [2, 3, 1]]
    v = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + cross
    norm = np.linalg.norm(v, axis=1)
    angle = 2 * np.arctan2(norm, w)
    angle = np.where(angle > np.pi, angle - 2 * np.pi, angle)
    return v * (angle / np.maximum(norm, 1e-12))[:, None]


def _rotvec_to_quaternion(rotvec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions (N, 4), w first."""
    angle = np.linalg.norm(rotvec, axis=1, keepdims=True)
    return np.concatenate((np.cos(angle / 2), rotvec * np.sinc(angle / 2 / np.pi) / 2), axis=1)


def continuous_angles(
    first: NDArray[np.float64], second: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Euler angles (T, ..., 3) in degrees without jumps in time.

    Two triples of angles give a rotation. Of the two, and of all whole turns, each time takes what is nearest
    to the time before.

    Args:
        first, second: (T, ..., 3) the two triples.
        start: (..., 3) that the first time is nearest to.
    """
    result = np.empty_like(first)
    before = start
    for t in range(len(first)):
        near = [x[t] - 360 * np.round((x[t] - before) / 360) for x in (first, second)]
        far = [np.abs(x - before).sum(-1, keepdims=True) for x in near]
        result[t] = before = np.where(far[0] <= far[1], *near)
    return result


def nearest_rotation(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotations nearest to matrices (..., 3, 3), in the sum of squares.

    Newton's iteration for the polar factor (Higham, SIAM J. Sci. Stat. Comput. 1986), many times faster than
    the singular value decomposition that is left for matrices near to a reflection.
    """
    flat = matrices.reshape(-1, 3, 3)
    singular = np.linalg.det(flat) < 1e-2
    x = np.where(singular[:, None, None], np.eye(3), flat)
    for _ in range(20):
        a, b, c = x[:, 0], x[:, 1], x[:, 2]
        # The inverse's transpose: the cofactors over the determinant.
        cofactors = np.stack((np.cross(b, c), np.cross(c, a), np.cross(a, b)), axis=1)
        inverse = cofactors / (a * cofactors[:, 0]).sum(axis=1)[:, None, None]
        change = (inverse - x) / 2
        x = x + change
        if not x.size or np.abs(change).max() < 1e-9:
            break
    if singular.any():
        u, _, vt = np.linalg.svd(flat[singular])
        u[:, :, 2] *= np.where(np.linalg.det(u @ vt) < 0, -1, 1)[:, None]
        x[singular] = u @ vt
    return x.reshape(matrices.shape)

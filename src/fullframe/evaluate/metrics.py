"""Errors of 3D people: pure functions on arrays.

Points are metres in the camera frame, errors come out in millimetres, angles in degrees. Errors are one value
per person (or per joint), so that the caller decides what to average over. Arrays may be torch tensors on
the CPU.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullframe.body.joint_sets import PARENTS

MID_HIP = (1, 2)
"""The two hips of smpl24: AGORA and EMDB align at their middle."""

ANGLE_JOINTS = (0, 1, 2, 4, 5, 16, 17, 18, 19)
"""The joints of smpl24 whose global rotations EMDB compares."""

# Sensors cannot measure these well: EMDB sets them to zero, and still averages over all 24.
_NOT_IN_JITTER = (0, 7, 8, 10, 11, 20, 21, 22, 23)

AUC_THRESHOLDS: NDArray[np.float64] = np.arange(0.0, 151.0, 5.0)
"""31 thresholds in mm (Mehta et al., 3DV 2017)."""

Root = int | Sequence[int]


class Similarity(NamedTuple):
    """Points x of person i are mapped to scale[i] * rotation[i] @ x + translation[i].

    Attributes:
        scale: (N,).
        rotation: (N, 3, 3), never a reflection.
        translation: (N, 3) metres.
    """

    scale: NDArray[np.float64]
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def apply(self, points: ArrayLike) -> NDArray:
        """Points (N, K, 3) of the N people, mapped; in the precision of the points."""
        given = np.asarray(points)
        matrix = (self.scale[:, None, None] * self.rotation).astype(given.dtype)
        return given @ matrix.swapaxes(1, 2) + self.translation[:, None].astype(given.dtype)


def procrustes(predicted: ArrayLike, truth: ArrayLike) -> Similarity:
    """The similarity that moves each person's predicted points best onto the true ones, in least squares.

    Orthogonal Procrustes with scale and without reflections (Umeyama, PAMI 1991). A prediction whose points
    all coincide keeps its scale.

    Args:
        predicted: (N, K, 3) metres.
        truth: (N, K, 3) metres.

    Raises:
        ValueError: unless both have the same shape.
    """
    p, g = _pair(predicted, truth)
    p_mean, g_mean = p.mean(axis=1, keepdims=True), g.mean(axis=1, keepdims=True)
    p, g = p - p_mean, g - g_mean
    u, singular, vt = np.linalg.svd(p.swapaxes(1, 2) @ g)
    signs = np.ones_like(singular)
    signs[:, 2] = np.where(np.linalg.det(u @ vt) < 0, -1, 1)
    rotation = (vt.swapaxes(1, 2) * signs[:, None]) @ u.swapaxes(1, 2)
    spread = (p**2).sum(axis=(1, 2))
    scale = np.divide((singular * signs).sum(axis=1), spread, out=np.ones(len(p)), where=spread > 0)
    moved = (rotation @ p_mean[:, 0, :, None])[..., 0]
    return Similarity(scale, rotation, g_mean[:, 0] - scale[:, None] * moved)


def root_of(joints: ArrayLike, root: Root) -> NDArray[np.float64]:
    """The point (N, 3) that people are aligned at: a joint, or the middle of several, of joints (N, K, 3)."""
    return np.asarray(joints, np.float64)[:, np.atleast_1d(root)].mean(axis=1)


def joint_errors(
    predicted: ArrayLike, truth: ArrayLike, root: Root = 0, joints: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Distance of each joint after moving the roots onto each other.

    Args:
        predicted: (N, K, 3) metres.
        truth: (N, K, 3) metres.
        root: index of the joint, or indices of the joints whose middle, the people are aligned at.
        joints: indices of the joints to measure; all if None. The root need not be one of them.

    Returns:
        (N, J) mm.

    Raises:
        ValueError: unless both have the same shape.
    """
    p, g = _pair(predicted, truth)
    difference = (p - root_of(p, root)[:, None]) - (g - root_of(g, root)[:, None])
    return 1000 * np.linalg.norm(difference if joints is None else difference[:, list(joints)], axis=-1)


def pa_joint_errors(
    predicted: ArrayLike, truth: ArrayLike, joints: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """As `joint_errors`, after the best similarity over the same joints."""
    p, g = _pair(predicted, truth)
    if joints is not None:
        p, g = p[:, list(joints)], g[:, list(joints)]
    return 1000 * np.linalg.norm(procrustes(p, g).apply(p) - g, axis=-1)


def mpjpe(
    predicted: ArrayLike, truth: ArrayLike, root: Root = 0, joints: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Mean per joint position error (N,) in mm; arguments as for `joint_errors`."""
    return joint_errors(predicted, truth, root, joints).mean(axis=1)


def pa_mpjpe(
    predicted: ArrayLike, truth: ArrayLike, joints: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """MPJPE after Procrustes alignment, the "reconstruction error", (N,) in mm."""
    return pa_joint_errors(predicted, truth, joints).mean(axis=1)


def pve(
    predicted: ArrayLike,
    truth: ArrayLike,
    predicted_root: ArrayLike | None = None,
    true_root: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Mean per vertex error, also called MVE or MPVPE.

    Papers measure it in two ways. Without roots, vertices are compared where they are: pose the bodies
    without translation (VIBE, PARE). With roots, bodies are moved onto each other there first (BEDLAM with
    the pelvis, AGORA and EMDB with the middle of the hips).

    Args:
        predicted: (N, V, 3) metres.
        truth: (N, V, 3) metres, of a body of the same topology.
        predicted_root: (N, 3) metres.
        true_root: (N, 3) metres.

    Returns:
        (N,) mm.

    Raises:
        ValueError: unless both have the same shape, or for one root without the other.
    """
    p, g = np.asarray(predicted), np.asarray(truth)
    if p.shape != g.shape:
        raise ValueError(f"vertices {p.shape} and {g.shape} are of different bodies and cannot be compared")
    if (predicted_root is None) != (true_root is None):
        raise ValueError("give the root of both the prediction and the truth, or of neither")
    difference = p - g
    if predicted_root is not None and true_root is not None:
        shift = np.asarray(predicted_root, np.float64) - np.asarray(true_root, np.float64)
        difference -= shift[:, None].astype(difference.dtype)
    return 1000 * _lengths(difference).mean(axis=1, dtype=np.float64)


def rotation_error(predicted: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """The angle in degrees, 0 to 180, of the rotation between rotations (..., 3, 3) and (..., 3, 3)."""
    p, g = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    between = p @ g.swapaxes(-1, -2)
    skew = between - between.swapaxes(-1, -2)
    sine = np.sqrt(skew[..., 2, 1] ** 2 + skew[..., 0, 2] ** 2 + skew[..., 1, 0] ** 2)
    return np.degrees(np.arctan2(sine, np.trace(between, axis1=-2, axis2=-1) - 1))


def torso_frames(
    left_shoulder: ArrayLike, right_shoulder: ArrayLike, left_hip: ArrayLike, right_hip: ArrayLike
) -> NDArray[np.float64]:
    """The frames of torsos that four joints span: x to the left, y up, z forward.

    y is the direction from the middle of the hips to that of the shoulders; x is the sum of the vectors from
    the right to the left shoulder and from the right to the left hip, made orthogonal to y. The torso
    rotation error is the angle (`rotation_error`) of the rotation between the predicted and the true frame.

    Args:
        left_shoulder, right_shoulder, left_hip, right_hip: (N, 3), in any unit.

    Returns:
        (N, 3, 3), the axes as columns.
    """
    ls, rs, lh, rh = (np.asarray(x, np.float64) for x in (left_shoulder, right_shoulder, left_hip, right_hip))
    y = _unit(ls + rs - lh - rh)
    across = ls - rs + lh - rh
    x = _unit(across - (across * y).sum(axis=1, keepdims=True) * y)
    return np.stack((x, y, np.cross(x, y)), axis=2)


def global_rotations(pose: ArrayLike) -> NDArray[np.float64]:
    """Rotations (N, 24, 3, 3) of joints relative to their parents to rotations in the camera frame."""
    result = np.array(pose, np.float64)
    for joint in range(1, len(PARENTS)):
        result[:, joint] = result[:, PARENTS[joint]] @ result[:, joint]
    return result


def mpjae(predicted: ArrayLike, truth: ArrayLike, alignment: Similarity | None = None) -> NDArray[np.float64]:
    """Mean per joint angular error over ANGLE_JOINTS, in the camera frame, as EMDB defines it.

    Args:
        predicted: (N, 24, 3, 3) rotations relative to the parents.
        truth: (N, 24, 3, 3) rotations relative to the parents.
        alignment: for PA-MPJAE, from predicted to true joints; its rotation turns the prediction.

    Returns:
        (N,) degrees.
    """
    p, g = (global_rotations(pose)[:, list(ANGLE_JOINTS)] for pose in (predicted, truth))
    if alignment is not None:
        p = alignment.rotation[:, None] @ p
    return rotation_error(p, g).mean(axis=1)


def acceleration_error(predicted: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Difference of accelerations in a sequence (Kanazawa et al., CVPR 2019).

    Args:
        predicted: (T, K, 3) metres, consecutive frames, aligned as for MPJPE.
        truth: (T, K, 3) metres.

    Returns:
        (T - 2,) mm per frame squared; empty for fewer than three frames.
    """
    p, g = _pair(predicted, truth)
    return 1000 * np.linalg.norm(np.diff(p - g, n=2, axis=0), axis=-1).mean(axis=1)


def jitter(joints: ArrayLike, fps: float = 30.0) -> float:
    """EMDB's jitter of a predicted sequence, in 10 m/s^3.

    The mean length of the third difference over all frames and all 24 joints, of which nine (pelvis, ankles,
    feet, wrists, hands) are set to zero first.

    Args:
        joints: (T, 24, 3) smpl24 in the camera frame, metres, of bodies without translation.
        fps: frames per second.

    Returns:
        NaN for fewer than four frames.

    Raises:
        ValueError: unless there are 24 joints.
    """
    positions = np.array(joints, np.float64)
    if positions.shape[1:] != (24, 3):
        raise ValueError(f"jitter is defined on the 24 joints of smpl24, got {positions.shape}")
    if len(positions) < 4:
        return float("nan")
    positions[:, list(_NOT_IN_JITTER)] = 0
    return float(np.linalg.norm(np.diff(positions, n=3, axis=0), axis=-1).mean() * fps**3 / 10)


def pck(errors: ArrayLike, threshold: float) -> float:
    """The share, 0 to 1, of errors below a threshold in the same unit; NaN errors do not count.

    Returns:
        NaN where no error counts.
    """
    counted = np.asarray(errors, np.float64)
    counted = counted[~np.isnan(counted)]
    return float((counted < threshold).mean()) if counted.size else float("nan")


def auc(errors: ArrayLike) -> float:
    """Area under the PCK curve, 0 to 1: the mean of PCK over AUC_THRESHOLDS, for errors in mm."""
    return float(np.mean([pck(errors, threshold) for threshold in AUC_THRESHOLDS]))


class Detection(NamedTuple):
    """How many people were found; each rounded to two decimals, as AGORA uses them."""

    f1: float
    precision: float
    recall: float


def detection(found: int, false: int, missed: int) -> Detection:
    """F1 = found / (found + (false + missed) / 2), precision and recall; 0 where nothing was found.

    AGORA's NMJE and NMVE are MPJPE and MVE over F1.

    Args:
        found: people that a prediction was matched to.
        false: predictions without a matching person.
        missed: people without a prediction.
    """
    if not found:
        return Detection(0.0, 0.0, 0.0)
    shares = (found / (found + (false + missed) / 2), found / (found + false), found / (found + missed))
    return Detection(*(round(share, 2) for share in shares))


def bootstrap(
    values: ArrayLike,
    statistic: Callable[..., NDArray] = np.mean,
    resamples: int = 1000,
    level: float = 0.95,
    clusters: ArrayLike | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic (Efron 1979), with a fixed seed.

    scipy.stats.bootstrap cannot resample clusters.

    Args:
        values: (N,).
        statistic: np.mean, np.median, ...: takes an array and `axis`.
        resamples: how often N values, or as many clusters as there are, are drawn with replacement.
        level: of confidence.
        clusters: (N,) what each value belongs to, such as its video: whole clusters are drawn then, since
            values of one cluster resemble each other (Davison and Hinkley 1997, section 3.8).

    Returns:
        Lower and upper end, in the unit of the values; NaN without values, or with a single cluster.
    """
    sample = np.asarray(values, np.float64)
    members: list[NDArray[np.intp]] | NDArray[np.intp] = np.arange(len(sample))
    if clusters is not None:
        labels = np.asarray(clusters)
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if not sample.size or (clusters is not None and len(members) == 1):
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    found = []
    for _ in range(resamples):
        drawn = rng.integers(len(members), size=len(members))
        rows = drawn if clusters is None else np.concatenate([members[i] for i in drawn])
        found.append(statistic(sample[rows], axis=0))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _pair(predicted: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, g = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if p.shape != g.shape or p.ndim != 3 or p.shape[-1] != 3:
        raise ValueError(f"expected two arrays (N, K, 3) of the same shape, got {p.shape} and {g.shape}")
    return p, g


def _unit(vectors: NDArray) -> NDArray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _lengths(vectors: NDArray) -> NDArray:
    # Twice as fast as np.linalg.norm over an axis of three.
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.sqrt(x * x + y * y + z * z)

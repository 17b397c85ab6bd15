"""Everyday poses: motion capture, and procedural poses that it lacks.

Poses are (24, 3) axis-angle in SMPL's joints; the root carries gravity (y up) and faces +z.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.assets import MOTION, POSE_PRIOR
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.geometry.rotation import compose_rotvecs, rotvec_to_matrix
from fullframe.io.npz import read_npz

_MIRRORED = list(JOINT_SETS["smpl24"].flip_permutation)
LEGS = ((1, 4, 7, 1), (2, 5, 8, -1))
"""Hip, knee, ankle, and the side's sign."""
SPINE, NECK, HEAD = [3, 6, 9], 12, 15
_ARMS = [13, 14, 16, 17, 18, 19, 20, 21, 22, 23]
_UPPER = [*SPINE, NECK, HEAD, *_ARMS]

# Standard deviation of the noise on every joint, radians: larger where motion capture is inaccurate.
_JITTER = np.full(24, 0.08)
_JITTER[[20, 21, 22, 23]] = 0.2
_JITTER[[13, 14, 10, 11]] = 0.04
_LARGEST = 100.0
"""Radians of an angle out of a file."""
_LOOKING_AROUND = np.radians([5, 12, 3])

KINDS = {"motion": 0.34, "mixed": 0.2, "standing": 0.18, "sitting": 0.14, "crouching": 0.07, "lying": 0.07}
"""Share of each kind of pose."""

_KINDS, _CUMULATIVE = tuple(KINDS), np.cumsum(list(KINDS.values()))[:-1]


def poses_of_labels(labels: str | Path) -> NDArray[np.float64]:
    """Poses of people in photos, as from level cameras.

    Args:
        labels: list of SPIN's form, as `fullframe annotate` writes; bodies that are not reliable are skipped.

    Returns:
        (N, 24, 3).

    Raises:
        ValueError: if the file is no such list, or has no reliable body.
    """
    try:
        arrays = read_npz(labels, ("pose",), ("has_smpl",))
    except OSError as error:
        raise ValueError(f"{labels} cannot be read: {error.strerror}") from error
    pose, known = arrays["pose"], arrays.get("has_smpl", np.ones(len(arrays["pose"])))
    if pose.dtype.kind != "f" or pose.shape[1:] != (72,) or known.shape != (len(pose),):
        raise ValueError(f"{labels}: not a list with poses, as fullframe annotate writes")
    pose = pose[known > 0].astype(np.float64).reshape(-1, 24, 3)
    if not len(pose):
        raise ValueError(f"{labels}: no person in it has a reliable body")
    if not (np.abs(pose) <= _LARGEST).all():  # not for NaN either
        raise ValueError(f"{labels}: pose holds numbers that are not finite, or no angles in radians")
    # Half a turn about x converts the camera's axes to y up, z forward; then the heading is removed.
    root = compose_rotvecs(np.broadcast_to(np.array([np.pi, 0, 0]), (len(pose), 3)), pose[:, 0])
    forward = rotvec_to_matrix(torch.from_numpy(root))[:, :, 2].numpy()
    heading = np.arctan2(forward[:, 0], forward[:, 2])
    pose[:, 0] = compose_rotvecs(_about(1, -heading), root)
    return pose


class Poses:
    """Samples poses.

    Args:
        split: "train" or "val": clips of the motion capture never appear in both.
        extra: (N, 24, 3) poses to sample as often as the motion capture, or None.
    """

    def __init__(self, split: str = "train", extra: NDArray[np.floating] | None = None) -> None:
        with np.load(MOTION, allow_pickle=False) as file:
            chosen = file["split"] == ("train", "val").index(split)
            theta = file["theta"][chosen].astype(np.float64)
            weight = file["weight"][chosen].astype(np.float64)
        if extra is not None and len(extra):
            # Half of the weight for each set.
            weight = np.concatenate((weight / weight.sum(), np.full(len(extra), 1 / len(extra))))
            theta = np.concatenate((theta, np.asarray(extra, np.float64)))
        self.theta = theta
        self._cumulative = np.cumsum(weight / weight.sum())
        with np.load(POSE_PRIOR, allow_pickle=False) as file:
            self.low, self.high = (file[name].reshape(23, 3).astype(np.float64) for name in ("low", "high"))

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], str]:
        """A pose (24, 3) and its kind."""
        kind = _KINDS[int(np.searchsorted(_CUMULATIVE, rng.random(), side="right"))]
        theta = self._captured(rng)
        if kind == "mixed":
            theta[_UPPER] = self._captured(rng)[_UPPER]
        elif kind != "motion":
            theta = _PROCEDURAL[kind](theta[None], rng)[0]
        theta[[NECK, HEAD]] += rng.normal(size=(2, 3)) * _LOOKING_AROUND
        jitter = rng.normal(size=(24, 3)) * _JITTER[:, None]
        jitter[0] *= 0.5 if kind in ("motion", "mixed") else 0
        theta += jitter * rng.uniform(0.2, 1.2)
        # Motion capture may exceed the limits, which hold 99.6 % of it; procedural poses and jitter may not.
        body = theta[1:]
        theta[1:] = np.clip(body, np.minimum(self.low, body - jitter[1:]),
                            np.maximum(self.high, body - jitter[1:]))  # fmt: skip
        return (mirror(theta) if rng.random() < 0.5 else theta), kind

    def captured(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Captured poses (N, 24, 3)."""
        index = np.searchsorted(self._cumulative, rng.random(count))
        return self.theta[np.minimum(index, len(self.theta) - 1)]

    def _captured(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return self.theta[min(np.searchsorted(self._cumulative, rng.random()), len(self.theta) - 1)].copy()


def mirror(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mirror image of poses (..., 24, 3)."""
    return theta[..., _MIRRORED, :] * np.array([1, -1, -1])


def seat(theta: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The same upper bodies (N, 24, 3), upright or leaning, on seated legs.

    Hip flexion 55 to 115, knee 20 to 125, abduction -5 to 30 degrees.
    """
    degrees = _degrees(rng, len(theta))
    theta = theta.copy()
    theta[:, 0] = _about(0, degrees(-20, 25))
    knees, hips = degrees(20, 125), degrees(55, 115)
    for hip, knee, ankle, side in LEGS:
        flexion = _about(0, -(hips + degrees(-12, 12)))
        theta[:, hip] = compose_rotvecs(_about(1, side * degrees(-5, 30)), flexion)
        theta[:, knee] = _about(0, np.clip(knees + degrees(-15, 15), 0.05, 2.4))
        theta[:, ankle] = _about(0, degrees(-25, 15))
    return theta


def stand(theta: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The same arms on a standing body: straight back, nearly straight legs; (N, 24, 3)."""
    degrees = _degrees(rng, len(theta))
    theta = theta.copy()
    theta[:, 0] = _about(0, degrees(-5, 8))
    theta[:, SPINE] *= 0.3
    for hip, knee, ankle, side in LEGS:
        bend = degrees(0, 15)
        theta[:, hip] = _about(0, degrees(-8, 8) - bend / 2) + _about(2, side * degrees(-2, 12))
        theta[:, knee] = _about(0, bend)
        theta[:, ankle] = _about(0, degrees(-8, 5) - bend / 2)
    return theta


def crouch(theta: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The same arms on a squatting or kneeling body; (N, 24, 3)."""
    degrees = _degrees(rng, len(theta))
    theta = theta.copy()
    kneeling = rng.random(len(theta)) < 0.4
    lean = np.where(kneeling, degrees(-5, 20), degrees(10, 45))
    theta[:, 0] = _about(0, lean)
    theta[:, SPINE] *= 0.6
    hips = np.where(kneeling, degrees(0, 50), degrees(70, 125)) + np.where(kneeling, 0, lean / 2)
    knees = np.where(kneeling, degrees(75, 140), degrees(80, 140))
    for hip, knee, ankle, side in LEGS:
        # Half of the kneeling bodies have one foot in front.
        front = kneeling & (rng.random(len(theta)) < 0.25)
        bend = np.where(front, degrees(80, 105), hips + degrees(-10, 10))
        theta[:, hip] = compose_rotvecs(_about(1, side * degrees(0, 30)), _about(0, -bend))
        theta[:, knee] = _about(0, np.where(front, degrees(80, 105), knees + degrees(-8, 8)))
        theta[:, ankle] = _about(0, np.where(kneeling & ~front, degrees(10, 45), degrees(-35, -5)))
    return theta


def lie(theta: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The same bodies, half of them with straight legs, on their back, belly or side; (N, 24, 3)."""
    degrees = _degrees(rng, len(theta))
    straight = stand(theta, rng)
    theta = np.where(rng.random(len(theta))[:, None, None] < 0.5, straight, theta)
    # Rolled about the long axis first, then laid down.
    theta[:, 0] = compose_rotvecs(_about(0, degrees(-100, -75)), _about(1, degrees(0, 360)))
    return theta


_PROCEDURAL: dict[str, Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]] = {
    "standing": stand,
    "sitting": seat,
    "crouching": crouch,
    "lying": lie,
}


def _degrees(rng: np.random.Generator, count: int) -> Callable[[float, float], NDArray[np.float64]]:
    return lambda low, high: np.radians(rng.uniform(low, high, count))


def _about(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    return angle[:, None] * np.eye(3)[axis]

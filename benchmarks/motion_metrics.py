"""How smooth and how accurate the motion of a clip is, in SI units: for the benchmark and tests of motion."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel
from fullframe.evaluate import metrics
from fullframe.motion.ground import LEVEL
from fullframe.motion.skeleton import joint_positions, soles
from fullframe.results.clip import Clip


def jitter(clip: Clip, body: BodyModel, in_camera: bool = False) -> float:
    """The mean length of the third derivative of the joints, m/s^3.

    Args:
        in_camera: of the joints in the camera frame; else of the joints relative to the pelvis.

    Returns:
        NaN without a person in four consecutive frames.
    """
    joints = joint_positions(body, clip)
    if not in_camera:
        joints = joints - joints[:, :1]
    values = [np.zeros(0)]
    for rows in _unbroken(clip):
        step = _step(clip, rows)
        values.append(np.linalg.norm(np.diff(joints[rows], n=3, axis=0), axis=-1).ravel() / step**3)
    return _mean(values)


def mpjpe(clip: Clip, truth: Clip, body: BodyModel) -> float:
    """MPJPE in mm, pelvis on pelvis, over what both clips have under the same frame and track id.

    Returns:
        NaN if they have nothing in common.
    """
    rows, true_rows = common_rows(clip, truth)
    predicted, true = (joint_positions(body, c) for c in (clip.take(rows), truth.take(true_rows)))
    return _mean([metrics.mpjpe(predicted, true)])


def acceleration_error(clip: Clip, truth: Clip, body: BodyModel) -> float:
    """The mean difference of the joints' accelerations, pelvis on pelvis, m/s^2; NaN as for `mpjpe`."""
    rows, true_rows = common_rows(clip, truth)
    clip, truth = clip.take(rows), truth.take(true_rows)
    predicted, true = joint_positions(body, clip), joint_positions(body, truth)
    values = [np.zeros(0)]
    for piece in _unbroken(clip):
        p, g = (joints[piece] - joints[piece, :1] for joints in (predicted, true))
        values.append(metrics.acceleration_error(p, g) / 1000 / _step(clip, piece) ** 2)
    return _mean(values)


def foot_skating(clip: Clip, body: BodyModel, standing: Clip | None = None) -> float:
    """The mean speed along the ground, m/s, of feet that stand in two frames in a row.

    Of heel and ball, the one that moves less is measured.

    Args:
        standing: the clip whose contacts say when feet stand; rows are matched by frame and track id. The
            clip itself if None.

    Returns:
        NaN if no foot stands.
    """
    contact = clip.contacts
    if standing is not None:
        rows, others = common_rows(clip, standing)
        clip, contact = clip.take(rows), standing.contacts[others]
    points = soles(body, clip)
    up = clip.ground[:3] if np.isfinite(clip.ground).all() else LEVEL
    values = [np.zeros(0)]
    for rows in _unbroken(clip):
        moved = np.diff(points[rows], axis=0)
        moved = moved - (moved @ up)[..., None] * up
        speed = np.linalg.norm(moved, axis=-1).min(axis=2) / _step(clip, rows)
        values.append(speed[contact[rows][1:] & contact[rows][:-1]])
    return _mean(values)


def common_rows(clip: Clip, other: Clip) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of both clips that have the same frame and track id."""
    keys, other_keys = (c.frames * (1 << 32) + c.track_ids for c in (clip, other))
    _, rows, others = np.intersect1d(keys, other_keys, assume_unique=True, return_indices=True)
    return rows, others


def _unbroken(clip: Clip) -> Iterator[NDArray[np.int64]]:
    """The rows of each track in consecutive frames."""
    for _, rows in clip.tracks():
        yield from np.split(rows, np.flatnonzero(np.diff(clip.frames[rows]) != 1) + 1)


def _step(clip: Clip, rows: NDArray[np.int64]) -> float:
    """Seconds between frames, on average; anything for a single one."""
    times = clip.times[clip.frames[rows]]
    return float((times[-1] - times[0]) / (len(times) - 1)) if len(times) > 1 else 1.0


def _mean(values: list[NDArray[np.float64]]) -> float:
    together = np.concatenate(values)
    return float(together.mean()) if together.size else float("nan")

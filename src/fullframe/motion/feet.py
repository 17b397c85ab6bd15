"""Feet that stay where they stand; when they stand is found in ground.py."""

import numpy as np
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel
from fullframe.geometry.rotation import rotation_between
from fullframe.motion.ground import runs
from fullframe.motion.skeleton import LEGS, Skeletons, blocks, skeletons
from fullframe.motion.smooth import smooth
from fullframe.results.clip import Clip

_BLEND = 0.25
"""Seconds over which a foot comes to the place where it will stand, or leaves it."""
_PELVIS_CUTOFF = 1.0
"""Hz: the pelvis follows the feet no faster."""
_REACH = 0.995
"""Of the leg's length: a straight knee has no direction to bend in."""


def lock_feet(
    body: BodyModel,
    clip: Clip,
    rows: NDArray[np.int64],
    soles: NDArray[np.float64],
    standing: NDArray[np.bool_],
    ground: NDArray[np.float64],
) -> None:
    """Keeps the feet of one person in place while they stand, by moving the pelvis a little and bending legs.

    Args:
        body: of the clip.
        clip: with the person; its pose and translation are changed.
        rows: (T,) of the person, in consecutive frames.
        soles: (T, 2, 2, 3) metres.
        standing: (T, 2).
        ground: (4,) on which the feet are set; NaN if unknown: then they stay at their own height.
    """
    times = clip.times[clip.frames[rows]]
    wanted, pulled = np.zeros((len(times), 2, 3)), np.zeros((len(times), 2))
    for side in range(2):
        wanted[:, side], pulled[:, side] = standing_offsets(soles[:, side], standing[:, side], times, ground)
    pull = standing.sum(axis=1).astype(np.float64)
    mean = (wanted * standing[..., None]).sum(axis=1) / np.maximum(pull, 1)[:, None]
    # Where no foot stands, the pelvis keeps its path.
    moved = smooth(mean, times, pull + 1e-3, _PELVIS_CUTOFF) if pull.any() else np.zeros((len(times), 3))
    offset = (wanted - moved[:, None]) * pulled[..., None]
    for some in blocks(len(rows)):
        these = rows[some]
        pose = clip.pose[these]
        posed = skeletons(body, clip.betas[these], pose, clip.translation[these])
        for side, leg in enumerate(LEGS):
            _reach(pose, posed, leg, offset[some, side])
        clip.pose[these] = pose
        clip.translation[these] += moved[some].astype(np.float32)


def standing_offsets(
    soles: NDArray[np.float64],
    standing: NDArray[np.bool_],
    times: NDArray[np.float64],
    ground: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How a foot (T, 2, 3) must move to stand still, (T, 3), and how much of that holds, (T,) 0 to 1.

    Between two stands one offset turns into the next.
    """
    knots: list[int] = []
    offsets: list[NDArray[np.float64]] = []
    for start, stop in runs(standing):
        # The ball rests from when the foot is flat until the toes leave; the heel only at first.
        place = np.median(soles[start:stop, 1], axis=0)
        if np.isfinite(ground).all():
            place = place - ground[:3] * (ground[:3] @ place + ground[3])
        knots += range(start, stop)
        offsets += list(place - soles[start:stop, 1])
    if not knots:
        return np.zeros((len(times), 3)), np.zeros(len(times))
    values = np.array(offsets)
    wanted = np.stack([np.interp(times, times[knots], values[:, axis]) for axis in range(3)], axis=1)
    ends = times[_ends(standing)]
    after = np.searchsorted(ends, times).clip(1, len(ends) - 1)
    nearest = np.minimum(np.abs(times - ends[after - 1]), np.abs(times - ends[after]))
    ramp = np.clip(1 - nearest / _BLEND, 0, 1)
    return wanted, np.where(standing, 1.0, ramp**2 * (3 - 2 * ramp))


def _ends(standing: NDArray[np.bool_]) -> list[int]:
    return [frame for start, stop in runs(standing) for frame in (start, stop - 1)]


def _reach(
    pose: NDArray[np.float32],
    posed: Skeletons,
    leg: tuple[int, int, int, int],
    offset: NDArray[np.float64],
) -> None:
    """Moves an ankle by an offset (T, 3) by turning hip and knee; the foot keeps its direction. In place."""
    hip, knee, ankle, _ = leg
    origin, bend, end = (posed.joints[:, joint] for joint in (hip, knee, ankle))
    reach = _REACH * (np.linalg.norm(bend - origin, axis=1) + np.linalg.norm(end - bend, axis=1))
    # No farther than the leg reaches, except where it did so already.
    reach = np.maximum(reach, np.linalg.norm(end - origin, axis=1))
    hinge = posed.rotations[:, hip] @ np.array([0.0, 0.0, 1.0])
    new_bend, new_end = bend_leg(bend - origin, end - origin, end + offset - origin, hinge, reach)
    thigh = rotation_between(bend - origin, new_bend) @ posed.rotations[:, hip]
    shin = rotation_between(end - bend, new_end - new_bend) @ posed.rotations[:, knee]
    pose[:, hip] = np.swapaxes(posed.rotations[:, 0], 1, 2) @ thigh
    pose[:, knee] = np.swapaxes(thigh, 1, 2) @ shin
    pose[:, ankle] = np.swapaxes(shin, 1, 2) @ posed.rotations[:, ankle]


def bend_leg(
    knee: NDArray[np.float64],
    ankle: NDArray[np.float64],
    target: NDArray[np.float64],
    forward: NDArray[np.float64],
    reach: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knees and ankles after legs bend so that the ankles come to their targets, all (T, 3) from the hips.

    Args:
        knee, ankle: before.
        forward: unit vectors to which straight knees bend; others bend on in their direction.
        reach: (T,) the ankles come no farther from the hips.
    """
    upper = np.linalg.norm(knee, axis=1)
    lower = np.linalg.norm(ankle - knee, axis=1)
    length = np.linalg.norm(target, axis=1)
    allowed = np.clip(length, np.abs(upper - lower) + 1e-3, reach)
    direction = target / length[:, None]
    # The law of cosines gives the knee's place along the line from hip to ankle, and beside it.
    along = (allowed**2 + upper**2 - lower**2) / (2 * allowed)
    beside = np.sqrt(np.maximum(upper**2 - along**2, 0))
    # The knee stays on the side where it is: seen in its own frame, it bends forwards.
    side = np.where((beside > 0.05 * upper)[:, None], knee, knee + 0.1 * forward)
    side = side - (side * direction).sum(axis=1, keepdims=True) * direction
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    return along[:, None] * direction + beside[:, None] * side, allowed[:, None] * direction

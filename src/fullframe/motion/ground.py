"""The level ground that people walk on, and when their feet stand on it."""

import numpy as np
from numpy.typing import NDArray

LEVEL: NDArray[np.float64] = np.array([0.0, -1.0, 0.0])
"""Up in the frame of a level camera."""

_HEIGHT, _SPEED, _OF_PELVIS = 0.1, 0.45, 0.5
"""A foot stands below this height above the lowest one nearby, metres, and below this speed, m/s, and this
share of the pelvis's speed: a swinging foot is faster than the body, and all of them shake with it."""
_ALONG = 0.3
"""How much of a speed along the line of sight counts: most of it is noise."""
_NEARBY = 0.5
"""Seconds before and after."""
_SHORTEST = 0.1
"""Seconds: shorter contacts, and shorter breaks of one, are noise."""

_UPRIGHT = np.radians(25)
"""Greatest angle between trunk and legs of an upright person."""
_TILT, _TILT_UNSEEN = np.radians(4), np.radians(15)
"""Standard deviation of the vertical from upright people, and of a level camera's."""
_ABOVE, _BELOW = 0.05, 0.15
"""Metres by which a lowest foot is usually above (lifted) or below (wrong depth) the ground."""
_NEAR, _INSIDE = 0.25, 0.3
"""Metres, and the share of the feet that must be that near to the ground for it to be known."""


def fit_ground(
    joints: NDArray[np.float64], soles: NDArray[np.float64], seconds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The level ground under people, (4,): n . x + d = 0 with n up; NaN where it is unknown.

    Up is where upright people's heads are above their feet (robustly), if there are any; the plane is then
    the one that best holds the lower foot of everyone, not far from that.

    Args:
        joints: (N, 24, 3) of people in the camera frame, metres.
        soles: (N, 2, 2, 3) their soles, metres.
        seconds: (N,) that each row stands for.
    """
    if len(soles) == 0:
        return np.full(4, np.nan)
    up, tilt = _vertical(joints)
    points = soles.reshape(len(soles), 4, 3)
    lowest = (points @ up).argmin(axis=1)
    feet = points[np.arange(len(points)), lowest]
    sideways = np.linalg.svd(up[None])[2][1:]
    # Neighbouring frames are not independent: about two independent views a second and person.
    weight = np.clip(2 * seconds, 1e-3, 1)
    middle = np.median(feet, axis=0)
    design = np.concatenate(((feet - middle) @ sideways.T, np.ones((len(feet), 1))), axis=1)
    above = (feet - middle) @ up
    plane = np.array([0, 0, np.quantile(above, 0.3)])
    prior = np.diag([_ABOVE**2 / tilt**2, _ABOVE**2 / tilt**2, 1e-9])
    robust = weight
    for _ in range(20):
        away = above - design @ plane
        # Feet may be lifted, the ground lies at the lower ones.
        robust = weight / (1 + (away / np.where(away > 0, _ABOVE, _BELOW)) ** 2) ** 2
        weighted = design * robust[:, None]
        plane = np.linalg.solve(weighted.T @ design + prior, weighted.T @ above)
    away = above - design @ plane
    if (np.abs(away) < _NEAR).mean() < _INSIDE:
        return np.full(4, np.nan)
    normal = up - sideways.T @ plane[:2]
    # (x - middle) . (up - sideways' slope) = level, then to unit length.
    length = np.linalg.norm(normal)
    normal = normal / length
    return np.append(normal, -normal @ middle - plane[2] / length)


def _vertical(joints: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The direction up, (3,), and its standard deviation in radians."""
    feet, hips, neck = joints[:, [7, 8]].mean(axis=1), joints[:, [1, 2]].mean(axis=1), joints[:, 12]
    legs, trunk, whole = (_unit(v) for v in (hips - feet, neck - hips, neck - feet))
    upright = (legs * trunk).sum(axis=1) > np.cos(_UPRIGHT)
    # A person who lies straight is not upright.
    upright &= whole @ LEVEL > np.cos(np.radians(60))
    if not upright.any():
        return LEVEL, _TILT_UNSEEN
    up = _unit(np.median(whole[upright], axis=0))
    return up, float(_TILT)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def contacts(
    soles: NDArray[np.float64],
    pelvis: NDArray[np.float64],
    times: NDArray[np.float64],
    up: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """When the feet of one person stand: low, compared with where feet are nearby in time, and slow.

    Args:
        soles: (T, 2, 2, 3) of consecutive frames, camera frame, metres.
        pelvis: (T, 3) metres.
        times: (T,) seconds.
        up: (3,) unit vector.

    Returns:
        (T, 2) left and right.
    """
    count = len(times)
    if count < 2:
        return np.zeros((count, 2), bool)
    heights = soles @ up
    lowest = heights.min(axis=(1, 2))
    first = np.searchsorted(times, times - _NEARBY)
    last = np.searchsorted(times, times + _NEARBY, side="right")
    floor = np.array([lowest[a:b].min() for a, b in zip(first, last, strict=True)])
    sight = _unit(pelvis)
    points = np.concatenate((soles.reshape(count, 4, 3), pelvis[:, None]), axis=1)
    moved = np.gradient(points, times, axis=0)
    along = (moved * sight[:, None]).sum(axis=-1, keepdims=True) * sight[:, None]
    speed = np.linalg.norm(moved - (1 - _ALONG) * along, axis=-1)
    slow = speed[:, :4] < _SPEED + _OF_PELVIS * speed[:, 4:]
    low = heights - floor[:, None, None] < _HEIGHT
    standing = (low & slow.reshape(count, 2, 2)).any(axis=2)
    for side in range(2):
        for value in (True, False):
            _drop_short(standing[:, side], value, times)
    return standing


def _drop_short(states: NDArray[np.bool_], value: bool, times: NDArray[np.float64]) -> None:
    """Turns runs of `value` that are too short to be true, in place; those at the ends may be longer."""
    for start, stop in runs(states == value):
        if start > 0 and stop < len(states) and times[stop] - times[start] < _SHORTEST:
            states[start:stop] = not value


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))

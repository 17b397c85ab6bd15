"""Smoothing without lag, with times instead of frame counts."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from fullframe.geometry.rotation import nearest_rotation

_UNSEEN = 1e-8
"""Weight of what is not to count at all: a little keeps the equations solvable."""

# Each pass smooths less, and takes less for an outlier: (Hz at most, radians).
_PASSES = ((2.0, 1.0), (3.0, 0.7), (np.inf, 0.4))


def smooth(
    values: NDArray[np.float64], times: NDArray[np.float64], weights: NDArray[np.float64], cutoff: float
) -> NDArray[np.float64]:
    """The smoothest curves near values: those of least squared distance and squared third derivative.

    Whittaker's graduation (Eilers, "A perfect smoother", Analytical Chemistry 2003) with a penalty on the
    jerk. An oscillation of f Hz keeps its phase and 1 / (1 + (f / cutoff)^6) of its height, a little more
    where frames are few; polynomials up to the second degree stay as they are.

    Args:
        values: (T, D).
        times: (T,) seconds, ascending.
        weights: (T,) how much each row counts, usually 1; 0 where it is only to be filled in.
        cutoff: Hz.

    Returns:
        (T, D); the values themselves for fewer than four.
    """
    count = len(times)
    if count < 4:
        return values
    steps = np.diff(times)
    mean = float(steps.mean())
    # Frames that nearly coincide would make the third derivative infinite.
    moments = np.concatenate(([0.0], np.cumsum(np.maximum(steps, 0.1 * mean)))) / mean
    nodes = np.stack([moments[i : count - 3 + i] for i in range(4)])
    apart = nodes[:, None] - nodes[None]
    apart[range(4), range(4)] = 1
    # The third derivative through four points, times the root of the time that it stands for.
    jerk = 6 / apart.prod(axis=1) * np.sqrt((nodes[3] - nodes[0]) / 3)
    jerk *= (2 * np.pi * cutoff * mean) ** -3
    bands = np.zeros((4, count))
    bands[0] = np.maximum(weights, _UNSEEN)
    right = bands[0][:, None] * values
    for i in range(4):
        for k in range(4 - i):
            bands[k, i : count - 3 + i] += jerk[i] * jerk[i + k]
    return solveh_banded(bands, right, lower=True, check_finite=False)


def smooth_robustly(
    values: NDArray[np.float64], times: NDArray[np.float64], weights: NDArray[np.float64], cutoff: float
) -> NDArray[np.float64]:
    """As `smooth`, hardly drawn by outliers: weights fall with the distance from the curve.

    A distance is large in units of the usual one.
    """
    for _ in range(3):
        curve = smooth(values, times, weights, cutoff)
        distance = np.linalg.norm(values - curve, axis=1)
        usual = 1.5 * np.median(distance[weights > 0]) + 1e-9
        robust = weights / (1 + (distance / (4 * usual)) ** 2) ** 2
        curve = smooth(values, times, robust, cutoff)
    return curve


def smooth_rotations(
    rotations: NDArray[np.float64],
    times: NDArray[np.float64],
    weights: NDArray[np.float64],
    cutoff: float,
) -> NDArray[np.float64]:
    """Smooth rotations near given ones, hardly drawn by outliers such as flips of a few frames.

    Local means in the chordal metric (Hartley et al., "Rotation averaging", IJCV 2013): the matrices are
    smoothed as numbers, then moved to the nearest rotations. A steady turn stays as it is.

    Args:
        rotations: (T, 3, 3) of one joint.
        times: (T,) seconds, ascending.
        weights: (T,) as for `smooth`.
        cutoff: Hz.
    """
    numbers, robust = rotations.reshape(-1, 9), weights
    for lower, outlying in _PASSES:
        curve = smooth(numbers, times, robust, min(lower, cutoff))
        near = nearest_rotation(curve.reshape(rotations.shape))
        # The chord is 2 sqrt(2) sin(angle / 2).
        chord = np.linalg.norm((near - rotations).reshape(-1, 9), axis=1)
        robust = weights / (1 + (chord / (np.sqrt(2) * outlying)) ** 2) ** 2
    return nearest_rotation(smooth(numbers, times, robust, cutoff).reshape(rotations.shape))

"""Worlds with y up, level if the ground is known."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class WorldFrame(NamedTuple):
    """Axes of a file or a viewer: x of the camera frame is rotation @ x + origin there, metres."""

    rotation: NDArray[np.float64]
    origin: NDArray[np.float64]


Y_UP = WorldFrame(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
"""glTF's axes: x right, y up, z towards the viewer, the camera in the origin."""


Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""From axes with y up to axes with z up; who faces z faces -y then, as in Blender."""


def level_frame(ground: NDArray[np.float64]) -> WorldFrame:
    """Axes that stand on the ground: y up, y = 0 on the ground, the camera above the origin facing -z.

    Args:
        ground: (4,) as in a Clip; with any NaN the result is Y_UP, which is level if the camera was.
    """
    if not np.isfinite(ground).all():
        return Y_UP
    length = np.linalg.norm(ground[:3])
    up, height = ground[:3] / length, ground[3] / length
    # A camera that looks straight down (or up) has no heading but that of the image's upper (lower) edge.
    heading = abs(up[2]) < 1 - 5e-7
    ahead = np.array([0.0, 0.0, 1.0]) if heading else np.array([0.0, np.sign(up[2]), 0.0])
    back = (ahead @ up) * up - ahead
    back /= np.linalg.norm(back)
    return WorldFrame(np.stack((np.cross(up, back), up, back)), np.array([0.0, height, 0.0]))

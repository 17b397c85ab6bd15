"""Joint angles by the recommendations of the ISB (International Society of Biomechanics), and OpenSim's."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.geometry.rotation import continuous_angles

ISB_AXES: NDArray[np.float64] = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Columns: ISB's axes (x forward, y up, z right; Wu and Cavanagh, 1995) in those of the body at rest."""

_MIRROR = np.diag([1.0, 1.0, -1.0])
"""Left to right in ISB's axes: a left limb is measured as the right one of the mirrored person."""
_UPRIGHT = np.eye(3)
_ARM = Rotation.from_euler("x", -90, degrees=True).as_matrix()
"""Axes of the right arm's segments in the T-pose: y points to the shoulder, as up in a hanging arm."""


class _Joint(NamedTuple):
    """How a joint's rotation is taken apart.

    Attributes:
        chain: the joints of SMPL whose rotations, one after another, make up this one.
        order: axes of the Euler angles, each about the axis that those before have turned.
        names: of the three angles; "" leaves one out.
        signs: of the three angles, relative to right-handed rotations.
        start: the three Euler angles in the T-pose, degrees.
        rest: what the three named angles are in the T-pose, degrees.
        parent, child: axes of the two segments in the T-pose, in ISB's axes of the body.
    """

    chain: tuple[str, ...]
    order: str
    names: tuple[str, str, str]
    signs: tuple[int, int, int] = (1, 1, 1)
    start: tuple[int, int, int] = (0, 0, 0)
    rest: tuple[int, int, int] = (0, 0, 0)
    parent: NDArray[np.float64] = _UPRIGHT
    child: NDArray[np.float64] = _UPRIGHT


def _both(joint: _Joint) -> list[_Joint]:
    """The right and the left joint of a limb."""
    return [joint._replace(chain=tuple(f"{s}_{name}" for name in joint.chain)) for s in ("right", "left")]


_SPINE, _SHOULDER = ("spine1", "spine2", "spine3"), ("collar", "shoulder")
_ISB = [
    # Rotation first (Baker, 2001): list and tilt are the person's own, whichever way they face.
    _Joint(("pelvis",), "YXZ", ("pelvis_rotation", "pelvis_list", "pelvis_tilt")),
    # The thorax relative to the pelvis, in the order of Wu et al., 2005, for that relative to the ground.
    _Joint(_SPINE, "ZXY", ("trunk_extension", "trunk_bending", "trunk_rotation")),
    # Grood and Suntay, 1983; Wu et al., 2002.
    *_both(_Joint(("hip",), "ZXY", ("hip_flexion", "hip_adduction", "hip_rotation"))),
    *_both(_Joint(("knee",), "ZXY", ("knee_flexion", "knee_adduction", "knee_rotation"), (-1, 1, 1))),
    *_both(_Joint(("ankle",), "ZXY", ("ankle_dorsiflexion", "ankle_inversion", "ankle_rotation"))),
    # The humerus relative to the thorax, Wu et al., 2005; the elevation is counted from the T-pose.
    *_both(
        _Joint(
            _SHOULDER,
            "YXY",
            ("shoulder_plane", "shoulder_elevation", "shoulder_rotation"),
            signs=(1, -1, 1),
            start=(0, -90, 0),
            child=_ARM,
        )
    ),
    *_both(
        _Joint(
            ("elbow",), "ZXY", ("elbow_flexion", "elbow_carrying", "elbow_pronation"), parent=_ARM, child=_ARM
        )
    ),
]
_OPENSIM = [
    _Joint(("pelvis",), "ZXY", ("pelvis_tilt", "pelvis_list", "pelvis_rotation")),
    _Joint(_SPINE, "ZXY", ("lumbar_extension", "lumbar_bending", "lumbar_rotation")),
    *_both(_Joint(("hip",), "ZXY", ("hip_flexion", "hip_adduction", "hip_rotation"))),
    *_both(_Joint(("knee",), "ZXY", ("knee_angle", "", ""), (-1, 1, 1))),
    *_both(_Joint(("ankle",), "ZXY", ("ankle_angle", "", ""))),
    *_both(
        _Joint(
            _SHOULDER,
            "ZXY",
            ("arm_flex", "arm_add", "arm_rot"),
            start=(0, -90, 0),
            rest=(0, -90, 0),
            child=_ARM,
        )
    ),
    # Palms face down in the T-pose, and forwards where OpenSim's forearms begin to count.
    *_both(
        _Joint(("elbow",), "ZXY", ("elbow_flex", "", "pro_sup"), rest=(0, 0, 90), parent=_ARM, child=_ARM)
    ),
]


def joint_angles(pose: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Joint angles in ISB's order and signs, continuous over time and zero in the T-pose.

    For each joint the rotation of the distal relative to the proximal segment, whose axes are those of the
    body in the T-pose, is taken apart into three angles. Those of a left limb have the signs of the right.

    Args:
        pose: (T, 24, 3, 3) local rotations of SMPL's joints; the root's in a frame with y up and z where the
            person of pelvis rotation 0 faces.

    Returns:
        By name, (T,) degrees; "_r" and "_l" are the person's right and left.
    """
    return _angles(pose, _ISB)


def opensim_coordinates(pose: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The rotations of OpenSim's full-body models (Rajagopal et al., 2016), continuous over time.

    As `joint_angles`, but the pelvis is taken apart in OpenSim's order, arms hang at zero, and palms face
    forwards.
    """
    return _angles(pose, _OPENSIM)


def _angles(pose: NDArray[np.float64], joints: Sequence[_Joint]) -> dict[str, NDArray[np.float64]]:
    names = JOINT_SETS["smpl24"].names
    first, second = np.empty((2, len(pose), len(joints), 3))
    for column, joint in enumerate(joints):
        rotation = np.broadcast_to(np.eye(3), (len(pose), 3, 3))
        for name in joint.chain:
            rotation = rotation @ pose[:, names.index(name)]
        rotation = ISB_AXES.T @ rotation @ ISB_AXES
        if joint.chain[0].startswith("left_"):
            rotation = _MIRROR @ rotation @ _MIRROR
        first[:, column], second[:, column] = _both_solutions(
            joint.parent.T @ rotation @ joint.child, joint.order
        )
    start = np.array([joint.start for joint in joints], np.float64)
    angles = continuous_angles(first, second, start)
    angles -= 360 * np.round(np.median(angles, axis=0) / 360) if len(angles) else 0
    signs, rest = (np.array([getattr(joint, key) for joint in joints]) for key in ("signs", "rest"))
    angles = signs * (angles - start) + rest
    found = {}
    for column, joint in enumerate(joints):
        side, _, rest_of_name = joint.chain[0].partition("_")
        for k, name in enumerate(joint.names):
            if name:
                found[f"{name}_{side[0]}" if rest_of_name else name] = angles[:, column, k]
    return found


def _both_solutions(
    rotations: NDArray[np.float64], order: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The two triples of Euler angles (T, 3), degrees, that give rotations (T, 3, 3)."""
    if not len(rotations):
        return np.zeros((0, 3)), np.zeros((0, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gimbal lock: any split of two of the angles is right
        first = Rotation.from_matrix(rotations).as_euler(order, degrees=True)
    proper = order[0] == order[2]
    return first, first * (1, -1, 1) + ((180, 0, 180) if proper else (180, 180, 180))

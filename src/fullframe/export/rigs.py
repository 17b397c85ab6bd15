"""Skeletons that other programs expect: the names, rest pose and axes of bones for SMPL's 24 joints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fullframe.body.joint_sets import JOINT_SETS, PARENTS
from fullframe.export.tracks import Track, continuous
from fullframe.geometry.rotation import rotation_between


@dataclass(frozen=True)
class Rig:
    """How a program names and lays out the bones of a person.

    Attributes:
        bones: (24,) names, in SMPL's order of joints.
        arms: degrees that straight arms point below the horizontal at rest, with straight legs and parallel
            feet; None for SMPL's own T-pose.
        axes: the bones' local axes at rest by part of the body, "left_<part>" and "right_<part>" before
            "<part>", as in "y=along z=front": the first exactly, the second as far as possible. The parts are
            hips, spine, arm, hand, leg, foot and toes, and whatever is left out has x=left y=up. "along" is
            towards the next joint.
        root: name of a bone in the origin, above the hips; "" for none.
        z_up: formats that leave one the choice have z up.
    """

    bones: tuple[str, ...]
    arms: float | None = None
    axes: Mapping[str, str] = field(default_factory=dict)
    root: str = ""
    z_up: bool = False


def _sides(center: str, left: str, mirrored: tuple[str, str]) -> tuple[str, ...]:
    """The 24 names from those of hips, spine to head, and of the left leg and arm from hip and collar on."""
    hips, spine1, spine2, spine3, neck, head = center.split()
    leg, arm = (part.split() for part in left.split("|"))
    right = dict(zip((*leg, *arm), left.replace("|", " ").replace(*mirrored).split(), strict=True))
    names = [hips, leg[0], right[leg[0]], spine1, leg[1], right[leg[1]], spine2, leg[2], right[leg[2]]]
    names += [spine3, leg[3], right[leg[3]], neck, arm[0], right[arm[0]], head]
    for name in arm[1:]:
        names += [name, right[name]]
    return tuple(names)


RIGS: dict[str, Rig] = {
    "smpl": Rig(JOINT_SETS["smpl24"].names),
    # Bone axes as in the pre-rotations of Mixamo's FBX files: y along the bone, z down in arms.
    "mixamo": Rig(
        _sides(
            "mixamorig:Hips mixamorig:Spine mixamorig:Spine1 mixamorig:Spine2 mixamorig:Neck mixamorig:Head",
            "mixamorig:LeftUpLeg mixamorig:LeftLeg mixamorig:LeftFoot mixamorig:LeftToeBase|"
            "mixamorig:LeftShoulder mixamorig:LeftArm mixamorig:LeftForeArm mixamorig:LeftHand "
            "mixamorig:LeftHandMiddle1",
            ("Left", "Right"),
        ),
        arms=0,
        axes={
            "hips": "y=up z=front",
            "spine": "y=along z=front",
            "arm": "y=along z=down",
            "hand": "y=along z=down",
            "leg": "y=along z=front",
            "foot": "y=along z=up",
            "toes": "y=front z=up",
        },
    ),
    # The mannequin of Unreal Engine: x along the bone, against it in the right arm and the left leg.
    "unreal": Rig(
        _sides(
            "pelvis spine_01 spine_02 spine_03 neck_01 head",
            "thigh_l calf_l foot_l ball_l|clavicle_l upperarm_l lowerarm_l hand_l middle_01_l",
            ("_l", "_r"),
        ),
        arms=45,
        axes={
            "hips": "x=along y=back",
            "spine": "x=along y=back",
            "left_arm": "x=along y=back",
            "left_hand": "x=along y=down",
            "left_leg": "x=-along y=back",
            "left_foot": "x=up y=back",
            "left_toes": "x=front y=up",
            "right_arm": "x=-along y=front",
            "right_hand": "x=-along y=up",
            "right_leg": "x=along y=front",
            "right_foot": "x=down y=front",
            "right_toes": "x=back y=down",
        },
        root="root",
        z_up=True,
    ),
    # VRM 1.0 (VRM Consortium, 2022): the humanoid bones, in its T-pose; it leaves their axes free.
    "vrm": Rig(
        _sides(
            "hips spine chest upperChest neck head",
            "leftUpperLeg leftLowerLeg leftFoot leftToes|"
            "leftShoulder leftUpperArm leftLowerArm leftHand leftMiddleProximal",
            ("left", "right"),
        ),
        arms=0,
    ),
}
"""By name, as the command's --rig takes them."""

_DIRECTIONS = {
    "left": (1.0, 0, 0), "right": (-1.0, 0, 0), "up": (0, 1.0, 0), "down": (0, -1.0, 0),
    "front": (0, 0, 1.0), "back": (0, 0, -1.0),
}  # fmt: skip
# For each joint the part it belongs to, and the joint its bone ends in.
_PARTS = (
    *("hips", "left_leg", "right_leg", "spine", "left_leg", "right_leg", "spine", "left_foot", "right_foot"),
    *("spine", "left_toes", "right_toes", "spine", "left_arm", "right_arm", "spine", "left_arm", "right_arm"),
    *("left_arm", "right_arm", "left_hand", "right_hand", "left_hand", "right_hand"),
)
_NEXT = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, -1, -1, 15, 16, 17, -1, 18, 19, 20, 21, 22, 23, -1, -1)


class RiggedSkeleton(NamedTuple):
    """One person's skeleton in a rig; axes y up, facing +z at rest.

    Attributes:
        bases: (24, 3, 3) each bone's local axes, as columns, in SMPL's T-pose.
        rest: (24, 3, 3) the same in the rig's rest pose.
        turns: (24, 3, 3) rotation of each bone from SMPL's T-pose to the rig's rest pose.
        offsets: (24, 3) metres, of each joint in the axes of its parent; 0 for the root.
        joints: (24, 3) metres, in the rig's rest pose.
    """

    bases: NDArray[np.float64]
    rest: NDArray[np.float64]
    turns: NDArray[np.float64]
    offsets: NDArray[np.float64]
    joints: NDArray[np.float64]


def rigged(rig: Rig, joints: NDArray[np.float64], rest: NDArray[np.float64] | None = None) -> RiggedSkeleton:
    """The skeleton of a person in a rig.

    Args:
        joints: (24, 3) metres, in SMPL's T-pose.
        rest: (3, 3) axes that all bones have in the rest pose, for formats that know no others; default: the
            rig's.
    """
    turns = np.tile(np.eye(3), (24, 1, 1))
    if rig.arms is not None:
        sink = np.radians(rig.arms)
        for side, sign in ((0, 1.0), (1, -1.0)):
            arm, down = np.array([sign * np.cos(sink), -np.sin(sink), 0]), np.array([0, -1.0, 0])
            for chain, wanted in (((16, 18, 20), arm), ((1, 4), down)):
                for joint in chain:
                    bone = joints[_NEXT[joint + side]] - joints[joint + side]
                    turns[joint + side] = rotation_between(bone[None], wanted[None])[0]
            turns[22 + side] = turns[20 + side]
            foot = joints[10 + side] - joints[7 + side]
            yaw = Rotation.from_euler("y", -np.arctan2(foot[0], foot[2])).as_matrix()
            turns[[7 + side, 10 + side]] = yaw
    placed = joints.copy()
    for joint in range(1, 24):
        parent = PARENTS[joint]
        placed[joint] = placed[parent] + turns[parent] @ (joints[joint] - joints[parent])
    axes = _axes(rig, placed) if rest is None else np.tile(rest, (24, 1, 1))
    bases = np.swapaxes(turns, 1, 2) @ axes
    parents = list(PARENTS[1:])
    offsets = np.zeros((24, 3))
    offsets[1:] = np.einsum("kab,ka->kb", bases[parents], joints[1:] - joints[parents])
    return RiggedSkeleton(bases, axes, turns, offsets, placed)


def on_rig(track: Track, skeleton: RiggedSkeleton) -> Track:
    """The track with rotations of the skeleton's bones relative to their parents, instead of SMPL's."""
    turns = Rotation.from_quat(track.rotations.reshape(-1, 4))
    count = len(track.rotations)
    parents = skeleton.bases[list(PARENTS)]
    parents[0] = np.eye(3)
    before = Rotation.from_matrix(np.tile(np.swapaxes(parents, 1, 2), (count, 1, 1)))
    after = Rotation.from_matrix(np.tile(skeleton.bases, (count, 1, 1)))
    rotations = (before * turns * after).as_quat().reshape(-1, 24, 4)
    # Fixed turns on both sides change no angle between neighbours, but SciPy may pick the other sign.
    return track._replace(rotations=continuous(rotations))


def local_rest(skeleton: RiggedSkeleton) -> NDArray[np.float64]:
    """Rotations of the bones at rest relative to their parents, (24, 4) quaternions x, y, z, w."""
    parents = skeleton.rest[list(PARENTS)]
    parents[0] = np.eye(3)
    return Rotation.from_matrix(np.swapaxes(parents, 1, 2) @ skeleton.rest).as_quat()


def _axes(rig: Rig, joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bones' local axes at rest, (24, 3, 3), as columns."""
    along = np.zeros((24, 3))
    for joint in range(24):
        if _NEXT[joint] >= 0:
            along[joint] = joints[_NEXT[joint]] - joints[joint]
    along[15], along[[10, 11]], along[[22, 23]] = (0, 1, 0), (0, 0, 1), along[[20, 21]]
    result = np.zeros((24, 3, 3))
    for joint, part in enumerate(_PARTS):
        side = part.rpartition("_")[2]
        text = rig.axes.get(part) or rig.axes.get(side) or "y=up x=left"
        (first, a), (second, b) = (_axis(term, along[joint]) for term in text.split())
        a /= np.linalg.norm(a)
        b = b - (a @ b) * a
        b /= np.linalg.norm(b)
        third = 3 - first - second
        result[joint, :, first], result[joint, :, second] = a, b
        result[joint, :, third] = np.cross(
            result[joint, :, (third + 1) % 3], result[joint, :, (third + 2) % 3]
        )
    return result


def _axis(term: str, along: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """An axis, 0 to 2, and its direction from a term such as x=-along."""
    axis, _, name = term.partition("=")
    sign = -1.0 if name.startswith("-") else 1.0
    name = name.removeprefix("-")
    return "xyz".index(axis), sign * (along if name == "along" else np.array(_DIRECTIONS[name]))

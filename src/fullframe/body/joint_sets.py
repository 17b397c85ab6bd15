"""Named joint sets: what each row of a joint array means, its mirror image, and the bones to draw."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Parent of each of SMPL's 24 joints (Loper et al., SIGGRAPH Asia 2015); the root has -1."""


@dataclass(frozen=True)
class JointSet:
    """An ordered list of named joints.

    `joints[..., flip_permutation, :]` puts the joints of a mirrored person in order; `bones` are pairs of
    indices into `names`, for drawing. "left" is the person's own left.
    """

    name: str
    names: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        return tuple(self.names.index(_mirrored(name)) for name in self.names)

    def __len__(self) -> int:
        return len(self.names)


def _mirrored(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    if name.startswith("right_"):
        return "left_" + name.removeprefix("right_")
    return name


def _joint_set(name: str, names: str, bones: str) -> JointSet:
    """`names` are separated by blanks; `bones` are chains of names joined with "-"."""
    order = tuple(names.split())
    pairs: list[tuple[int, int]] = []
    for chain in bones.split():
        links = [order.index(link) for link in chain.split("-")]
        pairs += itertools.pairwise(links)
    return JointSet(name, order, tuple(pairs))


_LIMB_BONES = (
    "left_hip-left_knee-left_ankle right_hip-right_knee-right_ankle "
    "left_shoulder-left_elbow-left_wrist right_shoulder-right_elbow-right_wrist "
)

_SMPL24 = (
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot "
    "right_foot neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow "
    "left_wrist right_wrist left_hand right_hand"
)

JOINT_SETS: dict[str, JointSet] = {
    # The 24 joints that SMPL's pose parameters turn.
    "smpl24": JointSet(
        "smpl24",
        tuple(_SMPL24.split()),
        tuple((parent, k) for k, parent in enumerate(PARENTS) if parent >= 0),
    ),
    # COCO keypoints (Lin et al., ECCV 2014).
    "coco17": _joint_set(
        "coco17",
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow "
        "left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
        _LIMB_BONES + "left_shoulder-right_shoulder left_hip-right_hip left_shoulder-left_hip "
        "right_shoulder-right_hip nose-left_eye-left_ear nose-right_eye-right_ear",
    ),
    # The rows of the Human3.6M regressor for SMPL; the left leg comes first.
    "h36m17": _joint_set(
        "h36m17",
        "pelvis left_hip left_knee left_ankle right_hip right_knee right_ankle spine neck jaw head "
        "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist",
        _LIMB_BONES + "pelvis-left_hip pelvis-right_hip pelvis-spine-neck-jaw-head neck-left_shoulder "
        "neck-right_shoulder",
    ),
    # Leeds Sports Pose (Johnson & Everingham, BMVC 2010).
    "lsp14": _joint_set(
        "lsp14",
        "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow "
        "right_shoulder left_shoulder left_elbow left_wrist neck head_top",
        _LIMB_BONES + "left_hip-right_hip neck-left_shoulder neck-right_shoulder neck-head_top "
        "left_shoulder-left_hip right_shoulder-right_hip",
    ),
    # The 24 joints of SPIN's training lists (Kolotouros et al., ICCV 2019); LSP-14 comes first.
    "j24": _joint_set(
        "j24",
        "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow "
        "right_shoulder left_shoulder left_elbow left_wrist neck head_top pelvis thorax spine jaw head "
        "nose left_eye right_eye left_ear right_ear",
        _LIMB_BONES + "pelvis-left_hip pelvis-right_hip pelvis-spine-thorax-neck-head-head_top "
        "thorax-left_shoulder thorax-right_shoulder jaw-head nose-left_eye-left_ear "
        "nose-right_eye-right_ear",
    ),
}

COCO17_LIMBS = slice(5, 17)
"""Rows of coco17: shoulders, elbows, wrists, hips, knees and ankles."""

HEATMAP_SETS = ("coco17", "lsp14", "smpl24")
"""The joint sets that networks have heatmaps of, in their order."""


def closest_joint_set(names: Sequence[str]) -> str:
    """The key of the joint set that has most of these names; the smallest of several."""
    return max(
        JOINT_SETS, key=lambda key: (len(set(names) & set(JOINT_SETS[key].names)), -len(JOINT_SETS[key]))
    )


def convert_joint_set(points: NDArray[np.float32], of: str, wanted: str) -> NDArray[np.float32]:
    """Points (N, K, D) of one joint set in the rows of another; zeros for names that the first lacks."""
    names = JOINT_SETS[of].names
    out = np.zeros((len(points), len(JOINT_SETS[wanted]), points.shape[2]), np.float32)
    for row, name in enumerate(JOINT_SETS[wanted].names):
        if name in names:
            out[:, row] = points[:, names.index(name)]
    return out

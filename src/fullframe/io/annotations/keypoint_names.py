"""Which keypoint is which: names as programs write them, and the orders of those that write none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullframe.io.annotations.annotation_file import AnnotationFile
from fullframe.io.annotations.untrusted import printable


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


COCO17 = _words(
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow "
    "left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
)
"""COCO's body points (Lin et al., ECCV 2014)."""

KNOWN_NAMES = frozenset(COCO17) | frozenset(
    _words(
        "pelvis spine spine1 spine2 spine3 neck thorax jaw head head_top left_collar right_collar "
        "left_hand right_hand left_foot right_foot"
    )
)
"""Names that are understood: those of the joint sets of `fullframe.body`."""

FEWEST = 6
"""So many points must be known if others are not."""

_OTHER = ("-",)
_ARMS = "right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist"
_LEGS = "right_hip right_knee right_ankle left_hip left_knee left_ankle"
_FACE = "right_eye left_eye right_ear left_ear"

ORDERS: dict[str, tuple[str, ...]] = {
    "COCO": COCO17,
    # BODY_25 and COCO in OpenPose's doc/02_output.md. Its neck and mid hip are midpoints, not joints.
    "OpenPose COCO-18": _words(f"nose - {_ARMS} {_LEGS} {_FACE}"),
    "OpenPose BODY_25": _words(f"nose - {_ARMS} - {_LEGS} {_FACE}") + _OTHER * 6,
    # github.com/Fang-Haoshu/Halpe-FullBody: COCO's 17 come first, then head, neck, hip, feet, face, hands.
    "Halpe-26": COCO17 + _OTHER * 9,
    "Halpe-136": COCO17 + _OTHER * 119,
    # github.com/jin-s13/COCO-WholeBody: 17 of the body, 6 of the feet, 68 of the face, 42 of the hands.
    "COCO-WholeBody": COCO17 + _OTHER * 116,
    # ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker
    "MediaPipe": (
        _words("nose - left_eye - - right_eye - left_ear right_ear - - left_shoulder right_shoulder")
        + _words("left_elbow right_elbow left_wrist right_wrist")
        + _OTHER * 6
        + _words("left_hip right_hip left_knee right_knee left_ankle right_ankle")
        + _OTHER * 4
    ),
}
"""The points of well-known lists in their order; "-" for those that have no counterpart here."""

_BY_COUNT = {len(names): key for key, names in ORDERS.items()}

# Human3.6M's 17 as mmpose and VideoPose3D name them; its "foot" is the ankle, its thorax the neck's base.
_H36M = {"thorax": "neck", "neck": "jaw", "neck_base": "jaw", "nose": "jaw", "neck_nose": "jaw"}

_SIDES = {"left": "left_", "l": "left_", "right": "right_", "r": "right_"}
_LIMBS = {
    "eye": "eye", "ear": "ear", "shoulder": "shoulder", "sho": "shoulder", "elbow": "elbow", "elb": "elbow",
    "wrist": "wrist", "wri": "wrist", "hip": "hip", "knee": "knee", "ankle": "ankle", "ank": "ankle",
    "collar": "collar", "hand": "hand", "foot": "foot",
}  # fmt: skip
_MIDDLE = {
    "root": "pelvis", "hip": "pelvis", "hips": "pelvis", "mid_hip": "pelvis", "midhip": "pelvis",
    "hip_center": "pelvis", "center_hip": "pelvis", "headtop": "head_top", "top_head": "head_top",
    "top_of_head": "head_top", "head_tip": "head_top",
}  # fmt: skip


@dataclass(frozen=True)
class KeypointOrder:
    """What the points of each entry of a file are.

    Attributes:
        total: points in the file.
        rows: those of them that are known.
        names: of the known ones, all different, from KNOWN_NAMES.
        source: what says so.
    """

    total: int
    rows: tuple[int, ...]
    names: tuple[str, ...]
    source: str

    @property
    def note(self) -> str | None:
        """What a user should know about it."""
        if len(self.rows) == self.total:
            return None
        return f"{len(self.rows)} of {self.total} keypoints are used ({self.source})"


def canonical(name: str) -> str:
    """A keypoint's name in the words of KNOWN_NAMES where it is one of them.

    >>> canonical("LShoulder"), canonical("right ankle"), canonical("Nose"), canonical("MidHip")
    ('left_shoulder', 'right_ankle', 'nose', 'pelvis')
    """
    # Names are short; a hostile one need not be looked at to its end.
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[LR])(?=[A-Z][a-z])", "_", name[:64]).lower()
    plain = re.sub(r"[\W_]+", "_", words).strip("_")
    if plain in KNOWN_NAMES:
        return plain
    for side, mark in _SIDES.items():
        for rest in (plain.removeprefix(side), plain.removesuffix(side)):
            if rest != plain and rest.strip("_") in _LIMBS:
                return mark + _LIMBS[rest.strip("_")]
    return _MIDDLE.get(plain, plain)


def name_keypoints(result: AnnotationFile, names: Sequence[str]) -> list[str]:
    """Set the keypoints of a file by the names of its labels; a note goes to its stats.

    Returns:
        the label of each row.

    Raises:
        ValueError: as `order_from_names`, with the file's path.
    """
    if not names:
        return []
    try:
        order = order_from_names(names, "its labels")
    except ValueError as error:
        raise ValueError(f"{result.path}: {error}") from error
    result.keypoint_names = order.names
    if order.note:
        result.stats.notes.append(order.note)
    return [names[row] for row in order.rows]


def order_from_names(names: Sequence[str], source: str) -> KeypointOrder:
    """The order of points that the file names.

    Raises:
        ValueError: if one is there twice, or fewer than FEWEST are known while others are not.
    """
    plain = [canonical(name) for name in names]
    if len(plain) == 17 and {"spine", "thorax"} <= set(plain) and "left_eye" not in plain:
        plain = [
            _H36M.get(name, name.replace("_foot", "_ankle") if "left_ankle" not in plain else name)
            for name in plain
        ]
    known = [row for row, name in enumerate(plain) if name in KNOWN_NAMES]
    if len(known) < len(plain) and set(COCO17) <= set(plain):
        # Necks and hips of detectors' lists are midpoints, not the joints of those names here.
        known = [row for row, name in enumerate(plain) if name in COCO17]
    found = tuple(plain[row] for row in known)
    double = sorted({name for name in found if found.count(name) > 1})
    if double:
        raise ValueError(f"the keypoint {double[0]} stands twice")
    unknown = [names[row] for row in range(len(names)) if row not in set(known)]
    if not known or (unknown and len(known) < FEWEST):
        shown = ", ".join(printable(name[:40]) for name in unknown[:8])
        raise ValueError(
            f"unknown keypoint names {shown}{' ...' if len(unknown) > 8 else ''}; known are "
            f"{', '.join(sorted(KNOWN_NAMES))}"
        )
    return KeypointOrder(len(names), tuple(known), found, source)


def order_from_count(count: int) -> KeypointOrder:
    """The order of points that have no names, known by how many there are.

    Raises:
        ValueError: if no list of that length is known, or several differ.
    """
    if count not in _BY_COUNT:
        choices = ", ".join(f"{number} ({key})" for number, key in sorted(_BY_COUNT.items()))
        raise ValueError(f"{count} keypoints without names; known are {choices}: name them")
    key = _BY_COUNT[count]
    return order_from_list(key)


def order_from_list(key: str) -> KeypointOrder:
    """The order of a list of ORDERS."""
    names = ORDERS[key]
    rows = tuple(row for row, name in enumerate(names) if name != "-")
    return KeypointOrder(len(names), rows, tuple(names[row] for row in rows), key)


def reordered(
    points: NDArray[np.float32], names: Sequence[str], wanted: Sequence[str]
) -> NDArray[np.float32]:
    """Points (K, 3) of these names in the order of others; zeros for those that there are not."""
    result: NDArray[np.float32] = np.zeros((len(wanted), points.shape[1]), np.float32)
    for row, name in enumerate(wanted):
        if name in names:
            result[row] = points[names.index(name)]
    return result

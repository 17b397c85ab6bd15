"""Markers on the skin and centres of joints, by the names that Pose2Sim and OpenSim know them by."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.export.tracks import Track

_BLOCK = 256
"""Bodies posed at a time."""
_NEAR = 0.015
"""Metres from a ray within which a vertex is on it."""


class _OnRay(NamedTuple):
    """A marker where a ray leaves the body at rest.

    Attributes:
        start, end: joints between which the ray begins; without their side.
        share: how far from the first to the second.
        direction: to the side of the marker, up, and forwards.
        parts: the joints whose vertices may be the marker.
    """

    start: str
    end: str
    share: float
    direction: tuple[float, float, float]
    parts: tuple[str, ...]


class _OnFoot(NamedTuple):
    """A marker on a foot: shares of its length from the heel and of its width from inside, and metres above
    the sole."""

    along: float
    across: float
    above: float


_TRUNK = ("pelvis", "spine1", "spine2", "hip")
# The names of OpenCap's marker set, which Pose2Sim shares, without the side. Where they are follows the
# markers of Pose2Sim's model in its T-pose.
_SKIN: dict[str, _OnRay | _OnFoot] = {
    ".ASIS_study": _OnRay("hips", "neck", 0.155, (0.12, 0, 0.09), _TRUNK),
    ".PSIS_study": _OnRay("hips", "neck", 0.18, (0.05, 0, -0.1), _TRUNK),
    "_thigh1_study": _OnRay("hip", "knee", 0.38, (0.7, 0, 0.7), ("hip",)),
    "_thigh2_study": _OnRay("hip", "knee", 0.63, (0.85, 0, 0.5), ("hip",)),
    "_thigh3_study": _OnRay("hip", "knee", 0.35, (1, 0, -0.2), ("hip",)),
    "_knee_study": _OnRay("knee", "ankle", 0.0, (1, 0, 0), ("hip", "knee")),
    "_mknee_study": _OnRay("knee", "ankle", 0.0, (-1, 0, 0), ("hip", "knee")),
    "_sh1_study": _OnRay("knee", "ankle", 0.27, (1, 0, 0), ("knee",)),
    "_sh2_study": _OnRay("knee", "ankle", 0.54, (0.9, 0, 0.4), ("knee",)),
    "_sh3_study": _OnRay("knee", "ankle", 0.51, (0.85, 0, -0.5), ("knee",)),
    "_ankle_study": _OnRay("ankle", "knee", 0.0, (1, 0, 0), ("knee", "ankle")),
    "_mankle_study": _OnRay("ankle", "knee", 0.0, (-1, 0, 0), ("knee", "ankle")),
    "_calc_study": _OnFoot(0.0, 0.5, 0.035),
    "_toe_study": _OnFoot(0.75, 0.3, 0.03),
    "_5meta_study": _OnFoot(0.62, 1.0, 0.02),
    "_shoulder_study": _OnRay("shoulder", "collar", 0.12, (0, 1, 0), ("shoulder", "collar", "spine3")),
    "_lelbow_study": _OnRay("elbow", "wrist", 0.0, (0, 1, 0), ("shoulder", "elbow")),
    "_melbow_study": _OnRay("elbow", "wrist", 0.0, (0, -1, 0), ("shoulder", "elbow")),
    "_lwrist_study": _OnRay("wrist", "elbow", 0.0, (0, 0, 1), ("elbow", "wrist")),
    "_mwrist_study": _OnRay("wrist", "elbow", 0.0, (0, 0, -1), ("elbow", "wrist")),
}
_C7 = _OnRay("spine3", "neck", 0.82, (0, 0, -1), ("spine3", "neck", "collar"))
_FOOT = {
    "BigToe": _OnFoot(0.96, 0.3, 0.02),
    "SmallToe": _OnFoot(0.84, 0.9, 0.015),
    "Heel": _OnFoot(0, 0.5, 0.02),
}
_PLACES: dict[str, tuple[str, _OnRay | _OnFoot]] = {
    **{f"{p}{name}": (side, m) for name, m in _SKIN.items() for p, side in (("r", "right"), ("L", "left"))},
    **{f"{p}{name}": (side, m) for name, m in _FOOT.items() for p, side in (("R", "right"), ("L", "left"))},
    "C7_study": ("", _C7),
}
"""Markers that are vertices, and the side of the body each is on."""

_CENTRES = {
    f"{side[0].upper()}{part.capitalize()}": f"{side}_{part}"
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
}
_FACE = {"Nose": "nose", "LEye": "left_eye", "REye": "right_eye", "LEar": "left_ear", "REar": "right_ear"}

HALPE_26 = (
    "Nose", "LEye", "REye", "LEar", "REar", *_CENTRES, "Head", "Neck", "Hip",
    "LBigToe", "RBigToe", "LSmallToe", "RSmallToe", "LHeel", "RHeel",
)  # fmt: skip
"""Halpe's 26 keypoints in their order, with Pose2Sim's names."""

SKIN_MARKERS = (
    *(f"{prefix}{name}" for name in _SKIN for prefix in ("r", "L")),
    "C7_study",
    "RHJC_study",
    "LHJC_study",
)
"""OpenCap's 43 markers, which Pose2Sim calls LSTM markers."""

MARKERS = HALPE_26 + SKIN_MARKERS


class MarkerSet:
    """Where a body has its markers: the same vertices whatever its shape.

    Markers on the skin are vertices, found once on the mean body at rest, so they move as the skin does.
    Shoulders, elbows, wrists, hips, knees, ankles and neck are SMPL's joint centres; nose, eyes and ears the
    body's coco17.
    """

    def __init__(self, body: BodyModel) -> None:
        """
        Raises:
            BodyFileError: the body has no regressor for coco17.
        """
        self.body = body
        names = JOINT_SETS["smpl24"].names
        rest = body.rest_joints(torch.zeros(1, body.num_betas))[0].double().numpy()
        places = dict(zip(names, rest, strict=True))
        places["hips"] = (places["left_hip"] + places["right_hip"]) / 2
        vertices = body.data.template.astype(np.float64)
        owner = np.array(names)[body.data.weights.argmax(axis=1)]
        self._vertices = {"Head": int(vertices[:, 1].argmax())}
        for name, (side, place) in _PLACES.items():
            if isinstance(place, _OnRay):
                self._vertices[name] = _on_ray(place, side, vertices, owner, places)
            else:
                self._vertices[name] = _on_foot(place, side, vertices, owner)
        others = {"Neck": "neck", "RHJC_study": "right_hip", "LHJC_study": "left_hip"}
        self._joints = {marker: names.index(joint) for marker, joint in (_CENTRES | others).items()}
        coco = JOINT_SETS["coco17"].names
        self._face = body.regressor("coco17")[[coco.index(name) for name in _FACE.values()]]

    def positions(self, track: Track) -> NDArray[np.float64]:
        """(T, K, 3) metres of the K MARKERS, in the track's axes."""
        found: NDArray[np.float64] = np.empty((len(track.times), len(MARKERS), 3))
        rotations = track.matrices
        betas = torch.from_numpy(track.betas[None])
        face = [MARKERS.index(name) for name in _FACE]
        on_skin, vertices = [MARKERS.index(name) for name in self._vertices], list(self._vertices.values())
        centres, joints = [MARKERS.index(name) for name in self._joints], list(self._joints.values())
        for start in range(0, len(found), _BLOCK):
            some = slice(start, start + _BLOCK)
            pose = torch.from_numpy(rotations[some].astype(np.float32))
            moved = track.pelvis[some] - track.rest[0]
            with torch.inference_mode():
                state = self.body(betas.expand(len(pose), -1), pose)
                found[some, face] = (self._face @ state.vertices).numpy()
            found[some, on_skin] = state.vertices[:, vertices].numpy()
            found[some, centres] = state.joints[:, joints].numpy()
            found[some] += moved[:, None]
        hips = [MARKERS.index(name) for name in ("LHip", "RHip")]
        found[:, MARKERS.index("Hip")] = found[:, hips].mean(axis=1)
        return found


def _on_ray(
    marker: _OnRay,
    side: str,
    vertices: NDArray[np.float64],
    owner: NDArray[np.str_],
    places: dict[str, NDArray[np.float64]],
) -> int:
    """The vertex where the marker's ray leaves the body: of those next to it, the farthest along it."""
    start, end = (places[name if name in places else f"{side}_{name}"] for name in (marker.start, marker.end))
    outward = -1 if side == "right" else 1
    origin = start + marker.share * (end - start)
    direction = np.array(marker.direction, np.float64) * (outward, 1, 1)
    direction /= np.linalg.norm(direction)
    parts = {*marker.parts, *(f"{side}_{part}" for part in marker.parts)}
    if not side:
        parts |= {f"{each}_{part}" for part in marker.parts for each in ("left", "right")}
    offset = vertices - origin
    along = offset @ direction
    beside = np.linalg.norm(offset - along[:, None] * direction, axis=1)
    beside[~np.isin(owner, list(parts)) | (along < 0)] = np.inf
    near = np.flatnonzero(beside <= max(_NEAR, beside.min()))
    farthest = along[near].max()
    outside = near[along[near] > farthest - _NEAR]
    return int(outside[beside[outside].argmin()])


def _on_foot(marker: _OnFoot, side: str, vertices: NDArray[np.float64], owner: NDArray[np.str_]) -> int:
    """The vertex of a foot that is nearest to the marker's place."""
    foot = np.flatnonzero(np.isin(owner, (f"{side}_ankle", f"{side}_foot")))
    points = vertices[foot]
    bottom = points[:, 1].min()
    low = points[points[:, 1] < bottom + 0.06]
    back, front = low[:, 2].min(), low[:, 2].max()
    ahead = back + marker.along * (front - back)
    slab = low[np.abs(low[:, 2] - ahead) < 0.08 * (front - back)]
    outward = -1 if side == "right" else 1
    inner, outer = np.sort(slab[:, 0] * outward)[[0, -1]]
    place = np.array([outward * (inner + marker.across * (outer - inner)), bottom + marker.above, ahead])
    return int(foot[np.linalg.norm(points - place, axis=1).argmin()])

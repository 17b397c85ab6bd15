"""Measurements that several protocols share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.triangulated_joints import LIMBS
from fullframe.evaluate import metrics
from fullframe.evaluate.posed_bodies import BodyCache, pick, posed_pairs, posed_predictions
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocol import Scores, means

J14 = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist",
    "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head",
)  # fmt: skip
"""The 14 joints of most tables, LSP's with the head of Human3.6M (SPIN's H36M_TO_J14)."""

J17 = (*J14, "pelvis", "spine", "jaw")
"""The 17 joints of MPI-INF-3DHP as SPIN measures them."""

LIMB_COLUMNS = ("MPJPE mm", "centred MPJPE mm", "PA-MPJPE mm", "torso rotation deg")
TRUE_LENGTHS = "MPJPE with true bone lengths mm"
TORSO = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")

LIMB_BONES = tuple(
    (LIMBS.index(f"{side}_{upper}"), LIMBS.index(f"{side}_{lower}"))
    for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
    for side in ("left", "right")
)

PVE = "PVE mm"
PVE_UNALIGNED = "PVE unaligned mm"


def nan_columns(number: int, *names: str) -> dict[str, NDArray[np.float64]]:
    """A column of NaN for each name."""
    return {name: np.full(number, np.nan) for name in names}


def mesh_errors(predictions: Predictions, bodies: BodyCache, joints: Sequence[str] = J14) -> Scores:
    """MPJPE, PA-MPJPE and PVE in both alignments against true bodies, as SPIN measures 3DPW.

    Joints are regressed from the vertices with the Human3.6M regressor of each body; both bodies are moved
    to its pelvis, for the joints and for PVE. "PVE unaligned" compares vertices of bodies without
    translation, whose roots nearly coincide (VIBE, PARE).
    """
    people = nan_columns(len(predictions), "MPJPE mm", "PA-MPJPE mm", PVE, PVE_UNALIGNED)
    by_joint = np.full((len(predictions), len(joints)), np.nan)
    notes: list[str] = []
    for some, predicted, true in posed_pairs(predictions, bodies):
        p, g = (pick(each.joints("h36m17"), "h36m17", ["pelvis", *joints]) for each in (predicted, true))
        by_joint[some] = metrics.joint_errors(p, g)[:, 1:]
        people["MPJPE mm"][some] = by_joint[some].mean(axis=1)
        people["PA-MPJPE mm"][some] = metrics.pa_mpjpe(p[:, 1:], g[:, 1:])
        if predicted.vertices.shape == true.vertices.shape:
            people[PVE][some] = metrics.pve(predicted.vertices, true.vertices, p[:, 0], g[:, 0])
            people[PVE_UNALIGNED][some] = metrics.pve(predicted.vertices, true.vertices)
        else:
            notes.append(other_topology(predicted.body.name, true.body.name))
    if not predictions.has_body.all():
        left_out = int((~predictions.has_body).sum())
        notes.append(f"{left_out} of {len(predictions)} people have no true body and are not measured.")
    return Scores(means(people), people, joint_columns(joints, by_joint), notes=tuple(dict.fromkeys(notes)))


def limb_errors(predictions: Predictions, bodies: BodyCache) -> Scores:
    """Errors of the twelve joints of the limbs (coco17) and of the torso, against true joints.

    MPJPE after moving the middles of the hips onto each other; centred MPJPE after moving the means of the
    twelve joints, which does not suffer from where exactly the truth has its hips; PA-MPJPE over the twelve;
    the torso rotation error as `metrics.torso_frames` defines it. Errors of single joints are centred ones.
    "MPJPE with true bone lengths" is MPJPE after `with_bone_lengths`: what is left without the people's size
    and where exactly the truth has its joints.
    """
    columns = nan_columns(len(predictions), *LIMB_COLUMNS, TRUE_LENGTHS)
    by_joint = np.full((len(predictions), len(LIMBS)), np.nan)
    truth, known = named_joints(predictions, LIMBS)
    known &= np.isfinite(predictions.pose).all(axis=(1, 2, 3))
    hips = [LIMBS.index(name) for name in ("left_hip", "right_hip")]
    for some, predicted in posed_predictions(predictions, bodies, np.flatnonzero(known)):
        p = pick(predicted.joints("coco17"), "coco17", LIMBS)
        torsos = [
            metrics.torso_frames(*(x[:, LIMBS.index(name)] for name in TORSO)) for x in (p, truth[some])
        ]
        by_joint[some] = metrics.joint_errors(p, truth[some], range(len(LIMBS)))
        errors = (
            metrics.mpjpe(p, truth[some], hips),
            by_joint[some].mean(axis=1),
            metrics.pa_mpjpe(p, truth[some]),
            metrics.rotation_error(*torsos),
            metrics.mpjpe(with_bone_lengths(p, truth[some]), truth[some], hips),
        )
        for name, values in zip(columns, errors, strict=True):
            columns[name][some] = values
    notes = []
    if not known.all():
        left_out = int((~known).sum())
        notes.append(
            f"{left_out} of {len(known)} people are not measured: not all of their twelve joints are known."
        )
    return Scores(means(columns), columns, joint_columns(LIMBS, by_joint), notes=tuple(notes))


def with_bone_lengths(limbs: NDArray[np.float64], of: NDArray[np.float64]) -> NDArray[np.float64]:
    """People whose bones point where those of `limbs` do and are as long as those of `of`.

    The bones are the limbs, and between their roots the lines from the middle of the hips to that of the
    shoulders, and from either middle to the two sides.

    Args:
        limbs: (N, 12, 3) joints in the order of LIMBS.
        of: the same.

    Returns:
        (N, 12, 3), the middle of the hips at the origin.
    """
    shoulders, hips = (
        [LIMBS.index(f"{side}_{name}") for side in ("left", "right")] for name in ("shoulder", "hip")
    )

    def bone(start: NDArray[np.float64], end: NDArray[np.float64], as_long: NDArray[np.float64]):
        length = np.linalg.norm(as_long, axis=-1, keepdims=True)
        return (end - start) * (
            length / np.maximum(np.linalg.norm(end - start, axis=-1, keepdims=True), 1e-9)
        )

    result = np.zeros_like(limbs)
    middles = [(limbs[:, pair].mean(1), of[:, pair].mean(1)) for pair in (hips, shoulders)]
    (hip, true_hip), (neck, true_neck) = middles
    places = (np.zeros_like(hip), bone(hip, neck, true_neck - true_hip))
    for pair, place, (middle, true_middle) in zip((hips, shoulders), places, middles, strict=True):
        for joint in pair:
            result[:, joint] = place + bone(middle, limbs[:, joint], of[:, joint] - true_middle)
    for upper, lower in LIMB_BONES:
        result[:, lower] = result[:, upper] + bone(
            limbs[:, upper], limbs[:, lower], of[:, lower] - of[:, upper]
        )
    return result


def named_joints(
    predictions: Predictions, names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """True joints by name, from the first joint set that has all of them.

    Returns:
        joints (N, K, 3) in metres, and a mask (N,) of the people who have them.
    """
    found = np.zeros((len(predictions), len(names), 3))
    known = np.zeros(len(predictions), bool)
    for joint_set, joints in predictions.joints.items():
        if set(names) <= set(JOINT_SETS[joint_set].names):
            chosen = pick(joints, joint_set, names)
            valid = (chosen[..., 3] > 0).all(axis=1) & ~known
            found[valid] = chosen[valid, :, :3]
            known |= valid
    return found, known


def other_topology(predicted: str, true: str) -> str:
    """The note that vertices cannot be compared."""
    return f"PVE: n/a, since the vertices of {predicted} and {true} are not the same points of the skin."


def joint_columns(names: Sequence[str], errors: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The errors (N,) of each named joint, of (N, K) errors."""
    return dict(zip(names, errors.T, strict=True))


def pixels(predictions: Predictions, bodies: BodyCache, joint_set: str) -> NDArray[np.float64]:
    """The predicted joints projected to the full image, (N, K, 2) px."""
    parts = []
    for some, predicted in posed_predictions(predictions, bodies, np.arange(len(predictions))):
        points = predicted.joints(joint_set) + predictions.translation[some, None].astype(np.float64)
        seen = points[..., :2] / np.maximum(points[..., 2:], 0.1)
        parts.append(seen * predictions.focal[some, None] + predictions.principal_point[some, None])
    return np.concatenate(parts)


def keypoint_errors(predictions: Predictions, bodies: BodyCache, joint_set: str) -> NDArray[np.float64]:
    """Distances in px (N, K) between predicted and labelled joints; NaN where there is no label."""
    return keypoint_distances(pixels(predictions, bodies, joint_set), predictions.keypoints[joint_set])


def keypoint_distances(found: NDArray[np.float64], labels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distances (N, K) between points (N, K, 2) and labels (N, K, 3); NaN where the third value is 0."""
    distance = np.linalg.norm(found - labels[..., :2].astype(np.float64), axis=-1)
    return np.where(labels[..., 2] > 0, distance, np.nan)


def longer_side(predictions: Predictions) -> NDArray[np.float64]:
    """The longer side (N,) of each box, px."""
    boxes = predictions.boxes.astype(np.float64)
    return (boxes[:, 2:] - boxes[:, :2]).max(axis=1)


def pck_of_people(errors: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """PCK in percent of each person (N,); NaN without labels."""
    return 100 * np.array([metrics.pck(row, threshold) for row in errors])

"""Leeds Sports Pose Extended: sports poses, on photos that are never trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.lspet import LSPET, VAL_EVERY
from fullframe.data.sample import Sample
from fullframe.evaluate import metrics
from fullframe.evaluate.posed_bodies import BodyCache, pick
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocol import Protocol, Scores
from fullframe.evaluate.protocols.shared import (
    joint_columns,
    keypoint_distances,
    longer_side,
    pck_of_people,
    pixels,
)


def people(root: Path) -> Sequence[Sample]:
    """The people of the validation split with plausible labels."""
    return LSPET(root, "val")


def measure(predictions: Predictions, bodies: BodyCache) -> Scores:
    """PCK@0.1 of the box's longer side, and PCK@0.2 of the torso (left shoulder to right hip).

    Many labels have left and right exchanged. "PCK@0.1, sides free" compares each person also with the
    exchanged labels, and the better one counts.
    """
    found, labels = pixels(predictions, bodies, "lsp14"), predictions.keypoints["lsp14"]
    exchanged = labels[:, list(JOINT_SETS["lsp14"].flip_permutation)]
    errors, side = keypoint_distances(found, labels), longer_side(predictions)[:, None]
    by_box, by_box_mirrored = errors / side, keypoint_distances(found, exchanged) / side
    better = pck_of_people(by_box_mirrored, 0.1) > pck_of_people(by_box, 0.1)
    sides_free = np.where(better[:, None], by_box_mirrored, by_box)
    ends = pick(labels.astype(np.float64), "lsp14", ["left_shoulder", "right_hip"])
    torso = np.linalg.norm(ends[:, 0, :2] - ends[:, 1, :2], axis=-1)
    measurable = (ends[..., 2] > 0).all(axis=1) & (torso > 0)
    by_torso = errors / np.where(measurable, torso, np.nan)[:, None]
    return Scores(
        {
            "PCK@0.1 %": 100 * metrics.pck(by_box, 0.1),
            "PCK@0.1 %, sides free": 100 * metrics.pck(sides_free, 0.1),
            "PCK@0.2 torso %": 100 * metrics.pck(by_torso, 0.2),
        },
        {
            "PCK@0.1 % per person": pck_of_people(by_box, 0.1),
            "PCK@0.2 torso % per person": pck_of_people(by_torso, 0.2),
        },
        {k: 100 * v for k, v in joint_columns(JOINT_SETS["lsp14"].names, by_box).items()},
        notes=("Joint errors are reported as a percentage of the longer side of the box.",),
    )


PROTOCOL = Protocol(
    title="LSPET, validation split",
    open=people,
    measure=measure,
    options={
        "people": f"photos whose number is a multiple of {VAL_EVERY}, without impossible labels",
        "boxes": "around the labelled joints times 1.15, enlarged 1.2 times",
        "joints": "14 of LSP; pooled over all joints of all people",
        "camera": "guessed: focal length = diagonal of the image",
    },
)

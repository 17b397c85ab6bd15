"""COCO keypoints: how well bodies cover labelled joints of real photos."""

from collections.abc import Sequence
from pathlib import Path

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.coco import COCO
from fullframe.data.sample import Sample
from fullframe.evaluate import metrics
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocol import Protocol, Scores
from fullframe.evaluate.protocols.shared import joint_columns, keypoint_errors, longer_side, pck_of_people

MIN_JOINTS, MIN_HEIGHT = 12, 100


def people(root: Path) -> Sequence[Sample]:
    """Those seen well enough, of annotations.json and images/ if there, else of the 2017 validation set."""
    own = root / "annotations.json"
    standard = root / "annotations" / "person_keypoints_val2017.json"
    annotations, images = (own, root / "images") if own.is_file() else (standard, root / "val2017")
    return COCO(annotations, images, min_joints=MIN_JOINTS, min_height=MIN_HEIGHT)


def measure(predictions: Predictions, bodies: BodyCache) -> Scores:
    """PCK@0.1: the share of labelled joints within a tenth of the box's longer side."""
    errors = keypoint_errors(predictions, bodies, "coco17") / longer_side(predictions)[:, None]
    return Scores(
        {"PCK@0.1 %": 100 * metrics.pck(errors, 0.1)},
        {"PCK@0.1 % per person": pck_of_people(errors, 0.1)},
        {k: 100 * v for k, v in joint_columns(JOINT_SETS["coco17"].names, errors).items()},
        notes=("Joint errors are reported as a percentage of the longer side of the box.",),
    )


PROTOCOL = Protocol(
    title="COCO keypoints",
    open=people,
    measure=measure,
    options={
        "people": f"with {MIN_JOINTS} labelled joints or more, {MIN_HEIGHT} px high or more",
        "boxes": "labelled, enlarged 1.2 times",
        "joints": "17 of COCO, all that are labelled; pooled over all joints of all people",
        "camera": "guessed: focal length = diagonal of the image",
    },
)

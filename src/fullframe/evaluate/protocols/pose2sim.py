"""Anybody's own recording in Pose2Sim's layout, measured on single images and on whole clips."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.data.formats.pose2sim import Pose2Sim
from fullframe.data.sample import Sample
from fullframe.evaluate.clip_predictions import MIN_IOU, predict_clips
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocol import Protocol, Scores, means
from fullframe.evaluate.protocols import gestures
from fullframe.evaluate.protocols.shared import limb_errors

SECONDS = 0.1
"""Between the images that are measured of a clip."""

FOUND = "found %"


def people_of_images(root: Path) -> Sequence[Sample]:
    """Everyone in every clip, every SECONDS."""
    return Pose2Sim(root, SECONDS)


def people_of_clips(root: Path) -> Sequence[Sample]:
    """Everyone in every frame of every clip."""
    return Pose2Sim(root)


def measure_clips(predictions: Predictions, bodies: BodyCache) -> Scores:
    """`limb_errors` of the people who were found, and the share of those."""
    found = np.isfinite(predictions.pose).all(axis=(1, 2, 3))
    scores = limb_errors(predictions, bodies)
    columns: dict[str, NDArray[np.float64]] = {**scores.people, FOUND: np.where(found, 100.0, 0.0)}
    return replace(scores, values=means(columns), people=columns, notes=())


PROTOCOL = Protocol(
    title="Pose2Sim, images",
    open=people_of_images,
    measure=limb_errors,
    options={
        "people": f"one image in {SECONDS} s of every clip, the distortion of the lens undone",
        **gestures.OPTIONS,
        "ground truth": "triangulated points of the .trc files",
    },
    enlarge=gestures.PROTOCOL.enlarge,
    by_sequence=True,
)

CLIPS = replace(
    PROTOCOL,
    title="Pose2Sim, whole clips",
    open=people_of_clips,
    measure=measure_clips,
    predict=predict_clips,
    options={
        **PROTOCOL.options,
        "people": "every frame of every clip, the distortion of the lens undone",
        "boxes": f"detected and tracked as `fullframe run` does; true people are those of IoU over {MIN_IOU}",
    },
)

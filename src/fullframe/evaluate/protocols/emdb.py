"""EMDB 1 (Kaufmann et al., ICCV 2023), measured as by its authors' evaluation code."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.emdb import EMDB
from fullframe.data.sample import Sample
from fullframe.evaluate import metrics
from fullframe.evaluate.posed_bodies import BodyCache, posed_pairs
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocol import Protocol, Published, Scores, mean, means
from fullframe.evaluate.protocols.shared import joint_columns, nan_columns, other_topology

COLUMNS = ("MPJPE mm", "PA-MPJPE mm", "MVE mm", "PA-MVE mm", "MPJAE deg", "PA-MPJAE deg")
JITTER = "jitter 10 m/s^3"


def people(root: Path) -> Sequence[Sample]:
    """The person of every good frame of the sequences of EMDB 1."""
    return EMDB(root)


def measure(predictions: Predictions, bodies: BodyCache) -> Scores:
    """Errors over all frames together; jitter as the mean over the sequences."""
    columns = nan_columns(len(predictions), *COLUMNS)
    by_joint = np.full((len(predictions), 24), np.nan)
    joints = np.full((len(predictions), 24, 3), np.nan)
    notes: set[str] = set()
    for some, predicted, true in posed_pairs(predictions, bodies):
        p, g = predicted.smpl24, true.smpl24
        joints[some] = p
        by_joint[some] = metrics.joint_errors(p, g, metrics.MID_HIP)
        alignment = metrics.procrustes(p, g)
        rotations = predictions.pose[some], predictions.true_pose[some]
        columns["MPJPE mm"][some] = by_joint[some].mean(axis=1)
        columns["PA-MPJPE mm"][some] = metrics.pa_mpjpe(p, g)
        columns["MPJAE deg"][some] = metrics.mpjae(*rotations)
        columns["PA-MPJAE deg"][some] = metrics.mpjae(*rotations, alignment)
        if predicted.vertices.shape == true.vertices.shape:
            hips = (metrics.root_of(x, metrics.MID_HIP) for x in (p, g))
            columns["MVE mm"][some] = metrics.pve(predicted.vertices, true.vertices, *hips)
            columns["PA-MVE mm"][some] = metrics.pve(alignment.apply(predicted.vertices), true.vertices)
        else:
            notes.add(other_topology(predicted.body.name, true.body.name))
    jitters = []
    for sequence in np.unique(predictions.sequences).tolist():
        inside = np.flatnonzero(predictions.sequences == sequence)
        inside = inside[np.argsort(predictions.frames[inside], kind="stable")]
        jitters.append(metrics.jitter(joints[inside]))
    return Scores(
        {**means(columns), JITTER: mean(np.array(jitters))},
        columns,
        joint_columns(JOINT_SETS["smpl24"].names, by_joint),
        notes=tuple(sorted(notes)),
    )


PROTOCOL = Protocol(
    title="EMDB 1",
    open=people,
    measure=measure,
    options={
        "people": "frames that good_frames_mask keeps",
        "boxes": "of the data set, enlarged 1.2 times",
        "camera": "true",
        "joints": "24 of SMPL, aligned at the middle of the hips",
        "angles": "global rotations of pelvis, hips, knees, shoulders and elbows",
        "jitter": "without translation, 30 frames/s, nine joints set to zero; mean over sequences",
        "ground truth": "SMPL of the person's gender",
    },
    published=(
        Published(
            "CLIFF HR-W48",
            dict(zip((*COLUMNS, JITTER), (103.1, 68.8, 122.9, 81.3, 23.1, 21.6, 55.5), strict=True)),
        ),
    ),
)

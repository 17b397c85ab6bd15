"""MPI-INF-3DHP's test set (Mehta et al., 3DV 2017), measured as SPIN does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fullframe.data.formats.mpi_inf_3dhp import MPIINF3DHP
from fullframe.data.sample import Sample
from fullframe.evaluate import metrics
from fullframe.evaluate.posed_bodies import BodyCache, pick, posed_predictions
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocol import Protocol, Scores, means
from fullframe.evaluate.protocols.shared import (
    J17,
    joint_columns,
    named_joints,
    nan_columns,
    pck_of_people,
)

THRESHOLD = 150.0
"""Of PCK, mm."""

_PCK = (f"PCK@{THRESHOLD:.0f}mm %", "AUC %")


def people(root: Path) -> Sequence[Sample]:
    """Everyone in the valid frames of TS1 to TS6."""
    return MPIINF3DHP(root, "test")


def measure(predictions: Predictions, bodies: BodyCache) -> Scores:
    """MPJPE, PA-MPJPE, PCK and AUC over 17 joints, pelvis aligned, against joints at universal scale.

    SPIN's joint set and plain means; the data set's own code averages PCK over groups of 14 joints. Predicted
    joints are those of the Human3.6M regressor.
    """
    number = len(predictions)
    columns = nan_columns(number, "MPJPE mm", "PA-MPJPE mm", *_PCK)
    errors = np.full((number, len(J17)), np.nan)
    truth, known = named_joints(predictions, J17)
    root = J17.index("pelvis")
    for some, predicted in posed_predictions(predictions, bodies, np.flatnonzero(known)):
        p = pick(predicted.joints("h36m17"), "h36m17", J17)
        errors[some] = metrics.joint_errors(p, truth[some], root)
        columns["MPJPE mm"][some] = errors[some].mean(axis=1)
        columns["PA-MPJPE mm"][some] = metrics.pa_mpjpe(p, truth[some])
        columns[_PCK[0]][some] = pck_of_people(errors[some], THRESHOLD)
        columns[_PCK[1]][some] = [100 * metrics.auc(row) for row in errors[some]]
    return Scores(means(columns), columns, joint_columns(J17, errors))


PROTOCOL = Protocol(
    title="MPI-INF-3DHP test",
    open=people,
    measure=measure,
    options={
        "people": "frames with valid_frame = 1 of TS1 to TS6",
        "boxes": "around the labelled joints, enlarged 1.2 times",
        "joints": "17 of the Human3.6M regressor, pelvis aligned (SPIN), plain means",
        "ground truth": "univ_annot3, at universal scale",
    },
)

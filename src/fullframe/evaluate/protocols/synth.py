"""synth-val: 2000 synthetic people whose bodies and cameras are known exactly."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch.utils.data import Subset

from fullframe.data.sample import Sample
from fullframe.evaluate import metrics
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocol import Protocol, Scores, means
from fullframe.evaluate.protocols.shared import PVE, mesh_errors
from fullframe.synth.synthetic_people import VAL_PEOPLE, synth_val

ROTATION = "root rotation deg"


def people(root: Path) -> Sequence[Sample]:
    """The benchmark synth-val; nothing is read from `root`."""
    return Subset(synth_val(), range(VAL_PEOPLE))  # type: ignore[arg-type, return-value]


def measure(predictions: Predictions, bodies: BodyCache) -> Scores:
    """MPJPE, PA-MPJPE and PVE as on 3DPW, and the angle between predicted and true root rotation."""
    scores = mesh_errors(predictions, bodies)
    rotation = metrics.rotation_error(predictions.pose[:, 0], predictions.true_pose[:, 0])
    columns = {name: scores.people[name] for name in ("MPJPE mm", "PA-MPJPE mm", PVE)}
    columns[ROTATION] = rotation
    values = {**means(columns), f"{ROTATION}, median": float(np.median(rotation))}
    return replace(scores, values=values, people=columns, medians=(ROTATION,))


PROTOCOL = Protocol(
    title="synth-val",
    open=people,
    measure=measure,
    regressors=("h36m17",),
    needs_root=False,
    options={
        "people": f"the first {VAL_PEOPLE} of fullframe.synth.synthetic_people.synth_val()",
        "boxes": "around what is seen of the true body, enlarged 1.2 times",
        "joints": "14 of the Human3.6M regressor, pelvis aligned",
        "camera": "true",
    },
)

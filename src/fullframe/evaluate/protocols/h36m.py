"""Human3.6M (Ionescu et al., PAMI 2014), protocols 1 and 2, against MoSh and marker joints."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fullframe.data.formats.h36m import CAMERAS, FRONTAL, H36M
from fullframe.data.formats.spin_npz import SPINList
from fullframe.data.sample import Sample
from fullframe.evaluate import metrics
from fullframe.evaluate.posed_bodies import BodyCache, pick, posed_pairs, posed_predictions
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocol import Protocol, Published, Scores, means
from fullframe.evaluate.protocols.shared import J14, joint_columns, named_joints, nan_columns

COLUMNS = ("MPJPE (MoSh) mm", "PA-MPJPE (MoSh) mm", "MPJPE (markers) mm", "PA-MPJPE (markers) mm")

_NAMES = ("pelvis", *J14)


def people_1(root: Path) -> Sequence[Sample]:
    """S9 and S11 in every 5th frame of all cameras: SPIN's list if it is there, else the raw files."""
    return _people(root, "h36m_valid_protocol1.npz", CAMERAS)


def people_2(root: Path) -> Sequence[Sample]:
    """S9 and S11 in every 5th frame of the frontal camera: SPIN's list if it is there, else the raw files."""
    return _people(root, "h36m_valid_protocol2.npz", (FRONTAL,))


def _people(root: Path, listed: str, cameras: tuple[str, ...]) -> Sequence[Sample]:
    if (root / listed).is_file():
        # As CLIFF does, its windows' side is the height of the crop.
        return SPINList(root / listed, root, aspect=4 / 3)
    return H36M(root, "test", cameras)


def measure(predictions: Predictions, bodies: BodyCache) -> Scores:
    """MPJPE and PA-MPJPE over 14 joints, pelvis aligned, against two truths.

    Papers differ in the truth: CLIFF takes joints regressed from the SMPL bodies that MoSh fitted to the
    markers, SPIN those that come with the markers.
    """
    number = len(predictions)
    columns = nan_columns(number, *COLUMNS)
    mosh, markers = (np.full((number, len(J14)), np.nan) for _ in range(2))
    for some, predicted, true in posed_pairs(predictions, bodies):
        p, g = (pick(each.joints("h36m17"), "h36m17", _NAMES) for each in (predicted, true))
        mosh[some] = metrics.joint_errors(p, g)[:, 1:]
        columns[COLUMNS[1]][some] = metrics.pa_mpjpe(p[:, 1:], g[:, 1:])
    truth, known = named_joints(predictions, _NAMES)
    for some, predicted in posed_predictions(predictions, bodies, np.flatnonzero(known)):
        p, g = pick(predicted.joints("h36m17"), "h36m17", _NAMES), truth[some]
        markers[some] = metrics.joint_errors(p, g)[:, 1:]
        columns[COLUMNS[3]][some] = metrics.pa_mpjpe(p[:, 1:], g[:, 1:])
    columns[COLUMNS[0]], columns[COLUMNS[2]] = mosh.mean(axis=1), markers.mean(axis=1)
    notes = [
        f"{int(has.sum())} of {number} people have {kind}."
        for kind, has in (("MoSh bodies", predictions.has_body), ("joints of the markers", known))
    ]
    by_joint = mosh if predictions.has_body.any() else markers
    return Scores(means(columns), columns, joint_columns(J14, by_joint), notes=tuple(notes))


def _protocol(number: int, published: tuple[Published, ...]) -> Protocol:
    return Protocol(
        title=f"Human3.6M, protocol {number}",
        open=people_1 if number == 1 else people_2,
        measure=measure,
        regressors=("h36m17",),
        options={
            "people": f"S9 and S11, every 5th frame, {'all cameras' if number == 1 else 'frontal camera'}",
            "boxes": "crops as high as the windows of SPIN's list, or as its windows around the masks",
            "camera": "true",
            "joints": "14 of the Human3.6M regressor, pelvis aligned",
            "ground truth": "MoSh: of SMPL fitted to the markers (CLIFF); markers: as recorded (SPIN)",
        },
        published=published,
    )


def _line(model: str, mpjpe: float | None, pa_mpjpe: float, truth: int) -> Published:
    values = {COLUMNS[truth]: mpjpe, COLUMNS[truth + 1]: pa_mpjpe}
    return Published(model, {name: value for name, value in values.items() if value is not None})


_MOSH, _MARKERS = 0, 2
PROTOCOL_1 = _protocol(1, ())
PROTOCOL_2 = _protocol(
    2,
    (
        _line("HMR", None, 56.8, _MARKERS),
        _line("HMR-EFT", 63.2, 43.8, _MARKERS),
        _line("SPIN", None, 41.1, _MARKERS),
        _line("CLIFF Res-50, without 3DPW", 50.5, 35.1, _MOSH),
        _line("CLIFF Res-50, trained with 3DPW", 52.8, 35.7, _MOSH),
        _line("CLIFF HR-W48, without 3DPW", 47.1, 32.7, _MOSH),
        _line("CLIFF HR-W48, trained with 3DPW", 47.6, 32.7, _MOSH),
    ),
)

"""3DPW's test sequences (von Marcard et al., ECCV 2018), measured as SPIN and CLIFF do."""

from collections.abc import Sequence
from pathlib import Path

from fullframe.data.formats.threedpw import ThreeDPW
from fullframe.data.sample import Sample
from fullframe.evaluate.protocol import Protocol, Published
from fullframe.evaluate.protocols.resized import Resized
from fullframe.evaluate.protocols.shared import PVE, mesh_errors

LONGER_SIDE = 960
"""3DPW's photos of 1920 x 1080 px are halved, as in CLIFF's evaluation."""


def people(root: Path) -> Sequence[Sample]:
    """Everyone in the test sequences, in frames whose camera is known."""
    return Resized(ThreeDPW(root, "test"), LONGER_SIDE)


def line(model: str, mpjpe: float, pa_mpjpe: float, pve: float | None = None) -> Published:
    """A line of a paper's table."""
    values = {"MPJPE mm": mpjpe, "PA-MPJPE mm": pa_mpjpe}
    return Published(model, values if pve is None else {**values, PVE: pve})


OPTIONS = {
    "boxes": "around projected true joints, enlarged 1.2 times",
    "images": f"longer side {LONGER_SIDE} px",
    "camera": "true",
    "joints": "14 of the Human3.6M regressor, pelvis aligned",
    "ground truth": "SMPL of the person's gender",
    "PVE": "pelvis aligned; unaligned = without translation; papers do not always say which",
}

PROTOCOL = Protocol(
    title="3DPW test",
    open=people,
    measure=mesh_errors,
    regressors=("h36m17",),
    options=OPTIONS,
    published=(
        line("HMR", 130.0, 81.3),
        line("SPIN", 96.9, 59.2, 116.4),
        line("PARE, trained with 3DPW", 79.1, 46.4, 94.2),
        line("ImpHMR, without 3DPW", 81.8, 49.8, 96.4),
        line("ImpHMR, trained with 3DPW", 74.3, 45.4, 87.1),
        line("CLIFF Res-50, trained with 3DPW", 72.0, 45.7, 85.3),
        line("CLIFF HR-W48, without 3DPW", 72.9, 45.2, 85.2),
        line("CLIFF HR-W48, trained with 3DPW", 69.0, 43.0, 81.2),
    ),
)

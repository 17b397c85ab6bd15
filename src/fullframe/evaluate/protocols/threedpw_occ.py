"""3DPW-OCC: the sequences of 3DPW with occlusions, from all its splits (PARE, Kocabas et al., ICCV 2021)."""

from collections.abc import Sequence
from pathlib import Path

from fullframe.data.formats.threedpw import OCCLUDED, ThreeDPW
from fullframe.data.sample import Sample
from fullframe.evaluate.protocol import Protocol
from fullframe.evaluate.protocols.resized import Resized
from fullframe.evaluate.protocols.shared import mesh_errors
from fullframe.evaluate.protocols.threedpw import LONGER_SIDE, OPTIONS, line


def people(root: Path) -> Sequence[Sample]:
    """Everyone in the sequences of the list, in frames whose camera is known."""
    return Resized(ThreeDPW(root, "occluded"), LONGER_SIDE)


PROTOCOL = Protocol(
    title="3DPW-OCC",
    open=people,
    measure=mesh_errors,
    regressors=("h36m17",),
    options={"people": f"{len(OCCLUDED)} kinds of sequences of all splits", **OPTIONS},
    published=(line("ImpHMR", 86.5, 54.4, 104.7),),
)

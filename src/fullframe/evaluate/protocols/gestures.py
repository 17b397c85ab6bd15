"""Real people with 3D truth that come with fullframe: a woman who acts out words."""

from collections.abc import Sequence
from pathlib import Path

from fullframe.data.formats.gestures import gestures
from fullframe.data.sample import Sample
from fullframe.evaluate.protocol import Protocol
from fullframe.evaluate.protocols.shared import limb_errors
from fullframe.geometry.box import DETECTION_ENLARGE


def people(root: Path) -> Sequence[Sample]:
    """The 160 frames; nothing is read from `root`."""
    return gestures()


OPTIONS = {
    "boxes": "around limbs and nose, 12 % wider on each side and 19 % at the top; enlarged "
    f"{DETECTION_ENLARGE} times, as `fullframe run` does",
    "joints": "12 of COCO: shoulders, elbows, wrists, hips, knees, ankles; errors by joint are centred",
    "camera": "true",
    "intervals": "95 %, bootstrap over clips",
}

PROTOCOL = Protocol(
    title="Gestures",
    open=people,
    measure=limb_errors,
    options={
        "people": "7 clips of one woman, every 12th frame, the distortion of the lens undone",
        **OPTIONS,
        "ground truth": "triangulated COCO-style keypoints, whose hips lie 45 mm in front of the line from "
        "shoulders to ankles: compare the centred and the PA errors",
    },
    needs_root=False,
    enlarge=DETECTION_ENLARGE,
    by_sequence=True,
)

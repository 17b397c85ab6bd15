"""TRC (Motion Analysis): markers over time, for OpenSim, Pose2Sim and other programs of biomechanics."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel
from fullframe.export.markers import MARKERS, MarkerSet
from fullframe.export.tracks import motions
from fullframe.geometry.world import WorldFrame, level_frame
from fullframe.io.atomic import atomic_path
from fullframe.motion.joint_angles import ISB_AXES
from fullframe.results.clip import Clip


def lab_frame(ground: NDArray[np.float64]) -> WorldFrame:
    """ISB's axes of the laboratory: x towards the camera, y up, z to the left of the picture.

    The origin is below the camera, at the height of the ground if that is known. A person who stands upright
    and faces the camera looks along x, and has all angles of the pelvis zero.

    Args:
        ground: (4,) as in a Clip.
    """
    level = level_frame(ground)
    return WorldFrame(ISB_AXES.T @ level.rotation, ISB_AXES.T @ level.origin)


def write_clip_trc(clip: Clip, body: BodyModel, path: Path) -> list[Path]:
    """A file <stem>_<track id>.trc for each person, with MARKERS in metres in the axes of `lab_frame`.

    The clip's mean rate, its times and frames, from the first frame that shows the person to the last; nan
    while the person is out of sight.

    Raises:
        ValueError: the body is not the clip's, or a pose or translation is not finite.
        BodyFileError: the body has no regressor for coco17.
    """
    level, markers = level_frame(clip.ground), MarkerSet(body)
    written = []
    for motion in motions(clip, body, level):
        points = markers.positions(motion.track) @ ISB_AXES
        file = path.with_name(f"{path.stem}_{motion.track.id}.trc")
        times = motion.track.times - clip.times[0]
        rows = _rows(motion.frames, times, points, motion.rows >= 0)
        with atomic_path(file) as temporary:
            temporary.write_text(_header(file.name, clip.fps, motion.frames) + rows, encoding="utf-8")
        written.append(file)
    return written


def _header(name: str, fps: float, frames: NDArray[np.int64]) -> str:
    rate = f"{fps:.6g}"
    fields = {
        "DataRate": rate,
        "CameraRate": rate,
        "NumFrames": len(frames),
        "NumMarkers": len(MARKERS),
        "Units": "m",
        "OrigDataRate": rate,
        "OrigDataStartFrame": frames[0],
        "OrigNumFrames": len(frames),
    }
    lines = (
        ("PathFileType", "4", "(X/Y/Z)", name),
        fields,
        fields.values(),
        ("Frame#", "Time", *(f"{marker}\t\t" for marker in MARKERS)),
        ("", "", *(f"{axis}{k}" for k in range(1, len(MARKERS) + 1) for axis in "XYZ")),
    )
    return "\n".join("\t".join(map(str, line)) for line in lines) + "\n\n"


def _rows(
    frames: NDArray[np.int64],
    times: NDArray[np.float64],
    points: NDArray[np.float64],
    seen: NDArray[np.bool_],
) -> str:
    text = io.StringIO()
    for frame, time, values, there in zip(frames, times, points.reshape(len(points), -1), seen, strict=True):
        fields = (f"{value:.5f}" if there else "nan" for value in values)
        text.write("\t".join((str(frame), f"{time:.6f}", *fields)) + "\n")
    return text.getvalue()

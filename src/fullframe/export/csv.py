"""Joints of a clip as a table that spreadsheets and statistics programs open."""

from pathlib import Path

from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.export.tracks import joints
from fullframe.io.atomic import atomic_path
from fullframe.results.clip import Clip

_COLUMNS = "frame,time_s,track_id,detected,joint,x_m,y_m,z_m\n"


def write_clip_csv(clip: Clip, body: BodyModel, path: Path) -> list[Path]:
    """One line per frame, person and joint, in the camera frame: x right, y down, z forward, metres.

    detected is 0 where a gap of the detector was filled.

    Raises:
        ValueError: the body is not the clip's, or a pose or translation is not finite.
    """
    places = joints(clip, body).tolist()
    names = JOINT_SETS["smpl24"].names
    rows = zip(clip.frames.tolist(), clip.track_ids.tolist(), clip.detected.tolist(), places, strict=True)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="ascii", newline="") as file:
        file.write(_COLUMNS)
        for frame, track, detected, points in rows:
            head = f"{frame},{clip.times[frame]:.4f},{track},{int(detected)}"
            for name, (x, y, z) in zip(names, points, strict=True):
                file.write(f"{head},{name},{x:.4f},{y:.4f},{z:.4f}\n")
    return [Path(path)]

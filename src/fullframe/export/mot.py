"""MOT: the coordinates of OpenSim's models over time."""

import io
from pathlib import Path

import numpy as np

from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.export.tracks import motions
from fullframe.geometry.world import level_frame
from fullframe.io.atomic import atomic_path
from fullframe.motion.joint_angles import ISB_AXES, opensim_coordinates
from fullframe.motion.skeleton import skeletons
from fullframe.results.clip import Clip

_HIPS_TO_PELVIS = np.array([0.056, 0.078, 0.0])
"""Metres from the middle of the hips to the origin of the pelvis in OpenSim's models, in its axes."""
_HEADER = """Coordinates
version=1
nRows={rows}
nColumns={columns}
inDegrees=yes

endheader
"""


def write_clip_mot(clip: Clip, body: BodyModel, path: Path) -> list[Path]:
    """A file <stem>_<track id>.mot for each person: `opensim_coordinates` in degrees, and the pelvis's place
    in metres in the axes of `lab_frame`, those of the markers of `write_clip_trc`.

    The clip's mean rate and its times; there are no rows while the person is out of sight.

    Raises:
        ValueError: the body is not the clip's, or a pose or translation is not finite.
    """
    names = JOINT_SETS["smpl24"].names
    hips = [names.index("left_hip"), names.index("right_hip")]
    written = []
    for motion in motions(clip, body, level_frame(clip.ground)):
        track = motion.track
        pose = track.matrices
        betas = np.tile(track.betas, (len(pose), 1))
        posed = skeletons(body, betas, pose, track.pelvis - track.rest[0])
        pelvis = posed.joints[:, hips].mean(axis=1) + pose[:, 0] @ (ISB_AXES @ _HIPS_TO_PELVIS)
        columns = {"time": track.times - clip.times[0]} | opensim_coordinates(pose)
        columns |= dict(zip(("pelvis_tx", "pelvis_ty", "pelvis_tz"), (pelvis @ ISB_AXES).T, strict=True))
        values = np.stack(list(columns.values()), axis=1)[motion.rows >= 0]
        text = io.StringIO()
        np.savetxt(text, values, fmt="%.6f", delimiter="\t")
        file = path.with_name(f"{path.stem}_{track.id}.mot")
        header = _HEADER.format(rows=len(values), columns=len(columns)) + "\t".join(columns) + "\n"
        with atomic_path(file) as temporary:
            temporary.write_text(header + text.getvalue(), encoding="ascii")
        written.append(file)
    return written

"""Motion as AMASS stores it (Mahmood et al., ICCV 2019): one .npz per person for SMPL's own tools."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fullframe.body.body_model import BodyModel
from fullframe.export.tracks import even_rate, resampled, tracks
from fullframe.geometry.world import Z_UP, WorldFrame, level_frame
from fullframe.io.atomic import write_npz
from fullframe.results.clip import Clip

_SMPL_PELVIS = np.array([0.0, -0.22, 0.03])
"""About where the mean SMPL body has its pelvis at rest, metres; the open body has it in the origin."""


def write_clip_smpl(clip: Clip, body: BodyModel, path: Path) -> list[Path]:
    """A file <stem>_<track id>.smpl.npz for each person, in AMASS's keys, shapes and axes.

    trans (T, 3) metres and poses (T, 156), axis-angle: SMPL-H's root and 21 body joints, then 30 finger
    joints at rest; SMPL's two hand joints have no counterpart and are left out. z up, and z = 0 on the ground
    if that is known. gender, betas (10,), and mocap_framerate and mocap_frame_rate, the two names of AMASS's
    releases (see `even_rate`).

    Betas of the open body mean nothing to SMPL: for it `betas` are zero, the mean SMPL body, and its pelvis
    is put where the person's was. body and body_betas hold the true shape, axes the axes in words.

    All files begin with the clip's first frame. Until a person is first seen, at first_seen, seconds from
    that frame, their first pose is held.

    Raises:
        ValueError: the body is not the clip's, or a pose or translation is not finite.
    """
    fps = even_rate(clip)
    level = level_frame(clip.ground)
    axes = "metres, z up" + (", z = 0 on the ground" if np.isfinite(clip.ground).all() else "")
    written = []
    for track in tracks(clip, body, WorldFrame(Z_UP @ level.rotation, Z_UP @ level.origin)):
        even = resampled(track, fps, clip.times[0])
        smpl = clip.body.startswith("smpl")
        poses = np.zeros((len(even.times), 156), np.float32)
        vectors = Rotation.from_quat(even.rotations[:, :22].reshape(-1, 4)).as_rotvec()
        poses[:, :66] = vectors.reshape(-1, 66)
        # SMPL's pelvis is its place at rest plus trans, in whatever axes.
        trans = even.pelvis - (track.rest[0] if smpl else _SMPL_PELVIS)
        file = path.with_name(f"{path.stem}_{track.id}.smpl.npz")
        arrays = {
            "trans": trans.astype(np.float32),
            "poses": poses,
            "betas": np.resize(track.betas, 10) if smpl else np.zeros(10, np.float32),
            "gender": np.array(clip.body.removeprefix("smpl-") if smpl else "neutral"),
            "mocap_framerate": np.array(float(fps)),
            "mocap_frame_rate": np.array(float(fps)),
            "surface_model_type": np.array("smplh"),
            "first_seen": np.array(track.times[0] - clip.times[0]),
            "body": np.array(clip.body),
            "body_betas": track.betas,
            "axes": np.array(axes),
        }
        write_npz(file, arrays)
        written.append(file)
    return written

"""BVH (Biovision hierarchy): one skeleton and its motion per file, as text that animation tools read."""

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import PARENTS
from fullframe.export.rigs import RIGS, RiggedSkeleton, on_rig, rigged
from fullframe.export.skin import rest_mesh
from fullframe.export.tracks import even_rate, resampled, tracks
from fullframe.geometry.rotation import continuous_angles
from fullframe.geometry.world import Z_UP, WorldFrame, level_frame
from fullframe.io.atomic import atomic_path
from fullframe.results.clip import Clip

_CHILDREN = [[k for k in range(24) if PARENTS[k] == joint] for joint in range(24)]


def write_clip_bvh(clip: Clip, body: BodyModel, path: Path, rig: str = "smpl") -> list[Path]:
    """A file <stem>_<track id>.bvh for each person, all from the clip's first frame on; until a person is
    first seen, their first pose is held.

    Centimetres, as MotionBuilder, Mixamo and Unreal expect; y up, and y = 0 on the ground if that is known.
    At rest the skeleton is in the rig's rest pose and faces +z, with all bones' axes as the file's: BVH knows
    no others. z is up of the rig unreal, and people at rest face -y. `even_rate` frames per second; degrees,
    R = Rz Rx Ry. The hips are the root, as readers move no other joint.

    Args:
        rig: a name of RIGS.

    Raises:
        ValueError: the body is not the clip's, or a pose or translation is not finite.
    """
    fps = even_rate(clip)
    written = []
    names, up = RIGS[rig].bones, Z_UP if RIGS[rig].z_up else np.eye(3)
    level = level_frame(clip.ground)
    for track in tracks(clip, body, WorldFrame(up @ level.rotation, up @ level.origin)):
        skeleton = rigged(RIGS[rig], track.rest, up.T)
        even = resampled(on_rig(track, skeleton), fps, clip.times[0])
        angles = _angles(even.rotations)
        # The order of the file is that of its hierarchy: depth first.
        turns = angles[:, _depth_first(0)].reshape(len(angles), -1)
        motion = io.StringIO()
        np.savetxt(motion, np.concatenate((100 * even.pelvis, turns), axis=1), fmt="%.4f")
        tips = _tips(body, track.rest, track.betas, skeleton)
        lines = ["HIERARCHY", *_joint(0, names, 100 * skeleton.offsets, 100 * tips, "")]
        lines += ["MOTION", f"Frames: {len(turns)}", f"Frame Time: {1 / fps:.10f}"]
        file = path.with_name(f"{path.stem}_{track.id}.bvh")
        with atomic_path(file) as temporary:
            temporary.write_text("\n".join(lines) + "\n" + motion.getvalue(), encoding="ascii")
        written.append(file)
    return written


def _depth_first(joint: int) -> list[int]:
    return [joint] + [k for child in _CHILDREN[joint] for k in _depth_first(child)]


def _joint(
    joint: int,
    names: tuple[str, ...],
    offsets: NDArray[np.float64],
    tips: NDArray[np.float64],
    indent: str,
) -> list[str]:
    """The lines of a joint and all below it."""
    # The root's channels hold its place, so it has no offset: readers differ in whether they add the two.
    channels = "6 Xposition Yposition Zposition" if joint == 0 else "3"
    lines = [
        f"{indent}{'JOINT' if joint else 'ROOT'} {names[joint]}",
        indent + "{",
        f"{indent}\tOFFSET {_numbers(offsets[joint])}",
        f"{indent}\tCHANNELS {channels} Zrotation Xrotation Yrotation",
    ]
    for child in _CHILDREN[joint]:
        lines += _joint(child, names, offsets, tips, indent + "\t")
    if not _CHILDREN[joint]:
        tip = f"{indent}\t\tOFFSET {_numbers(tips[joint])}"
        lines += [f"{indent}\tEnd Site", indent + "\t{", tip, indent + "\t}"]
    return [*lines, indent + "}"]


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _tips(
    body: BodyModel, rest: NDArray[np.float64], betas: NDArray[np.float32], skeleton: RiggedSkeleton
) -> NDArray[np.float64]:
    """From each joint on to the end of its part of the body (24, 3), metres, in its bone's axes.

    Crown, toes, fingertips.

    Args:
        rest: (24, 3) joints in SMPL's T-pose.
    """
    vertices, _ = rest_mesh(body, betas)
    owner = body.data.weights.argmax(1)
    directions = rest - rest[list(PARENTS)]
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
    lengths = [
        max(((vertices[owner == joint] - rest[joint]) @ directions[joint]).max(initial=0.0), 0.01)
        for joint in range(24)
    ]
    return np.einsum("kab,ka->kb", skeleton.bases, directions * np.array(lengths)[:, None])


def _angles(quaternions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions (T, 24, 4) to z, x, y angles in degrees (T, 24, 3) without jumps in time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gimbal lock: any split of z and y is right
        angles = Rotation.from_quat(quaternions.reshape(-1, 4)).as_euler("ZXY", degrees=True)
    first = angles.reshape((*quaternions.shape[:-1], 3))
    start = first[0] if len(first) else np.zeros(first.shape[1:])
    return continuous_angles(first, first * (1, -1, 1) + 180, start)

"""What the animation formats share: one person's motion in y-up axes, level if the ground is known."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fullframe.body.body_model import BodyModel, forward_kinematics
from fullframe.geometry.world import WorldFrame
from fullframe.results.clip import Clip


class Track(NamedTuple):
    """One person at T times.

    Attributes:
        id: the track id.
        times: (T,) seconds of the clip, ascending.
        rotations: (T, 24, 4) unit quaternions x, y, z, w of SMPL's joints relative to their parents, the
            root's in the file's axes (or of a rig's bones, see `rigs.on_rig`); neighbours in time lie on the
            same half of the sphere.
        pelvis: (T, 3) metres in the file's axes.
        rest: (24, 3) joints of the shaped body at rest, metres.
        betas: (B,) its shape.
    """

    id: int
    times: NDArray[np.float64]
    rotations: NDArray[np.float64]
    pelvis: NDArray[np.float64]
    rest: NDArray[np.float64]
    betas: NDArray[np.float32]

    @property
    def matrices(self) -> NDArray[np.float64]:
        """(T, 24, 3, 3) of the rotations."""
        return Rotation.from_quat(self.rotations.reshape(-1, 4)).as_matrix().reshape(-1, 24, 3, 3)


class Motion(NamedTuple):
    """One person at the clip's mean rate, from the first frame that shows them to the last.

    Attributes:
        track: at T even times.
        frames: (T,) numbers of the times from the clip's first on, which are frames if the rate is constant.
        rows: (T,) the row of the clip that is nearest in time; -1 while the person is out of sight.
    """

    track: Track
    frames: NDArray[np.int64]
    rows: NDArray[np.int64]


def motions(clip: Clip, body: BodyModel, frame: WorldFrame) -> Iterator[Motion]:
    """The people of a clip, one after the other, at its mean rate.

    Raises:
        ValueError: the body is not the clip's, or a pose or translation is not finite.
    """
    step = 1 / clip.fps
    for (_, rows), track in zip(clip.tracks(), tracks(clip, body, frame), strict=True):
        even = resampled(track, clip.fps, clip.times[0])
        inside = even.times >= track.times[0] - 1e-3 * step
        # Of a person seen once between two even times, the one before.
        inside[-1] = True
        times = even.times[inside]
        after = np.clip(np.searchsorted(track.times, times - 1e-3 * step), 0, len(rows) - 1)
        before = np.maximum(after - 1, 0)
        nearest = np.where(
            np.abs(track.times[after] - times) <= np.abs(track.times[before] - times), after, before
        )
        away = np.abs(track.times[nearest] - times) > 1e-3 * step
        gap = away & (clip.frames[rows[after]] - clip.frames[rows[before]] > 1)
        shown = even._replace(times=times, rotations=even.rotations[inside], pelvis=even.pelvis[inside])
        yield Motion(shown, np.flatnonzero(inside), np.where(gap, -1, rows[nearest]))


def tracks(clip: Clip, body: BodyModel, frame: WorldFrame) -> Iterator[Track]:
    """The people of a clip in its world, one after the other.

    Raises:
        ValueError: the body is not the clip's, or a pose or translation is not finite.
    """
    check(clip, body)
    clip = clip.in_world(body)
    for track, rows in clip.tracks():
        betas = clip.betas[rows[0]]
        rest = body.rest_joints(torch.from_numpy(betas[None]))[0].numpy().astype(np.float64)
        pose = clip.pose[rows].astype(np.float64)
        pose[:, 0] = frame.rotation @ pose[:, 0]
        pelvis = (rest[0] + clip.translation[rows]) @ frame.rotation.T + frame.origin
        quaternions = Rotation.from_matrix(pose.reshape(-1, 3, 3)).as_quat().reshape(-1, 24, 4)
        yield Track(track, clip.times[clip.frames[rows]], continuous(quaternions), pelvis, rest, betas)


def seen(clip: Clip, track: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The clip's first time and each when a person comes or goes, and whether they are there after it."""
    present = np.zeros(clip.num_frames, bool)
    present[clip.frames[clip.track_ids == track]] = True
    changes = np.flatnonzero(np.diff(present, prepend=~present[:1]))
    return clip.times[changes], present[changes]


def check(clip: Clip, body: BodyModel) -> None:
    """Whether the body can show the clip.

    Raises:
        ValueError: the body is not the clip's, or a pose, shape or translation is not finite.
    """
    num_betas = clip.betas.shape[1]
    if len(clip) and (clip.body, num_betas) != (body.name, body.num_betas):
        raise ValueError(
            f"the clip's people have {num_betas} betas of the body {clip.body}, but the body given is "
            f"{body.name} with {body.num_betas}; use load_body({clip.body!r}, num_betas={num_betas})."
        )
    for name in ("pose", "betas", "translation"):
        values = getattr(clip, name)
        broken = np.argwhere(~np.isfinite(values))
        if len(broken):
            row = int(broken[0, 0])
            raise ValueError(
                f"the {name} of person {clip.track_ids[row]} in frame {clip.frames[row]} of the clip is not "
                "finite; leave such rows out with Clip.take."
            )


def joints(clip: Clip, body: BodyModel) -> NDArray[np.float32]:
    """SMPL's joints of every row, (N, 24, 3) metres in the camera frame, without making any mesh."""
    check(clip, body)
    if not len(clip):
        return np.zeros((0, 24, 3), np.float32)
    betas, pose, translation = (torch.from_numpy(x) for x in (clip.betas, clip.pose, clip.translation))
    return (forward_kinematics(body.rest_joints(betas), pose)[1] + translation[:, None]).numpy()


def even_rate(clip: Clip) -> int:
    """Frames per second of formats that have one rate: the multiple of 30 that is nearest to the clip's.

    Blender's SMPL add-ons refuse less than 30 and play anything but its multiples at a wrong speed.
    """
    return 30 * max(1, round(clip.fps / 30))


def resampled(track: Track, fps: float, start: float) -> Track:
    """The track at even times; rotations go the shortest way (Shoemake's slerp).

    While a person is out of sight, the motion is interpolated.

    Args:
        fps: frames per second.
        start: the first time, s; until the track's own first time, its first pose is held.
    """
    last = track.times[-1]
    times = start + np.arange(int((last - start) * fps + 1e-6) + 1) / fps
    after = np.clip(np.searchsorted(track.times, times, side="right"), 1, max(len(track.times) - 1, 1))
    after = np.minimum(after, len(track.times) - 1)
    before = np.maximum(after - 1, 0)
    step = track.times[after] - track.times[before]
    share = np.clip((times - track.times[before]) / np.where(step > 0, step, 1), 0, 1)
    earlier = Rotation.from_quat(track.rotations[before].reshape(-1, 4))
    turn = (earlier.inv() * Rotation.from_quat(track.rotations[after].reshape(-1, 4))).as_rotvec()
    moved = (earlier * Rotation.from_rotvec(np.repeat(share, 24)[:, None] * turn)).as_quat()
    pelvis = track.pelvis[before] + share[:, None] * (track.pelvis[after] - track.pelvis[before])
    return track._replace(times=times, rotations=continuous(moved.reshape(-1, 24, 4)), pelvis=pelvis)


def continuous(quaternions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signs chosen so that neighbours in time (T, ...) are less than half a turn apart."""
    flips = np.where((quaternions[1:] * quaternions[:-1]).sum(-1) < 0, -1.0, 1.0)
    signs = np.concatenate((np.ones((1, *flips.shape[1:])), np.cumprod(flips, axis=0)))
    return quaternions * signs[..., None]

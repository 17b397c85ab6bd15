"""From per-frame results to smooth tracks on a ground."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel
from fullframe.motion.feet import lock_feet as lock
from fullframe.motion.ground import LEVEL, contacts, fit_ground
from fullframe.motion.shape import Height, constant_shape
from fullframe.motion.skeleton import joint_positions, middles, soles
from fullframe.motion.smooth import smooth_robustly, smooth_rotations
from fullframe.motion.trajectories import (
    fill,
    from_view,
    intervals,
    merge,
    remove_duplicate_tracks,
    remove_spurious_tracks,
    segments,
    shots,
    to_view,
)
from fullframe.results.clip import Clip

ROTATIONS, PLACE, DEPTH = 4.0, 4.0, 0.7
"""Hz: faster motion is taken for noise. Of places in the image, and of the much noisier depth."""


FitMotion = Callable[[Clip, list[NDArray[np.int64]], Height | None], Clip]
"""From a clip, the rows of each person in consecutive frames and known heights to the fitted clip."""


def postprocess(
    clip: Clip,
    body: BodyModel,
    *,
    smooth: bool = True,
    lock_feet: bool = False,
    cuts: Sequence[int] = (),
    keep_tracks: bool = False,
    height: Height | None = None,
    fit: FitMotion | None = None,
) -> Clip:
    """Cleans and smooths per-frame results.

    Tracks seen for less than 0.2 s are dropped, pieces that belong together joined, brief second tracks on a
    person dropped, each person gets one shape (at the distance where it covers the same part of the image),
    gaps of up to 0.5 s are filled, motion is smoothed without lag and fitted to the keypoints, and the ground
    and the feet that stand on it are found. Nothing is joined or smoothed across a cut or a longer gap. All
    of it takes place in the world, where a camera that turns moves nobody; the result is in the frames'
    cameras again.

    Args:
        clip: as found; rows with a negative track id are dropped.
        body: the one named in the clip, with as many betas.
        smooth: False does everything but the smoothing and the fit.
        lock_feet: keep feet in place while they stand.
        cuts: first frames of shots.
        keep_tracks: the tracks are given: none is dropped, and none is joined to another.
        height: of people by the ids of the result, or of all; it sets the scale of everything about them.
        fit: fits smoothed motions to keypoints, see `fit.fit_clip`; without it they stay as they are.

    Raises:
        ValueError: for another body, or another number of betas.
    """
    if body.name != clip.body:
        raise ValueError(f"the clip's people are of the body {clip.body!r}, not {body.name!r}: load that one")
    if len(clip) and clip.betas.shape[1] != body.num_betas:
        raise ValueError(
            f"the clip has {clip.betas.shape[1]} betas, the body {body.num_betas}: load the body with "
            f"num_betas={clip.betas.shape[1]}"
        )
    shot, around, to_world = shots(clip, cuts), clip.camera_turns, clip.camera_rotation
    clip = clip.in_world(body)
    for step in (
        () if keep_tracks else (remove_spurious_tracks, merge, remove_duplicate_tracks)
    ):  # hours of people are large: no two results at a time
        clip = step(clip, shot)
    clip = fill(clip, shot, around)
    if not len(clip):
        return replace(clip, ground=np.full(4, np.nan), camera_rotation=to_world)
    betas, translation = constant_shape(clip, body, height)
    clip = replace(clip, betas=betas, translation=translation)
    pieces = list(segments(clip, shot))
    if smooth:
        clip = _smoothed(clip, body, pieces, around)
    if smooth and fit is not None:
        clip = _grounded(clip, body, pieces, shot, locked=False)
        found = fit(clip.rotated(to_world.swapaxes(1, 2), body) if around else clip, pieces, height)
        found = found.rotated(to_world, body) if around else found
        clip = replace(clip, pose=found.pose, betas=found.betas, translation=found.translation)
    clip = _grounded(clip, body, pieces, shot, lock_feet)
    return clip.rotated(to_world.swapaxes(1, 2), body) if around else clip


def _smoothed(clip: Clip, body: BodyModel, pieces: list[NDArray[np.int64]], around: bool) -> Clip:
    """The clip with smooth rotations, and smooth ways of the bodies' middles through image and depth.

    Args:
        around: people may be behind the camera, see `to_view`.
    """
    pose = clip.pose.copy()
    middle = to_view(middles(body, clip), around)
    for rows in pieces:
        times, seen = clip.times[clip.frames[rows]], clip.detected[rows].astype(np.float64)
        for joint in range(24):  # one by one: all together would take many times the memory
            given = clip.pose[rows, joint].astype(np.float64)
            pose[rows, joint] = smooth_rotations(given, times, seen, ROTATIONS)
        middle[rows, :-1] = smooth_robustly(middle[rows, :-1], times, seen, PLACE)
        middle[rows, -1:] = smooth_robustly(middle[rows, -1:], times, seen, DEPTH)
    smoothed = replace(clip, pose=pose, translation=np.zeros_like(clip.translation))
    translation = from_view(middle) - middles(body, smoothed)
    return replace(smoothed, translation=translation.astype(np.float32))


def _grounded(
    clip: Clip, body: BodyModel, pieces: list[NDArray[np.int64]], shot: NDArray[np.int64], locked: bool
) -> Clip:
    """The clip with ground and contacts, and feet that stay in place if they are to be locked.

    Each shot has a ground of its own; the clip's is that of the shot with the most rows.
    """
    points, posed = soles(body, clip), joint_positions(body, clip)
    lasting = intervals(clip)[clip.frames]
    row_shot = shot[clip.frames]
    grounds = {}
    for number in np.unique(row_shot).tolist():
        rows = np.flatnonzero(row_shot == number)
        grounds[number] = fit_ground(posed[rows], points[rows], lasting[rows])
    standing = np.zeros((len(clip), 2), bool)
    if locked:
        clip = replace(clip, pose=clip.pose.copy(), translation=clip.translation.copy())
    for rows in pieces:
        times, ground = clip.times[clip.frames[rows]], grounds[row_shot[rows[0]]]
        up = ground[:3] if np.isfinite(ground).all() else LEVEL
        standing[rows] = contacts(points[rows], posed[rows, 0], times, up)
        if locked:
            lock(body, clip, rows, points[rows], standing[rows], ground)
    most = int(np.bincount(row_shot).argmax())
    return replace(clip, contacts=standing, ground=grounds[most])

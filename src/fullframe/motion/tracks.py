"""The rows of a clip person by person: what to keep, what belongs together, what is missing between."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import roma
import torch
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from fullframe.clip import ROWS, Clip

LONGEST_GAP = 0.5
"""Seconds without a person that are filled in."""
SHORTEST = 0.2
"""Seconds that somebody must be seen for, unless the shot lasts hardly longer."""

# Two pieces are one person's if size and place in the picture, in heights of the box, and heading fit.
_SAME_PLACE, _SAME_SIZE, _SAME_HEADING = 0.35, 0.25, np.radians(60)


def intervals(clip: Clip) -> NDArray[np.float64]:
    """How long each frame lasts, (F,) seconds."""
    if clip.num_frames < 2:
        return np.full(clip.num_frames, 1 / clip.fps)
    steps = np.diff(clip.times)
    return np.append(steps, np.median(steps))


def shots(clip: Clip, cuts: Sequence[int]) -> NDArray[np.int64]:
    """The number of each frame's shot, (F,); `cuts` are the frames that begin one."""
    begins: NDArray[np.int64] = np.zeros(clip.num_frames, np.int64)
    begins[[cut for cut in cuts if cut < clip.num_frames]] = 1
    return np.cumsum(begins)


def drop_false(clip: Clip, shot: NDArray[np.int64]) -> Clip:
    """The clip without rows that have no track, or are of somebody seen too shortly to be believed."""
    lasting = intervals(clip)
    keep = clip.track_ids >= 0
    for rows in _pieces(clip, shot):
        of_shot = lasting[shot == shot[clip.frames[rows[0]]]].sum()
        if lasting[clip.frames[rows]].sum() < min(SHORTEST, of_shot / 2) - 1e-6:
            keep[rows] = False
    return clip.take(keep)


def merge(clip: Clip, shot: NDArray[np.int64]) -> Clip:
    """The clip with one track id for all pieces of one person.

    A piece continues another that ended up to LONGEST_GAP before if it is in the same place with the same
    size and heading, and no third piece could be meant.
    """
    pieces = list(_pieces(clip, shot))
    pairs: list[tuple[int, int]] = []
    for i, before in enumerate(pieces):
        for j, after in enumerate(pieces):
            gap = clip.times[clip.frames[after[0]]] - clip.times[clip.frames[before[-1]]]
            together = shot[clip.frames[before[0]]] == shot[clip.frames[after[0]]] and 0 < gap <= LONGEST_GAP
            if together and _continues(clip, before[-1], after[0]):
                pairs.append((i, j))
    firsts, seconds = [i for i, _ in pairs], [j for _, j in pairs]
    ids = clip.track_ids.copy()
    for i, j in sorted(pairs, key=lambda pair: clip.frames[pieces[pair[1]][0]]):
        if firsts.count(i) == 1 and seconds.count(j) == 1:
            ids[pieces[j]] = ids[pieces[i][0]]
    return _in_order(clip, {name: getattr(clip, name) for name in ROWS} | {"track_ids": ids})


def _continues(clip: Clip, last: int, first: int) -> bool:
    a, b = clip.boxes[last].astype(np.float64), clip.boxes[first].astype(np.float64)
    heights = np.array([a[3] - a[1], b[3] - b[1]])
    away = np.linalg.norm((a[:2] + a[2:] - b[:2] - b[2:]) / 2) / heights.mean()
    turned = clip.pose[last, 0].T @ clip.pose[first, 0]
    angle = np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1))
    return bool(
        away < _SAME_PLACE and abs(np.log(heights[1] / heights[0])) < _SAME_SIZE and angle < _SAME_HEADING
    )


def _pieces(clip: Clip, shot: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The rows of each track in each shot."""
    for track, rows in clip.tracks():
        if track >= 0:
            yield from np.split(rows, np.flatnonzero(np.diff(shot[clip.frames[rows]])) + 1)


def segments(clip: Clip, shot: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The rows of each track between cuts and gaps too long to fill."""
    lasting = intervals(clip)
    for rows in _pieces(clip, shot):
        yield from np.split(rows, np.flatnonzero(_missing(clip, lasting, rows) > LONGEST_GAP + 1e-6) + 1)


def _missing(clip: Clip, lasting: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds between each row and the next, without the row's own frame, (n - 1,)."""
    frames = clip.frames[rows]
    return np.diff(clip.times[frames]) - lasting[frames[:-1]]


def fill(clip: Clip, shot: NDArray[np.int64]) -> Clip:
    """The clip with rows, `detected` False, in all gaps of up to LONGEST_GAP.

    Rotations by spherical interpolation; places by monotone cubics (Fritsch & Carlson, 1980) through the
    image and the logarithm of the depth.
    """
    parts = [_filled(clip, rows) for rows in segments(clip, shot)]
    if not parts:
        return clip
    return _in_order(clip, {name: np.concatenate([part[name] for part in parts]) for name in ROWS})


def _in_order(clip: Clip, arrays: dict[str, Any]) -> Clip:
    """The clip with other rows, sorted."""
    order = np.lexsort((arrays["track_ids"], arrays["frames"]))
    return replace(clip, **{name: array[order] for name, array in arrays.items()})


def _filled(clip: Clip, rows: NDArray[np.int64]) -> dict[str, Any]:
    """All rows of a segment, the missing ones among them, as arrays by name."""
    seen = clip.frames[rows]
    frames = np.arange(seen[0], seen[-1] + 1)
    arrays: dict[str, Any] = {name: getattr(clip, name)[rows] for name in ROWS}
    if len(frames) > len(rows):
        new = ~np.isin(frames, seen)
        place = np.searchsorted(seen, frames, side="right") - 1
        arrays = {name: array[place] for name, array in arrays.items()}
        for name in ("detected", "scores", "keypoints", "contacts"):
            arrays[name][new] = 0
        times, moments = clip.times[seen], clip.times[frames[new]]
        arrays["boxes"][new] = PchipInterpolator(times, clip.boxes[rows])(moments)
        arrays["translation"][new] = from_view(
            PchipInterpolator(times, to_view(clip.translation[rows].astype(np.float64)))(moments)
        )
        before = place[new]
        share = (moments - times[before]) / (times[before + 1] - times[before])
        ends = [torch.from_numpy(clip.pose[rows[k]].astype(np.float64)) for k in (before, before + 1)]
        between = roma.rotmat_to_rotvec(ends[0].mT @ ends[1]) * torch.from_numpy(share)[:, None, None]
        arrays["pose"][new] = (ends[0] @ roma.rotvec_to_rotmat(between)).numpy()
    arrays["frames"] = frames
    return arrays


def to_view(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (..., 3) as x / z, y / z and log z, which are noisy to different degrees."""
    depth = np.maximum(points[..., 2:], 1e-3)
    return np.concatenate((points[..., :2] / depth, np.log(depth)), axis=-1)


def from_view(view: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `to_view`."""
    depth = np.exp(view[..., 2:])
    return np.concatenate((view[..., :2] * depth, depth), axis=-1)

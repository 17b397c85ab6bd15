"""Tracks of a clip: removing spurious ones, merging pieces, filling gaps."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from fullframe.geometry.rotation import matrix_to_rotvec, rotvec_to_matrix
from fullframe.motion.skeleton import blocks
from fullframe.results.clip import ROWS, Clip

LONGEST_GAP = 0.5
"""Longest gap that is filled, in seconds."""
SHORTEST = 0.2
"""Shortest track in seconds, unless the shot lasts hardly longer."""

DUPLICATE_S = 1.0
"""Longest track, in seconds, that can be a second one of another person."""
# Two boxes are one person's if the smaller is inside the other by this share, with heights of this ratio.
_INSIDE, _SAME_HEIGHT = 0.9, 0.8

# Two pieces are one person's if size and place in the picture, in heights of the box, and heading fit.
_SAME_PLACE, _SAME_SIZE, _SAME_HEADING = 0.35, 0.25, np.radians(60)


def intervals(clip: Clip) -> NDArray[np.float64]:
    """How long each frame lasts, (F,) seconds."""
    if clip.num_frames < 2:
        return np.full(clip.num_frames, 1 / clip.fps)
    steps = np.diff(clip.times)
    return np.append(steps, np.median(steps))


def shots(clip: Clip, cuts: Sequence[int]) -> NDArray[np.int64]:
    """The number of each frame's shot, (F,); `cuts` are the first frames of shots."""
    begins: NDArray[np.int64] = np.zeros(clip.num_frames, np.int64)
    begins[[cut for cut in cuts if cut < clip.num_frames]] = 1
    return np.cumsum(begins)


def remove_spurious_tracks(clip: Clip, shot: NDArray[np.int64]) -> Clip:
    """The clip without rows that have no track, or belong to a track that is too short."""
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
    begins = np.array([clip.times[clip.frames[piece[0]]] for piece in pieces])
    in_time = np.argsort(begins, kind="stable")
    begins = begins[in_time]
    pairs: list[tuple[int, int]] = []
    for i, before in enumerate(pieces):
        end = clip.times[clip.frames[before[-1]]]
        soon = slice(*np.searchsorted(begins, (end, end + LONGEST_GAP), side="right"))
        for j in in_time[soon].tolist():
            after = pieces[j]
            together = shot[clip.frames[before[0]]] == shot[clip.frames[after[0]]]
            if together and _continues(clip, before[-1], after[0]):
                pairs.append((i, j))
    firsts, seconds = Counter(i for i, _ in pairs), Counter(j for _, j in pairs)
    ids = clip.track_ids.copy()
    for i, j in sorted(pairs, key=lambda pair: clip.frames[pieces[pair[1]][0]]):
        if firsts[i] == seconds[j] == 1:
            ids[pieces[j]] = ids[pieces[i][0]]
    order = np.lexsort((ids, clip.frames))
    arrays: dict[str, Any] = {name: getattr(clip, name)[order] for name in ROWS}
    return replace(clip, **arrays | {"track_ids": ids[order]})


def remove_duplicate_tracks(clip: Clip, shot: NDArray[np.int64]) -> Clip:
    """The clip without brief tracks that lie, in half of their frames, on a person with a longer track.

    The longer track's boxes are interpolated where it has none: that is when the second one appears.
    """
    lasting = intervals(clip)
    pieces = list(_pieces(clip, shot))
    if not pieces:
        return clip
    frames = [clip.frames[rows] for rows in pieces]
    seconds = np.array([lasting[each].sum() for each in frames])
    first, last = np.array([(each[0], each[-1]) for each in frames]).T
    keep = np.ones(len(clip), bool)
    for brief in np.flatnonzero(seconds < DUPLICATE_S):
        rows, at = pieces[brief], frames[brief]
        longer = (seconds > 2 * seconds[brief]) & (first <= at[-1]) & (last >= at[0])
        for other in np.flatnonzero(longer):
            between = (at >= first[other]) & (at <= last[other])
            of_other = clip.boxes[pieces[other]].T
            there = np.stack([np.interp(at, frames[other], side) for side in of_other], axis=1)
            if (between & _same_person(clip.boxes[rows], there)).mean() >= 0.5:
                keep[rows] = False
                break
    return clip.take(keep)


def _same_person(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """(N,) whether boxes (N, 4) of the same frames show one person."""
    both = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    sides = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    inside = both.clip(0).prod(axis=1) / np.maximum(np.minimum(*(side.prod(axis=1) for side in sides)), 1e-9)
    heights = np.stack([side[:, 1] for side in sides])
    similar: NDArray[np.bool_] = heights.min(axis=0) >= _SAME_HEIGHT * heights.max(axis=0)
    return (inside >= _INSIDE) & similar


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


def fill(clip: Clip, shot: NDArray[np.int64], around: bool = False) -> Clip:
    """The clip with rows, `detected` False, in all gaps of up to LONGEST_GAP.

    Rotations by spherical interpolation; places by monotone cubics (Fritsch & Carlson, 1980) through the
    image and the logarithm of the depth.

    Args:
        around: people may be behind the camera, see `to_view`.
    """
    pieces = list(segments(clip, shot))
    frames = [np.arange(clip.frames[rows[0]], clip.frames[rows[-1]] + 1) for rows in pieces]
    count = sum(map(len, frames))
    if count == len(clip):
        return clip
    ids = np.concatenate([np.full(len(f), clip.track_ids[r[0]]) for r, f in zip(pieces, frames, strict=True)])
    # To write each piece to where it belongs takes less memory than to sort them afterwards.
    places = np.empty(count, np.int64)
    places[np.lexsort((ids, np.concatenate(frames)))] = np.arange(count)
    arrays: dict[str, Any] = {
        name: np.empty((count, *getattr(clip, name).shape[1:]), getattr(clip, name).dtype) for name in ROWS
    }
    start = 0
    for rows, of_piece in zip(pieces, frames, strict=True):
        here = places[start : start + len(of_piece)]
        start += len(of_piece)
        _fill_piece(clip, rows, of_piece, arrays, here, around)
    return replace(clip, **arrays)


def _fill_piece(
    clip: Clip,
    rows: NDArray[np.int64],
    frames: NDArray[np.int64],
    arrays: dict[str, Any],
    places: NDArray[np.int64],
    around: bool,
) -> None:
    """Writes all rows of a segment, one for each of its frames, to their places in arrays by name."""
    seen = clip.frames[rows]
    last = np.searchsorted(seen, frames, side="right") - 1
    for some in blocks(len(frames)):
        for name, array in arrays.items():
            array[places[some]] = getattr(clip, name)[rows[last[some]]]
    arrays["frames"][places] = frames
    missing = seen[last] != frames
    if not missing.any():
        return
    new = places[missing]
    for name in ("detected", "scores", "keypoints", "contacts", "reliable"):
        arrays[name][new] = 0
    arrays["reprojection"][new] = arrays["uncertainty"][new] = np.nan
    times, moments = clip.times[seen], clip.times[frames[missing]]
    arrays["boxes"][new] = PchipInterpolator(times, clip.boxes[rows])(moments)
    arrays["translation"][new] = from_view(
        PchipInterpolator(times, to_view(clip.translation[rows].astype(np.float64), around))(moments)
    )
    before = last[missing]
    share = (moments - times[before]) / (times[before + 1] - times[before])
    ends = [torch.from_numpy(clip.pose[rows[k]].astype(np.float64)) for k in (before, before + 1)]
    between = matrix_to_rotvec(ends[0].mT @ ends[1]) * torch.from_numpy(share)[:, None, None]
    arrays["pose"][new] = (ends[0] @ rotvec_to_matrix(between)).numpy()


def to_view(points: NDArray[np.float64], around: bool = False) -> NDArray[np.float64]:
    """Points (..., 3) by where they are seen and how far away, which are noisy to different degrees.

    Args:
        around: of points all around the camera, in the world of one that turns.

    Returns:
        (..., 3): x / z, y / z and log z; around (..., 4): the unit vector to the point, and the logarithm of
        its distance.
    """
    if around:
        distance = np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-3)
        return np.concatenate((points / distance, np.log(distance)), axis=-1)
    depth = np.maximum(points[..., 2:], 1e-3)
    return np.concatenate((points[..., :2] / depth, np.log(depth)), axis=-1)


def from_view(view: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `to_view`, by the number of columns; unit vectors may have got shorter."""
    depth = np.exp(view[..., -1:])
    if view.shape[-1] == 4:
        return view[..., :3] / np.linalg.norm(view[..., :3], axis=-1, keepdims=True) * depth
    return np.concatenate((view[..., :2] * depth, depth), axis=-1)

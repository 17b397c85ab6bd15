"""Multi-object tracking of people.

Boxes are predicted by Kalman filters and matched one to one: high-score boxes first, low-score boxes to the
remaining tracks (Zhang et al., "ByteTrack", ECCV 2022). Velocities decay (an Ornstein-Uhlenbeck process), and
all constants are per second, so that tracking works alike from 1 to 240 frames per second.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fullframe.geometry.box import iou

HIGH_SCORE = 0.5
"""Score from which a box can start a track; other boxes only continue one."""
CONFIRM_SCORE, CONFIRM_AFTER_S = 0.7, 0.1
"""A track is confirmed by a box of this score, or once it has lasted so many seconds."""
MAX_AGE_S = 3.0
"""Seconds without a match after which a confirmed track is deleted."""

# Positions are in box heights, sizes logarithmic; widths vary more, since arms move.
_UNITS = np.array([1.0, 1.0, 3.0, 2.0])
_NOISE, _LOW_SCORE_NOISE = 0.04, 0.2
"""Standard deviation of high-score boxes, and of low-score ones (often half a person), in _UNITS."""
_SPEED, _PERSISTENCE = 0.8, 0.7
"""Standard deviation of velocities, units/s, and their time constant, s."""
_NEW_PERSON_NLL = 8.0
"""Negative log density, per unit^4, of the box of a new person."""
_SAME, _OTHER, _EVIDENCE = 0.3, 0.6, 4.0
"""Typical colour distances of the same person and of two people, and their log likelihood ratio, in nats.

The evidence is clipped to this for the same person, and to twice as much for different people."""
_BINS = 8
"""Histogram bins along each colour axis."""
_CORNERS = np.array(list(np.ndindex(2, 2, 2)))
_MAX_OCCLUSION = 0.3
"""Largest share of an upper body that another person may occlude for its colours to be used."""
_DUPLICATE_OVERLAP, _DUPLICATE_SIZE = 0.9, 0.8
"""Share of the smaller box in the other, and ratio of their heights, or of their longer sides where somebody
lies, from which both show the same person."""
_CONTINUES_OVERLAP = 0.2
"""Intersection over union from which a box continues a track that no box matches."""
_LOW_SCORE_MAX_AGE_S = 0.5
"""Seconds without a match after which a low-score box, or overlap alone, does not continue the track."""


@dataclass(eq=False)
class _Track:
    """A person being tracked.

    Attributes:
        state: (2, 4) x, y px of the centre, log width, log height; and their velocities.
        covariance: (2, 2) of value and velocity, in _UNITS, the same for all four.
        colors: (512,) histogram of the upper body; NaN until it was seen without occlusion.
        time: of the state, seconds.
        first: time of the first match.
        last: time of the last match.
        id: -1 until confirmed.
    """

    state: NDArray[np.float64]
    covariance: NDArray[np.float64]
    colors: NDArray[np.float64]
    time: float
    first: float
    last: float
    id: int = -1

    @property
    def box(self) -> NDArray[np.float64]:
        """(4,) x1, y1, x2, y2 px of the state."""
        half = np.exp(self.state[0, 2:]) / 2
        return np.concatenate((self.state[0, :2] - half, self.state[0, :2] + half))

    def predict(self, time: float) -> None:
        """Predict the state at a time."""
        step = max(time - self.time, 0.0) / _PERSISTENCE
        decay = np.exp(-step)
        reach = _PERSISTENCE * (1 - decay)
        self.state[0] += self.state[1] * reach
        self.state[1] *= decay
        move = np.array([[1, reach], [0, decay]])
        value = _PERSISTENCE**2 * (2 * step - 3 + 4 * decay - decay**2)
        both = _PERSISTENCE * (1 - decay) ** 2
        growth = _SPEED**2 * np.array([[value, both], [both, 1 - decay**2]])
        self.covariance = move @ self.covariance @ move.T + growth
        self.time = time

    def update(self, point: NDArray[np.float64], colors: NDArray[np.float64], noise: float) -> None:
        """Update the state with a box (4,), as from `_points`, at the current time."""
        gain = self.covariance[:, 0] / (self.covariance[0, 0] + noise**2)
        self.state += gain[:, None] * (point - self.state[0])
        self.covariance = self.covariance - np.outer(gain, self.covariance[0])
        if not np.isnan(colors[0]):
            self.colors = colors if np.isnan(self.colors[0]) else 0.9 * self.colors + 0.1 * colors
        self.last = self.time

    def negative_log_likelihood(
        self, points: NDArray[np.float64], colors: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Of each of N boxes being this person's, relative to a new person's, (N,)."""
        height = np.exp(self.state[0, 3])
        variance = self.covariance[0, 0] + _NOISE**2
        offset = (points - self.state[0]) / (_UNITS * (height, height, 1, 1))
        position = (
            (offset**2).sum(axis=1) / (2 * variance) + 2 * np.log(2 * np.pi * variance) - _NEW_PERSON_NLL
        )
        # Hellinger distance: 0 for the same histogram, 1 for disjoint ones.
        distance = np.sqrt(np.maximum(1 - np.sqrt(colors * self.colors).sum(axis=1), 0))
        appearance = (2 * distance - _SAME - _OTHER) / (_OTHER - _SAME) * _EVIDENCE
        return position + np.nan_to_num(np.clip(appearance, -_EVIDENCE, 2 * _EVIDENCE))


class Tracker:
    """Assigns track ids to the boxes of each frame.

    Args:
        fps: approximate frames per second: a lower bound of all times without a match.
    """

    def __init__(self, fps: float) -> None:
        self._min_age_s = max(0.25, 1.5 / fps)
        self._tracks: list[_Track] = []
        self._next_id = 0

    def reset(self) -> None:
        """Delete all tracks, at a cut."""
        self._tracks = []

    def update(
        self,
        time: float,
        boxes: NDArray[np.floating],
        scores: NDArray[np.floating],
        image: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """Match the boxes of the next frame with the tracks.

        Args:
            time: of the frame, seconds, ascending.
            boxes: (N, 4) x1, y1, x2, y2 px.
            scores: (N,) 0 to 1.
            image: (H, W, 3) RGB, for appearance: the colours of the upper bodies.

        Returns:
            (N,) track ids from 0 on, never reused; -1 for boxes of no confirmed track.
        """
        xyxy = np.asarray(boxes, np.float64).reshape(-1, 4)
        confidence = np.asarray(scores, np.float64).reshape(len(xyxy))
        points = _points(xyxy)
        colors = _colors(image, xyxy)
        self._tracks = [track for track in self._tracks if time - track.last <= self._max_age(track)]
        for track in self._tracks:
            track.predict(time)
        matched: dict[int, _Track] = {}
        unmatched = self._tracks
        high = confidence >= HIGH_SCORE
        for rows in (np.flatnonzero(high), np.flatnonzero(~high)):
            for track, row in _match(unmatched, points[rows], colors[rows]):
                matched[int(rows[row])] = track
            recent = max(_LOW_SCORE_MAX_AGE_S, self._min_age_s)
            unmatched = [t for t in unmatched if t not in matched.values() and time - t.last <= recent]
        new = np.array([row for row in np.flatnonzero(high).tolist() if row not in matched], np.int64)
        just_lost = [track for track in unmatched if time - track.last <= _LOW_SCORE_MAX_AGE_S]
        for track, row in _match_overlap(just_lost, xyxy[new]):
            matched[int(new[row])] = track
        for index, track in matched.items():
            track.update(points[index], colors[index], _NOISE if high[index] else _LOW_SCORE_NOISE)
        for index in sorted(np.flatnonzero(high).tolist(), key=lambda index: -confidence[index]):
            if index not in matched and not _is_duplicate(xyxy[index], xyxy[list(matched)]):
                matched[index] = _new_track(time, points[index], colors[index])
                self._tracks.append(matched[index])
        ids: NDArray[np.int64] = np.full(len(xyxy), -1)
        for index, track in sorted(matched.items()):
            ids[index] = self._confirmed_id(track, confidence[index])
        return ids

    def _max_age(self, track: _Track) -> float:
        """Seconds without a match after which a track is deleted."""
        return self._min_age_s if track.id < 0 else max(MAX_AGE_S, self._min_age_s)

    def _confirmed_id(self, track: _Track, score: float) -> int:
        """The track's id, a new one if it is confirmed now."""
        if track.id < 0 and (score >= CONFIRM_SCORE or track.last - track.first >= CONFIRM_AFTER_S):
            track.id = self._next_id
            self._next_id += 1
        return track.id


def _new_track(time: float, point: NDArray[np.float64], colors: NDArray[np.float64]) -> _Track:
    state = np.stack((point, np.zeros(4)))
    return _Track(state, np.diag([_NOISE**2, _SPEED**2]), colors, time, time, time)


def _is_duplicate(box: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether a box (4,) and one of the others (N, 4) show the same person."""
    both = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    sides, each = box[2:] - box[:2], others[:, 2:] - others[:, :2]
    inside = both.clip(0).prod(axis=1) / np.minimum(sides.prod(), each.prod(axis=1))
    size = np.stack((sides[1], sides.max()))
    sizes = np.stack((each[:, 1], each.max(axis=1)), axis=1)
    similar = (np.minimum(size, sizes) / np.maximum(size, sizes)).max(axis=1) >= _DUPLICATE_SIZE
    return bool(((inside >= _DUPLICATE_OVERLAP) & similar).any())


def _match(
    tracks: list[_Track], points: NDArray[np.float64], colors: NDArray[np.float64]
) -> list[tuple[_Track, int]]:
    """The most likely matching of tracks and boxes, without pairs less likely than a new person."""
    if not tracks or not len(points):
        return []
    cost = np.stack([track.negative_log_likelihood(points, colors) for track in tracks])
    rows, columns = linear_sum_assignment(np.minimum(cost, 0))
    return [(tracks[r], int(c)) for r, c in zip(rows, columns, strict=True) if cost[r, c] < 0]


def _match_overlap(tracks: list[_Track], boxes: NDArray[np.float64]) -> list[tuple[_Track, int]]:
    """The pairs of tracks and boxes (N, 4) that overlap, of those that nothing else matches.

    Somebody who falls or turns over changes in shape faster than `_match` takes for likely.
    """
    if not tracks or not len(boxes):
        return []
    overlap = iou(np.stack([track.box for track in tracks]), boxes)
    overlap[overlap < _CONTINUES_OVERLAP] = 0
    rows, columns = linear_sum_assignment(-overlap)
    return [(tracks[r], int(c)) for r, c in zip(rows, columns, strict=True) if overlap[r, c] > 0]


def _points(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (N, 4) as x, y px of the centre, log width, log height."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate(((low + high) / 2, np.log(np.maximum(high - low, 1))), axis=1)


def _colors(image: NDArray[np.uint8] | None, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colour histograms (N, 512) of the upper bodies; NaN where one is too small, or occluded."""
    low, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    parts = np.concatenate((low + size * (0.25, 0.15), low + size * (0.75, 0.5)), axis=1)
    colors: NDArray[np.float64] = np.full((len(boxes), _BINS**3), np.nan)
    if image is not None:
        for index, part in enumerate(parts):
            x1, y1, x2, y2 = np.clip(part, 0, image.shape[1::-1] * 2).astype(int)
            # People whose boxes end lower in the image are nearer.
            nearer = boxes[boxes[:, 3] > boxes[index, 3]]
            if x2 - x1 >= 4 and y2 - y1 >= 4 and _occluded(part, nearer) <= _MAX_OCCLUSION:
                colors[index] = _histogram(image[y1:y2, x1:x2])
    return colors


def _occluded(part: NDArray[np.float64], boxes: NDArray[np.float64]) -> float:
    """The largest share of a part, x1, y1, x2, y2, that is inside one of the boxes (N, 4)."""
    both = np.minimum(part[2:], boxes[:, 2:]) - np.maximum(part[:2], boxes[:, :2])
    return float(both.clip(0).prod(axis=1).max(initial=0) / (part[2:] - part[:2]).prod())


def _histogram(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colour histogram in CIE Lab, (_BINS^3,), of sum 1."""
    small = cv2.resize(image, (12, 16), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2Lab).reshape(-1, 3).astype(np.float64)
    # Clothes fill a small part of the range of chroma, which is stretched.
    position = np.clip((lab - (0, 78, 78)) / (256, 100, 100), 0, 1) * _BINS - 0.5
    # Trilinear binning: a small change of light changes little.
    base = np.floor(position).astype(int)
    share = position - base
    bins = np.clip(base[:, None] + _CORNERS, 0, _BINS - 1) @ (_BINS**2, _BINS, 1)
    weight = np.where(_CORNERS, share[:, None], 1 - share[:, None]).prod(axis=2)
    counts = np.bincount(bins.ravel(), weight.ravel(), _BINS**3).astype(np.float64)
    return counts / len(lab)

"""Who is who from frame to frame.

Boxes are predicted by Kalman filters and matched one to one, confident boxes first and doubtful ones to those
who are left (Zhang et al., "ByteTrack", ECCV 2022). Velocities are forgotten gradually (an Ornstein-Uhlenbeck
process), and everything is told per second, so that 240 frames a second and one are tracked alike.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

CONFIDENT = 0.5
"""Score from which a box can begin a track; others only continue one."""
BELIEVED_AT_ONCE, BELIEVED_AFTER = 0.7, 0.1
"""A track is believed with a box of this score, or after so many seconds of being seen."""
FORGOTTEN_AFTER = 3.0
"""Seconds after which someone who comes back gets another id."""

# Places count in heights of the box, sizes in logarithms; widths change more, since arms move.
_UNITS = np.array([1.0, 1.0, 3.0, 2.0])
_NOISE, _DOUBTFUL_NOISE = 0.04, 0.2
"""Standard deviation of confident boxes, and of others, which often hold half a person, in units."""
_SPEED, _PERSISTENCE = 0.8, 0.7
"""Standard deviation of velocities, units/s, and how many seconds they last."""
_SURPRISE = 8.0
"""-log density, per unit^4, of a box that belongs to nobody known."""
_SAME, _OTHER, _EVIDENCE = 0.3, 0.6, 4.0
"""Typical distances of the colours of the same person and of two, and what they say then, in nats.

That is also the most that speaks for somebody; clothes that have nothing in common say twice as much."""
_CELLS = 8
"""Of a histogram, along each axis of the colours."""
_CORNERS = np.array(list(np.ndindex(2, 2, 2)))
_COVERED = 0.3
"""Share of an upper body that may be hidden by somebody nearer for its colours to count."""
_DOUBLE_INSIDE, _DOUBLE_HEIGHT = 0.9, 0.8
"""Share of the smaller box in the other, and of their heights, from which both are of one person."""
_DOUBTFUL_AFTER = 0.5
"""Seconds out of sight after which a doubtful box is not taken for the person."""


@dataclass(eq=False)
class _Track:
    """Someone being followed.

    Attributes:
        state: (2, 4) x, y px of the centre, log width, log height; and their velocities.
        spread: (2, 2) covariance of value and velocity, in units, the same for all four.
        colors: (512,) histogram of the upper body; NaN until it was seen freely.
        time: that the state is of, seconds.
        first: time when first seen.
        last: time when last seen.
        id: -1 until believed.
    """

    state: NDArray[np.float64]
    spread: NDArray[np.float64]
    colors: NDArray[np.float64]
    time: float
    first: float
    last: float
    id: int = -1

    def predict(self, time: float) -> None:
        """Moves the state on to a time."""
        step = max(time - self.time, 0.0) / _PERSISTENCE
        decay = np.exp(-step)
        reach = _PERSISTENCE * (1 - decay)
        self.state[0] += self.state[1] * reach
        self.state[1] *= decay
        move = np.array([[1, reach], [0, decay]])
        value = _PERSISTENCE**2 * (2 * step - 3 + 4 * decay - decay**2)
        both = _PERSISTENCE * (1 - decay) ** 2
        growth = _SPEED**2 * np.array([[value, both], [both, 1 - decay**2]])
        self.spread = move @ self.spread @ move.T + growth
        self.time = time

    def see(self, point: NDArray[np.float64], colors: NDArray[np.float64], noise: float) -> None:
        """Takes in a box (4,), as `_points` gives it, of the present time."""
        gain = self.spread[:, 0] / (self.spread[0, 0] + noise**2)
        self.state += gain[:, None] * (point - self.state[0])
        self.spread = self.spread - np.outer(gain, self.spread[0])
        if not np.isnan(colors[0]):
            self.colors = colors if np.isnan(self.colors[0]) else 0.9 * self.colors + 0.1 * colors
        self.last = self.time

    def surprise(self, points: NDArray[np.float64], colors: NDArray[np.float64]) -> NDArray[np.float64]:
        """-log of how much likelier each of N boxes is this person's than that of somebody new, (N,)."""
        height = np.exp(self.state[0, 3])
        variance = self.spread[0, 0] + _NOISE**2
        away = (points - self.state[0]) / (_UNITS * (height, height, 1, 1))
        place = (away**2).sum(axis=1) / (2 * variance) + 2 * np.log(2 * np.pi * variance) - _SURPRISE
        # Hellinger's distance: 0 for the same histogram, 1 for nothing in common.
        distance = np.sqrt(np.maximum(1 - np.sqrt(colors * self.colors).sum(axis=1), 0))
        looks = (2 * distance - _SAME - _OTHER) / (_OTHER - _SAME) * _EVIDENCE
        return place + np.nan_to_num(np.clip(looks, -_EVIDENCE, 2 * _EVIDENCE))


class Tracker:
    """Gives boxes the ids of people, frame by frame.

    Args:
        fps: frames per second, roughly: how long a short time is at least.
    """

    def __init__(self, fps: float) -> None:
        self._short = max(0.25, 1.5 / fps)
        self._tracks: list[_Track] = []
        self._ids = 0

    def cut(self) -> None:
        """A new shot begins: nobody is recognised across it."""
        self._tracks = []

    def update(
        self,
        time: float,
        boxes: NDArray[np.floating],
        scores: NDArray[np.floating],
        image: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """The ids of the people in one frame.

        Args:
            time: of the frame, seconds; later than that of the frame before.
            boxes: (N, 4) x1, y1, x2, y2 px.
            scores: (N,) 0 to 1.
            image: (H, W, 3) RGB; with it people are told apart by the colours of their upper bodies.

        Returns:
            (N,) ids from 0 on, none used again for somebody else; -1 for boxes that are not believed (yet).
        """
        xyxy = np.asarray(boxes, np.float64).reshape(-1, 4)
        confidence = np.asarray(scores, np.float64).reshape(len(xyxy))
        points = _points(xyxy)
        colors = _colors(image, xyxy)
        self._tracks = [track for track in self._tracks if time - track.last <= self._patience(track)]
        for track in self._tracks:
            track.predict(time)
        seen: dict[int, _Track] = {}
        waiting = self._tracks
        confident = confidence >= CONFIDENT
        for some in (np.flatnonzero(confident), np.flatnonzero(~confident)):
            for track, row in _match(waiting, points[some], colors[some]):
                seen[int(some[row])] = track
            recent = max(_DOUBTFUL_AFTER, self._short)
            waiting = [t for t in waiting if t not in seen.values() and time - t.last <= recent]
        for index, track in seen.items():
            track.see(points[index], colors[index], _NOISE if confident[index] else _DOUBTFUL_NOISE)
        known = xyxy[list(seen)]
        for index in np.flatnonzero(confident).tolist():
            if index not in seen and not _double(xyxy[index], known):
                seen[index] = _begin(time, points[index], colors[index])
                self._tracks.append(seen[index])
        ids: NDArray[np.int64] = np.full(len(xyxy), -1)
        for index, track in sorted(seen.items()):
            ids[index] = self._believe(track, confidence[index])
        return ids

    def _patience(self, track: _Track) -> float:
        """Seconds that someone may be out of sight."""
        return self._short if track.id < 0 else max(FORGOTTEN_AFTER, self._short)

    def _believe(self, track: _Track, score: float) -> int:
        """The track's id, a new one if it has just become believable."""
        if track.id < 0 and (score >= BELIEVED_AT_ONCE or track.last - track.first >= BELIEVED_AFTER):
            track.id = self._ids
            self._ids += 1
        return track.id


def _begin(time: float, point: NDArray[np.float64], colors: NDArray[np.float64]) -> _Track:
    state = np.stack((point, np.zeros(4)))
    return _Track(state, np.diag([_NOISE**2, _SPEED**2]), colors, time, time, time)


def _double(box: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether a box (4,) shows no more than one of the others (N, 4) does, or that no more than it."""
    both = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    sides, each = box[2:] - box[:2], others[:, 2:] - others[:, :2]
    inside = both.clip(0).prod(axis=1) / np.minimum(sides.prod(), each.prod(axis=1))
    height = np.minimum(sides[1], each[:, 1]) / np.maximum(sides[1], each[:, 1])
    return bool(((inside >= _DOUBLE_INSIDE) & (height >= _DOUBLE_HEIGHT)).any())


def _match(
    tracks: list[_Track], points: NDArray[np.float64], colors: NDArray[np.float64]
) -> list[tuple[_Track, int]]:
    """The likeliest matching of tracks with boxes; nobody gets a box that is likelier somebody new's."""
    if not tracks or not len(points):
        return []
    surprise = np.stack([track.surprise(points, colors) for track in tracks])
    rows, columns = linear_sum_assignment(np.minimum(surprise, 0))
    return [(tracks[r], int(c)) for r, c in zip(rows, columns, strict=True) if surprise[r, c] < 0]


def _points(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (N, 4) as x, y px of the centre, log width, log height."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate(((low + high) / 2, np.log(np.maximum(high - low, 1))), axis=1)


def _colors(image: NDArray[np.uint8] | None, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Histograms (N, 512) of the upper bodies' colours; NaN where one is too small, or behind somebody."""
    low, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    parts = np.concatenate((low + size * (0.25, 0.15), low + size * (0.75, 0.5)), axis=1)
    colors: NDArray[np.float64] = np.full((len(boxes), _CELLS**3), np.nan)
    if image is not None:
        for index, part in enumerate(parts):
            x1, y1, x2, y2 = np.clip(part, 0, image.shape[1::-1] * 2).astype(int)
            # Whoever ends lower in the picture is nearer.
            nearer = boxes[boxes[:, 3] > boxes[index, 3]]
            if x2 - x1 >= 4 and y2 - y1 >= 4 and _covered(part, nearer) <= _COVERED:
                colors[index] = _histogram(image[y1:y2, x1:x2])
    return colors


def _covered(part: NDArray[np.float64], boxes: NDArray[np.float64]) -> float:
    """The largest share of a part, x1, y1, x2, y2, that lies in one of the boxes (N, 4)."""
    both = np.minimum(part[2:], boxes[:, 2:]) - np.maximum(part[:2], boxes[:, :2])
    return float(both.clip(0).prod(axis=1).max(initial=0) / (part[2:] - part[:2]).prod())


def _histogram(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How often each colour comes, (_CELLS^3,), of sum 1."""
    small = cv2.resize(picture, (12, 16), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2Lab).reshape(-1, 3).astype(np.float64)
    # CIE Lab. Clothes fill a small part of its range of chroma, which is stretched.
    cells = np.clip((lab - (0, 78, 78)) / (256, 100, 100), 0, 1) * _CELLS - 0.5
    # Each colour counts in the eight nearest cells, so that a small change of light changes little.
    base = np.floor(cells).astype(int)
    share = cells - base
    cell = np.clip(base[:, None] + _CORNERS, 0, _CELLS - 1) @ (_CELLS**2, _CELLS, 1)
    weight = np.where(_CORNERS, share[:, None], 1 - share[:, None]).prod(axis=2)
    counts = np.bincount(cell.ravel(), weight.ravel(), _CELLS**3).astype(np.float64)
    return counts / len(lab)

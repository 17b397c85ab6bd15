"""The people of an image: boxes with keypoints, each person once, also those on their side or upside down."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullframe.detect import Detector
from fullframe.detect.movenet import HIPS, SHOULDERS
from fullframe.geometry.box import box_from_keypoints, iou

# Measured with the built-in detector on photos of COCO, see benchmarks/detect.py.
SAME_KEYPOINTS = 0.85
"""Object keypoint similarity from which two sets of keypoints are one person's."""
TWO_PEOPLE_SCORE = 0.65
"""Two boxes that both have at least this score are two people, whatever their keypoints."""
LOWEST_BODY_SCORE = 0.025
"""Lower, and hands and faces at the border, or things, become people."""

# The standard deviations of COCO's labels, by keypoint, as shares of the root of a person's area.
_SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000

SURE_TRUNK = 0.2
"""Mean confidence of shoulders, and of hips, from which they show which way up a person is."""
SEEN_SCORE = 0.3
"""If nobody has such a score, the whole image may be turned."""
TURNED_SCORE = 0.14
"""Somebody has to have such a score then where it is turned: what looks like people in photos without any
hardly ever does."""


class FoundPeople(NamedTuple):
    """N people of an image.

    Attributes:
        boxes: (N, 4) x1, y1, x2, y2 px.
        scores: (N,) of the boxes, 0 to 1.
        keypoints: (N, 17, 3) COCO-17 keypoints: x, y px, confidence.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]

    def take(self, rows: NDArray) -> "FoundPeople":
        """Some of the people, by index or mask."""
        return FoundPeople(*(values[rows] for values in self))

    @property
    def body_scores(self) -> NDArray[np.float32]:
        """(N,) see `body_scores`."""
        return body_scores(self.scores, self.keypoints)

    @property
    def evidence(self) -> float:
        """The sum of squared body scores: one person counts more than several parts of them."""
        return float(np.square(self.body_scores).sum())

    def joined(self, other: "FoundPeople") -> "FoundPeople":
        """These people and others."""
        return FoundPeople(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def distinct(self) -> "FoundPeople":
        """Without those hardly seen and without second boxes of one person, see `distinct_people`."""
        return self.take(distinct_people(*self))


def find_people(detector: Detector, image: NDArray[np.uint8], empty_looks: bool = True) -> FoundPeople:
    """The people of an image, with boxes and keypoints.

    Detectors of boxes know upright people. Where keypoints show a person on their side or upside down,
    the image is searched again turned by as many quarters; where hardly anybody is found, in all
    orientations, of which those count that show somebody clearly. If that finds more, it is the photo that is
    turned, and everybody found there stays; else those do who are turned themselves.

    Args:
        image: (H, W, 3) RGB.
        empty_looks: search an image with hardly anybody in all orientations.
    """
    found, direction = _find(detector, image), 0
    turns = {quarter_turns(person) for person in found.keypoints} - {0, None}
    lowest = 0.0
    if found.body_scores.max(initial=0) < SEEN_SCORE and empty_looks:
        turns, lowest = {1, 2, 3}, TURNED_SCORE
    looks = [(_find(detector, image, turn), turn) for turn in (1, 2, 3) if turn in turns]
    looks = [look for look in looks if look[0].body_scores.max(initial=0) >= lowest]
    for more, turn in sorted(looks, key=lambda look: -look[0].evidence):
        if more.evidence >= found.evidence:
            (found, direction), (more, turn) = (more, turn), (found, direction)
        turned = np.array([quarter_turns(person) == turn for person in more.keypoints], bool)
        new = iou(more.boxes, found.boxes).max(axis=1, initial=0) < 0.5
        found = found.joined(more.take(new & turned)).distinct()
    return found


def lean_angle(keypoints: NDArray) -> float | None:
    """Angle in radians from upright to the right of the trunk of a person (17, 3); None if it is not seen."""
    shoulders, hips = (keypoints[rows].mean(axis=0) for rows in (SHOULDERS, HIPS))
    x, y = (shoulders - hips)[:2]
    if min(shoulders[2], hips[2]) < SURE_TRUNK or x == y == 0:
        return None
    return float(np.arctan2(x, -y))


def quarter_turns(keypoints: NDArray) -> int | None:
    """Counterclockwise quarter turns of the image that put a person (17, 3) upright; None if unknown."""
    lean = lean_angle(keypoints)
    return None if lean is None else round(lean / (np.pi / 2)) % 4


def _find(detector: Detector, image: NDArray[np.uint8], turn: int = 0) -> FoundPeople:
    """The distinct people of np.rot90(image, turn), in px of the image."""
    turned = np.ascontiguousarray(np.rot90(image, turn))
    boxes, scores = detector.boxes(turned)
    found = FoundPeople(boxes, scores, detector.keypoints(turned, boxes)).distinct()
    if turn == 0:
        return found
    height, width = image.shape[:2]
    # Keypoints are centres of pixels, boxes edges.
    points = turned_back(found.keypoints[..., :2] + 0.5, turn, width, height) - 0.5
    keypoints = np.concatenate((points, found.keypoints[..., 2:]), axis=2, dtype=np.float32)
    return FoundPeople(boxes_turned_back(found.boxes, turn, width, height), found.scores, keypoints)


def turned_back(points: NDArray, turn: int, width: int, height: int) -> NDArray:
    """Points (..., 2) of np.rot90(image, turn) in px of the image of this width and height."""
    x, y = points[..., 0], points[..., 1]
    back = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
    return np.stack(back[turn], axis=-1)


def boxes_turned_back(boxes: NDArray, turn: int, width: int, height: int) -> NDArray[np.float32]:
    """The same for boxes (N, 4) x1, y1, x2, y2."""
    corners = turned_back(boxes.reshape(-1, 2, 2), turn, width, height)
    return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1, dtype=np.float32)


def body_scores(scores: NDArray[np.float32], keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) the scores of boxes times the mean confidence of their keypoints (N, 17, 3), as in MMPose."""
    return (scores * keypoints[..., 2].mean(axis=1)).astype(np.float32)


def distinct_people(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], keypoints: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Indices, ascending, of people, without those hardly seen and without second boxes of one person.

    Of two boxes with the same keypoints the one stays that they explain better: by the overlap of the box
    with the keypoints' extent, and their confidence.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 px.
        scores: (N,) of the boxes.
        keypoints: (N, 17, 3) x, y px and confidence.
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    confidence = keypoints[..., 2]
    # The extent of the confident keypoints, or of the best four.
    threshold = np.minimum(0.2, np.sort(confidence, axis=1)[:, -4, None])
    seen = np.concatenate((keypoints[..., :2], confidence[..., None] >= threshold[..., None]), axis=2)
    extent = np.nan_to_num(box_from_keypoints(seen, threshold=0.5, margin=1.0))
    quality = np.diag(iou(extent, boxes)) * confidence.mean(axis=1)
    same = keypoint_similarity(keypoints, boxes) > SAME_KEYPOINTS
    sure = scores >= TWO_PEOPLE_SCORE
    same &= ~(sure[:, None] & sure)
    seen_enough = body_scores(scores, keypoints) >= LOWEST_BODY_SCORE
    keep: list[int] = []
    for index in np.argsort(-quality, kind="stable").tolist():
        if seen_enough[index] and not same[index, keep].any():
            keep.append(index)
    return np.array(sorted(keep), np.int64)


def keypoint_similarity(keypoints: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """COCO's object keypoint similarity (OKS) of all pairs, (N, N), in the area of the larger box.

    Every keypoint counts by the lower of its two confidences.
    """
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    larger = np.maximum(np.maximum(area[:, None], area), 1e-6)
    points, confidence = keypoints[..., :2].astype(np.float64), keypoints[..., 2]
    square = ((points[:, None] - points) ** 2).sum(axis=-1)
    near = np.exp(-square / (2 * (2 * _SIGMAS) ** 2 * larger[..., None]))
    weight = np.minimum(confidence[:, None], confidence)
    return (near * weight).sum(axis=-1) / np.maximum(weight.sum(axis=-1), 1e-9)

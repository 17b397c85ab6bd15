"""The built-in detector: NanoDet and MoveNet, offline, on the CPU."""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fullframe.detect.find_people import lean_angle
from fullframe.detect.movenet import Window, multipose, thunder
from fullframe.detect.nanodet import candidates
from fullframe.detect.onnx_model import OnnxModel, verify
from fullframe.geometry.box import iou, nms
from fullframe.threads import concurrently

__all__ = ["Builtin", "load", "verify"]

# Logistic regression from the candidates' features to a person's probability: benchmarks/detect.py --fit.
WEIGHTS, BIAS = (14.9, 24.8), -4.68
# Lower, and more people in crowds are found, but also more boxes are parts of people or of two at once:
# benchmarks/detect.py prints both for a range of values.
LOWEST_SCORE = 0.2
# Boxes that overlap more than this are the same person's, unless MultiPose scores both of them, as two
# people, with at least CONFIRMED: then only boxes that overlap more than OVERLAP_CONFIRMED are.
OVERLAP, CONFIRMED, OVERLAP_CONFIRMED = 0.55, 0.1, 0.8
# The windows of the first look and of those after it, in sides of the box: MoveNet likes people large.
FIRST, LATER = 1.1, 1.0
# A person's window is also tried in the three other orientations if the mean confidence of the joints upright
# is below the first; another orientation is taken if its confidence is higher by the second.
UNSURE, TURNING_GAIN = 0.4, 0.1
# What is farther outside the box than this share of its sides is black to MoveNet: it is of other people.
MARGIN = 0.05


def load() -> "Builtin":
    """The built-in detector; its files are opened when first needed."""
    return Builtin()


class Builtin:
    """Boxes from NanoDet and MoveNet MultiPose, keypoints from MoveNet Thunder."""

    name = "builtin"

    def __init__(self) -> None:
        self._nanodet = OnnxModel("nanodet")
        self._multipose = OnnxModel("movenet-multipose")
        self._thunder = OnnxModel("movenet-thunder")

    def boxes(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `fullframe.detect.Detector`. The scores are probabilities of a whole, single person."""
        return select(*self.candidates(image))

    def candidates(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Person candidates and their features.

        The two networks' boxes are matched one to one, so that neither of two people who overlap is lost.

        Returns:
            (N, 4) x1, y1, x2, y2 px, and (N, 2): NanoDet's score for a person less that for the likeliest
            other class, and MultiPose's score; 0 where a network has no box.
        """
        found = candidates(self._nanodet, image)
        seen, seen_scores = multipose(self._multipose, image)
        overlap = iou(found.boxes, seen)
        rows, columns = linear_sum_assignment(-overlap)
        matched = overlap[rows, columns] > 0.5
        rows, columns = rows[matched], columns[matched]
        features = np.zeros((len(found.boxes), 2))
        features[:, 0] = found.person - found.other
        features[rows, 1] = seen_scores[columns]
        only = np.setdiff1d(np.arange(len(seen)), columns)
        only = only[(seen[only, 2:] - seen[only, :2] > 1).all(axis=1)]
        more = np.stack((np.zeros(len(only)), seen_scores[only]), axis=1)
        return np.concatenate((found.boxes, seen[only])), np.concatenate((features, more))

    def keypoints(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `fullframe.detect.Detector`. Three looks at each person, up to six at unusual poses."""
        people = concurrently(*(partial(self._joints, image, np.asarray(box, np.float64)) for box in boxes))
        return np.asarray(people, np.float32).reshape(-1, 17, 3)

    def _joints(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.float64]:
        center, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        low = np.floor(np.maximum(box[:2] - MARGIN * sides, 0)).astype(int)
        high = np.ceil(np.maximum(box[2:] + MARGIN * sides, 0)).astype(int)
        part = image[low[1] : high[1], low[0] : high[0]]

        def look(size: float, angle: float = 0.0, flip: bool = False) -> NDArray[np.float64]:
            joints = thunder(self._thunder, part, Window(center - low, sides.max() * size, angle, flip))
            return joints + np.array([*low, 0])

        first = look(FIRST)
        if confidence(first) < UNSURE:
            turned = max((look(FIRST, angle) for angle in np.pi / 2 * np.arange(1, 4)), key=confidence)
            if confidence(turned) > confidence(first) + TURNING_GAIN:
                first = turned
        lean = lean_angle(first) or 0.0
        later = concurrently(lambda: look(LATER, lean), lambda: look(LATER, lean, flip=True))
        return consensus(np.stack((first, *later)))


def select(
    boxes: NDArray, features: NDArray, lowest: float = LOWEST_SCORE
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The people among the candidates.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 px.
        features: (N, 2), see `Builtin.candidates`.
        lowest: people less probable than this are dropped.

    Returns:
        (M, 4) boxes and (M,) probabilities, the best first.
    """
    scores = 1 / (1 + np.exp(-(features @ np.array(WEIGHTS) + BIAS)))
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > lowest]
    confirmed = features[order, 1] >= CONFIRMED
    limit = np.where(confirmed[:, None] & confirmed, OVERLAP_CONFIRMED, OVERLAP)
    keep = order[nms(boxes[order], limit)]
    return boxes[keep].astype(np.float32), scores[keep].astype(np.float32)


def confidence(joints: NDArray) -> float:
    """Mean confidence of the joints (17, 3)."""
    return float(joints[:, 2].mean())


def consensus(looks: NDArray) -> NDArray[np.float64]:
    """One person out of several looks (L, 17, 3): outliers are dropped joint by joint, the rest averaged.

    A joint's outliers are far (a tenth of the person) from the look that all looks, weighted by confidence,
    are nearest to.
    """
    points, confidence = looks[..., :2], looks[..., 2]
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    middle = (distance * confidence[:, None]).sum(axis=0).argmin(axis=0)
    joint = np.arange(looks.shape[1])
    size = np.ptp(points[middle, joint], axis=0).max()
    near = 0.1 * size >= distance[middle, :, joint].T
    weight = near * (confidence + 1e-6)
    mean = (points * weight[..., None]).sum(axis=0) / weight.sum(axis=0)[:, None]
    return np.concatenate((mean, confidence.mean(axis=0)[:, None]), axis=1)

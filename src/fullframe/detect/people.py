"""People from boxes and their keypoints: duplicates are removed; scores say how much of a body is seen."""

import numpy as np
from numpy.typing import NDArray

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
    keep: list[int] = []
    for index in np.argsort(-quality, kind="stable").tolist():
        if body_scores(scores, keypoints)[index] >= LOWEST_BODY_SCORE and not same[index, keep].any():
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

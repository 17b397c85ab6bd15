"""Overlap of boxes, x1, y1, x2, y2 in px."""

import numpy as np
from numpy.typing import NDArray


def iou(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Intersection over union of every box of `a` (N, 4) with every box of `b` (M, 4): (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (high - low).clip(0).prod(axis=-1)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=-1) for x in (a, b))
    return both / np.maximum(area_a[:, None] + area_b - both, 1e-9)


def nms(boxes: NDArray, limit: float | NDArray) -> NDArray[np.int64]:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4), the best first.
        limit: the overlap (IoU) up to which two boxes may both stay; one for all or (N, N).

    Returns:
        Indices of the boxes kept, in order: those that overlap no better one that is kept too much.
    """
    too_close = iou(boxes, boxes) > limit
    keep: list[int] = []
    for i in range(len(boxes)):
        if not too_close[i, keep].any():
            keep.append(i)
    return np.array(keep, np.int64)

"""Person boxes and the crops cut from them.

A crop shows the square-or-taller window around a person at the resolution that a network expects.
`center` is always in absolute pixels of the full image, `size` (the b of CLIFF) is the crop's height in
full-image pixels after every enlargement; the crop's width in the image is size * width / height.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

LABEL_ENLARGE, DETECTION_ENLARGE = 1.2, 1.1
"""The crop's window over the tight box: of labels (SPIN's and CLIFF's training and evaluation), and of
detections (CLIFF's demo)."""


class PersonBox(NamedTuple):
    """Where N crops sit in the full image.

    Attributes:
        center: (N, 2) float64, absolute pixels of the full image.
        size: (N,) float64, crop height in full-image pixels, enlargement included.
    """

    center: NDArray[np.float64]
    size: NDArray[np.float64]


def box_from_xyxy(boxes: ArrayLike, aspect: float = 4 / 3, enlarge: float = DETECTION_ENLARGE) -> PersonBox:
    """The crop windows for detection boxes, as in CLIFF's released code.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in px.
        aspect: crop height / crop width (4/3 for 256 x 192, 1 for 224 x 224).
        enlarge: factor on the box: DETECTION_ENLARGE or LABEL_ENLARGE.

    Raises:
        ValueError: if a box is not finite or has no area.
    """
    xyxy = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    extent = xyxy[:, 2:] - xyxy[:, :2]
    bad = ~(np.isfinite(xyxy).all(axis=1) & (extent > 0).all(axis=1))
    if bad.any():
        index = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"box {index} is not a box: {xyxy[index].tolist()}; expected x1 < x2 and y1 < y2 in px"
        )
    center = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    size = np.maximum(extent[:, 0] * aspect, extent[:, 1]) * enlarge
    return PersonBox(center, size)


def clip_boxes(boxes: ArrayLike, size: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes cut to the image.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 px.
        size: (width, height) px.

    Raises:
        ValueError: for a box that is not finite, has no area, or lies outside the image.
    """
    xyxy = np.asarray(boxes, np.float32).reshape(-1, 4)
    width, height = size
    clipped = np.clip(xyxy, 0, np.array([width, height, width, height], np.float32))
    for index, (box, inside) in enumerate(zip(xyxy, clipped, strict=True)):
        if not np.isfinite(box).all():
            raise ValueError(f"box {index} is not finite: {box.tolist()}")
        if (box[2:] <= box[:2]).any():
            raise ValueError(f"box {index} has no area: {box.tolist()}; expected x1 < x2 and y1 < y2 in px")
        if (inside[2:] <= inside[:2]).any():
            raise ValueError(f"box {index} lies outside the {width} x {height} px image: {box.tolist()}")
    return clipped


def crop_affine(box: PersonBox, crop: tuple[int, int]) -> NDArray[np.float64]:
    """The affine maps from full-image to crop coordinates, (N, 2, 3).

    x' = (x - center_x) * m + width / 2 and y' likewise with height / 2, with one magnification
    m = height / size for both axes.

    Args:
        box: N windows.
        crop: (height, width) of the crop in px.
    """
    height, width = crop
    scale = height / box.size
    matrix = np.zeros((len(box.size), 2, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :, 2] = np.array([width, height]) / 2 - box.center * scale[:, None]
    return matrix


CROP_METHODS = ("antialiased", "cliff")


def crop_image(
    image: NDArray[np.uint8], box: PersonBox, crop: tuple[int, int], crop_method: str = "antialiased"
) -> NDArray[np.uint8]:
    """Cut and resize the windows of N people out of one image. What lies outside the image is black.

    Args:
        image: (H, W, 3) uint8.
        box: N windows.
        crop: (height, width) of the result in px.
        crop_method: "antialiased" averages strong reductions first (by whole factors), so that small crops of
            large photos do not alias. "cliff" cuts as the code of CLIFF's authors does, for their weights:
            without averaging, and with the window's edges on edges of pixels where ours lie on centres.

    Returns:
        (N, height, width, 3) uint8.
    """
    out = np.empty((len(box.size), *crop, 3), np.uint8)
    for i, matrix in enumerate(crop_affine(box, crop)):
        if crop_method == "cliff":
            matrix[:, 2] += 0.5 * matrix[0, 0] - 0.5
            out[i] = cv2.warpAffine(image, matrix, crop[::-1], flags=cv2.INTER_LINEAR)
        else:
            out[i] = warp_crop(image, matrix, crop)
    return out


def warp_crop(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], crop: tuple[int, int]
) -> NDArray[np.uint8]:
    """One crop through any similarity: as `crop_image`, but it may turn and mirror.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3) from pixels of the image to pixels of the crop, with one magnification for both axes.
        crop: (height, width) of the result in px.

    Returns:
        (height, width, 3) uint8; what lies outside the image is black.
    """
    height, width = crop
    source, matrix = _window(image, matrix, (width, height))
    if not source.size:
        return np.zeros((height, width, 3), np.uint8)
    return cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR)


def _window(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of the image that a crop sees, averaged down by a whole factor, and the map from it."""
    linear, offset = matrix[:, :2], matrix[:, 2]
    scale = np.sqrt(abs(linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0]))
    width, height = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    corners = (corners - offset) @ (linear / scale) / scale
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 3, image.shape[1::-1])
    source = image[low[1] : max(high[1], low[1]), low[0] : max(high[0], low[0])]
    offset = offset + linear @ low
    factor = int(1 / scale)
    if factor > 1 and source.size:
        # Black padding to a multiple keeps the blocks aligned with the window's corner.
        pad = [(0, -length % factor) for length in source.shape[:2]]
        source = np.pad(source, (*pad, (0, 0)))
        reduced = (source.shape[1] // factor, source.shape[0] // factor)
        source = cv2.resize(source, reduced, interpolation=cv2.INTER_AREA)
        # The centre of block i lies at (i + .5) * factor - .5 of the window.
        offset = offset + linear.sum(axis=1) * (factor - 1) / 2
        linear = linear * factor
    return source, np.concatenate((linear, offset[:, None]), axis=1)


def box_from_keypoints(
    keypoints: ArrayLike, threshold: float = 0.3, margin: float = 1.25
) -> NDArray[np.float32]:
    """Boxes around 2D keypoints.

    Args:
        keypoints: (N, K, 3) x, y in px and confidence.
        threshold: keypoints below this confidence are ignored.
        margin: factor on the extent of the keypoints, since a body is larger than its joints.

    Returns:
        (N, 4) x1, y1, x2, y2; NaN where fewer than two keypoints are confident.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    out = np.full((len(points), 4), np.nan, np.float32)
    for i, person in enumerate(points):
        seen = person[person[:, 2] > threshold, :2]
        if len(seen) >= 2:
            low, high = seen.min(axis=0), seen.max(axis=0)
            half = np.maximum((high - low) * margin / 2, 0.15 * (high - low).max() + 1)
            out[i] = np.concatenate(((low + high) / 2 - half, (low + high) / 2 + half))
    return out


def iou(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of every box of `a` (N, 4) with every box of `b` (M, 4): (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (high - low).clip(0).prod(axis=-1)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=-1) for x in (a, b))
    return both / np.maximum(area_a[:, None] + area_b - both, 1e-9)


def nms(boxes: NDArray[Any], limit: float | NDArray[Any]) -> NDArray[np.int64]:
    """Greedy non-maximum suppression. Ours, since torchvision's has one limit for all pairs.

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

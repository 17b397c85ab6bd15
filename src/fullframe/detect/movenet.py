"""MoveNet (Votel & Li, Google, 2021): MultiPose finds up to six people, Thunder the joints of one."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.detect.onnx_model import OnnxModel

FLIP = list(JOINT_SETS["coco17"].flip_permutation)
MULTIPOSE_SIDE = 256
THUNDER_SIDE = 256
SHOULDERS, HIPS = [5, 6], [11, 12]


class Window(NamedTuple):
    """The square of the image that Thunder sees.

    Attributes:
        center: (2,) px.
        side: px of the image.
        angle: radians by which the window is turned, clockwise on the screen.
        flip: whether the window is seen mirrored.
    """

    center: NDArray[np.float64]
    side: float
    angle: float = 0.0
    flip: bool = False


def multipose(
    network: OnnxModel, image: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Up to six people.

    Args:
        network: MoveNet MultiPose.
        image: (H, W, 3) RGB.

    Returns:
        (6, 4) boxes x1, y1, x2, y2 px within the image, and (6,) scores 0..1, most of them near 0.
    """
    height, width = image.shape[:2]
    scale = MULTIPOSE_SIDE / max(height, width)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    # The network takes sides that are multiples of 32.
    canvas = np.zeros((-(-h // 32) * 32, -(-w // 32) * 32, 3), np.int32)
    canvas[:h, :w] = cv2.resize(
        image, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    people = network(canvas[None])[0][0].astype(float)
    to_px = np.array([canvas.shape[1] * width / w, canvas.shape[0] * height / h] * 2)
    boxes = people[:, [52, 51, 54, 53]] * to_px
    return boxes.clip(0, [width, height, width, height]), people[:, 55]


def thunder(network: OnnxModel, image: NDArray[np.uint8], window: Window) -> NDArray[np.float64]:
    """The joints of the person in the middle of the window: (17, 3) x, y px of the image and confidence."""
    matrix = _window_to_image(window)
    crop = _cut(image, window, matrix)
    found = network(crop[None].astype(np.int32))[0][0, 0].astype(float)
    # The network's coordinates start at the corner of the first pixel; ours at its centre.
    inside = found[:, [1, 0]] * THUNDER_SIDE - 0.5
    joints = np.concatenate((inside @ matrix[:, :2].T + matrix[:, 2], found[:, 2:]), axis=1)
    return joints[FLIP] if window.flip else joints


def _window_to_image(window: Window) -> NDArray[np.float64]:
    """(2, 3) affine map from pixels of the crop to pixels of the image."""
    cos, sin = np.cos(window.angle), np.sin(window.angle)
    linear = np.array([[cos, -sin], [sin, cos]]) * window.side / THUNDER_SIDE
    if window.flip:
        linear[:, 0] *= -1
    middle = np.full(2, (THUNDER_SIDE - 1) / 2)
    return np.concatenate((linear, (window.center - linear @ middle)[:, None]), axis=1)


def _cut(image: NDArray[np.uint8], window: Window, matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The (256, 256, 3) crop; black outside the image. A large window is averaged, not sampled."""
    reach = window.side * 0.75  # more than half the diagonal
    low = np.clip(np.floor(window.center - reach), 0, image.shape[1::-1]).astype(int)
    high = np.clip(np.ceil(window.center + reach), 0, image.shape[1::-1]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    if part.size == 0:
        return np.zeros((THUNDER_SIDE, THUNDER_SIDE, 3), np.uint8)
    shrink = min(1.0, THUNDER_SIDE / window.side)
    size = np.maximum(np.round(np.array(part.shape[1::-1]) * shrink), 1)
    part = cv2.resize(part, size.astype(int).tolist(), interpolation=cv2.INTER_AREA)
    # From pixels of the image to pixels of the shrunken part: centres of pixels map to centres.
    ratio = size / (high - low)
    to_part = np.concatenate((np.diag(ratio), ((0.5 - low) * ratio - 0.5)[:, None]), axis=1)
    linear = to_part[:, :2] @ matrix[:, :2]
    offset = to_part[:, :2] @ matrix[:, 2] + to_part[:, 2]
    return cv2.warpAffine(
        part,
        np.concatenate((linear, offset[:, None]), axis=1),
        (THUNDER_SIDE, THUNDER_SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )

"""Person candidates by NanoDet (RangiLyu, 2020), an anchor-free detector of the 80 COCO classes."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.detect.onnx_model import OnnxModel
from fullframe.geometry.box import iou, nms
from fullframe.threads import concurrently

SIDE = 416
MEAN = np.array([103.53, 116.28, 123.675], np.float32)  # BGR
STD = np.array([57.375, 57.12, 58.395], np.float32)
STRIDES = (8, 16, 32)
# A side of a box is an expectation over this many distances, in strides
# (Generalized Focal Loss, Li et al., NeurIPS 2020, eq. 5).
BINS = 11
PERSON = 0
LOWEST_SCORE = 0.1
# Raw boxes that overlap more than this are about the same person.
SAME_PERSON = 0.6
# A person has this many good raw boxes, at least, in each of the two passes.
SUPPORT = 5


class Candidates(NamedTuple):
    """What may be people.

    Attributes:
        boxes: (N, 4) x1, y1, x2, y2 px.
        person: (N,) score of the class person, 0..1.
        other: (N,) its highest score, in the same places, for a class other than person.
    """

    boxes: NDArray[np.float64]
    person: NDArray[np.float64]
    other: NDArray[np.float64]


def candidates(network: OnnxModel, image: NDArray[np.uint8]) -> Candidates:
    """Person candidates from the image and its mirror image.

    Raw boxes vote: those around the same best one are averaged by score, and the best `SUPPORT` of each pass
    give its score. A lone raw box so gets a low one.

    Args:
        network: NanoDet at 416 x 416.
        image: (H, W, 3) RGB.
    """
    canvas, inside = _letterbox(image)
    plain, mirror = concurrently(lambda: _raw(network, canvas), lambda: _raw(network, canvas[:, ::-1]))
    mirror.boxes[:, [0, 2]] = SIDE - mirror.boxes[:, [2, 0]]
    plain, mirror = (_in_image(found, inside, image.shape[1::-1]) for found in (plain, mirror))
    raw = _join(plain, mirror)
    best = _distinct(raw)
    weight = raw.person * (iou(best.boxes, raw.boxes) > SAME_PERSON)
    total = weight.sum(axis=1)
    passes = np.split(weight, [len(plain.person)], axis=1)
    votes = [np.sort(one, axis=1)[:, -SUPPORT:].sum(axis=1) / SUPPORT for one in passes]
    person = (votes[0] + votes[1]) / 2
    # Averaging can bring two candidates onto each other.
    return _distinct(Candidates(weight @ raw.boxes / total[:, None], person, weight @ raw.other / total))


def _join(*parts: Candidates) -> Candidates:
    return Candidates(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _distinct(found: Candidates) -> Candidates:
    """The best candidate of every person, the best first."""
    order = np.argsort(-found.person, kind="stable")
    keep = order[nms(found.boxes[order], SAME_PERSON)]
    return Candidates(*(values[keep] for values in found))


def _letterbox(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The whole image in the middle of what the network sees, and x1, y1, x2, y2 of its place there."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = np.array([max(1, round(width * scale)), max(1, round(height * scale))])
    low = (SIDE - size) // 2
    high = low + size
    canvas = np.full((SIDE, SIDE, 3), 114, np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[low[1] : high[1], low[0] : high[0]] = cv2.resize(image, size.tolist(), interpolation=how)
    return canvas, np.concatenate((low, high))


def _in_image(found: Candidates, inside: NDArray[np.int64], size: Sequence[int]) -> Candidates:
    """The candidates in px of an image of `size` (width, height); none that lies in the margin only."""
    boxes = (found.boxes - np.tile(inside[:2], 2)) * np.tile(size / (inside[2:] - inside[:2]), 2)
    boxes = boxes.clip(0, np.tile(size, 2))
    visible = (boxes[:, 2:] - boxes[:, :2] > 1).all(axis=1)
    return Candidates(boxes[visible], found.person[visible], found.other[visible])


def _raw(network: OnnxModel, canvas: NDArray[np.uint8]) -> Candidates:
    """Every place of the three grids where a person is likelier than `LOWEST_SCORE`, in px of the canvas."""
    inputs = ((canvas[:, :, ::-1] - MEAN) / STD).transpose(2, 0, 1)[None]
    outputs = {output.shape[1:]: output[0] for output in network(np.ascontiguousarray(inputs))}

    parts = []
    for stride in STRIDES:
        cells = SIDE // stride
        scores = outputs[cells**2, 80]
        distances = outputs[cells**2, 4 * BINS].reshape(-1, 4, BINS)
        place = np.flatnonzero(scores[:, PERSON] > LOWEST_SCORE)
        chance = np.exp(distances[place] - distances[place].max(axis=-1, keepdims=True))
        reach = chance @ np.arange(BINS) / chance.sum(axis=-1) * stride  # left, top, right, bottom
        center = (np.stack((place % cells, place // cells), axis=1) + 0.5) * stride
        boxes = np.concatenate((center - reach[:, :2], center + reach[:, 2:]), axis=1)
        classes = scores[place].astype(float)
        person, other = classes[:, PERSON], np.delete(classes, PERSON, axis=1).max(axis=1)
        parts.append(Candidates(boxes, person, other))
    return _join(*parts)

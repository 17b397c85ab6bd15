"""Augmentation of the pixels of a training crop: occluders, colours, poor image quality.

Occluders stand in for the cut-out objects of Sarandi et al., "How Robust is 3D Human Pose Estimation to
Occlusion?" (IROS workshop 2018); they are synthetic, so no object photos are needed.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def occlude(crop: Pixels, image: Pixels, magnification: float, rng: np.random.Generator) -> None:
    """Paste one to three blobs, ellipses or rectangles on a crop, in place.

    Each is 8 to 40 % of the crop's height wide and high, and is filled with a piece of the image the crop was
    cut from, or with random stripes, checks or a plain colour.

    Args:
        crop: (h, w, 3).
        image: (H, W, 3), where pieces come from.
        magnification: crop pixels per pixel of `image`.
        rng: source of chance.
    """
    height, width = crop.shape[:2]
    for _ in range(rng.integers(1, 4)):
        outline = _outline(rng) * rng.uniform(0.04, 0.2, 2) * height
        angle = rng.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = np.round(outline @ turn + rng.uniform(0, (width, height))).astype(np.int32)
        low = np.clip(points.min(axis=0), 0, (width, height))
        high = np.clip(points.max(axis=0) + 1, 0, (width, height))
        if (high - low).min() < 1:
            continue
        w, h = (high - low).tolist()
        mask = np.zeros((h, w), np.uint8)
        cv2.fillPoly(mask, [points - low.astype(np.int32)], 255, cv2.LINE_AA)
        texture = _piece(image, (h, w), magnification, rng) if rng.random() < 0.5 else _pattern((h, w), rng)
        region = crop[low[1] : high[1], low[0] : high[0]]
        alpha = mask[..., None].astype(np.float32) / 255
        region[:] = region + (texture - region.astype(np.float32)) * alpha


def _outline(rng: np.random.Generator) -> NDArray[np.float64]:
    """A closed line around the origin that reaches about 1 from it: (N, 2)."""
    kind = rng.integers(3)
    if kind == 0:
        return np.array([[-1.0, -1.0], [1, -1], [1, 1], [-1, 1]])
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = np.ones_like(angle)
    if kind == 1:
        for wave in (2, 3, 5):
            radius += rng.uniform(0, 0.3) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    return radius[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)


def _piece(image: Pixels, size: tuple[int, int], magnification: float, rng: np.random.Generator) -> Pixels:
    """Some other place of the image at the crop's resolution."""
    extent = np.maximum(np.array(size) / magnification, 1).astype(int)
    extent = np.minimum(extent, image.shape[:2])
    y, x = rng.integers(0, np.array(image.shape[:2]) - extent + 1)
    piece = image[y : y + extent[0], x : x + extent[1]]
    return cv2.resize(piece, size[::-1], interpolation=cv2.INTER_AREA)


def _pattern(size: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """Plain, striped, checked or cloudy, of random colours."""
    cells = rng.integers(0, 256, (*rng.integers(1, 7, 2), 3), dtype=np.uint8)
    smooth = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_NEAREST
    return cv2.resize(cells, size[::-1], interpolation=smooth)


def recolor(crop: Pixels, noise: float, gamma: bool, rng: np.random.Generator) -> Pixels:
    """Multiply each channel by U(1 - noise, 1 + noise) (SPIN); with `gamma`, after a power of 0.5 to 2."""
    level = np.linspace(0, 1, 256)
    if gamma:
        level = level ** np.exp2(rng.uniform(-1, 1))
    table = level[:, None] * rng.uniform(1 - noise, 1 + noise, 3) * 255
    return cv2.LUT(crop, table.clip(0, 255).astype(np.uint8)[None])


def grey(crop: Pixels) -> Pixels:
    """Without colour, still three channels."""
    return cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def blur(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """Out of focus, or moved along an axis: sigma 0.2 to 1.5 % of the height, another one each way."""
    x, y = rng.uniform(0.002, 0.015, 2) * len(crop)
    return cv2.GaussianBlur(crop, (0, 0), sigmaX=x, sigmaY=y)


def downscale(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """As if the person were 25 to 80 % as large in the photo."""
    height, width = crop.shape[:2]
    factor = rng.uniform(0.25, 0.8)
    small = (max(round(width * factor), 1), max(round(height * factor), 1))
    return cv2.resize(cv2.resize(crop, small, interpolation=cv2.INTER_AREA), (width, height))


def compress(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """Through JPEG of quality 15 to 80."""
    quality = (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 81)))
    _, data = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), quality)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

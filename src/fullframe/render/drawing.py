"""Lines, areas and labels on a picture, antialiased, in sub-pixel coordinates. Everything draws in place."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, ...]

# cv2 takes coordinates as integers of 1/16 px.
_SHIFT = 4


def _fixed(points: ArrayLike) -> NDArray[np.int32]:
    # Far outside the picture exactness does not matter, but cv2 must not overflow.
    return np.rint(np.clip(points, -1e6, 1e6) * (1 << _SHIFT)).astype(np.int32)


def polyline(image: NDArray[np.uint8], points: ArrayLike, color: Color, width: int = 1) -> None:
    """A line through the points (n, 2) px."""
    cv2.polylines(image, [_fixed(points)], False, color, width, cv2.LINE_AA, _SHIFT)


def polygon(image: NDArray[np.uint8], points: ArrayLike, color: Color) -> None:
    """A filled convex polygon with the corners (n, 2) px."""
    cv2.fillConvexPoly(image, _fixed(points), color, cv2.LINE_AA, _SHIFT)


class Label(NamedTuple):
    """Words at a point (2,) px. `anchor` as in Pillow; words on a plate are white and beside their point."""

    words: str
    at: NDArray[np.float64]
    anchor: str = "mm"
    plate: Color | None = None


_INK = (84, 90, 98)

# Where a plate may go, nearest first, and above rather than beside or below: (x, y) in its own sizes.
_PLACES = sorted(
    ((x / 4, y / 2) for x in range(-24, 25) for y in range(-36, 13)),
    key=lambda place: (2.5 * place[0]) ** 2 + (place[1] * (1.0 if place[1] < 0 else 1.6)) ** 2,
)


def draw_labels(
    image: NDArray[np.uint8], labels: Sequence[Label], size: int, avoid: Sequence[Sequence[float]] = ()
) -> None:
    """Labels in letters of `size` px; none covers another.

    A plain label that would touch an earlier one is left out. A plate takes the nearest free place, off the
    boxes (x0, y0, x1, y1) to avoid, and a line ties it to its point.
    """
    picture = Image.fromarray(image)
    draw, font = ImageDraw.Draw(picture), _font(size)
    taken: list[Sequence[float]] = []
    plates = []
    for label in labels:
        x, y = label.at.tolist()
        if label.plate is None:
            box = draw.textbbox((x, y), label.words, font, label.anchor)
            if not _touches(box, taken, 0.3 * size):
                draw.text((x, y), label.words, _INK, font, label.anchor)
                taken.append(box)
            continue
        width, height = font.getlength(label.words) + 0.8 * size, 1.36 * size
        for dx, dy in _PLACES:
            left, top = x + dx * width - width / 2, y + dy * height - height / 2
            box = (left, top, left + width, top + height)
            inside = left >= 0 and top >= 0 and box[2] <= image.shape[1] and box[3] <= image.shape[0]
            if inside and not _touches(box, [*taken, *avoid], 2):
                taken.append(box)
                plates.append((label, label.plate, box))
                break
    for label, color, box in plates:  # lines first: no plate is crossed
        nearest = np.clip(label.at, box[:2], box[2:])
        draw.line((*nearest, *label.at), color, max(1, size // 8))
    for label, color, box in plates:
        draw.rounded_rectangle(box, 0.35 * size, color)
        draw.text(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), label.words, "white", font, "mm")
    image[:] = np.asarray(picture)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _touches(box: Sequence[float], others: Sequence[Sequence[float]], gap: float) -> bool:
    x0, y0, x1, y1 = box
    return any(x0 < b[2] + gap and b[0] < x1 + gap and y0 < b[3] + gap and b[1] < y1 + gap for b in others)

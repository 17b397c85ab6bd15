"""A result in one picture: the photo, the overlay, the side view and the bird's-eye view."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.io.text import plural
from fullframe.render.drawing import Label, draw_labels
from fullframe.render.overlay import overlay
from fullframe.render.views import birds_eye, side_view
from fullframe.results.people import People

_HEIGHT, _GAP, _FONT = 640, 16, 20

# Panoramas and towers are shown whole, between white margins.
_NARROWEST, _WIDEST = 0.6, 1.8


def sheet(image: NDArray[np.uint8], people: People) -> NDArray[np.uint8]:
    """Photo and overlay above, side view and bird's-eye view below, with captions.

    Args:
        image: (H, W, 3) RGB, the upright photo.

    Returns:
        (H', W', 3) RGB, about 1350 px high.

    Raises:
        ValueError: if the image has another size than the people's camera.
    """
    drawn = overlay(image, people)
    width = round(_HEIGHT * float(np.clip(image.shape[1] / image.shape[0], _NARROWEST, _WIDEST)))
    total = 2 * width + _GAP
    side = round(0.58 * (total - _GAP))
    camera = people.camera
    horizontal, vertical = camera.fov
    number = plural(len(people), "person", "people") if len(people) else "no people"
    view = f"{horizontal:.0f} x {vertical:.0f} degrees"
    focal = f"focal length {camera.focal[0]:.0f} px ({view}) from {camera.source}"
    rows = (
        (
            (Path(people.image).name or "photo", _fit(image, width)),
            (f"{number}, {people.body} body, {people.model}", _fit(drawn, width)),
        ),
        (
            (f"from the side; {focal}", side_view(people, (side, _HEIGHT))),
            ("from above", birds_eye(people, (total - _GAP - side, _HEIGHT))),
        ),
    )
    line = 2 * _FONT
    page = np.full((2 * (_HEIGHT + line) + 3 * _GAP // 2, total + 2 * _GAP, 3), 255, np.uint8)
    labels = []
    for row, panels in enumerate(rows):
        x, y = _GAP, _GAP // 2 + row * (_HEIGHT + line + _GAP // 2)
        for caption, panel in panels:
            labels.append(Label(caption, np.array((x, y + line / 2)), "lm"))
            page[y + line : y + line + _HEIGHT, x : x + panel.shape[1]] = panel
            x += panel.shape[1] + _GAP
    draw_labels(page, labels, _FONT)
    return page


def _fit(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The whole image in the middle of a white panel width x _HEIGHT px."""
    scale = min(width / image.shape[1], _HEIGHT / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    panel = np.full((_HEIGHT, width, 3), 255, np.uint8)
    x, y = (width - size[0]) // 2, (_HEIGHT - size[1]) // 2
    panel[y : y + size[1], x : x + size[0]] = small
    return panel

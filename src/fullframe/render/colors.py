"""One colour a person, the same in every picture and file."""

import colorsys

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Distinguishable with the common colour blindnesses (after Okabe and Ito, 2008), lightened so that shading
# has room below them.
PALETTE = (
    (86, 180, 233),
    (240, 168, 40),
    (48, 178, 132),
    (219, 138, 184),
    (235, 224, 92),
    (64, 124, 205),
    (232, 106, 58),
    (170, 170, 170),
)


def person_colors(ids: ArrayLike) -> NDArray[np.uint8]:
    """A colour for each id (N,), always the same for the same id: (N, 3) RGB.

    After the palette's eight, it returns in darker shades.
    """
    colors = []
    for number in np.asarray(ids, dtype=int).tolist():
        hue, lightness, saturation = colorsys.rgb_to_hls(*(c / 255 for c in PALETTE[number % len(PALETTE)]))
        shade = 0.65 ** (number // len(PALETTE) % 3)
        colors.append(colorsys.hls_to_rgb(hue, lightness * shade, saturation))
    return np.rint(255 * np.array(colors, np.float64).reshape(-1, 3)).astype(np.uint8)

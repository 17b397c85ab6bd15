"""Random colours and patterns of surfaces."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.synth.sampling import cumulative_weights, sample_index

_LEVELS = 3
"""Textures are stored at full, half and quarter size."""

_BASIC = np.array([[0.35, 0.45, 0.7], [0.75, 0.6, 0.45]])  # denim, khaki
_HAIR = np.array(
    [[0.1, 0.08, 0.07], [0.25, 0.17, 0.11], [0.45, 0.3, 0.18], [0.85, 0.68, 0.42], [0.6, 0.6, 0.6]]
)
_HAIR_WEIGHTS = cumulative_weights(0.35, 0.3, 0.17, 0.1, 0.08)
_PATTERN_WEIGHTS = cumulative_weights(0.35, 0.2, 0.15, 0.3)


class TexturePool:
    """Textures in one array, each in its own colours and in a plain form, grey and bright, for tinting.

    Attributes:
        texels: (N, 3) uint8 RGB.
        levels: (2 T, 3, 3) int64 offset, width and height at full, half and quarter size; row t is texture t,
            row T + t its plain form.
    """

    def __init__(self, images: list[NDArray[np.uint8]]) -> None:
        levels: list[list[tuple[int, int, int]]] = []
        parts, offset = [], 0
        for image in [*images, *map(_plain, images)]:
            levels.append([])
            for _ in range(_LEVELS):
                height, width = image.shape[:2]
                levels[-1].append((offset, width, height))
                parts.append(image.reshape(-1, 3))
                offset += width * height
                half = (max(width // 2, 1), max(height // 2, 1))
                image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
        self.texels: NDArray[np.uint8] = np.concatenate(parts)
        self.levels: NDArray[np.int64] = np.array(levels, np.int64)

    def __len__(self) -> int:
        return len(self.levels) // 2


class Look(NamedTuple):
    """Material of a surface; see shading.Surfaces.

    Attributes:
        plain: the texture's plain form is used.
        tint: (3,); pattern: (8,); gloss.
    """

    plain: bool
    tint: NDArray[np.float64]
    pattern: NDArray[np.float32]
    gloss: float


def look_of(kind: str, rng: np.random.Generator) -> Look:
    """A random look for a surface of the wardrobe ("skin", "eyes", "hair", "shoes") or of cloth."""
    none = np.zeros(8, np.float32)
    if kind == "skin":
        tint = rng.uniform(0.8, 1.15) * (1 + 0.04 * rng.normal(size=3))
        return Look(False, tint, none, rng.uniform(0, 25))
    if kind == "eyes":
        return Look(False, np.ones(3), none, 30.0)
    if kind == "hair":
        if rng.random() < 0.3:
            return Look(False, np.full(3, rng.uniform(0.6, 1.2)), none, rng.uniform(5, 30))
        color = _HAIR[sample_index(_HAIR_WEIGHTS, rng)]
        return Look(True, color * rng.uniform(0.7, 1.3), none, rng.uniform(5, 40))
    if kind != "plain" and rng.random() < 0.25:
        tint = rng.uniform(0.6, 1.3) * (1 + 0.15 * rng.normal(size=3))
        return Look(False, tint, none, rng.uniform(0, 12))
    spots = none if kind == "shoes" else _pattern(rng)
    return Look(True, _cloth_color(rng), spots, (0.0, rng.uniform(0, 40))[rng.integers(2)])


def _cloth_color(rng: np.random.Generator) -> NDArray[np.float64]:
    """A cloth's colour, RGB 0 to 1: mostly black, white, grey, blue or brown."""
    kind = rng.random()
    if kind < 0.4:
        return _between(rng.uniform(0.04, 1.05) + rng.normal(0, 0.03, 3), 1.1)
    if kind < 0.7:
        base = _BASIC[int(rng.integers(len(_BASIC)))]
        return _between(rng.uniform(0.3, 1.2) * base + rng.normal(0, 0.05, 3), 1)
    return _between(rng.random(3) ** 1.2, 1)


def _between(color: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """From 0.02 to `most`; np.clip takes longer."""
    return np.minimum(np.maximum(color, 0.02), most)


def _pattern(rng: np.random.Generator) -> NDArray[np.float32]:
    """A row of Surfaces.pattern; mostly none."""
    row = np.zeros(8, np.float32)
    if rng.random() < 0.4:
        row[0] = 1 + sample_index(_PATTERN_WEIGHTS, rng)
        row[1:3] = np.exp(rng.uniform(np.log(5), np.log(60)))
        row[3] = (0.0, np.pi / 2, rng.uniform(0, np.pi))[rng.integers(3)]
        row[4:7] = 255 * _cloth_color(rng)
        row[7] = rng.uniform(0.3, 1.0)
    return row


def _plain(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The folds and seams of a texture without its colour, as bright as white cloth."""
    grey = image.astype(np.float32).mean(axis=2)
    grey = np.clip(grey * (190 / max(float(np.median(grey)), 20.0)), 0, 255)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)

"""Backgrounds: photos of a folder, or procedural images."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.io.image import ImageError, read_photo

_LONG_SIDE = 448
_PROCEDURAL = 64
"""Different procedural backgrounds; crops, mirroring and light add variety."""
_CACHED = 128
"""Images of up to 0.9 MB."""
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


class Backgrounds:
    """Images without people. The last ones used are kept in memory.

    Args:
        folder: of photos without people; None for procedural backgrounds only.
        share: of photos, if there is a folder; the rest is procedural.

    Raises:
        FileNotFoundError: if the folder is missing or holds no photo.
    """

    def __init__(self, folder: str | Path | None = None, share: float = 0.85) -> None:
        self.files: list[Path] = []
        if folder is not None:
            folder = Path(folder)
            if folder.is_dir():
                self.files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
            if not self.files:
                raise FileNotFoundError(
                    f"{folder}: no photos ({', '.join(sorted(_SUFFIXES))}) to use as backgrounds; give a "
                    "folder of photos without people, or none for procedural backgrounds"
                )
        self.share = share if self.files else 0.0
        self._get = lru_cache(maxsize=_CACHED)(self._load)

    def draw(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """An image (h, w, 3) RGB. Raises ImageError for a damaged photo: nothing replaces it silently."""
        if rng.random() < self.share:
            return self._get(int(rng.integers(len(self.files))))
        return self._get(-1 - int(rng.integers(_PROCEDURAL)))

    def _load(self, index: int) -> NDArray[np.uint8]:
        return _read(self.files[index]) if index >= 0 else procedural_background(-index)


def view(
    background: NDArray[np.uint8],
    size: tuple[int, int],
    window: tuple[float, float, float],
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The part of a frame that a window shows, with a random part of the background behind the whole frame.

    Args:
        size: (width, height) px of the frame.
        window: (x, y, scale): pixel p of the result is the frame's (x, y) + scale * p.
        shape: (height, width) px of the result.

    Returns:
        (height, width, 3) float32, 0 to 255.
    """
    height, width = background.shape[:2]
    part = rng.uniform(0.6, 1.0) * min(width / size[0], height / size[1])
    left = rng.uniform(0, width - part * size[0])
    top = rng.uniform(0, height - part * size[1])
    x, y, scale = window
    step = part * scale
    matrix = np.array([[step, 0, left + part * x], [0, step, top + part * y]])
    if rng.random() < 0.5:
        matrix[0] = -step, 0, width - 1 - matrix[0, 2]
    # Averaged down by whole factors first, or a wide view of a sharp photo would alias.
    while step > 1.5:
        background = cv2.resize(background, (background.shape[1] // 2, background.shape[0] // 2),
                                interpolation=cv2.INTER_AREA)  # fmt: skip
        matrix, step = matrix / 2, step / 2
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(background, matrix, shape[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return seen.astype(np.float32)


def procedural_background(seed: int) -> NDArray[np.uint8]:
    """A room or an outdoor scene with clutter, (480, 640, 3) RGB."""
    rng = np.random.default_rng([seed, 77])
    height, width = 480, 640
    horizon = int(rng.uniform(0.25, 0.6) * height)
    image = np.empty((height, width, 3), np.float32)
    rows = np.linspace(0, 1, height)[:, None, None]
    inside = rng.random() < 0.5
    wall, floor = _colour(rng, 0.25 if inside else 0.5), _colour(rng, 0.3)
    sky = np.array([150, 185, 225]) * rng.uniform(0.7, 1.1)
    upper = wall * (1.1 - 0.3 * rows) if inside else sky + (235 - sky) * np.minimum(rows * 2, 1)
    image[:] = upper
    image[horizon:] = floor * (0.75 + 0.4 * rows[horizon:])
    image[horizon:] *= _floor_texture(height - horizon, width, rng)
    if not inside:
        _skyline(image, horizon, rng)
    for _ in range(rng.integers(6, 26)):
        _thing(image, horizon, inside, rng)
    texture = _noise(height, width, rng)[..., None]
    image *= 1 + rng.uniform(0.1, 0.35) * (texture - 0.5)
    light = _noise(height, width, rng, octaves=2)[..., None]
    image *= 1 + 0.5 * (light - 0.5)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8))
    image += rng.normal(0, 2.5, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        image = read_photo(path).pixels
    except ImageError as error:
        raise ImageError(f"{error}: remove it from the backgrounds") from error
    scale = _LONG_SIDE / max(image.shape[:2])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(image, np.uint8)


def _colour(rng: np.random.Generator, saturation: float) -> NDArray[np.float64]:
    """RGB of a thing: mostly greyish, earthy."""
    grey = rng.uniform(40, 215)
    loudness = 1.2 * saturation * rng.random()
    warm = 0.1 * np.array([1, 0.2, -0.8])
    return np.clip(grey * (1 + loudness * rng.normal(size=3) + warm), 5, 250)


def _noise(height: int, width: int, rng: np.random.Generator, octaves: int = 6) -> NDArray[np.float32]:
    """Noise of many scales, 0 to 1."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cells = rng.random((3 * 2**octave, 4 * 2**octave), dtype=np.float32)
        total += cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC) / 1.6**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / (high - low)


def _floor_texture(rows: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Tiles, planks or plain ground in perspective, as a factor (rows, width, 1)."""
    y, x = np.mgrid[1 : rows + 1, 0:width].astype(np.float32)
    depth = rows / y
    across = (x - width / 2) / width * depth * rng.uniform(4, 12)
    along = depth * rng.uniform(2, 8)
    kind = rng.integers(3)
    if kind == 0:
        pattern = ((np.floor(across) + np.floor(along)) % 2) * rng.uniform(0.05, 0.35)
    elif kind == 1:
        pattern = (np.floor(across * 3) * 0.618 % 1) * rng.uniform(0.1, 0.3)
    else:
        cells = rng.random((64, 64), dtype=np.float32)
        pattern = cells[(along * 9).astype(int) % 64, (across * 9).astype(int) % 64] * 0.25
    # Far away, the pattern is too fine to see.
    return (1 - pattern / (1 + 0.1 * depth))[..., None].astype(np.float32)


def _skyline(image: NDArray[np.float32], horizon: int, rng: np.random.Generator) -> None:
    """Houses or trees along the horizon, in place."""
    width = image.shape[1]
    trees = rng.random() < 0.5
    x = -20
    while x < width:
        span, rise = int(rng.uniform(25, 130)), int(rng.uniform(0.1, 0.9) * horizon)
        if trees:
            colour = np.array([70, 100, 50]) * rng.uniform(0.5, 1.3)
            for _ in range(25):
                spot = (int(x + rng.uniform(0, span)), int(horizon - rng.uniform(0, rise)))
                shade = colour * rng.uniform(0.7, 1.3)
                cv2.circle(image, spot, int(rng.uniform(5, 22)), shade.tolist(), -1)
        else:
            colour = _colour(rng, 0.15)
            cv2.rectangle(image, (x, horizon - rise), (x + span, horizon), colour.tolist(), -1)
            pane = (colour * rng.uniform(0.3, 0.7)).tolist()
            for wx in range(x + 4, x + span - 6, 12):
                for wy in range(horizon - rise + 5, horizon - 6, 16):
                    cv2.rectangle(image, (wx, wy), (wx + 6, wy + 9), pane, -1)
        x += span


def _thing(image: NDArray[np.float32], horizon: int, inside: bool, rng: np.random.Generator) -> None:
    """Furniture, a picture on the wall, a post, a bush: shapes with a light and a dark side, in place."""
    height, width = image.shape[:2]
    colour = _colour(rng, 0.5)
    x = int(rng.uniform(0, width))
    if inside and rng.random() < 0.4:
        y, w, h = int(rng.uniform(0, horizon)), int(rng.uniform(15, 110)), int(rng.uniform(15, 90))
        frame = (colour * rng.uniform(0.3, 0.6)).tolist()
        cv2.rectangle(image, (x, y), (x + w, y + h), colour.tolist(), -1)
        cv2.rectangle(image, (x, y), (x + w, y + h), frame, int(rng.integers(2, 6)))
        return
    base = int(horizon + rng.uniform(0, 1) ** 2 * (height - horizon))
    scale = 0.4 + 1.6 * (base - horizon) / max(height - horizon, 1)
    w, h = int(rng.uniform(15, 90) * scale), int(rng.uniform(20, 130) * scale)
    if rng.random() < 0.3:
        spot = (x, base - h // 2)
        cv2.ellipse(image, spot, (w // 2, h // 2), 0, 0, 360, colour.tolist(), -1)
        cv2.ellipse(image, (x - w // 8, base - h // 2 - h // 8), (w // 4, h // 4), 0, 0, 360,
                    np.minimum(colour * 1.2, 255).tolist(), -1)  # fmt: skip
        return
    side = int(w * rng.uniform(0.2, 0.8))
    cv2.rectangle(image, (x, base - h), (x + w, base), colour.tolist(), -1)
    far = np.array([x + w + side, base - side // 4])
    dark = np.array([[x + w, base - h], far - [0, h], far, [x + w, base]])
    cv2.fillConvexPoly(image, dark, (colour * 0.65).tolist())

"""Image degradations of a camera: defocus, motion blur, noise, colour, JPEG."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.compiled import compiled


def simulate_camera(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """An image (H, W, 3), 0 to 255, as a camera would have stored it; RGB uint8."""
    height = image.shape[0]
    chance = rng.random()
    if chance < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2) * height / 224)
    elif chance < 0.4:
        image = cv2.filter2D(image, -1, _streak(rng.uniform(2, 7) * height / 224, rng.uniform(0, np.pi)))
    if rng.random() < 0.2:
        # A small photo, enlarged.
        scale = rng.uniform(0.35, 0.8)
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    gain = rng.uniform(0.75, 1.25) * (1 + 0.06 * rng.normal(size=3))
    gamma = np.exp(rng.normal(0, 0.15))
    if rng.random() < 0.06:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    sigma = rng.gamma(1.5, 2.5)
    # A random window of one sheet of noise: new noise would take as long as rendering the people.
    sheet = _noise_sheet()
    height, width = image.shape[:2]
    corner = int(rng.integers(len(sheet) - height + 1)), int(rng.integers(len(sheet) - width + 1))
    gains = np.tile(gain.astype(np.float32), width)
    exposed = _expose(np.ascontiguousarray(image), gains, np.float32(sigma), sheet, *corner)
    curve = (255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    stored = cv2.LUT(exposed, curve)
    if rng.random() < 0.7:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(30, 95))]
        stored = cv2.imdecode(cv2.imencode(".jpg", stored, quality)[1], cv2.IMREAD_COLOR)
    return np.asarray(stored, np.uint8)


@compiled
def _expose(image, gains, sigma, sheet, y, x):
    """Amplifies and adds the noise of the sheet from (y, x) on, (H, W, 3) float32 to uint8.

    gains: (3 W,), of a row's numbers.
    """
    height, width = image.shape[:2]
    values, noise = image.reshape(height, 3 * width), sheet.reshape(len(sheet), -1)
    out = np.empty((height, 3 * width), np.uint8)
    for row in range(height):
        for k in range(3 * width):
            value = values[row, k] * gains[k] + sigma * noise[y + row, 3 * x + k]
            out[row, k] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))
    return out.reshape(height, width, 3)


def _streak(length: float, angle: float) -> NDArray[np.float32]:
    """The kernel of a camera or person that moves in a straight line, length in px."""
    size = int(np.ceil(length)) | 1
    kernel = np.zeros((size, size), np.float32)
    middle = (size - 1) / 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    ends = [tuple(np.round(middle + sign * reach).astype(int).tolist()) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return kernel / kernel.sum()


@cache
def _noise_sheet() -> NDArray[np.float32]:
    """Sensor noise, a little smoother than white as demosaicing leaves it."""
    sheet = np.random.default_rng(5).normal(size=(1600, 1600, 3)).astype(np.float32)
    sheet = sheet + 0.5 * np.roll(sheet, 1, axis=0) + 0.5 * np.roll(sheet, 1, axis=1)
    return sheet / sheet.std()

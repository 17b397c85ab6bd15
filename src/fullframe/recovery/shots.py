"""Detecting shot boundaries in videos."""

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

_SIZE = (64, 36)
_CHROMA = (78, 178)
"""The part of CIE Lab's a and b (neutral at 128) that most colours fall into."""
_MIN_SIMILARITY = 0.27
"""Frames less similar than this are of different shots.

Of pairs of different photos, 99 % are less similar; of pans by a third of the view between two frames, and of
zooms by 15 %, 99 % are more similar.
"""
_HISTORY = 3
"""Previous frames to compare with: after a flash, the shot continues as before it."""
_BLANK = 0.6
"""Share of white or black pixels from which a frame (a flash, a fade) is not compared."""


class ShotBoundaryDetector:
    """Detects, frame by frame, where a new shot begins. Flashes, fades and fast pans are no cuts."""

    def __init__(self) -> None:
        self._recent: deque[_Signature] = deque(maxlen=_HISTORY)

    def is_cut(self, image: NDArray[np.uint8]) -> bool:
        """Whether a frame (H, W, 3) RGB begins a new shot; the first frame of a video does not."""
        signature = _Signature(image)
        if signature.blank:
            return False
        cut = bool(self._recent) and max(map(signature.similarity, self._recent)) < _MIN_SIMILARITY
        if cut:
            self._recent.clear()
        self._recent.append(signature)
        return cut


class _Signature:
    """A thumbnail's details (36, 64), and histograms of its colours that do not depend on the light."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        # Subsampled first: averaging all pixels of 8k takes longer than everything else.
        step = max(1, min(image.shape[0] // 144, image.shape[1] // 256))
        small = cv2.resize(image[::step, ::step], _SIZE, interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        self.blank = bool(((gray > 245) | (gray < 10)).mean() > _BLANK)
        self.details = gray - cv2.GaussianBlur(gray, (0, 0), 6)
        light, a, b = cv2.cvtColor(small, cv2.COLOR_RGB2Lab).reshape(-1, 3).T.astype(np.float64)
        light = 128 + 48 * (light - light.mean()) / max(float(light.std()), 8.0)
        self.histograms = [_histogram(light, a, (0, 256)), _histogram(b, a, _CHROMA)]

    def similarity(self, other: "_Signature") -> float:
        """1 for the same image, about 0 for different ones.

        Correlation of the details at the best shift, minus the Hellinger distance of the colours.
        """
        parts = ((self.details, other.details), (other.details, self.details))
        best = max(
            float(cv2.matchTemplate(whole, part[8:28, 16:48], cv2.TM_CCOEFF_NORMED).max())
            for whole, part in parts
        )
        pairs = zip(self.histograms, other.histograms, strict=True)
        return best - float(np.mean([np.sqrt(max(1 - np.sqrt(x * y).sum(), 0)) for x, y in pairs]))


def _histogram(x: NDArray[np.float64], y: NDArray[np.float64], span: tuple[int, int]) -> NDArray[np.float64]:
    """Joint histogram of x (over a span) and a chroma y, (8, 8), of sum 1."""
    # Clamped, so that saturated colours count too.
    x, y = np.clip(x, *span), np.clip(y, *_CHROMA)
    counts = cv2.GaussianBlur(np.histogram2d(x, y, bins=8, range=(span, _CHROMA))[0], (3, 3), 0)
    return counts / counts.sum()

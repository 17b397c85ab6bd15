"""Photos at a lower resolution than on disk."""

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import cv2
import numpy as np

from fullframe.data.crop import read_pixels
from fullframe.data.sample import Sample


class Resized(Sequence[Sample]):
    """Samples with reduced photos; labels stay in pixels of the full ones.

    Args:
        samples: of whole images.
        longer_side: of the new photos, px; smaller ones, and reduced copies, stay as they are.
    """

    def __init__(self, samples: Sequence[Sample], longer_side: int) -> None:
        self.samples, self.longer_side = samples, longer_side

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Raises ImageError for an image that cannot be read."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        sample = self.samples[index]
        factor = max(sample.camera.size) / self.longer_side
        if factor <= 1 or sample.window != (0.0, 0.0, 1.0):
            return sample
        image = read_pixels(sample)
        size = (round(image.shape[1] / factor), round(image.shape[0] / factor))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # Pixels are centres of squares: p of the small photo shows factor (p + 1/2) - 1/2 of the full one.
        shift = (factor - 1) / 2
        return replace(sample, image=small.astype(np.uint8), window=(shift, shift, factor))

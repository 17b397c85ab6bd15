"""Person boxes and 2D keypoints, from the built-in networks, from an optional package, or from a file."""

import os

# Read when onnxruntime is loaded, here or by rtmlib: no usage data are collected or sent.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# name -> module with a function `load() -> Detector`, imported on first use.
PROVIDERS = {
    "builtin": "fullframe.detect.builtin",
    "torchvision": "fullframe.detect.torchvision",
    "rtmlib": "fullframe.detect.rtmlib",
    "transformers": "fullframe.detect.transformers",
}


class Detector(Protocol):
    """Finds people and their keypoints in a photo."""

    name: str

    def boxes(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find people.

        Args:
            image: (H, W, 3) RGB, upright.

        Returns:
            (N, 4) x1, y1, x2, y2 in px within the image, and (N,) scores 0..1, the best first.
        """

    def keypoints(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Find the joints of the people in the boxes.

        Args:
            image: (H, W, 3) RGB, upright.
            boxes: (N, 4) x1, y1, x2, y2 in px.

        Returns:
            (N, 17, 3) COCO-17 keypoints: x, y in px (an integer is a pixel's centre), confidence 0..1.
        """


def load_detector(name: str = "builtin") -> Detector:
    """A detector by name: builtin (works offline), torchvision, rtmlib or transformers.

    Raises:
        ValueError: for an unknown name.
        ImportError: if the provider's package is not installed; says how to install it.
        OSError: if the provider's weights cannot be downloaded.
    """
    if name not in PROVIDERS:
        raise ValueError(f"unknown detector {name!r}; choose one of {', '.join(PROVIDERS)}")
    return import_module(PROVIDERS[name]).load()

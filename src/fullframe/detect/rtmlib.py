"""YOLOX boxes and RTMPose keypoints (Jiang et al., 2023) of the package rtmlib."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def load() -> "Rtmlib":
    """rtmlib's balanced networks, downloaded at the first use.

    Raises:
        ImportError: if rtmlib is not installed.
        OSError: if the weights cannot be downloaded.
    """
    try:
        from rtmlib import Body
    except ImportError as error:
        raise ImportError("the detector rtmlib needs its package: pip install rtmlib") from error
    try:
        return Rtmlib(Body(mode="balanced", backend="onnxruntime", device="cpu"))
    except Exception as error:  # whatever its downloader and onnxruntime raise
        raise OSError(f"cannot get rtmlib's networks ({error}); or use --detector builtin") from error


class Rtmlib:
    """Boxes and keypoints by a `rtmlib.Body`."""

    name = "rtmlib"

    def __init__(self, body: Any):
        self.body = body

    def boxes(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `fullframe.detect.Detector`. rtmlib gives no scores: all are 1."""
        height, width = image.shape[:2]
        raw = np.asarray(self.body.det_model(image[:, :, ::-1].copy()), np.float32).reshape(-1, 4)
        found: NDArray[np.float32] = raw.clip(0, [width, height, width, height]).astype(np.float32)
        found = found[(found[:, 2:] > found[:, :2]).all(axis=1)]
        return found, np.ones(len(found), np.float32)

    def keypoints(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `fullframe.detect.Detector`."""
        if len(boxes) == 0:  # rtmlib would take the whole image
            return np.zeros((0, 17, 3), np.float32)
        points, scores = self.body.pose_model(image[:, :, ::-1].copy(), bboxes=np.asarray(boxes).tolist())
        return np.concatenate((points, np.clip(scores, 0, 1)[..., None]), axis=-1).astype(np.float32)

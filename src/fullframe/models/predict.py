"""From one image and its boxes to bodies in its camera."""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fullframe.geometry.box import DETECTION_ENLARGE, PersonBox, box_from_xyxy, crop_image
from fullframe.geometry.camera import Camera
from fullframe.geometry.rotation import mean_rotation
from fullframe.models.crop_regressor import CropRegressor, box_to_bbox_info
from fullframe.threads import single_thread

FEW = 2
"""Crops for which a network of the size of cliff-lite is as fast on one thread as on two."""


class Bodies(NamedTuple):
    """What a network says about N people of one image, float32.

    Attributes:
        pose: (N, 24, 3, 3) rotation matrices, the root's in the camera frame.
        betas: (N, num_betas).
        translation: (N, 3) metres in the camera frame, to be added to posed vertices and joints.
    """

    pose: NDArray[np.float32]
    betas: NDArray[np.float32]
    translation: NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Iterable["Bodies"]) -> "Bodies":
        """All people of the parts (at least one), in order."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    @classmethod
    def nobody(cls, num_betas: int) -> "Bodies":
        """No people."""
        return cls(*(np.zeros((0, *shape), np.float32) for shape in ((24, 3, 3), (num_betas,), (3,))))


def cut_crops(
    model: CropRegressor,
    image: NDArray[np.uint8],
    boxes: ArrayLike,
    enlarge: float = DETECTION_ENLARGE,
    camera: Camera | None = None,
) -> tuple[PersonBox, NDArray[np.uint8]]:
    """The windows around boxes, and what a network has to see of them: no distortion by the lens.

    Args:
        image: (H, W, 3) RGB uint8.
        boxes: (N, 4) x1, y1, x2, y2 px of the pinhole camera, see `Camera.undistort_boxes`.
        enlarge: factor on the boxes.
        camera: of the image; None for one without distortion.

    Raises:
        ValueError: if a box is not finite or has no area.
    """
    height, width = model.crop
    box = box_from_xyxy(boxes, height / width, enlarge)
    if camera is None or not camera.distortion:
        return box, crop_image(image, box, model.crop, model.crop_method)
    crops = [_undistorted_crop(image, camera, *window, model.crop) for window in zip(*box, strict=True)]
    return box, np.stack(crops) if crops else np.zeros((0, height, width, 3), np.uint8)


def _undistorted_crop(
    image: NDArray[np.uint8],
    camera: Camera,
    center: NDArray[np.float64],
    size: float,
    crop: tuple[int, int],
) -> NDArray[np.uint8]:
    """A window of the pinhole camera, out of the image; sampled finer and averaged where it is reduced."""
    height, width = crop
    finer = int(np.clip(size / height, 1, _FINEST))
    scale = finer * height / size
    k = camera.intrinsics
    k[:2] *= scale
    k[:2, 2] += finer * np.array([width, height]) / 2 - scale * center + (finer - 1) / 2
    make = cv2.fisheye.initUndistortRectifyMap if camera.fisheye else cv2.initUndistortRectifyMap
    maps = make(
        camera.intrinsics,
        np.array(camera.distortion),
        np.eye(3),
        k,
        (finer * width, finer * height),
        cv2.CV_16SC2,
    )
    pixels = cv2.remap(image, *maps, cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


_FINEST = 4
"""Samples along a side of a pixel of an undistorted crop, at most."""


def mean_bodies(first: Bodies, second: Bodies, share: NDArray[np.floating]) -> Bodies:
    """Bodies between those of two models of the same people: rotations by the nearest to their mean.

    Args:
        first, second: of N people, with as many betas.
        share: (N,) of the first, 0 to 1.
    """

    weight = torch.from_numpy(np.asarray(share, np.float64))
    (pose, other_pose), *others = (
        [torch.from_numpy(value).double() for value in values] for values in zip(first, second, strict=True)
    )
    pose = mean_rotation(pose, other_pose, weight[:, None])
    betas, translation = (b + weight[:, None] * (a - b) for a, b in others)
    return Bodies(*(value.float().numpy() for value in (pose, betas, translation)))


@torch.inference_mode()
def predict_crops(model: CropRegressor, crops: NDArray[np.uint8] | Tensor, bbox_info: Tensor) -> Bodies:
    """Run a network in evaluation mode, in one pass.

    Args:
        crops: (N, height, width, 3) uint8 RGB.
        bbox_info: (N, 3) (cx, cy, b) / f, see models.crop_regressor.
    """
    inputs = model.prepare(crops)
    bbox_info = bbox_info.to(inputs)
    prediction = model(inputs, bbox_info)
    found = (prediction.pose, prediction.betas, model.to_full_frame(prediction, bbox_info))
    return Bodies(*(tensor.float().cpu().numpy() for tensor in found))


def predict_people(
    model: CropRegressor,
    image: NDArray[np.uint8],
    boxes: ArrayLike,
    camera: Camera,
    *,
    enlarge: float = DETECTION_ENLARGE,
    batch_size: int = 16,
) -> Bodies:
    """Run a network on everyone in an image.

    Args:
        image: (H, W, 3) RGB uint8.
        boxes: (N, 4) x1, y1, x2, y2 px of the pinhole camera, see `Camera.undistort_boxes`; N may be 0.
        camera: of the image.
        enlarge: factor on the boxes; evaluation with boxes around joints uses 1.2.
        batch_size: crops per pass.

    Raises:
        ValueError: if a box is not finite or has no area.
    """
    xyxy = np.asarray(boxes, np.float64).reshape(-1, 4)
    parts = [Bodies.nobody(model.num_betas)]
    training = model.training
    model.eval()
    try:
        for start in range(0, len(xyxy), batch_size):
            box, crops = cut_crops(model, image, xyxy[start : start + batch_size], enlarge, camera)
            # For few crops, threads gain little, and lose much where other programs use the cores.
            with single_thread() if len(crops) <= FEW else nullcontext():
                parts.append(predict_crops(model, crops, box_to_bbox_info(box, camera)))
    finally:
        model.train(training)
    return Bodies.joined(parts)

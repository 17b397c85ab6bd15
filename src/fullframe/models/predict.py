"""From one image and its boxes to bodies in its camera."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fullframe.geometry.box import PersonBox, box_from_xyxy, crop_image
from fullframe.geometry.camera import Camera
from fullframe.models.cliff import CLIFF, locate


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


def predict_people(
    model: CLIFF,
    image: NDArray[np.uint8],
    boxes: ArrayLike,
    camera: Camera,
    *,
    enlarge: float = 1.1,
    batch_size: int = 16,
) -> Bodies:
    """Run a network on everyone in an image.

    Args:
        image: (H, W, 3) RGB uint8.
        boxes: (N, 4) x1, y1, x2, y2 px; N may be 0.
        camera: of the image.
        enlarge: factor on the boxes: CLIFF's demo uses 1.1, evaluation with boxes around joints 1.2.
        batch_size: crops per pass.

    Raises:
        ValueError: if a box is not finite or has no area.
    """
    height, width = model.crop
    people = box_from_xyxy(boxes, height / width, enlarge)
    found = [np.empty((0, *shape), np.float32) for shape in ((24, 3, 3), (model.num_betas,), (3,))]
    parts = [found]
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(people.size), batch_size):
                some = PersonBox(
                    people.center[start : start + batch_size], people.size[start : start + batch_size]
                )
                crops = model.prepare(crop_image(image, some, model.crop, model.crop_routine))
                prediction = model(crops, locate(some, camera).to(crops))
                translation = model.to_full_frame(prediction, some, camera)
                parts.append(
                    [x.float().cpu().numpy() for x in (prediction.pose, prediction.betas, translation)]
                )
    finally:
        model.train(training)
    return Bodies(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

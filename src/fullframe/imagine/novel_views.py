"""What an ImpHMR network infers of people from several directions."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fullframe.geometry.box import DETECTION_ENLARGE
from fullframe.geometry.camera import Camera
from fullframe.geometry.rotation import matrix_to_rotvec
from fullframe.models import CropRegressor, ImpHMR, box_to_bbox_info
from fullframe.models.imphmr.volume import rotate_root
from fullframe.models.predict import cut_crops

DIRECTIONS = (0.0, 90.0, 180.0, 270.0)
"""Degrees, clockwise around the person as seen from above; 0 is the image's."""


class NovelViews(NamedTuple):
    """N people from D directions.

    Attributes:
        crops: (N, height, width, 3) uint8 RGB, what the network saw.
        pose: (N, D, 24, 3, 3) rotations, the root's in the frame of the camera at that direction.
        betas: (N, D, B).
        turned: (N, D, 24, 3, 3) the pose from the image's direction, its root turned to the others.
        silhouettes: (N, D, 64, 64) from 0 to 1.
        degrees: (N, D, 24) angle of each joint's rotation between `pose` and `turned`, which a network that
            agrees with itself has at 0.
    """

    crops: NDArray[np.uint8]
    pose: Tensor
    betas: Tensor
    turned: Tensor
    silhouettes: Tensor
    degrees: Tensor


def require_novel_views(model: CropRegressor) -> ImpHMR:
    """The network, if it imagines.

    Raises:
        ValueError: if it is another model, or was trained without imagination.
    """
    if not isinstance(model, ImpHMR):
        raise ValueError(f"a network of the kind {model.name} does not imagine other views: imphmr does")
    if model.silhouette is None:
        raise ValueError("this imphmr network was trained without other views: train with view_range above 0")
    return model


@torch.inference_mode()
def imagine_people(
    model: ImpHMR,
    image: NDArray[np.uint8],
    boxes: ArrayLike,
    camera: Camera,
    enlarge: float = DETECTION_ENLARGE,
) -> NovelViews:
    """Infer everyone in an image from DIRECTIONS.

    Args:
        model: in evaluation mode, trained to imagine.
        image: (H, W, 3) RGB uint8.
        boxes: (N, 4) x1, y1, x2, y2 px of the pinhole camera, see `Camera.undistort_boxes`; N at least 1.
        camera: of the image.
        enlarge: factor on the boxes, as for models.predict_people.

    Raises:
        ValueError: if a box is not finite or has no area.
    """
    people, pixels = cut_crops(model, image, boxes, enlarge, camera)
    crops, bbox_info = model.prepare(pixels), box_to_bbox_info(people, camera)
    canonical = model(crops, bbox_info.to(crops))
    pose, betas, turned, silhouettes = [], [], [], []
    for direction in DIRECTIONS:
        phi = torch.full((len(crops),), math.radians(direction), device=crops.device)
        imagined = model.imagine(crops, bbox_info.to(crops), phi)
        assert imagined.silhouette is not None
        # With a feature gate the field alone would say a little less of the image's direction.
        prediction = imagined.prediction if direction else canonical
        pose.append(prediction.pose)
        betas.append(prediction.betas)
        silhouettes.append(imagined.silhouette.sigmoid())
        turned.append(rotate_root(pose[0], phi))
    poses, turned_poses = torch.stack(pose, 1), torch.stack(turned, 1)
    degrees = matrix_to_rotvec(poses.mT @ turned_poses).norm(dim=-1).rad2deg()
    found = (poses, torch.stack(betas, 1), turned_poses, torch.stack(silhouettes, 1), degrees)
    return NovelViews(pixels, *(x.cpu() for x in found))

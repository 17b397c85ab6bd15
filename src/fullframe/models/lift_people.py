"""Bodies from 2D keypoints alone, by the lifter."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fullframe.assets import LIFTER
from fullframe.body import BodyModel
from fullframe.body.joint_sets import COCO17_LIMBS
from fullframe.geometry.box import DETECTION_ENLARGE, PersonBox, box_from_xyxy
from fullframe.geometry.camera import Camera, bbox_info_translation
from fullframe.models.checkpoint import CheckpointError, load_weights, read_card
from fullframe.models.crop_regressor import box_to_bbox_info
from fullframe.models.lifter import LifterNetwork
from fullframe.models.predict import Bodies

SHARES, SHARE_CONFIDENCES = (0.5, 1.0), (0.6, 0.8)
"""See `lifted_share`: chosen on gestures, pairs and photos (docs/experiments/real_people.md)."""
LIFTER_MIN_CONFIDENCE = 0.2
"""Keypoints below this determine nothing."""
LIFTER_MIN_KEYPOINTS = 4
LIFTER_MIN_SPREAD = 0.15
"""Fewer keypoints, or closer together (root mean square from their centre, as a share of the box's longer
side), do not determine a distance: then a network's pose is kept."""


def load_lifter(path: Path = LIFTER) -> LifterNetwork:
    """A trained lifter in evaluation mode, from `<name>.safetensors` and its card; the built-in one.

    Raises:
        CheckpointError: if the checkpoint is missing, damaged, or another model's.
    """
    card = read_card(path)
    if card.model != LifterNetwork.name:
        raise CheckpointError(f"{path} holds a {card.model}, not a {LifterNetwork.name}: give another file")
    try:
        network = LifterNetwork(**card.options)
    except MemoryError:
        raise
    except Exception as error:  # options of a wrong type fail anywhere
        raise CheckpointError(
            f"{path}: its card has impossible options ({error or type(error).__name__}): copy it again"
        ) from error
    load_weights(network, path, card)
    return network.eval()


def lifter_of(body: BodyModel, joint_set: str = "coco17") -> LifterNetwork | None:
    """The built-in lifter, if it predicts this body from keypoints of this joint set."""
    if body.name != "open" or joint_set != "coco17":
        return None
    lifter = load_lifter()
    return lifter if lifter.num_betas == body.num_betas else None


class Lifted(NamedTuple):
    """Bodies of N people and how sure they are.

    Attributes:
        bodies: in the camera frame.
        variance: (N, 24) of each joint's rotation about each axis, squared radians.
    """

    bodies: Bodies
    variance: NDArray[np.float32]


@torch.inference_mode()
def lift_people(lifter: LifterNetwork, keypoints: ArrayLike, boxes: ArrayLike, camera: Camera) -> Lifted:
    """Bodies of everyone in an image whose keypoints are known.

    Args:
        keypoints: (N, 17, 3) COCO-17 keypoints, x, y px and confidence, 0 where one is missing; N may be 0.
        boxes: (N, 4) x1, y1, x2, y2 px.
        camera: of the image.

    Raises:
        ValueError: if a box is not finite or has no area.
    """
    xyxy = np.asarray(boxes, np.float64).reshape(-1, 4)
    box = box_from_xyxy(xyxy, enlarge=DETECTION_ENLARGE)
    bbox_info = box_to_bbox_info(box, camera)
    prediction, log_variance = lifter(keypoints_in_crop(keypoints, box, camera), bbox_info)
    translation = bbox_info_translation(prediction.weak_camera, bbox_info)
    bodies = Bodies(prediction.pose.numpy(), prediction.betas.numpy(), translation.numpy())
    return Lifted(bodies, log_variance.exp().numpy())


def limb_confidence(confidence: Tensor) -> Tensor:
    """Mean confidence (N,) of the limbs' keypoints, of those (N, 17) of COCO-17."""
    return confidence[:, COCO17_LIMBS].mean(1)


def lifted_share(confidence: Tensor, determined: Tensor) -> Tensor:
    """Share (N,) of the lifter's bodies in their mean with a network's.

    It grows with the confidence of the limbs' keypoints: the lifter is better where they are seen; where they
    are hidden, a network has the picture.

    Args:
        confidence: (N, 17) of COCO-17 keypoints.
        determined: (N,) see `determine_distance`; the share of the others is 0.
    """
    (least, most), (low, high) = SHARES, SHARE_CONFIDENCES
    part = (limb_confidence(confidence) - low) / (high - low)
    return torch.where(determined, least + (most - least) * part.clamp(0, 1), 0.0)


def determine_distance(rays: Tensor, used: Tensor, unit: Tensor) -> Tensor:
    """(N,) whether keypoints determine how far people are away.

    Args:
        rays: (N, K, 2) keypoints (x/z, y/z).
        used: (N, K) bool.
        unit: (N,) the longer side of the box over the focal length.
    """
    weight = used.to(rays.dtype)
    count = weight.sum(1)
    mean = (rays * weight[..., None]).sum(1) / count.clamp(min=1)[:, None]
    square = ((rays - mean[:, None]).square().sum(-1) * weight).sum(1) / count.clamp(min=1)
    return (count >= LIFTER_MIN_KEYPOINTS) & (square.sqrt() >= LIFTER_MIN_SPREAD * unit)


def keypoints_in_crop(keypoints: ArrayLike, box: PersonBox, camera: Camera) -> torch.Tensor:
    """Keypoints (N, 17, 3) from the crop's centre in halves of its height, px to float32.

    Pixels that are not square are made so, with the mean of fx and fy as for bbox_info.
    """
    points = np.asarray(keypoints, np.float64).reshape(-1, 17, 3).copy()
    focal, principal_point = np.array(camera.focal), np.array(camera.principal_point)
    square = (points[..., :2] - principal_point) * (focal.mean() / focal)
    center = box.center - principal_point
    points[..., :2] = 2 * (square - center[:, None]) / box.size[:, None, None]
    return torch.from_numpy(points.astype(np.float32))

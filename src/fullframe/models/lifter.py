"""The lifter: a residual network from 2D keypoints, with or without a picture's features, to the body."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fullframe.geometry.camera import bbox_info_weak_camera
from fullframe.geometry.rotation import ray_rotation, rot6d_to_matrix
from fullframe.models.crop_regressor import Prediction
from fullframe.models.iterative_regressor import JOINTS, mean_pose6d

KEYPOINTS = 17
"""COCO's."""
SURE = 0.5
"""Confidence from which on keypoints count in full where a person's own frame is found."""
_CROP_WEIGHT = 0.05
"""Of the crop's centre and size beside the keypoints', so that nobody is without a frame."""
_CROP_SPREAD = 0.45
"""Typical distance of keypoints from their mean, in halves of the crop's height."""
_LEAST_DEPTH = 0.1
_TYPICAL_SPREAD = 0.4
"""The same in metres: about how far a person is whose keypoints spread so and so."""


class RayFrame(NamedTuple):
    """The frame that a person's keypoints are seen in: along the ray through their mean, of unit spread.

    Attributes:
        center: (N, 2) the ray (x/z, y/z) in the camera frame.
        rotation: (N, 3, 3) from this frame to the camera's.
        spread: (N,) root of the keypoints' mean squared distance from the ray, as the tangent of an angle.
        points: (N, K, 2) the keypoints, in units of the spread.
        crop: (N, 3) the crop's centre and the log of half its height, in units of the spread.
    """

    center: Tensor
    rotation: Tensor
    spread: Tensor
    points: Tensor
    crop: Tensor


class RayEstimate(NamedTuple):
    """Bodies in the frames of their keypoints.

    Attributes:
        pose: (N, 24, 3, 3), the root's relative to the frame.
        betas: (N, B).
        place: (N, 3): the translation's x and y over z in units of the spread, and the log of its z times
            the spread.
        log_variance: (N, 24) of each joint's rotation about each axis, log of squared radians; the root's is
            in this frame.
    """

    pose: Tensor
    betas: Tensor
    place: Tensor
    log_variance: Tensor


class LifterNetwork(nn.Module):
    """Body and camera from 2D keypoints, by residual blocks (after Martinez et al., ICCV 2017).

    Keypoints are turned to the ray through their mean and scaled by their spread, so that a person looks the
    same wherever in the image they stand, however near and however the box was drawn. The direction of that
    ray in the full frame is an input, as CLIFF's is (Li et al., ECCV 2022, eq. 5), the rotation of the root
    is relative to it, and the translation becomes CLIFF's weak camera in the crop.

    What a picture shows is added to the first layer's values by a projection that is zero at first: a
    regressor that was trained without pictures works on unchanged.

    Args:
        features: width of the picture's feature vector; 0 for none.
        num_betas: number of shape coefficients.
        width: of the blocks.
        blocks: how many.
    """

    name = "lifter"
    mean_pose: Tensor

    def __init__(self, features: int = 0, num_betas: int = 11, width: int = 768, blocks: int = 4) -> None:
        super().__init__()
        self.num_betas = num_betas
        self.options: dict[str, Any] = {
            "features": features,
            "num_betas": num_betas,
            "width": width,
            "blocks": blocks,
        }
        self.inputs = nn.Linear(3 * KEYPOINTS + 6, width)
        self.features = nn.Linear(features, width, bias=False) if features else None
        if self.features is not None:
            nn.init.zeros_(self.features.weight)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.outputs = nn.Linear(width, 6 * JOINTS + num_betas + 3)
        self.uncertainty = nn.Linear(width, JOINTS)
        for head in (self.outputs, self.uncertainty):
            nn.init.normal_(head.weight, std=1e-3)  # starts close to the mean person
            nn.init.zeros_(head.bias)
        self.register_buffer("mean_pose", mean_pose6d())

    def forward(
        self, keypoints: Tensor, bbox_info: Tensor, features: Tensor | None = None
    ) -> tuple[Prediction, Tensor]:
        """Bodies in the camera frame.

        Args:
            keypoints: (N, 17, 3) COCO keypoints: x, y from the crop's centre in halves of its height, and
                confidence, 0 where a keypoint is missing.
            bbox_info: (N, 3) (cx, cy, b) / f of the crop.
            features: (N, features) of the picture, or None.

        Returns:
            the prediction, and the log variance (N, 24) of each joint's rotation, see RayEstimate.
        """
        # In bf16 rotations would be off by tenths of a degree.
        with torch.autocast(keypoints.device.type, enabled=False):
            dtype = self.mean_pose.dtype
            frame = own_frame(keypoints.to(dtype), bbox_info.to(dtype))
        estimate = self.estimate(frame, keypoints[..., 2], features)
        with torch.autocast(keypoints.device.type, enabled=False):
            return to_camera(estimate, frame, bbox_info.to(dtype)), estimate.log_variance

    def estimate(self, frame: RayFrame, confidence: Tensor, features: Tensor | None = None) -> RayEstimate:
        """Bodies in the frames of their keypoints, whose confidences (N, 17) are given."""
        x = self.inputs(torch.cat((_seen(frame, confidence), _surroundings(frame)), dim=1))
        if features is not None and self.features is not None:
            x = x + self.features(features)
        for block in self.blocks:
            x = block(x)
        x = functional.silu(self.norm(x))
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.mean_pose.dtype)
            pose, betas, place = self.outputs(x).split((6 * JOINTS, self.num_betas, 3), dim=1)
            # How sure it is shall not change what it says.
            log_variance = self.uncertainty(x.detach()) - 4
        pose = rot6d_to_matrix((self.mean_pose + pose).unflatten(1, (JOINTS, 6)))
        return RayEstimate(pose, betas, place, log_variance)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.second(functional.silu(self.first(self.norm(x))))
        return result


def _seen(frame: RayFrame, confidence: Tensor) -> Tensor:
    """The keypoints as inputs (N, 51): nothing is known of the places of missing ones."""
    known = (confidence > 0)[..., None]
    points = torch.where(known, frame.points, 0.0).clamp(-6, 6)
    return torch.cat((points, confidence[..., None]), dim=2).flatten(1)


def _surroundings(frame: RayFrame) -> Tensor:
    """Where the person is in the full frame, and where the crop beside them: (N, 6)."""
    return torch.cat((frame.center, frame.spread.log()[:, None] + 2, frame.crop), dim=1)


def own_frame(keypoints: Tensor, bbox_info: Tensor) -> RayFrame:
    """The frame that a person's keypoints are seen in.

    Args:
        keypoints: (N, K, 3) x, y from the crop's centre in halves of its height, and confidence.
        bbox_info: (N, 3) (cx, cy, b) / f of the crop.
    """
    half = bbox_info[:, 2:] / 2
    weight = (keypoints[..., 2] / SURE).clamp(max=1).square()
    total = weight.sum(1, keepdim=True) + _CROP_WEIGHT
    mean = (weight[..., None] * keypoints[..., :2]).sum(1) / total
    center = bbox_info[:, :2] + half * mean
    rotation = ray_rotation(center)
    rays = bbox_info[:, None, :2] + half[..., None] * keypoints[..., :2]
    points = _turned(rays, rotation)
    crop = _turned(bbox_info[:, None, :2], rotation)[:, 0]
    squared = (weight * points.square().sum(2)).sum(1)
    # Off the axis a crop covers a smaller angle.
    half = half[:, 0] / (1 + center.square().sum(1)).sqrt()
    spread = ((squared + _CROP_WEIGHT * (_CROP_SPREAD * half).square()) / total[:, 0]).sqrt()
    crop = torch.cat((crop / spread[:, None], (half / spread).log()[:, None]), dim=1)
    return RayFrame(center, rotation, spread, points / spread[:, None, None], crop)


def _turned(rays: Tensor, rotation: Tensor) -> Tensor:
    """Rays (N, K, 2), x/z and y/z in the camera frame, in the frames that `rotation` (N, 3, 3) leads from."""
    x, y, z = (functional.pad(rays, (0, 1), value=1.0) @ rotation).unbind(-1)
    return torch.stack((x, y), -1) / z.clamp(min=_LEAST_DEPTH)[..., None]


def translation_in(frame: RayFrame, place: Tensor) -> Tensor:
    """The translation (N, 3) in the keypoints' frame, metres, for an RayEstimate's place."""
    depth = (place[:, 2:].clamp(-5, 5)).exp() * _TYPICAL_SPREAD / frame.spread[:, None]
    return torch.cat((place[:, :2] * frame.spread[:, None] * depth, depth), dim=1)


def place_of(frame: RayFrame, translation: Tensor) -> Tensor:
    """The inverse of translation_in: place (N, 3)."""
    depth = translation[:, 2:].clamp(min=_LEAST_DEPTH)
    spread = frame.spread[:, None]
    return torch.cat((translation[:, :2] / depth / spread, (depth * spread / _TYPICAL_SPREAD).log()), dim=1)


def to_camera(estimate: RayEstimate, frame: RayFrame, bbox_info: Tensor) -> Prediction:
    """The same bodies with the root in the camera frame and with CLIFF's weak camera in the crop.

    The weak camera is the inverse of CLIFF's eq. 6-7: to_full_frame gives the estimate's translation.
    """
    root = frame.rotation @ estimate.pose[:, 0]
    translation = (frame.rotation @ translation_in(frame, estimate.place)[..., None])[..., 0]
    depth = translation[:, 2:].clamp(min=_LEAST_DEPTH)
    weak_camera = bbox_info_weak_camera(torch.cat((translation[:, :2], depth), dim=1), bbox_info)
    return Prediction(torch.cat((root[:, None], estimate.pose[:, 1:]), dim=1), estimate.betas, weak_camera)

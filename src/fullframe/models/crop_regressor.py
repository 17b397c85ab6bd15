"""What all networks share: from a crop and its bounding-box info to a body and a weak camera.

A model is a subclass of CropRegressor: an encoder (encoder.py), its regressor (iterative_regressor.py), and
the camera that its 2D loss uses. `forward` is for inference, `forward_train` returns what else the losses
need.

Throughout, `bbox_info` is CLIFF's bounding-box info, (N, 3) = (cx, cy, b) / f: the box centre relative to the
principal point and the crop's height, in full-image px, over the focal length.
"""

import inspect
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fullframe.geometry.box import CROP_METHODS, PersonBox
from fullframe.geometry.camera import (
    BBOX_NORMS,
    HMR_FOCAL,
    Camera,
    bbox_info_translation,
    compute_bbox_info,
    crop_translation,
    project,
)
from fullframe.geometry.rotation import rot6d_to_matrix
from fullframe.models.encoder import Encoder
from fullframe.models.iterative_regressor import JOINTS, IterativeRegressor

MIN_SCALE = 0.1
"""Weak cameras of a smaller s are projected as if they had this one."""


class Prediction(NamedTuple):
    """A network's prediction for N crops.

    Attributes:
        pose: (N, 24, 3, 3) rotation matrices; the root's is in the frame of the full image's camera.
        betas: (N, num_betas) shape.
        weak_camera: (N, 3) s, tx, ty: a body point (x, y) lies at s (x + tx, y + ty) on a crop that spans
            [-1, 1] over its height.
    """

    pose: Tensor
    betas: Tensor
    weak_camera: Tensor


class TrainOutput(NamedTuple):
    """A network's output in training.

    Attributes:
        prediction: for N crops.
        heatmaps: (N, NUM_HEATMAPS, H, W) logits, see models.heatmap_pool; None without the pool "heatmaps".
    """

    prediction: Prediction
    heatmaps: Tensor | None = None


class CropRegressor(nn.Module):
    """A network from crops to bodies. Subclasses create `regressor` and state the defaults.

    Args:
        encoder: key of ENCODERS.
        crop: (height, width) px.
        bbox_info_input: the bounding-box info is an input of the network, scaled by `bbox_norm`.
        full_frame_loss: `project` uses the camera of the full frame; else HMR's camera of the crop.
        bbox_norm: "plain", or "h36m": the scaling of CLIFF's released weights.
        num_betas: number of shape coefficients.
        regressor_width, regressor_act, regressor_dropout: of the regressor, see models.iterative_regressor.
        pool: from the encoder's maps to features, see Encoder.
        crop_method: how its crops are resampled, see geometry.box.crop_image.
        pretrained: start the encoder from ImageNet weights.

    Raises:
        ValueError: for an unknown name or a crop size that the encoder cannot take.
        ConnectionError: see Encoder.
    """

    name: ClassVar[str]
    """Key of MODELS, stored in the card of a checkpoint."""

    regressor: IterativeRegressor

    def __init__(
        self,
        encoder: str,
        crop: tuple[int, int],
        *,
        bbox_info_input: bool,
        full_frame_loss: bool,
        bbox_norm: str,
        num_betas: int,
        regressor_width: int,
        regressor_act: str,
        regressor_dropout: float,
        pool: str,
        pretrained: bool,
        crop_method: str = "antialiased",
    ) -> None:
        super().__init__()
        if bbox_norm not in BBOX_NORMS:
            raise ValueError(f"unknown bbox_norm {bbox_norm!r}; known: {', '.join(BBOX_NORMS)}")
        if crop_method not in CROP_METHODS:
            raise ValueError(f"unknown crop_method {crop_method!r}; known: {', '.join(CROP_METHODS)}")
        height, width = crop
        self.crop = (height, width)
        self.encoder = Encoder(encoder, self.crop, pretrained, pool)
        self.bbox_info_input = bbox_info_input
        self.full_frame_loss = full_frame_loss
        self.bbox_norm = bbox_norm
        self.num_betas = num_betas
        self.regressor_width = regressor_width
        self.regressor_act = regressor_act
        self.regressor_dropout = regressor_dropout
        self.pool = pool
        self.crop_method = crop_method
        self.input_width = self.encoder.features + 3 * bbox_info_input

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments, except for `pretrained`, as a card stores them."""
        names = [name for name in inspect.signature(type(self)).parameters if name != "pretrained"]
        return {name: getattr(self, name) for name in names} | {"encoder": self.encoder.name}

    def prepare(self, crops: np.ndarray | Tensor) -> Tensor:
        """RGB uint8 crops (N, height, width, 3) to the network's input (N, 3, height, width) on its device.

        The output of `Encoder.precompute`, (N, P) float16, is returned as it is.

        Raises:
            ValueError: for another size or type.
        """
        crops = torch.as_tensor(crops)
        if crops.dtype == torch.float16 and crops.ndim == 2:
            return crops
        if crops.dtype != torch.uint8 or crops.ndim != 4 or crops.shape[1:] != (*self.crop, 3):
            raise ValueError(
                f"expected uint8 (N, {self.crop[0]}, {self.crop[1]}, 3), got {crops.dtype} {crops.shape}"
            )
        mean, std = self.encoder.mean, self.encoder.std
        pixels = crops.permute(0, 3, 1, 2).to(mean)
        return (pixels / 255 - mean) / std

    def forward(self, crop: Tensor, bbox_info: Tensor) -> Prediction:
        """Bodies from crops.

        Args:
            crop: (N, 3, H, W) normalised as by `prepare`.
            bbox_info: (N, 3) (cx, cy, b) / f; without `bbox_info_input` it has no influence.
        """
        return self.forward_train(crop, bbox_info).prediction

    def forward_train(self, crop: Tensor, bbox_info: Tensor) -> Any:
        """The output that the losses need: a TrainOutput, or a subclass's own with these two fields first."""
        features, heatmaps = self.encoder(crop)
        return TrainOutput(self.regress(features, bbox_info), heatmaps)

    def regress(self, features: Tensor, bbox_info: Tensor) -> Prediction:
        """Bodies from the encoder's features (N, features) and bounding-box info (N, 3)."""
        return self.run_regressor(self.assemble_input(features, bbox_info))

    def assemble_input(self, features: Tensor, bbox_info: Tensor) -> Tensor:
        """Everything that the regressor sees of a crop, side by side: (N, input_width)."""
        inputs = [features]
        if self.bbox_info_input:
            inputs.append(compute_bbox_info(bbox_info[:, :2], bbox_info[:, 2], 1.0, self.bbox_norm))
        return torch.cat(inputs, dim=1)

    def run_regressor(self, inputs: Tensor) -> Prediction:
        """The regressor's output with rotations as matrices."""
        pose6d, betas, weak_camera = self.regressor(inputs)
        return Prediction(rot6d_to_matrix(pose6d.unflatten(1, (JOINTS, 6))), betas, weak_camera)

    def to_full_frame(self, prediction: Prediction, bbox_info: Tensor) -> Tensor:
        """Translations (N, 3) in metres of people in the camera of their full image (CLIFF, eq. 6-7).

        They are added to posed vertices and joints. This holds for HMR too: its weak camera states where the
        body is in the crop, and the bounding-box info where the crop is in the image.

        Args:
            bbox_info: (N, 3) (cx, cy, b) / f.
        """
        return bbox_info_translation(prediction.weak_camera, bbox_info)

    def project(self, points: Tensor, prediction: Prediction, bbox_info: Tensor) -> Tensor:
        """Where body points appear in the crop, through the camera of this model's 2D loss.

        Args:
            points: (N, K, 3) posed joints or vertices before any translation, metres.
            bbox_info: (N, 3) (cx, cy, b) / f.

        Returns:
            (N, K, 2) relative to the crop's centre in halves of its height: y spans [-1, 1] inside the crop.
        """
        center, size = bbox_info[:, :2], bbox_info[:, 2]
        # A scale of 0 or less puts the body at infinity or behind the camera, and early in training the
        # gradients there have no bound: the camera term of the losses increases such a scale instead.
        scale, offset = prediction.weak_camera.split((1, 2), dim=1)
        weak_camera = torch.cat((scale.clamp(min=MIN_SCALE), offset), dim=1)
        if self.full_frame_loss:
            # Over f, every length in px becomes the tangent of an angle: the focal length cancels.
            translation = self.to_full_frame(prediction._replace(weak_camera=weak_camera), bbox_info)
            seen = project(points + translation[:, None], 1.0) - center[:, None]
            return 2 * seen / size[:, None, None]
        translation = crop_translation(weak_camera, self.crop[0])
        return 2 / self.crop[0] * project(points + translation[:, None], HMR_FOCAL)


def box_to_bbox_info(box: PersonBox, camera: Camera) -> Tensor:
    """Bounding-box info (N, 3) = (cx, cy, b) / f of N boxes of one image, float32 (CLIFF, eq. 5).

    Where fx and fy differ, f is their mean: a crop has one magnification.
    """
    center = torch.from_numpy(box.center - np.array(camera.principal_point))
    return compute_bbox_info(center, torch.from_numpy(box.size), sum(camera.focal) / 2).float()

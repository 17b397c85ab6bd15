"""Examples as a network takes them."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass
class Batch:
    """N augmented crops and their labels. What is unknown is zero with confidence or validity 0.

    Attributes:
        crops: (N, height, width, 3) uint8 RGB.
        location: (N, 3) (cx, cy, b) / f, see models.cliff.
        keypoints: joint set to (N, K, 3): x, y relative to the crop's centre in halves of the crop's height,
            as CLIFF.project gives them, and confidence.
        joints: joint set to (N, K, 4): metres in the camera frame, and validity.
        pose: (N, 24, 3, 3); betas: (N, B); translation: (N, 3) metres.
        has_pose, has_betas, has_translation: (N,) 1 where known, else 0.
        source: (N,) int64, index of the mixture's source.
    """

    crops: Tensor
    location: Tensor
    keypoints: dict[str, Tensor]
    joints: dict[str, Tensor]
    pose: Tensor
    has_pose: Tensor
    betas: Tensor
    has_betas: Tensor
    translation: Tensor
    has_translation: Tensor
    source: Tensor

    def __len__(self) -> int:
        return len(self.crops)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device."""

        def move(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: tensor.to(device, non_blocking=True) for key, tensor in value.items()}
            return value.to(device, non_blocking=True)

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})

"""Examples as a network takes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass
class Batch:
    """N augmented crops and their labels. What is unknown is zero with confidence or validity 0.

    Attributes:
        crops: (N, height, width, 3) uint8 RGB.
        bbox_info: (N, 3) (cx, cy, b) / f, see models.cliff.
        keypoints: joint set to (N, K, 3): x, y relative to the crop's centre in halves of the crop's height,
            as CLIFF.project gives them, and confidence.
        joints: joint set to (N, K, 4): metres in the camera frame, and validity.
        pose: (N, 24, 3, 3); betas: (N, B); translation: (N, 3) metres.
        has_pose, has_betas, has_translation: (N,) 1 where known, else 0.
        source: (N,) int64, index of the mixture's source.
    """

    crops: Tensor
    bbox_info: Tensor
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

    def take(self, rows: Tensor) -> "Batch":
        """Some of the examples, by index (M,) or mask (N,)."""
        return self._each(lambda tensor: tensor[rows])

    @classmethod
    def joined(cls, parts: Sequence["Batch"]) -> "Batch":
        """All examples of batches (at least one), in order; a joint set that some lack is unknown there."""
        values: dict[str, Any] = {}
        for name in (f.name for f in fields(cls)):
            each = [getattr(part, name) for part in parts]
            if isinstance(each[0], dict):
                known = {key: tensor[:1] for sets in each for key, tensor in sets.items()}
                values[name] = {
                    key: torch.cat([
                        sets[key] if key in sets else torch.zeros_like(one).repeat(len(part), 1, 1)
                        for sets, part in zip(each, parts, strict=True)
                    ])
                    for key, one in known.items()
                }  # fmt: skip
            else:
                values[name] = torch.cat(each)
        return cls(**values)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        def changed(value: Any) -> Any:
            return {k: change(v) for k, v in value.items()} if isinstance(value, dict) else change(value)

        return Batch(**{f.name: changed(getattr(self, f.name)) for f in fields(self)})

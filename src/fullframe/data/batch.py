"""Training examples as a network takes them: one crop, and batches of crops."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullframe.body.joint_sets import JOINT_SETS


@dataclass
class Example:
    """One augmented crop and its labels; a row of a Batch. What is unknown is None, or absent.

    Attributes:
        crop: (height, width, 3) uint8 RGB.
        bbox_info: (3,) float32 (cx, cy, b) / f.
        keypoints: joint set to (K, 3) float32: relative to the crop's centre in halves of its height,
            confidence. Zero where the confidence is.
        joints: joint set to (K, 4) float32: metres in the camera frame, validity. Zero where invalid.
        pose: (24, 3, 3) float32; betas: (B,) float32.
        source: index of the mixture's source.
    """

    crop: NDArray[np.uint8]
    bbox_info: NDArray[np.float32]
    keypoints: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    joints: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    pose: NDArray[np.float32] | None = None
    betas: NDArray[np.float32] | None = None
    source: int = 0


@dataclass
class Batch:
    """N augmented crops and their labels. What is unknown is zero with confidence or validity 0.

    Attributes:
        crops: (N, height, width, 3) uint8 RGB.
        bbox_info: (N, 3) (cx, cy, b) / f, see models.crop_regressor.
        keypoints: joint set to (N, K, 3): x, y relative to the crop's centre in halves of the crop's height,
            as CLIFF.project gives them, and confidence.
        joints: joint set to (N, K, 4): metres in the camera frame, and validity.
        pose: (N, 24, 3, 3); betas: (N, B).
        has_pose, has_betas: (N,) 1 where known, else 0.
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


def collate(examples: Sequence[Example], num_betas: int) -> Batch:
    """Examples of any labels as a batch; missing betas up to num_betas are zero.

    Raises:
        ValueError: no examples, or one has more betas than num_betas.
    """
    if not examples:
        raise ValueError("a batch needs at least one example")
    most = max((len(e.betas) for e in examples if e.betas is not None), default=0)
    if most > num_betas:
        raise ValueError(f"an example has {most} betas, the network {num_betas}: use num_betas={most}")

    def stack(name: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        values = np.zeros((len(examples), *shape), np.float32)
        known = np.zeros(len(examples), np.float32)
        for i, example in enumerate(examples):
            value = getattr(example, name)
            if value is not None:
                values[i, : len(value)] = value
                known[i] = 1
        return torch.from_numpy(values), torch.from_numpy(known)

    def stack_sets(name: str, columns: int) -> dict[str, Tensor]:
        found = {key for example in examples for key in getattr(example, name)}
        out = {key: np.zeros((len(examples), len(JOINT_SETS[key]), columns), np.float32) for key in found}
        for i, example in enumerate(examples):
            for key, points in getattr(example, name).items():
                out[key][i] = points
        return {key: torch.from_numpy(out[key]) for key in sorted(out)}

    pose, has_pose = stack("pose", (24, 3, 3))
    betas, has_betas = stack("betas", (num_betas,))
    return Batch(
        crops=torch.from_numpy(np.stack([example.crop for example in examples])),
        bbox_info=stack("bbox_info", (3,))[0],
        keypoints=stack_sets("keypoints", 3),
        joints=stack_sets("joints", 4),
        pose=pose,
        has_pose=has_pose,
        betas=betas,
        has_betas=has_betas,
        source=torch.tensor([example.source for example in examples]),
    )

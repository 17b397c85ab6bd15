"""The terms of the losses: pure functions from tensors to the loss of each person. The forms are SPIN's.

SPIN (Kolotouros et al., "Learning to Reconstruct 3D Human Pose and Shape via Model-fitting in the Loop",
ICCV 2019) is the recipe that CLIFF (Li et al., ECCV 2022) builds on.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fullframe.body.joint_sets import HEATMAP_SETS, JOINT_SETS
from fullframe.geometry.heatmap import cell_centres

SMOOTH = 0.1
"""Where smooth_l1 turns from a parabola into a line: halves of the crop's height in 2D, metres in 3D."""

ERRORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": lambda a, b: (a - b).square(),
    "l1": lambda a, b: (a - b).abs(),
    "smooth_l1": lambda a, b: functional.smooth_l1_loss(a, b, reduction="none", beta=SMOOTH),
}


class Term(NamedTuple):
    """One loss of N people.

    Attributes:
        values: (N,) of each.
        mask: (N,) 1 for those over whom the mean is taken, else 0.
    """

    values: Tensor
    mask: Tensor

    def mean(self, share: Tensor | None = None) -> Tensor:
        """Over those in the mask; 0 with a zero gradient if there are none.

        Args:
            share: the mean of the mask over all processes, if a batch is split over several: the mean of
                these results over processes is then the mean over the whole batch. Without it, of this mask.
        """
        share = self.mask.mean() if share is None else share
        return (self.values * self.mask).mean() / torch.where(share > 0, share, 1)


def keypoint_loss(
    predicted: Mapping[str, Tensor], labels: Mapping[str, Tensor], error: str = "squared"
) -> Term:
    """2D keypoints: mean of confidence x error over a person's x and y; the mean is over everyone.

    A person's mean is over the joint sets in which they have any confidence, and there over every joint: a
    hidden joint does not change the weight of the others. With one joint set for all this is SPIN's mean over
    all entries.

    Args:
        predicted: joint set to (N, K, 2) in halves of the crop's height, as from
            CropRegressor.project. Both axes have the same unit, so that in a crop of 4:3, too, an error
            weighs the same along x and y.
        labels: joint set to (N, K, 3): the same and confidence.
        error: key of ERRORS.
    """
    sums, entries = [], []
    for joint_set, label in labels.items():
        confidence = label[..., 2]
        errors = ERRORS[error](predicted[joint_set], label[..., :2])
        sums.append((confidence[..., None] * errors).sum((1, 2)))
        entries.append((confidence > 0).any(1) * errors[0].numel())
    values = torch.stack(sums).sum(0) / torch.stack(entries).sum(0).clamp(min=1)
    return Term(values, torch.ones_like(values))


def joint_loss(predicted: Mapping[str, Tensor], labels: Mapping[str, Tensor], error: str = "squared") -> Term:
    """3D joints relative to the middle of the hips: mean of validity x error over a person's coordinates.

    Joint sets are combined as in `keypoint_loss`. A joint set is used where both of its hips are known, and
    the mask has the people with any such set.

    Args:
        predicted: joint set to (N, K, 3) metres in the camera frame, up to a translation.
        labels: joint set to (N, K, 4): the same and validity.
        error: key of ERRORS.
    """
    sums, entries = [], []
    for joint_set, label in labels.items():
        hips = [JOINT_SETS[joint_set].names.index(name) for name in ("left_hip", "right_hip")]
        pair = predicted[joint_set], label[..., :3]
        rooted = [points - points[:, hips].mean(1, keepdim=True) for points in pair]
        known = (label[:, hips, 3] > 0).all(1)
        validity = label[..., 3] * known[:, None]
        errors = ERRORS[error](*rooted)
        sums.append((validity[..., None] * errors).sum((1, 2)))
        entries.append(known * errors[0].numel())
    total = torch.stack(entries).sum(0)
    return Term(torch.stack(sums).sum(0) / total.clamp(min=1), (total > 0).to(label))


def pose_loss(predicted: Tensor, label: Tensor, known: Tensor) -> Term:
    """Mean squared difference of rotation matrices, the root's included.

    Args:
        predicted, label: (N, 24, 3, 3).
        known: (N,) 1 or 0.
    """
    return Term((predicted - label).square().mean((1, 2, 3)), known)


def betas_loss(predicted: Tensor, label: Tensor, known: Tensor) -> Term:
    """Mean squared difference of shape coefficients (N, B), for those `known` (N,)."""
    return Term((predicted - label).square().mean(1), known)


def camera_loss(weak_camera: Tensor) -> Term:
    """exp(-10 s)^2 of weak cameras (N, 3): keeps the scale s positive.

    Below s = 0 it continues along its tangent, or one crop could outweigh all others by orders of magnitude.
    """
    scale = weak_camera[:, 0]
    values = (-20 * scale.clamp(min=0)).exp() + 20 * (-scale).clamp(min=0)
    return Term(values, torch.ones_like(values))


def heatmap_loss(heatmaps: Tensor, labels: Mapping[str, Tensor]) -> Term:
    """Cross-entropy of heatmaps and labels, spread by one cell: mean over a person's known joints.

    The targets of joints outside of the crop are on its border.

    Args:
        heatmaps: (N, NUM_HEATMAPS, H, W) logits, see models.heatmap_pool.
        labels: joint set to (N, K, 3), as for `keypoint_loss`.
    """
    height, width = heatmaps.shape[2:]
    y, x = cell_centres(height, width, heatmaps)
    sums, known = heatmaps.new_zeros(len(heatmaps)), heatmaps.new_zeros(len(heatmaps))
    maps = heatmaps.split([len(JOINT_SETS[name]) for name in HEATMAP_SETS], dim=1)
    for name, some in zip(HEATMAP_SETS, maps, strict=True):
        if name not in labels:
            continue
        label = labels[name]
        position = torch.minimum(label[..., :2].abs(), torch.stack((x[-1], y[-1]))).copysign(label[..., :2])
        # Distances in cells, whose sides are 2 / height.
        away = [(centres - position[..., i, None]) * height / 2 for i, centres in enumerate((x, y))]
        across, down = ((-d.square() / 2).softmax(dim=2) for d in away)
        target = down[..., :, None] * across[..., None, :]
        errors = -(target.flatten(2) * some.flatten(2).log_softmax(dim=2)).sum(2)
        seen = (label[..., 2] > 0).to(errors)
        sums, known = sums + (seen * errors).sum(1), known + seen.sum(1)
    return Term(sums / known.clamp(min=1), (known > 0).to(sums))

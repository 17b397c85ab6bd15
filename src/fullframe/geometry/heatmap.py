"""Coordinates in heatmaps: from the crop's centre, in halves of its height, so that y spans [-1, 1]."""

import torch
from torch import Tensor


def cell_centres(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """y (height,) and x (width,) of a heatmap's cells, from the crop's centre in halves of its height."""
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    return (2 * y + 1) / height - 1, (2 * x + 1 - width) / height


def soft_argmax(heatmaps: Tensor) -> Tensor:
    """Mean x, y and standard deviation (N, J, 3) of heatmaps, in halves of the crop's height from its centre.

    Integral regression (Sun et al., ECCV 2018).

    Args:
        heatmaps: (N, J, H, W) logits of a distribution over each map.
    """
    share = heatmaps.flatten(2).softmax(dim=2).view_as(heatmaps)
    height, width = heatmaps.shape[2:]
    y, x = cell_centres(height, width, share)
    down, across = share.sum(3), share.sum(2)
    mean_x, mean_y = (across * x).sum(2), (down * y).sum(2)
    variance = (across * x.square()).sum(2) - mean_x.square() + (down * y.square()).sum(2) - mean_y.square()
    return torch.stack((mean_x, mean_y, (variance / 2).clamp(min=1e-6).sqrt()), dim=2)

"""Pooling that keeps positions: a heatmap for each joint, and the last map in 4 x 3 cells."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from fullframe.body.joint_sets import HEATMAP_SETS, JOINT_SETS
from fullframe.geometry.heatmap import soft_argmax

NUM_HEATMAPS = sum(len(JOINT_SETS[name]) for name in HEATMAP_SETS)
GRID = (4, 3)
"""Rows and columns in which the last map is kept."""
_CELL_CHANNELS = 64
_WIDTH = 96


class HeatmapPool(nn.Module):
    """Features with positions: mean and spread of each joint's heatmap, and 4 x 3 cells of the last map.

    With a mean over the map, as in HMR, it takes millions of images to learn where limbs are. Here a small
    feature pyramid (Lin et al., CVPR 2017) gives a heatmap for each joint of HEATMAP_SETS, which 2D labels
    teach directly, and the regressor sees the heatmap's mean and spread (integral regression, Sun et al.,
    ECCV 2018). Our choice, in neither paper.

    Args:
        channels: of the encoder's maps at 1/32, 1/16 and 1/8 of the crop.

    Attributes:
        features: width of the feature vector.
    """

    features = _CELL_CHANNELS * GRID[0] * GRID[1] + 3 * NUM_HEATMAPS

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.cells = nn.Sequential(
            nn.Conv2d(channels[0], _CELL_CHANNELS, 1), nn.AdaptiveAvgPool2d(GRID), nn.Flatten()
        )
        self.lateral = nn.ModuleList(nn.Conv2d(number, _WIDTH, 1) for number in channels)
        self.mix = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, groups=_WIDTH),
                nn.Conv2d(_WIDTH, _WIDTH, 1),
                nn.ReLU(),
            )
            for _ in pairwise(channels)
        )
        last = nn.Conv2d(_WIDTH, 4 * NUM_HEATMAPS, 1)
        nn.init.normal_(last.weight, std=0.04)  # nearly uniform heatmaps at first
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.heatmaps = nn.Sequential(last, nn.PixelShuffle(2))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Features and heatmaps.

        Args:
            maps: (N, C, h, w) at 1/32, 1/16 and 1/8 of the crop.

        Returns:
            features (N, features), and logits (N, NUM_HEATMAPS, H, W) at 1/4 of the crop, for `soft_argmax`.
        """
        heatmaps = self._heatmaps(maps)
        return self._features(maps[0], soft_argmax(heatmaps)), heatmaps

    def precompute(self, maps: Sequence[Tensor]) -> Tensor:
        """Everything that the features depend on but the cells' weights, (N, P) in half precision."""
        cells = functional.adaptive_avg_pool2d(maps[0], GRID)
        return torch.cat((cells.flatten(1), soft_argmax(self._heatmaps(maps)).flatten(1)), dim=1).half()

    def from_precomputed(self, precomputed: Tensor) -> Tensor:
        """Features (N, features) from the output of `precompute`: the cells' convolution and mean commute."""
        cells, seen = precomputed.float().split(
            (precomputed.shape[1] - 3 * NUM_HEATMAPS, 3 * NUM_HEATMAPS), dim=1
        )
        return self._features(cells.unflatten(1, (-1, *GRID)), seen)

    def _features(self, last: Tensor, seen: Tensor) -> Tensor:
        return torch.cat((self.cells(last), seen.flatten(1)), dim=1)

    def _heatmaps(self, maps: Sequence[Tensor]) -> Tensor:
        x = functional.relu(self.lateral[0](maps[0]))
        for lateral, mix, finer in zip(self.lateral[1:], self.mix, maps[1:], strict=True):
            x = functional.relu(lateral(finer) + functional.interpolate(x, size=finer.shape[2:]))
            x = x + mix(x)
        heatmaps: Tensor = self.heatmaps(x)
        return heatmaps

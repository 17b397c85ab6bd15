"""The exponential moving average of a network's weights."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from fullframe.models import CropRegressor


class EMA(AveragedModel):
    """A copy of a network with averages of its weights and of its normalisation's statistics.

    The decay grows as (1 + n) / (10 + n) with the number n of steps, up to `decay`, so that the initial
    weights do not linger.

    Args:
        network: to average.
        decay: share of the old average that a step keeps.
    """

    def __init__(self, network: CropRegressor, decay: float) -> None:
        def average(averages: Any, current: Any, steps: Tensor | int) -> None:
            if not averages[0].is_floating_point():
                for old, new in zip(averages, current, strict=True):
                    old.copy_(new)
                return
            n = int(steps)
            torch._foreach_lerp_(averages, current, 1 - min(decay, n / (9 + n)))

        super().__init__(network, multi_avg_fn=average, use_buffers=True)
        self.module.requires_grad_(False).eval()

    @property
    def network(self) -> CropRegressor:
        """The averaged network."""
        assert isinstance(self.module, CropRegressor)
        return self.module

    def update(self, network: CropRegressor, steps: int) -> None:
        """After the step of this number, counted from 0."""
        self.n_averaged.fill_(1 + steps)  # torch would copy at 0, and a resumed run begins later
        self.update_parameters(network)

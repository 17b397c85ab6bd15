"""Fine-tuning of a pretrained network to 2D keypoints, for CLIFF's annotator and for EFT."""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fullframe.annotate.crops import Crops
from fullframe.body import BodyModel
from fullframe.losses.objective import LossWeights, Objective
from fullframe.models.batchnorm import freeze_batchnorm
from fullframe.models.crop_regressor import CropRegressor, TrainOutput
from fullframe.models.predict import Bodies


@dataclass(frozen=True)
class Tuning:
    """How a network is fine-tuned to 2D keypoints; benchmarks/annotator.py --grid compares settings.

    Attributes:
        keypoints: weight of the 2D term in the full frame (CLIFF, eq. 8; SPIN's weight).
        pose: of the squared difference of rotation matrices to the initial predictions: the explicit prior.
        betas: of the squared difference of betas to the initial predictions.
        camera: of the term that keeps the scale of the weak camera positive.
        kind: key of losses.terms.ERRORS, for the keypoints.
        learning_rate: of Adam; it falls linearly to 0.
        batch_size: people per step.
        passes: epochs.
        least_steps: minimum number of steps, for few people.
    """

    keypoints: float = 5.0
    pose: float = 1.0
    betas: float = 0.001
    camera: float = 1.0
    kind: str = "smooth_l1"
    learning_rate: float = 1e-4
    batch_size: int = 64
    passes: int = 20
    least_steps: int = 80

    def steps(self, people: int) -> int:
        """The total number."""
        return max(self.passes * -(-people // self.batch_size), self.least_steps) if people else 0


class Step(NamedTuple):
    """The loss before an optimiser step, and the mean squared 2D error in half crop heights."""

    loss: float
    keypoints: float


class Tuner:
    """Fine-tunes a copy of a network to 2D keypoints, regularised towards its initial predictions.

    As in EFT (Joo et al., 3DV 2021), batch normalisation keeps its statistics, scales and shifts, dropout is
    off, and nothing is augmented, since each person should end with their own best fit. The 2D term is
    CLIFF's in the full frame, and the regulariser is its annotator's (Li et al., ECCV 2022, section 3.3).

    Args:
        network: pretrained; it is copied.
        body: that it predicts.
        tuning: weights and steps.
        device: to train on; the network's own if not given.
    """

    def __init__(
        self,
        network: CropRegressor,
        body: BodyModel,
        tuning: Tuning,
        device: str | torch.device | None = None,
    ) -> None:
        self.network = copy.deepcopy(network).eval().to(device)
        self.tuning = tuning
        freeze_batchnorm(self.network.encoder.net)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        self.weights = [p for p in self.network.parameters() if p.requires_grad]
        self.device = self.weights[0].device
        weights = LossWeights(
            keypoints=tuning.keypoints, joints=0, pose=tuning.pose, betas=tuning.betas, camera=tuning.camera
        )
        self.objective = Objective(copy.deepcopy(body), weights, tuning.kind).to(self.device)
        self._reset_optimizer()

    @torch.no_grad()
    def restart(self, weights: list[Tensor]) -> None:
        """Load weights and reset the optimiser."""
        for weight, value in zip(self.weights, weights, strict=True):
            weight.copy_(value)
        self._reset_optimizer()

    def _reset_optimizer(self) -> None:
        # Fused: with one person per step, Adam would otherwise take 40 % of the time.
        self.optimizer = torch.optim.Adam(self.weights, lr=self.tuning.learning_rate, fused=True)

    def step(self, crops: Crops, initial: Bodies, indices: NDArray[np.int64], progress: float) -> Step:
        """One optimiser step on some people.

        Args:
            crops: of all people.
            initial: their initial predictions.
            indices: the people of this step.
            progress: the fraction of the steps that are done, 0 to 1.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.tuning.learning_rate * (1 - progress)
        batch = crops.batch(indices, initial).to(self.device)
        output = TrainOutput(self.network(self.network.prepare(batch.crops), batch.bbox_info))
        loss, terms = self.objective(self.network, output, batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return Step(float(loss.detach()), float(terms.get("keypoints", Tensor([0.0]))))

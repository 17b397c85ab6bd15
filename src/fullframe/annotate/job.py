"""What every method is given, and what they share: the network and its objective."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fullframe.annotate.chunks import CHUNK, Advance, Arrays, Workers, here, in_chunks, silent
from fullframe.annotate.crops import Crops
from fullframe.body import BodyModel
from fullframe.losses.objective import Losses, LossWeights
from fullframe.models.batchnorm import freeze_statistics
from fullframe.models.cliff import CLIFF
from fullframe.models.predict import Bodies, predict_crops

BATCH = 32
"""Crops per pass of a network."""


@dataclass(frozen=True)
class Job:
    """People to be labelled, at least one.

    Attributes:
        crops: the people.
        body: whose pose and betas are wanted.
        network: pretrained, in evaluation mode, on its device; never changed. None for fits from scratch.
        plain: its first predictions, the explicit prior; None without a network.
        folder: for the method's files.
        advance: told of progress.
        workers: who makes chunks.
    """

    crops: Crops
    body: BodyModel
    network: CLIFF | None
    plain: Bodies | None
    folder: Path
    advance: Advance = silent
    workers: Workers = here

    @property
    def pretrained(self) -> tuple[CLIFF, Bodies]:
        """The network and its first predictions.

        Raises:
            ValueError: there are none.
        """
        if self.network is None or self.plain is None:
            raise ValueError("this method needs a pretrained network: give its --model")
        return self.network, self.plain


def predict(
    network: CLIFF, crops: Crops, folder: Path, advance: Advance = silent, workers: Workers = here
) -> Bodies:
    """What a network says about everyone, in files of `folder`."""

    def make(start: int, end: int) -> Arrays:
        indices = np.arange(start, end)
        batches = (indices[i : i + BATCH] for i in range(0, len(indices), BATCH))
        parts = [predict_crops(network, crops.pixels(some), crops.bbox_info(some)) for some in batches]
        return Bodies.joined(parts)._asdict()

    return Bodies(**in_chunks(folder, len(crops), make, advance, CHUNK, workers))


@dataclass(frozen=True)
class Tuning:
    """How a network is fine-tuned to 2D keypoints; benchmarks/annotator.py --grid compares settings.

    Attributes:
        keypoints: weight of the 2D term in the full frame (CLIFF, eq. 8; SPIN's weight).
        pose: of the squared difference of rotation matrices to the first predictions: the explicit prior.
        betas: of the squared difference of betas to the first predictions.
        camera: of the term that keeps the scale of the weak camera positive.
        kind: key of losses.ERRORS, for the keypoints.
        learning_rate: of Adam; it falls to 0 along a line.
        batch_size: people a step.
        passes: how often everyone is seen.
        least_steps: taken even if there are fewer people than that needs.
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
        """How many there are in all."""
        return max(self.passes * -(-people // self.batch_size), self.least_steps) if people else 0


class Step(NamedTuple):
    """Of an optimiser: the loss before it, and the mean squared 2D error in halves of the crop's height."""

    loss: float
    keypoints: float


class Tuner:
    """A copy of a network that learns 2D keypoints without forgetting what it said at first.

    As in EFT (Joo et al., 3DV 2021), normalisation keeps its statistics, scales and shifts, dropout is off,
    and nothing is augmented, since each person should end with their own best fit. The 2D term is CLIFF's
    in the full frame, and the regulariser to the first predictions is its annotator's (Li et al., ECCV 2022,
    section 3.3).

    Args:
        network: pretrained; it is copied.
        body: that it predicts.
        tuning: weights and steps.
        device: to learn on; the network's own if not given.
    """

    def __init__(
        self, network: CLIFF, body: BodyModel, tuning: Tuning, device: str | torch.device | None = None
    ) -> None:
        self.network = copy.deepcopy(network).eval().to(device)
        self.tuning = tuning
        freeze_statistics(self.network.encoder.net)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        self.weights = [p for p in self.network.parameters() if p.requires_grad]
        self.device = self.weights[0].device
        terms = LossWeights(
            keypoints=tuning.keypoints, joints=0, pose=tuning.pose, betas=tuning.betas, camera=tuning.camera
        )
        self.losses = Losses(copy.deepcopy(body), terms, tuning.kind).to(self.device)
        self._forget()

    @torch.no_grad()
    def restart(self, weights: list[Tensor]) -> None:
        """Take these weights, and forget what the optimiser knows."""
        for weight, value in zip(self.weights, weights, strict=True):
            weight.copy_(value)
        self._forget()

    def _forget(self) -> None:
        # One pass over the weights: for one person a step, Adam is else two fifths of the time.
        self.optimizer = torch.optim.Adam(self.weights, lr=self.tuning.learning_rate, fused=True)

    def step(self, crops: Crops, towards: Bodies, indices: NDArray[np.int64], part: float) -> Step:
        """One step on some people.

        Args:
            crops: everyone.
            towards: everyone's first predictions.
            indices: of those to learn from.
            part: 0 to 1, how much of the training is done.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.tuning.learning_rate * (1 - part)
        batch = crops.batch(indices, towards).to(self.device)
        prediction = self.network(self.network.prepare(batch.crops), batch.bbox_info)
        loss, terms = self.losses(self.network, prediction, batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return Step(float(loss.detach()), float(terms.get("keypoints", Tensor([0.0]))))

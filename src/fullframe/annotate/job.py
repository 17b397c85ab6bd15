"""What every method gets: people, a body, a network with its initial predictions, and a place for files."""

from dataclasses import dataclass

import numpy as np

from fullframe.annotate.crops import SHARD_SIZE, Crops
from fullframe.body import BodyModel
from fullframe.io.progress import Progress, silent
from fullframe.io.workdir import Arrays, Shards, StateFile, WorkDir, Workers, in_process
from fullframe.models.crop_regressor import CropRegressor
from fullframe.models.predict import Bodies, predict_crops

BATCH_SIZE = 32
"""Crops per pass of a network."""


@dataclass(frozen=True)
class Job:
    """People to be labelled, at least one.

    Attributes:
        crops: the people.
        body: whose pose and betas are wanted.
        network: pretrained, in evaluation mode, on its device; never changed. None for fits from scratch.
        initial: its predictions before any fine-tuning, the explicit prior; None without a network.
        work: keeps finished parts.
        stage: the folder of the method's files in `work`.
        progress: the callback.
        workers: where shards are computed.
    """

    crops: Crops
    body: BodyModel
    network: CropRegressor | None
    initial: Bodies | None
    work: WorkDir
    stage: str
    progress: Progress = silent
    workers: Workers = in_process

    @property
    def pretrained(self) -> tuple[CropRegressor, Bodies]:
        """The network and its initial predictions.

        Raises:
            ValueError: there are none.
        """
        if self.network is None or self.initial is None:
            raise ValueError("this method needs a pretrained network: give its --model")
        return self.network, self.initial

    def shards(self, size: int) -> Shards:
        """Of the method's labels, `size` people in each."""
        return self.work.shards(f"{self.stage}/labels", size=size, count=len(self.crops))

    @property
    def state(self) -> StateFile:
        """Of the method, if it has one."""
        return self.work.state(f"{self.stage}/state.pt")


def predict(
    network: CropRegressor,
    crops: Crops,
    work: WorkDir,
    progress: Progress = silent,
    workers: Workers = in_process,
    stage: str = "predicting",
) -> Bodies:
    """The network's predictions for all people; finished parts are kept in the folder `stage` of `work`."""

    def make(start: int, end: int) -> Arrays:
        indices = np.arange(start, end)
        batches = (indices[i : i + BATCH_SIZE] for i in range(0, len(indices), BATCH_SIZE))
        parts = [predict_crops(network, crops.pixels(some), crops.bbox_info(some)) for some in batches]
        return Bodies.joined(parts)._asdict()

    shards = work.shards(stage, size=SHARD_SIZE, count=len(crops))
    return Bodies(**shards.compute(make, progress, workers))

"""Training behind an encoder that stays as it is: its maps of everyone are computed once and kept.

A step then costs a processor a thirtieth of one that begins with pictures. What is kept of a person is what
`Encoder.precompute` gives, 31 kB with `movenet_multipose`.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fullframe.data.batch import Batch
from fullframe.io.atomic import atomic_path, claim
from fullframe.models.base import CropRegressor
from fullframe.train.state import generator_seed

SHARD_BATCHES = 32
"""Batches of people in one file."""


class FeatureCache:
    """Augmented people as a network's encoder sees them, in files that are made where they are missing.

    Args:
        folder: of the files.
        network: whose encoder it is, with a HeatmapPool.
        batches: (start, rank, world) to batches of people from this one on.
        batch_size: of these batches.
        people: how many are wanted.
        made_by: what decides about the files besides the encoder.
        advance: told how many people are there, and of how many.

    Raises:
        WorkError: if the folder holds files of other people or another encoder.
    """

    def __init__(
        self,
        folder: Path,
        network: CropRegressor,
        batches: Callable[[int, int, int], Iterator[Batch]],
        batch_size: int,
        people: int,
        made_by: Mapping[str, Any],
        advance: Callable[[int, int], object] = lambda done, total: None,
    ) -> None:
        claim(folder, {**made_by, "encoder": _fingerprint(network)})
        shard = SHARD_BATCHES * batch_size
        labels: list[Batch] = []
        self._maps: list[np.ndarray] = []
        drawn: Iterator[Batch] | None = None
        for number in range(-(-people // shard)):
            file = folder / f"{number:04d}.npy"
            told = file.with_suffix(".pt")
            if told.is_file():
                drawn = None
            else:
                drawn = drawn or batches(number * shard, 0, 1)  # goes on from one file to the next
                _keep(network, drawn, file, told)
            labels.append(Batch(**torch.load(told, weights_only=True)))
            self._maps.append(np.load(file, mmap_mode="r"))
            advance(min((number + 1) * shard, people), people)
        self._labels = Batch.joined(labels).take(torch.arange(people))

    def batches(self, seed: int, batch_size: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Batches without end, of everyone once and then again in another order.

        Process `rank` of `world` gets every world-th person from the start-th on, as from
        data.mixture.loader. Instead of crops, batches have what `Encoder.precompute` gave.
        """
        people = len(self._labels)
        round_, order = -1, torch.empty(0, dtype=torch.int64)
        number = start + (rank - start) % world
        while True:
            rows = []
            for _ in range(batch_size):
                if number // people != round_:
                    round_ = number // people
                    generator = torch.Generator().manual_seed(generator_seed(seed, round_))
                    order = torch.randperm(people, generator=generator)
                rows.append(int(order[number % people]))
                number += world
            yield self._take(rows)

    def _take(self, rows: list[int]) -> Batch:
        batch = self._labels.take(torch.tensor(rows))
        shard = len(self._maps[0])
        batch.crops = torch.from_numpy(np.stack([self._maps[row // shard][row % shard] for row in rows]))
        return batch


def _fingerprint(network: CropRegressor) -> str:
    """Of everything that decides about `Encoder.precompute`."""
    digest = hashlib.sha256()
    for name, tensor in network.encoder.state_dict().items():
        if not name.startswith("joints.cells."):
            digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def _keep(network: CropRegressor, batches: Iterator[Batch], file: Path, told: Path) -> None:
    """Write the maps and the labels of the next people."""
    network.eval()
    device = next(network.parameters()).device
    parts: list[Batch] = []
    maps: list[Tensor] = []
    for _ in range(SHARD_BATCHES):
        batch = next(batches)
        maps.append(network.encoder.precompute(network.prepare(batch.crops.to(device))).cpu())
        batch.crops = batch.crops[:, :0]
        parts.append(batch)
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, torch.cat(maps).numpy())
    # The labels come last: they say that the file is complete.
    with atomic_path(told) as temporary:
        torch.save(vars(Batch.joined(parts)), temporary)

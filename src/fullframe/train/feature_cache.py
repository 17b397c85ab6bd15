"""Training of the head alone, on features of the encoder that are computed once.

On a CPU a step then takes a thirtieth of the time of one that begins with crops. The features of a person are
what `Encoder.precompute` gives: 31 kB with `movenet_multipose`, 2 kB if its encoder is frozen.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fullframe.data.batch import Batch
from fullframe.io.atomic import digest
from fullframe.io.progress import Progress, silent
from fullframe.io.torch_file import load_torch
from fullframe.io.workdir import WorkDir, WorkError
from fullframe.models.crop_regressor import CropRegressor
from fullframe.train.config import TrainConfig, flatten
from fullframe.train.state import generator_seed

Autocast = Callable[[], AbstractContextManager]

SHARD_BATCHES = 32
"""Batches of people in one shard."""

_FEATURES, _LABELS = "features.npy", "labels.pt"
_WAIT_S = 24 * 3600.0
"""Other processes of the run wait while one computes."""


class FeatureCache:
    """Features and labels of augmented people in a folder; what is missing is computed.

    Args:
        folder: of the cache.
        network: with the encoder, which has a HeatmapPool.
        batches: (start, rank, world) to batches of people from this one on.
        batch_size: of these batches.
        people: in the cache.
        request: everything that decides about the cache besides the encoder.
        autocast: context of the encoder's pass.
        progress: of the people that are there.

    Raises:
        WorkError: if the folder holds a cache of other people or another encoder.
    """

    def __init__(
        self,
        folder: Path,
        network: CropRegressor,
        batches: Callable[[int, int, int], Iterator[Batch]],
        batch_size: int,
        people: int,
        request: Mapping[str, Any],
        autocast: Autocast = nullcontext,
        progress: Progress = silent,
    ) -> None:
        size = SHARD_BATCHES * batch_size
        labels: list[Batch] = []
        self._features: list[np.ndarray] = []
        stream: Iterator[Batch] | None = None
        with WorkDir(folder, {**request, "encoder": _fingerprint(network)}, wait_s=_WAIT_S) as work:
            shards = work.shards(size=size)
            for start in range(0, people, size):
                if shards.is_done(start):
                    stream = None
                else:
                    stream = stream or batches(start, 0, 1)  # continues from one shard to the next
                    with shards.writing(start) as temporary:
                        _write_shard(network, stream, autocast, temporary)
                shard = shards.folder(start)
                labels.append(_read_labels(shard / _LABELS))
                self._features.append(np.load(shard / _FEATURES, mmap_mode="r"))
                progress("computing features", min(start + size, people), people)
        self._labels = Batch.joined(labels).take(torch.arange(people))

    def batches(self, seed: int, batch_size: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Batches without end: everyone once, then again in another order.

        Process `rank` of `world` gets every world-th person from the start-th on, as from
        data.mixture.loader. Instead of crops, batches have what `Encoder.precompute` gave.
        """
        people = len(self._labels)
        epoch, order = -1, torch.empty(0, dtype=torch.int64)
        number = start + (rank - start) % world
        while True:
            rows = []
            for _ in range(batch_size):
                if number // people != epoch:
                    epoch = number // people
                    generator = torch.Generator().manual_seed(generator_seed(seed, epoch))
                    order = torch.randperm(people, generator=generator)
                rows.append(int(order[number % people]))
                number += world
            yield self._take(rows)

    def _take(self, rows: list[int]) -> Batch:
        batch = self._labels.take(torch.tensor(rows))
        size = len(self._features[0])
        batch.crops = torch.from_numpy(np.stack([self._features[row // size][row % size] for row in rows]))
        return batch


def open_feature_cache(
    config: TrainConfig,
    network: CropRegressor,
    batches: Callable[[int, int, int], Iterator[Batch]],
    autocast: Autocast,
    progress: Progress,
) -> FeatureCache:
    """The cache of a run; what is missing is computed. Raises as FeatureCache."""
    # Without the run's seed: runs with other seeds see the same people in another order.
    names = (
        "network.crop",
        "network.num_betas",
        "batch_size",
        "precision",
        "augment.",
        "synth.",
        "data.",
        "cache.people",
    )
    request = {key: value for key, value in flatten(asdict(config)).items() if key.startswith(names)}
    for key, value in request.items():
        if key == "synth.poses" or (key.endswith(".labels") and Path(value).is_file()):
            request[key] = digest(value) if value else ""
    cache = config.cache
    return FeatureCache(
        Path(cache.features_folder), network, batches, config.batch_size, cache.features, request, autocast,
        progress,
    )  # fmt: skip


def _fingerprint(network: CropRegressor) -> str:
    """Of everything that decides about `Encoder.precompute`."""
    found = hashlib.sha256(b"features" if network.encoder.frozen else b"")
    for name, tensor in network.encoder.state_dict().items():
        if network.encoder.frozen or not name.startswith("joints.cells."):
            found.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _read_labels(path: Path) -> Batch:
    try:
        return Batch(**load_torch(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise WorkError(f"{path} cannot be used ({error}): remove this folder to compute it again") from error


@torch.inference_mode()
def _write_shard(network: CropRegressor, batches: Iterator[Batch], autocast: Autocast, folder: Path) -> None:
    """Write features and labels of the next people."""
    network.eval()
    device = next(network.parameters()).device
    labels: list[Batch] = []
    features: list[Tensor] = []
    for _ in range(SHARD_BATCHES):
        batch = next(batches)
        with autocast():
            features.append(network.encoder.precompute(network.prepare(batch.crops.to(device))).cpu())
        batch.crops = batch.crops[:, :0]
        labels.append(batch)
    np.save(folder / _FEATURES, torch.cat(features).numpy())
    torch.save(vars(Batch.joined(labels)), folder / _LABELS)

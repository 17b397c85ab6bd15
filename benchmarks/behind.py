"""Trains what stands behind an encoder that stays as it is: its maps of everyone are computed once and kept.

A step then costs a processor a thirtieth of one that begins with pictures, so that networks that differ
behind the encoder can be compared on hundreds of thousands of people without a GPU.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from variants import configure, train

from fullframe.body import load_body
from fullframe.console import progress_bar, say
from fullframe.data.batch import Batch
from fullframe.data.mixture import loader
from fullframe.files import atomic_path, claim
from fullframe.losses import Losses
from fullframe.models import CLIFF, create_model, load_model
from fullframe.models.checkpoint import save_checkpoint
from fullframe.models.joints import GRID, JointPool, places
from fullframe.train.config import TrainConfig
from fullframe.train.loop import Average, build_optimizer, learning_rate
from fullframe.train.sources import open_mixture

ENCODER: dict[str, Any] = {
    "samples": 60_000,
    "learning_rate": 3e-4,
    "head_rate": 5.0,
    "lifting": 0,
    "keypoints_weight": 0.0,
    "joints_weight": 0.001,
    "pose_weight": 0.0,
    "betas_weight": 0.0,
    "camera_weight": 0.0,
}
"""How the encoder is trained: on heatmaps, in which nothing that is compared behind it has a part."""

SHARD = 2048
_BATCH = 64


def trainer(
    config: Path, settings: tuple[str, ...], folder: Path, people: int, whole: bool
) -> Callable[[TrainConfig], Path]:
    """What trains a run, as far as it is not yet trained, to the path of its network.

    Args:
        config, settings: as for `fullframe train`.
        folder: of the shared encoder and what it sees.
        people: that it sees, 31 kB each.
        whole: without them: each run trains its own encoder.
    """
    if whole:
        return train
    encoder = train(configure(config, settings, folder, "encoder", 1, ENCODER))
    kept = Kept(configure(config, settings, folder, "maps", 0, {}), encoder, people)
    return lambda run: train_behind(run, encoder, kept)


class Kept:
    """Augmented people as a frozen encoder sees them, in shards of SHARD people on disk.

    Args:
        config: of the data; what is missing in the folder `out` is computed.
        encoder: a trained network (.safetensors) with a JointPool, whose encoder it is.
        people: how many, rounded up to whole shards.
    """

    def __init__(self, config: TrainConfig, encoder: Path, people: int) -> None:
        network = load_model(encoder)
        assert network.card is not None and network.encoder.joints is not None
        numbers = range(-(-people // SHARD))
        folder = Path(config.out)
        data = ("seed", "crop", "synth", "lspet", "coco", "labels", "stock", "augment")
        made_by = {key: value for key, value in asdict(config).items() if key.startswith(data)}
        claim(folder, {"encoder": network.card.sha256, **made_by})
        self._files = [folder / f"{number:04d}.npy" for number in numbers]
        missing = [number for number in numbers if not self._labels_of(number).exists()]
        if missing:
            mixture = open_mixture(config)
            with progress_bar() as progress:
                for number in progress.track(missing, description="maps"):
                    batches = loader(mixture, _BATCH, number * SHARD, workers=config.workers)
                    self._keep(network, batches, number)
        self._maps = [np.load(file, mmap_mode="r") for file in self._files]
        parts = [torch.load(self._labels_of(n), weights_only=True) for n in numbers]
        self.labels = Batch.joined([Batch(**part) for part in parts])

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> Batch:
        """People (M,); their crops are what `Behind` takes."""
        batch = self.labels.take(rows)
        batch.crops = torch.from_numpy(np.stack([self._maps[r // SHARD][r % SHARD] for r in rows.tolist()]))
        return batch

    def _labels_of(self, number: int) -> Path:
        return self._files[number].with_suffix(".pt")

    @torch.inference_mode()
    def _keep(self, network: CLIFF, batches: Iterator[Batch], number: int) -> None:
        parts: list[Batch] = []
        for _ in range(SHARD // _BATCH):
            batch = next(batches)
            batch.crops = packed(network, batch.crops)
            parts.append(batch)
        everyone = Batch.joined(parts)
        with atomic_path(self._files[number]) as temporary:
            np.save(temporary, everyone.crops.numpy())
        everyone.crops = everyone.crops[:, :0].clone()
        # The labels come last: they say that the shard is complete.
        with atomic_path(self._labels_of(number)) as temporary:
            torch.save(vars(everyone), temporary)


def packed(network: CLIFF, crops: Tensor) -> Tensor:
    """What Behind needs of crops (N, height, width, 3), in one row each, half precision."""
    found: list[Tensor] = []
    assert network.encoder.joints is not None
    handle = network.encoder.joints.register_forward_pre_hook(lambda _, given: found.append(given[0][0]))
    _, heatmaps = network.encoder(network.prepare(crops))
    handle.remove()
    assert heatmaps is not None
    cells = functional.adaptive_avg_pool2d(found[0], GRID)
    return torch.cat((cells.flatten(1), places(heatmaps).flatten(1)), dim=1).half()


class Behind(nn.Module):
    """Stands in a network for its encoder, and takes `packed` crops in the place of crops.

    Args:
        pool: of that network: its convolution of the last map goes on learning.
    """

    def __init__(self, pool: JointPool) -> None:
        super().__init__()
        self.cells = pool.cells
        self.channels = pool.cells[0].in_channels

    def forward(self, crops: Tensor) -> tuple[Tensor, None]:
        cells, seen = crops.float().tensor_split((self.channels * GRID[0] * GRID[1],), dim=1)
        return torch.cat((self.cells(cells.view(-1, self.channels, *GRID)), seen), dim=1), None


def train_behind(config: TrainConfig, encoder: Path, kept: Kept) -> Path:
    """Trains a network behind the encoder that `kept` was made with: the path of its averaged weights.

    Args:
        config: of the network and the run.
        encoder: the trained network whose encoder it takes; the rest begins anew.
        kept: the data, the same order for the same seed.
    """
    path = Path(config.out) / f"{config.model}.safetensors"
    if path.exists():
        return path
    torch.manual_seed(config.seed)
    body = load_body(config.body, config.body_path or None, config.num_betas)
    losses = Losses(body, config.loss_weights, config.loss)
    network = create_model(config.model, **config.model_options)
    told = load_model(encoder).encoder.state_dict()
    network.encoder.load_state_dict({k: v for k, v in told.items() if ".cells." not in k}, strict=False)
    whole = network.encoder
    assert whole.joints is not None
    network.encoder = Behind(whole.joints)  # type: ignore[assignment]
    averaged = copy.deepcopy(network).requires_grad_(False).eval()
    average = Average(network, averaged, config.ema)
    optimizer = build_optimizer(config, network)
    network.train()
    say(f"training {path.parent.name}")
    with progress_bar() as progress:
        task = progress.add_task("people", total=config.samples)
        for step, rows in enumerate(_order(len(kept), config)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step * config.batch_size) * group["factor"]
            batch = kept.take(rows)
            prediction, _, imagined = network.learn(batch.crops, batch.location)
            loss, _ = losses(network, prediction, batch, imagined=imagined)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip, error_if_nonfinite=True)
            optimizer.step()
            average.update(step)
            progress.update(task, completed=(step + 1) * config.batch_size)
    whole.joints.cells.load_state_dict(averaged.encoder.cells.state_dict())
    averaged.encoder = whole
    data = f"{config.samples:,} times one of {len(kept):,} augmented people, encoder of {encoder.parent.name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        averaged, path, body=body.name, data=data, licence=config.licence, metrics={}, dtype="fp16"
    )
    return path


def _order(people: int, config: TrainConfig) -> Iterator[Tensor]:
    """Rows of each batch: everyone once, in another order each time."""
    generator = torch.Generator().manual_seed(config.seed)
    rows = torch.empty(0, dtype=torch.long)
    for _ in range(config.samples // config.batch_size):
        while len(rows) < config.batch_size:
            rows = torch.cat((rows, torch.randperm(people, generator=generator)))
        yield rows[: config.batch_size]
        rows = rows[config.batch_size :]

"""Train what a gated ImpHMR infers from other directions alone; what it says of the photo's stays as it is.

    python tools/train_directions.py configs/imphmr-lite.toml runs/imphmr-lite/imphmr.safetensors \
        runs/hmr-lite/hmr.safetensors imphmr-lite.safetensors --people 80000

Code, field, head, silhouette branch and the regressor's weights of the map are trained with the losses of
other directions, on the cached features of the configuration. All else is that of a trained HMR and is held,
and the gate is closed: for the photo's direction the network predicts what that HMR does.
"""

import contextlib
import copy
import functools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import tyro

from fullframe.body import BodyModel, load_body
from fullframe.data.batch import Batch
from fullframe.data.mixture import loader
from fullframe.losses.objective import LossWeights
from fullframe.models import ImpHMR, load_model, save_checkpoint
from fullframe.models.imphmr.imphmr import ImpHMROutput
from fullframe.models.imphmr.losses import ImpHMRLossWeights, ImpHMRObjective
from fullframe.train.config import read_config
from fullframe.train.feature_cache import Autocast, open_feature_cache
from fullframe.train.sources import open_mixture

LOSSES = ImpHMRLossWeights(
    imagined_joints=5.0, imagined_pose=15.0, imagined_betas=0.05, silhouette=3.0, consistent_pose=15.0,
    consistent_betas=0.05, warmup=0,
)  # fmt: skip
GRAD_CLIP = 3.0
EMA = 0.99


def main(
    config: Annotated[Path, tyro.conf.Positional],
    network: Annotated[Path, tyro.conf.Positional],
    hmr: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    settings: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    people: int = 80_000,
    rate: float = 2e-3,
) -> None:
    """Train and write the network.

    Args:
        config: of the run that trained the network.
        network: a gated ImpHMR behind the encoder of a model that ships.
        hmr: with the same encoder, whose regressor it gets.
        out: .safetensors.
        settings: of the run, KEY=VALUE.
        people: length of the training.
        rate: the highest learning rate.
    """
    torch.set_num_threads(1)
    options = read_config(config, settings)
    net, card = load_model(network)
    assert isinstance(net, ImpHMR)
    net.start_from(load_model(hmr).network)
    net.encoder.requires_grad_(False)  # as when the cache was made
    body = load_body(card.body, None, net.num_betas)
    mixture = open_mixture(options, body)

    def crops(start: int, rank: int, world: int) -> Iterator[Batch]:
        return loader(mixture, options.batch_size, start, rank, world)

    autocast: Autocast = contextlib.nullcontext
    if options.precision == "bf16-mixed":
        autocast = functools.partial(torch.autocast, "cpu", torch.bfloat16)
    cache = open_feature_cache(options, net, crops, autocast, lambda *_: None)
    torch.manual_seed(options.seed)
    batches = cache.batches(options.seed, options.batch_size, 0, 0, 1)
    done = train(net, body, batches, people, rate, options.loss.error, autocast)
    save_checkpoint(
        net, out, body=card.body, data=f"{card.data}; then {done:,} people for other directions alone",
        licence=card.licence, metrics={}, dtype="fp16", encoder_of=card.encoder_of,
    )  # fmt: skip


def train(
    net: ImpHMR,
    body: BodyModel,
    batches: Iterator[Batch],
    people: int,
    rate: float,
    error: str = "l1",
    autocast: Autocast = contextlib.nullcontext,
) -> int:
    """Train a gated network with the losses of other directions; its gate is closed.

    Args:
        net: is changed.
        body: of its poses and betas.
        batches: of crops or what `Encoder.precompute` makes of them.
        people: how many to use, at least.
        rate: the highest learning rate.
        error: of the losses.
        autocast: context of the forward pass.

    Returns:
        the people used.
    """
    assert net.gate is not None and net.silhouette is not None
    net.requires_grad_(False)
    trained = [*net.to_code.parameters(), *net.field.parameters(), *net.head.parameters(),
               *net.silhouette.parameters(), net.regressor.fc1.weight]  # fmt: skip
    for parameter in trained:
        parameter.requires_grad_(True)
    with torch.no_grad():
        net.gate.zero_()
    of_map = torch.zeros_like(net.regressor.fc1.weight)
    of_map[:, net.map_columns] = 1
    net.regressor.fc1.weight.register_hook(lambda gradient: gradient * of_map)
    # The prediction for the photo's direction has no gradient; one of its terms has to have a weight.
    weights = LossWeights(keypoints=0, joints=0, pose=1, betas=0, camera=0, heatmaps=0)
    objective = ImpHMRObjective(copy.deepcopy(body), weights, error, LOSSES)
    optimizer = torch.optim.Adam(trained, lr=rate)
    averages = [parameter.detach().clone() for parameter in trained]
    done, log = 0, 0.0
    while done < people:
        part = done / people
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, 30 * part + 0.05) * (1 + math.cos(math.pi * part)) / 2
        batch = next(batches)
        inputs = net.prepare(batch.crops)
        phi = (2 * torch.rand(len(inputs)) - 1) * math.radians(net.view_range)
        with torch.no_grad():
            canonical = net(inputs, batch.bbox_info)
        with autocast():
            view = net.imagine(inputs, batch.bbox_info, phi)
        loss, terms = objective(net, ImpHMROutput(canonical, None, view), batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, GRAD_CLIP)
        optimizer.step()
        done += len(batch)
        with torch.no_grad():
            torch._foreach_lerp_(averages, trained, 1 - min(EMA, 10 * part))
        if time.monotonic() - log > 30 or done >= people:
            values = ", ".join(f"{key} {value.item():.4f}" for key, value in terms.items())
            print(f"{done:,} people: {values}", flush=True)
            log = time.monotonic()
    with torch.no_grad():
        for parameter, average in zip(trained, averages, strict=True):
            parameter.copy_(average)
    return done


if __name__ == "__main__":
    tyro.cli(main)

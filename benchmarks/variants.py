"""Networks that differ in a few settings, trained and measured alike; what the ablations share."""

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from common import protocol_of

from fullframe.body import load_body
from fullframe.cli.console import say, show_progress
from fullframe.data.mixture import loader
from fullframe.data.sample import Sample
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import load_predictor, predict
from fullframe.evaluate.protocol import Scores
from fullframe.models.checkpoint import read_card
from fullframe.train.config import TrainConfig, read_config, update_config
from fullframe.train.loop import fit
from fullframe.train.sources import open_mixture

ENCODER: dict[str, Any] = {
    "network.model": "cliff",
    "samples": 60_000,
    "optim.learning_rate": 3e-4,
    "optim.head_lr_scale": 5.0,
    "lifting": 0,
    "loss.weights.keypoints": 0.0,
    "loss.weights.joints": 0.001,
    "loss.weights.pose": 0.0,
    "loss.weights.betas": 0.0,
    "loss.weights.camera": 0.0,
}
"""How a shared encoder is trained: on heatmaps alone, which are the same for all variants."""


@dataclass(frozen=True)
class Options:
    """The command line of every ablation.

    Attributes:
        config: TOML file.
        settings: further keys and values.
        cache: folder of the shared encoder and its features.
        features: augmented people in the feature cache, 31 kB each; 0: nothing is shared.
    """

    config: Annotated[Path, tyro.conf.Positional]
    settings: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="KEY=VALUE")] = ()
    cache: Path = Path("runs/shared-encoder")
    features: int = 150_000


def chosen(only: tuple[str, ...], names: Iterable[str]) -> Iterable[str]:
    """The variants that the user named, or all. Ends the script for an unknown name."""
    if unknown := set(only) - set(names):
        raise SystemExit(f"unknown {', '.join(sorted(unknown))}; choose of: {', '.join(names)}")
    return only or names


def folder_of(name: str) -> str:
    """The name of a variant as that of a folder."""
    return "_".join(re.findall(r"[\w-]+", name))


def shared_encoder(options: Options) -> dict[str, Any]:
    """The settings with which variants share one encoder and its cached features, see train.feature_cache.

    The encoder is trained if it is not there yet. Without a cache, each variant trains an encoder of its own.
    A configuration with a frozen encoder has all of this itself.
    """
    if read_config(options.config, options.settings).network.freeze_encoder:
        return {}
    if not options.features:
        return {"lifting": 0}  # which not every model can
    encoder = train(configure(options, options.cache, "encoder", 0, ENCODER))
    return {
        "network.encoder_checkpoint": str(encoder),
        "cache.features": options.features,
        "cache.features_folder": str(options.cache / "features"),
        "lifting": 0,
    }


def configure(options: Options, out: Path, name: str, seed: int, changes: dict[str, Any]) -> TrainConfig:
    """The run of a variant.

    Args:
        options: of the ablation.
        out: each variant and seed has a folder in it.
        name: of the variant.
        seed: of the data and the network.
        changes: keys and values that make the variant.
    """
    folder = out / f"{folder_of(name)}_{seed}"
    base = read_config(options.config, options.settings)
    return update_config(base, {"out": str(folder), "seed": seed, **changes})


def train(config: TrainConfig) -> Path:
    """The trained network of a run; trained only as far as it is not yet."""
    folder = Path(config.out)
    done = folder / "finished"
    if not done.exists():
        network = config.network
        body = load_body(network.body, network.body_path or None, network.num_betas)

        def batches(start: int, rank: int, world: int):
            return loader(mixture, config.batch_size // world, start, rank, world, config.workers)

        say(f"training {folder.name}")
        with show_progress() as progress:
            mixture = open_mixture(config, body, progress)
            fit(config, body, batches, mixture.names, progress=progress)
        done.touch()
    return folder / f"{config.network.model}.safetensors"


def measure(
    path: Path, benchmark: str = "synth", root: Path | None = None, people: int | None = None
) -> tuple[Scores, np.ndarray]:
    """Scores of a network on a benchmark, and everyone's angle off the camera's axis in degrees.

    Args:
        path: of the network; predictions are kept beside it.
        benchmark: see common.protocol_of.
        root: of its data.
        people: only the first so many.
    """
    recoverer, protocol = load_predictor(path), protocol_of(benchmark)
    samples = opened(benchmark, root, people)
    made_by = {"network.model": read_card(path).sha256, "benchmark": benchmark, "root": str(root or "")}
    folder = path.parent / f"{benchmark}-{len(samples)}"
    predictions = predict(recoverer, samples, folder, made_by, enlarge=protocol.enlarge)
    return protocol.measure(predictions, BodyCache(recoverer.body.name)), predictions.off_axis


@functools.cache
def opened(benchmark: str, root: Path | None, people: int | None) -> list[Sample]:
    """The first people of a benchmark, kept in memory: drawing synthetic ones takes longer than measuring."""
    samples = protocol_of(benchmark).open(root or Path())
    return [samples[i] for i in range(min(len(samples), people or len(samples)))]


def difference(scores: Scores, baseline: Scores) -> Scores:
    """Each person's error less the baseline's for the same person."""
    people = {name: errors - baseline.people[name] for name, errors in scores.people.items()}
    return replace(scores, people=people, medians=())


def mean_over_seeds(of_seeds: Sequence[Scores]) -> Scores:
    """The first one's, with the mean over all of each person's errors."""
    first = of_seeds[0]
    people = {name: np.mean([scores.people[name] for scores in of_seeds], axis=0) for name in first.people}
    return replace(first, people=people)

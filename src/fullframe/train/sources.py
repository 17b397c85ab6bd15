"""From a configuration to the data it names."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fullframe.body import load_body
from fullframe.cli.console import progress_bar, say
from fullframe.data.mixture import Mixture
from fullframe.data.sample import Sample
from fullframe.train.config import ConfigError, TrainConfig
from fullframe.train.validation import Validation


def _synth(config: TrainConfig, split: str) -> Sequence[Sample]:
    from fullframe.synth.joints import NUM_BETAS
    from fullframe.synth.people import SyntheticPeople

    if config.body == "open" and config.num_betas < NUM_BETAS:
        raise ConfigError(f"num_betas = {config.num_betas}: synthetic people have {NUM_BETAS}")
    # Validation always sees the same people, and others than the benchmark synth-val.
    seed = {"train": config.synth_seed, "val": 1}[split]
    settings: dict[str, Any] = {
        "split": split,
        "seed": seed,
        "height": config.crop[0],
        "backgrounds": config.backgrounds or None,
        "simplify": True,
    }
    if split == "train" and config.synth_poses:
        settings["labels"] = config.synth_poses
    if split == "train" and config.stock:
        return _stock(config, settings)
    return SyntheticPeople(**settings)


def _stock(config: TrainConfig, settings: dict[str, Any]) -> Sequence[Sample]:
    from fullframe.synth.cache import CachedPeople, fill, is_full

    if int(os.environ.get("LOCAL_RANK", 0)):
        # The first process of this machine draws for all.
        while not is_full(config.stock_folder, config.stock):
            time.sleep(1)
    else:
        if not is_full(config.stock_folder, config.stock):
            say(f"drawing {config.stock:,} synthetic people into {config.stock_folder}")
        with progress_bar() as progress:
            task = progress.add_task("people", total=config.stock)
            fill(config.stock_folder, config.stock, settings, os.cpu_count() or 1,
                 lambda people: progress.update(task, completed=people))  # fmt: skip
    return CachedPeople(config.stock_folder, config.stock)


def _lspet(config: TrainConfig, split: str) -> Sequence[Sample]:
    from fullframe.data.formats.lspet import LSPET

    return LSPET(_root(config, "lspet"), split)


def _coco(config: TrainConfig, split: str) -> Sequence[Sample]:
    from fullframe.data.formats.coco import COCO

    root = _root(config, "coco")
    return COCO(root / f"annotations/person_keypoints_{split}2017.json", root / f"{split}2017")


def _labels(config: TrainConfig, split: str) -> Sequence[Sample]:
    from fullframe.data.formats.spin_npz import SPINList

    if split == "val":  # bodies that a network made are no truth to measure with
        return []
    root = _root(config, "labels")
    if not config.labels_file:
        raise ConfigError(f"labels = {config.labels} needs labels_file: what fullframe annotate made")
    if not Path(config.labels_file).is_file():
        raise ConfigError(f"labels_file: {config.labels_file} is no file; fullframe annotate makes one")
    return SPINList(config.labels_file, root, aspect=4 / 3)


SOURCES: dict[str, Callable[[TrainConfig, str], Sequence[Sample]]] = {
    "synth": _synth,
    "lspet": _lspet,
    "coco": _coco,
    "labels": _labels,
}
"""Name of a source (the key of its share in TrainConfig) to its samples of a split, train or val."""


def open_sources(config: TrainConfig) -> tuple[dict[str, Sequence[Sample]], dict[str, float]]:
    """The sources with a share in the mixture, and their shares.

    Raises:
        ConfigError: if none has a share, or a folder is not given.
        FileNotFoundError: names what is missing.
    """
    weights = _shares(config)
    return {name: SOURCES[name](config, "train") for name in weights}, weights


def open_mixture(config: TrainConfig) -> Mixture:
    """The training data; raises as `open_sources`."""
    body = load_body(config.body, config.body_path or None, config.num_betas).name
    sources, weights = open_sources(config)
    return Mixture(sources, weights, config.crop, config.augmentation, config.seed, config.num_betas, body)


def open_validation(config: TrainConfig) -> Validation | None:
    """Held-out people of the same sources, or None if nobody is wanted; raises as `open_sources`."""
    if not config.validation_people:
        return None
    body = load_body(config.body, config.body_path or None, config.num_betas)
    sources = {name: SOURCES[name](config, "val") for name in _shares(config)}
    held_out = {name: source for name, source in sources.items() if len(source)}
    return Validation(body, held_out, config.validation_people, config.crop)


def _shares(config: TrainConfig) -> dict[str, float]:
    shares = {name: getattr(config, name) for name in SOURCES if getattr(config, name) > 0}
    if not shares:
        raise ConfigError(f"no source has a share in the data: set one of {', '.join(SOURCES)} above 0")
    return shares


def _root(config: TrainConfig, name: str) -> Path:
    root = getattr(config, f"{name}_root")
    if not root:
        raise ConfigError(f"{name} = {getattr(config, name)} needs {name}_root: the folder of its files")
    return Path(root)

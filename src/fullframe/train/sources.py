"""The data sets that a configuration names."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fullframe.body.body_model import BodyModel
from fullframe.data.mixture import Mixture
from fullframe.data.sample import Sample
from fullframe.io.progress import Progress, silent
from fullframe.train.config import ConfigError, SourceConfig, TrainConfig
from fullframe.train.validation import Validation

Samples = Sequence[Sample]


def _lspet(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.lspet import LSPET

    return LSPET(source.path, split)


def _coco(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.coco import COCO

    root = Path(source.path)
    return COCO(root / f"annotations/person_keypoints_{split}2017.json", root / f"{split}2017")


def _annotate(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.spin_npz import SPINList

    if split == "val":  # bodies that a network predicted are no ground truth
        return []
    return SPINList(_labels(source, "what fullframe annotate writes"), source.path, aspect=4 / 3)


def _spin_npz(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.spin_npz import SPINList

    return [] if split == "val" else SPINList(_labels(source, "the list, .npz"), source.path)


def _cliff_npz(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.cliff_npz import CLIFFLabels

    return [] if split == "val" else CLIFFLabels(_labels(source, "CLIFF's labels, .npz"), source.path)


def _bedlam(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.bedlam import BEDLAM

    return [] if split == "val" else BEDLAM(_labels(source, "the folder of the scenes' .npz"), source.path)


def _mpii(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.mpii import MPII

    folder = Path(_labels(source, "the folder with train.h5 and valid.h5"))
    return MPII(folder / {"train": "train.h5", "val": "valid.h5"}[split], source.path)


def _h36m(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.h36m import H36M

    return H36M(source.path, {"train": "train", "val": "test"}[split])


def _mpi_inf_3dhp(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.mpi_inf_3dhp import MPIINF3DHP

    return MPIINF3DHP(source.path, {"train": "train", "val": "test"}[split])


def _threedpw(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.threedpw import ThreeDPW

    return ThreeDPW(source.path, {"train": "train", "val": "validation"}[split])


def _agora(source: SourceConfig, split: str) -> Samples:
    from fullframe.data.formats.agora import AGORA

    return AGORA(source.path, {"train": "train", "val": "validation"}[split])


FORMATS: dict[str, Callable[[SourceConfig, str], Samples]] = {
    "lspet": _lspet,
    "coco": _coco,
    "annotate": _annotate,
    "spin_npz": _spin_npz,
    "cliff_npz": _cliff_npz,
    "bedlam": _bedlam,
    "mpii": _mpii,
    "h36m": _h36m,
    "mpi_inf_3dhp": _mpi_inf_3dhp,
    "threedpw": _threedpw,
    "agora": _agora,
}
"""Format of a data set to its samples of a split, train or val; one without held-out people has no val.

`path` is the data set's folder; of annotate, spin_npz, cliff_npz, bedlam and mpii it is the images' folder,
and `labels` the labels.
"""


def open_mixture(config: TrainConfig, body: BodyModel, progress: Progress = silent) -> Mixture:
    """The training data.

    Args:
        config: of the run.
        body: of the network.
        progress: of rendering people into the cache.

    Raises:
        ConfigError: if no source has a weight, or a path is not given.
        FileNotFoundError: names what is missing.
    """
    weights = _weights(config)
    sources = {name: _open(config, name, "train", progress) for name in weights}
    network = config.network
    return Mixture(sources, weights, network.crop, config.augment, config.seed, network.num_betas, body.name)


def open_validation(config: TrainConfig, body: BodyModel) -> Validation | None:
    """Held-out people of the same sources, or None with validation_people = 0; raises as `open_mixture`."""
    if not config.validation_people:
        return None
    sources = {name: _open(config, name, "val", silent) for name in _weights(config)}
    held_out = {name: source for name, source in sources.items() if len(source)}
    return Validation(body, held_out, config.validation_people, config.network.crop)


def _weights(config: TrainConfig) -> dict[str, float]:
    weights = {"synth": config.synth.weight, **{name: data.weight for name, data in config.data.items()}}
    weights = {name: weight for name, weight in weights.items() if weight > 0}
    if not weights:
        raise ConfigError("no source of data has a weight: set synth.weight or a data.NAME.weight above 0")
    return weights


def _open(config: TrainConfig, name: str, split: str, progress: Progress) -> Samples:
    if name == "synth":
        return open_synth(config, split, progress)
    source = config.data[name]
    kind = source.format or name
    if kind not in FORMATS:
        raise ConfigError(f"data.{name}.format must be one of {', '.join(FORMATS)}, not {kind!r}")
    if not source.path:
        raise ConfigError(f"data.{name}.path is missing: the folder of its files")
    try:
        return FORMATS[kind](source, split)
    except ConfigError as error:
        raise ConfigError(f"data.{name}: {error}") from error


def _labels(source: SourceConfig, what: str) -> str:
    if not source.labels:
        raise ConfigError(f"labels is missing: {what}")
    if not Path(source.labels).exists():
        raise ConfigError(f"labels: no such file as {source.labels}: {what}")
    return source.labels


def open_synth(config: TrainConfig, split: str, progress: Progress = silent) -> Samples:
    """Synthetic people of a split, rendered now or from the cache."""
    from fullframe.synth.cache import CachedPeople, build_cache
    from fullframe.synth.joints import NUM_BETAS
    from fullframe.synth.synthetic_people import SyntheticPeople

    network, synth, cache = config.network, config.synth, config.cache
    if network.body == "open" and network.num_betas < NUM_BETAS:
        raise ConfigError(f"network.num_betas = {network.num_betas}: synthetic people have {NUM_BETAS}")
    settings: dict[str, Any] = {
        "split": split,
        # Validation always uses the same people, which differ from those of the benchmark synth-val.
        "seed": {"train": synth.seed, "val": 1}[split],
        "height": network.crop[0],
        "backgrounds": synth.backgrounds or None,
        "simplify": True,
    }
    if split == "train" and synth.poses:
        settings["labels"] = synth.poses
    if split == "train" and cache.people:
        build_cache(cache.people_folder, cache.people, settings, os.cpu_count() or 1, progress)
        return CachedPeople(cache.people_folder, cache.people)
    return SyntheticPeople(**settings)

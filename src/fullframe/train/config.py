"""The configuration of a training run: nested dataclasses, read from TOML and from `section.key=value`."""

import difflib
import inspect
import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import tomli_w

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from fullframe.body.body_model import BODY_NAMES
from fullframe.data.augment import Augmentation
from fullframe.io.npz import require_regular_file
from fullframe.losses.objective import LossWeights
from fullframe.losses.terms import ERRORS
from fullframe.models import ENCODERS, MODELS
from fullframe.models.encoder import POOLS
from fullframe.models.imphmr.imphmr import SIZES
from fullframe.models.imphmr.losses import ImpHMRLossWeights
from fullframe.models.iterative_regressor import ACTIVATIONS, WIDTH

MAX_FROZEN_STAGES = 5
_MOST = {
    "batch_size": 65_536, "crop": 2048, "num_betas": 300, "field_samples": 1024, "field_width": 8192,
    "threads": 1024, "workers": 256, "validation_people": 1_000_000, "people": 10**9, "features": 10**9,
    "weight": 1e6, "weight_decay": 1e3, "learning_rate": 1e3, "head_lr_scale": 1e6,
}  # fmt: skip
_ANY = 10**15  # of all other numbers: samples, seconds, seeds


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file, the key and what is allowed."""


@dataclass(frozen=True)
class NetworkConfig:
    """[network]: the architecture and its initial weights.

    Attributes:
        model: key of MODELS: cliff, hmr, ray or imphmr.
        encoder: key of ENCODERS.
        crop: [height, width] px of the network's input.
        num_betas: shape coefficients; the open body's 11th goes from adult to child.
        bbox_info_input: CLIFF's first switch, the bounding-box info is an input; hmr has it off.
        full_frame_loss: CLIFF's second switch, the 2D loss is in the full frame; hmr has it off.
        pool: of the encoder's maps to features: mean, or heatmaps; see models.heatmap_pool.
        regressor_width: of the regressor's two hidden layers.
        regressor_act: after the regressor's hidden layers: none, or relu.
        regressor_dropout: rate of dropout in the regressor.
        field_size: of imphmr, height and width of the rendered feature map in px: 8, 16, 32 or 64.
        field_samples: of imphmr, points per ray.
        field_width: of imphmr, of the field's layers and features, a multiple of 8.
        feature_gate: of imphmr, for the image's direction the regressor also sees the encoder's features.
        view_range: of imphmr, viewing directions of training are up to so many degrees from the image's.
        body: name of the body model whose pose and betas are predicted.
        body_path: file of an SMPL body model, unless it is where fullframe looks for it.
        pretrained: start the encoder from ImageNet weights.
        init_checkpoint: trained network to start from, a name or .safetensors. imphmr can also start from an
            hmr or cliff, see train.distillation.
        encoder_checkpoint: trained network of any model whose encoder to start from.
        freeze_encoder: the encoder is not trained. If `encoder_checkpoint` is the name of a model that ships,
            the trained network's file leaves the encoder out and refers to that model's.
        freeze_batchnorm: batch normalisation keeps its statistics, which saves a CPU 40 % of a step.
        frozen_stages: stages of the encoder, from the first on, that are not trained.
    """

    model: str = "cliff"
    encoder: str = "tf_efficientnet_lite0"
    crop: tuple[int, int] = (224, 168)
    num_betas: int = 11
    bbox_info_input: bool = True
    full_frame_loss: bool = True
    pool: str = "mean"
    regressor_width: int = WIDTH
    regressor_act: str = "none"
    regressor_dropout: float = 0.5
    field_size: int = 16
    field_samples: int = 24
    field_width: int = 128
    feature_gate: bool = False
    view_range: float = 180.0
    body: str = "open"
    body_path: str = ""
    pretrained: bool = True
    init_checkpoint: str = ""
    encoder_checkpoint: str = ""
    freeze_encoder: bool = False
    freeze_batchnorm: bool = False
    frozen_stages: int = 0

    def __post_init__(self) -> None:
        _choice(self, "model", MODELS)
        _choice(self, "encoder", ENCODERS)
        _choice(self, "pool", POOLS)
        _choice(self, "regressor_act", ACTIVATIONS)
        _choice(self, "field_size", SIZES)
        _choice(self, "body", BODY_NAMES)
        _positive(self, "num_betas", "regressor_width", "field_samples", "field_width")
        _not_negative(self, "regressor_dropout", "view_range", "frozen_stages")
        _require(min(self.crop) >= 32, f"crop must be at least 32 px high and wide, not {list(self.crop)}")
        _at_most("crop", max(self.crop))
        _require(
            self.regressor_dropout < 1, f"regressor_dropout must be below 1, not {self.regressor_dropout}"
        )
        _require(self.field_width % 8 == 0, f"field_width must be a multiple of 8, not {self.field_width}")
        _require(self.view_range <= 180, f"view_range must be at most 180 degrees, not {self.view_range}")
        _require(
            self.frozen_stages <= MAX_FROZEN_STAGES,
            f"frozen_stages must be at most {MAX_FROZEN_STAGES}, not {self.frozen_stages}",
        )
        _require(
            bool(self.init_checkpoint or self.encoder_checkpoint) or not self.freeze_encoder,
            "freeze_encoder needs a trained encoder: init_checkpoint or encoder_checkpoint",
        )
        _require(
            self.freeze_batchnorm or not self.frozen_stages, "frozen_stages needs freeze_batchnorm = true"
        )

    @property
    def model_options(self) -> dict[str, Any]:
        """Keyword arguments of `models.create_model` without `pretrained`: those that this model has."""
        known = inspect.signature(MODELS[self.model]).parameters
        names = (f.name for f in fields(self) if f.name in known and f.name != "pretrained")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class SynthConfig:
    """[synth]: synthetic people.

    Attributes:
        weight: of this source among the people seen; 0 leaves it out.
        seed: which synthetic people.
        backgrounds: folder of photos without people; without it, backgrounds are procedural.
        poses: labels from `fullframe annotate`, from whose bodies half of the captured poses are taken;
            without them, all are motion capture.
    """

    weight: float = 1.0
    seed: int = 1
    backgrounds: str = ""
    poses: str = ""

    def __post_init__(self) -> None:
        _not_negative(self, "weight", "seed")


@dataclass(frozen=True)
class SourceConfig:
    """[data.NAME]: a data set on disk.

    Attributes:
        weight: of this source among the people seen; 0 leaves it out.
        format: key of train.sources.FORMATS; the NAME if empty.
        path: folder of the data set, or of its images where `labels` are separate.
        labels: file (of bedlam: folder) of the labels; which formats need it: see train.sources.FORMATS.
    """

    weight: float = 1.0
    format: str = ""
    path: str = ""
    labels: str = ""

    def __post_init__(self) -> None:
        _not_negative(self, "weight")


@dataclass(frozen=True)
class CacheConfig:
    """[cache]: what is computed once and used again, for machines that train on a CPU.

    Attributes:
        people: so many synthetic people are rendered once, into `people_folder`; 0 renders new ones without
            end.
        people_folder: of the rendered people.
        features: with the pool heatmaps, features of so many augmented people are computed once, into
            `features_folder`, and the head is trained on them alone: on a CPU a step takes a thirtieth of the
            time. See train.feature_cache. 0: everything is trained, on ever new crops.
        features_folder: of the features.
    """

    people: int = 0
    people_folder: str = "runs/people"
    features: int = 0
    features_folder: str = "runs/features"

    def __post_init__(self) -> None:
        _not_negative(self, "people", "features")


@dataclass(frozen=True)
class LossConfig:
    """[loss], [loss.weights] and [loss.novel_view].

    Attributes:
        error: of 2D keypoints and 3D joints: squared, l1 or smooth_l1.
        weights: of the terms.
        novel_view: of imphmr, weights of the terms about other directions.
    """

    error: str = "squared"
    weights: LossWeights = field(default_factory=LossWeights)
    novel_view: ImpHMRLossWeights = field(default_factory=ImpHMRLossWeights)

    def __post_init__(self) -> None:
        _choice(self, "error", ERRORS)
        weights = flatten({"weights": asdict(self.weights), "novel_view": asdict(self.novel_view)})
        for name, weight in weights.items():
            _require(math.isfinite(weight) and weight >= 0, f"{name} must not be negative, is {weight}")
            _require(weight <= _MOST["weight"], f"{name} must be at most {_MOST['weight']:,}, not {weight}")


@dataclass(frozen=True)
class OptimConfig:
    """[optim].

    Attributes:
        optimizer: adam, or adamw with `weight_decay` on matrices and kernels.
        learning_rate: the highest.
        head_lr_scale: factor on the learning rate of everything but the encoder.
        weight_decay: of adamw.
        schedule: cosine to 0, or step: a tenth in the second half, as CLIFF.
        warmup: samples over which the learning rate grows from 0.
        grad_clip: largest norm of the gradient; 0 for no limit.
        ema: decay of the exponential moving average of the weights, which is validated and exported.
    """

    optimizer: str = "adam"
    learning_rate: float = 1e-4
    head_lr_scale: float = 1.0
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup: int = 10_000
    grad_clip: float = 3.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        _choice(self, "optimizer", ("adam", "adamw"))
        _choice(self, "schedule", ("cosine", "step"))
        _positive(self, "learning_rate", "head_lr_scale")
        _not_negative(self, "weight_decay", "warmup", "grad_clip", "ema")
        _require(self.ema < 1, f"ema must be below 1, not {self.ema}")


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run. Lengths are in people seen ("samples"), not in steps.

    Attributes:
        out: folder for checkpoints, tables, previews and the trained network; a run in it is resumed.
        samples: length of the run.
        batch_size: of all processes together.
        lifting: with the pool heatmaps, the regressor is first trained on labels of so many people, without
            images; see train.pretraining.
        distillation: an imphmr network that starts from an hmr or cliff first learns, on so many people, to
            render that network's features; see train.distillation.
        precision: 32, bf16-mixed or 16-mixed.
        seed: of data, weights and dropout.
        threads: torch's threads per process on the CPU; 0 for torch's default.
        workers: data-loader processes per training process; 0 loads data in the training process.
        minutes: stop with a checkpoint after this time; 0 for no limit. What comes before the first step
            (caches, lifting) counts, and is completed in any case.
        checkpoint_minutes: between checkpoints; 0 for one after every step.
        light_checkpoint: store averaged weights in half precision and factored second moments alone, an
            eighth of the size; see train.state.
        log_every, preview_every, validate_every: samples between; 0 for never.
        validation_people: held-out people of each source.
        licence: of the trained weights, for their card; it depends on the data.
        network, synth, data, augment, loss, optim, cache: sections.
    """

    out: str
    samples: int = 1_000_000
    batch_size: int = 64
    lifting: int = 0
    distillation: int = 0
    precision: str = "32"
    seed: int = 0
    threads: int = 0
    workers: int = 1
    minutes: float = 0.0
    checkpoint_minutes: float = 3.0
    light_checkpoint: bool = False
    log_every: int = 2_000
    preview_every: int = 50_000
    validate_every: int = 50_000
    validation_people: int = 500
    licence: str = "not stated"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    synth: SynthConfig = field(default_factory=SynthConfig)
    data: dict[str, SourceConfig] = field(default_factory=dict)
    augment: Augmentation = field(default_factory=Augmentation)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)

    def __post_init__(self) -> None:
        _positive(self, "samples", "batch_size")
        _not_negative(
            self, "lifting", "distillation", "seed", "threads", "workers", "minutes", "checkpoint_minutes",
            "log_every", "preview_every", "validate_every", "validation_people",
        )  # fmt: skip
        _choice(self, "precision", ("32", "bf16-mixed", "16-mixed"))
        _require("synth" not in self.data, "data.synth must have another name: [synth] is a section")
        network, heatmaps = self.network, self.network.pool != "mean"
        _require(
            not self.lifting or (heatmaps and self.synth.weight > 0 and network.model != "imphmr"),
            'lifting needs network.pool = "heatmaps", synth.weight above 0, and not the model imphmr',
        )
        _require(
            not self.distillation or (network.model == "imphmr" and bool(network.init_checkpoint)),
            "distillation needs the model imphmr, and network.init_checkpoint: a trained hmr or cliff",
        )
        _require(
            not self.cache.features or (heatmaps and not self.lifting),
            'cache.features needs network.pool = "heatmaps", and lifting = 0',
        )
        _require(
            not self.cache.features or bool(network.init_checkpoint or network.encoder_checkpoint),
            "cache.features needs a trained encoder: network.init_checkpoint or network.encoder_checkpoint",
        )


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """A configuration from a TOML file and settings that override it.

    Args:
        path: TOML with the sections of TrainConfig. Without `out`: runs/<name of the file>.
        overrides: such as "optim.learning_rate=1e-4"; values as in TOML, and text needs no quotes.

    Raises:
        ConfigError: if the file is missing or not TOML, or a key or value is not allowed.
    """
    path = Path(path)
    try:
        require_regular_file(path)
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; configs/ has examples") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not readable as TOML: {error}") from error
    values.setdefault("out", f"runs/{path.stem}")
    config = make_config(values, str(path))
    settings = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override!r}: settings have the form key=value")
        settings[key.strip()] = _parse_value(text.strip())
    origin = f"{path} with {' '.join(text[:100] for text in overrides)}"
    return update_config(config, settings, origin) if settings else config


def make_config(values: Mapping[str, Any], origin: str) -> TrainConfig:
    """A configuration from nested keys and values; `origin` begins the messages.

    Raises:
        ConfigError: if a key is unknown, or a value has the wrong type or is impossible.
    """
    if "out" not in values:
        raise ConfigError(f"{origin}: the key 'out' is missing: the folder for the results")
    config: TrainConfig = _build(TrainConfig, values, origin, "")
    return config


def update_config(config: TrainConfig, settings: Mapping[str, Any], origin: str = "settings") -> TrainConfig:
    """The configuration with other values: {"optim.learning_rate": 1e-4}; raises as `make_config`."""
    values = asdict(config)
    for key, value in settings.items():
        section: Any = values
        *sections, last = key.split(".")
        for name in sections:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise _unknown_key(key, origin)
        section[last] = value
    return make_config(values, origin)


def write_config(config: TrainConfig, path: Path) -> None:
    """Write the whole configuration as TOML: a record that does not depend on defaults."""
    path.write_text(tomli_w.dumps(asdict(config)), encoding="utf-8")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted keys, with tuples as lists: {"optim.learning_rate": 1e-4, ...}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def _build(kind: Any, values: Mapping[str, Any], origin: str, prefix: str) -> Any:
    """A dataclass from its section's values, whose keys begin with `prefix`."""
    types = get_type_hints(kind)
    converted = {}
    for key, value in values.items():
        if key not in types:
            raise _unknown_key(prefix + key, origin)
        converted[key] = _convert(value, types[key], origin, prefix + key)
    try:
        return kind(**converted)
    except ValueError as error:
        raise ConfigError(f"{origin}: {prefix}{error}") from error


def _convert(value: Any, kind: Any, origin: str, key: str) -> Any:
    """The value as the type of its field."""
    what = f"{origin}: {key}"
    if is_dataclass(kind) or kind == dict[str, SourceConfig]:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{what} is a section of keys, not {_short(value)}")
        if is_dataclass(kind):
            return _build(kind, value, origin, f"{key}.")
        return {name: _convert(part, SourceConfig, origin, f"{key}.{name}") for name, part in value.items()}
    numbers = value if isinstance(value, list | tuple) else [value]
    if any(type(number) is int and abs(number) > _ANY for number in numbers):
        raise ConfigError(f"{what} must be at most {_ANY:,}")
    if kind == tuple[int, int]:
        if isinstance(value, list | tuple) and [type(v) for v in value] == [int, int]:
            return tuple(value)
        raise ConfigError(f"{what} must be [height, width] in px, not {_short(value)}")
    if kind is float and type(value) is int:
        return float(value)
    if kind is str and type(value) in (int, float):
        return str(value)  # precision=32, a folder named 7
    if type(value) is not kind:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise ConfigError(f"{what} must be {names[kind]}, not {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _unknown_key(key: str, origin: str) -> ConfigError:
    known = list(_known_keys(TrainConfig))
    by_last = {name.rpartition(".")[2]: name for name in reversed(known)}
    near = difflib.get_close_matches(key, known, 1)
    near = near or [by_last[name] for name in difflib.get_close_matches(key.rpartition(".")[2], by_last, 1)]
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return ConfigError(f"{origin}: unknown key {key!r}; {hint}")


def _known_keys(kind: Any, prefix: str = "") -> Iterator[str]:
    for name, part in get_type_hints(kind).items():
        if is_dataclass(part):
            yield from _known_keys(part, f"{prefix}{name}.")
        elif part == dict[str, SourceConfig]:
            yield from _known_keys(SourceConfig, f"{prefix}{name}.NAME.")
        else:
            yield prefix + name


def _parse_value(text: str) -> Any:
    """A TOML value; anything else is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:  # also for numbers of thousands of digits
        return text


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _positive(section: Any, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        _require(math.isfinite(value) and value > 0, f"{name} must be positive, not {value}")
        _at_most(name, value)


def _not_negative(section: Any, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        _require(math.isfinite(value) and value >= 0, f"{name} must not be negative, is {value}")
        _at_most(name, value)


def _at_most(name: str, value: float) -> None:
    most = _MOST.get(name, _ANY)
    _require(value <= most, f"{name} must be at most {most:,}, not {value}")


def _choice(section: Any, name: str, known: Collection[Any]) -> None:
    value = getattr(section, name)
    if value not in known:
        near = difflib.get_close_matches(str(value), [str(one) for one in known], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, not {value!r}{hint}")

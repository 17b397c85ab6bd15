"""What a training run is: one flat TOML file, the same keys as `key=value` on the command line."""

import difflib
import inspect
import json
import math
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from fullframe.body.model import BODY_NAMES
from fullframe.data.augment import Augmentation
from fullframe.losses.objective import LossWeights
from fullframe.losses.terms import ERRORS
from fullframe.models import ENCODERS, MODELS
from fullframe.models.encoder import POOLS
from fullframe.models.imphmr.losses import NOVEL_VIEW_TERMS, ImpHMRLossWeights
from fullframe.models.imphmr.model import SIZES
from fullframe.models.regressor import ACTIVATIONS


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file, the key and what is allowed."""


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run. Lengths are in people seen ("samples"), not in steps.

    Attributes:
        out: folder for checkpoints, tables, pictures and the trained network; a run that is there goes on.
        model: key of MODELS: cliff, hmr (both switches off), ray or imphmr.
        encoder: key of ENCODERS.
        crop: [height, width] px of the network's input.
        bbox_info_input: CLIFF's first switch, the network sees where the crop sits; hmr has it off.
        full_frame_loss: CLIFF's second switch, the 2D loss is in the full frame; hmr has it off.
        pool: how the encoder's maps become features: mean, or heatmaps; see models.heatmap_pool.
        regressor_act: after the regressor's hidden layers: none, or relu.
        regressor_dropout: share of their values that training leaves out.
        pretrained: start the encoder from ImageNet weights.
        frozen_statistics: batch normalisation keeps the statistics that the encoder comes with, which saves a
            CPU 40 % of a step; see models.frozen.
        frozen_stages: the encoder's first so many stages, each of which halves the map, keep their weights.
        lifting: with the pool heatmaps, the regressor first learns from so many people's joints, without
            pictures; see train.lifting.
        init: trained network (.safetensors) to start from instead.
        encoder_checkpoint: trained network, of any model, whose encoder alone to start from.
        kept: with the pool heatmaps, the encoder looks at so many augmented people once and keeps its
            weights, and what stands behind it learns from its maps of them, which stay in `kept_folder`, in a
            thirtieth of the time on a CPU; see train.kept. 0: everything learns, from ever new pictures.
        body: name of the body whose pose and betas are learned.
        body_path: file of an SMPL body, if it is not where fullframe looks for it.
        num_betas: shape coefficients; the open body's 11th leads from adult to kid.
        field_size: of imphmr, height and width of the rendered feature map in px: 8, 16, 32 or 64.
        field_samples: of imphmr, points per ray.
        field_width: of imphmr, of the field's layers and features, a multiple of 8.
        view_range: of imphmr, training draws viewing directions up to so many degrees from the image's; 0 for
            none.

        synth, lspet, coco, labels: share of each source among the people seen; 0 leaves it out.
        lspet_root, coco_root: folders of the data sets; COCO's has annotations/, train2017/ and val2017/.
        labels_root: folder of the photos that `labels_file` tells of, which fullframe annotate made, or
            another list of SPIN's form with windows of 4/3.
        synth_seed: which synthetic people; `seed` is of everything else.
        stock: so many synthetic people are drawn once, kept in `stock_folder` and used again and again, where
            the processor has to train too; 0 draws new ones without end.
        backgrounds: folder of photos without people, behind the synthetic ones; else made-up places.
        synth_poses: people in photos, as fullframe annotate writes them, from whom half of the captured poses
            are taken; else all are motion capture.
        augment_...: see data.augment.Augmentation.

        loss: error of 2D keypoints and 3D joints: squared, l1 or smooth_l1.
        keypoints_weight ... camera_weight: of the loss's terms, see losses.
        imagined_joints_weight ... consistent_betas_weight: of imphmr's terms about other directions.
        imagination_warmup: samples over which these grow from 0.

        samples: length of the run.
        batch_size: of all processes together.
        optimizer: adam, or adamw with `weight_decay` on matrices and kernels.
        learning_rate: at its highest.
        head_lr_scale: factor on it for all that is not the encoder's own.
        schedule: cosine to 0, or step: a tenth in the second half, as CLIFF.
        warmup: samples over which the learning rate grows from 0.
        grad_clip: largest norm of the gradient; 0 for no limit.
        ema: share of the old weights in the running average that is validated and exported.
        precision: 32, bf16-mixed or 16-mixed.
        seed: of data, weights and dropout.

        devices, nodes: processes per machine (one a GPU) and machines; under torchrun these are its numbers.
        threads: torch's threads per process on the CPU; 0 for its own choice.
        workers: processes that prepare data, per training process; 0 prepares it in between.
        minutes: stop after so long with a checkpoint, to be continued; 0 for no limit. What comes before the
            first step (stock, lifting, kept maps) counts, and is finished all the same.

        checkpoint_minutes: between checkpoints; 0 for one after every step.
        light_checkpoint: keep only averaged weights in half precision and coarse step sizes, an eighth of
            the size; see train.state.
        log_every, picture_every, validate_every: samples between; 0 for never.
        validation_people: how many of each source are held out for validation.
        licence: of the trained weights, for their card; it depends on the data.
    """

    out: str
    model: str = "cliff"
    encoder: str = "tf_efficientnet_lite0"
    crop: tuple[int, int] = (224, 168)
    bbox_info_input: bool = True
    full_frame_loss: bool = True
    pool: str = "mean"
    regressor_act: str = "none"
    regressor_dropout: float = 0.5
    pretrained: bool = True
    frozen_statistics: bool = False
    frozen_stages: int = 0
    lifting: int = 0
    init: str = ""
    encoder_checkpoint: str = ""
    kept: int = 0
    kept_folder: str = "runs/kept"
    body: str = "open"
    body_path: str = ""
    num_betas: int = 11
    field_size: int = 16
    field_samples: int = 24
    field_width: int = 128
    view_range: float = 180.0

    synth: float = 1.0
    lspet: float = 0.0
    lspet_root: str = ""
    coco: float = 0.0
    coco_root: str = ""
    labels: float = 0.0
    labels_root: str = ""
    labels_file: str = ""
    synth_seed: int = 1
    stock: int = 0
    stock_folder: str = "runs/stock"
    backgrounds: str = ""
    synth_poses: str = ""

    augment_flip: float = Augmentation.flip
    augment_rotation: float = Augmentation.rotation
    augment_rotation_limit: float = Augmentation.rotation_limit
    augment_rotation_probability: float = Augmentation.rotation_probability
    augment_scale: float = Augmentation.scale
    augment_shift: float = Augmentation.shift
    augment_half_body: float = Augmentation.half_body
    augment_occlusion: float = Augmentation.occlusion
    augment_channel_noise: float = Augmentation.channel_noise
    augment_gamma: float = Augmentation.gamma
    augment_grey: float = Augmentation.grey
    augment_blur: float = Augmentation.blur
    augment_downscale: float = Augmentation.downscale
    augment_jpeg: float = Augmentation.jpeg

    loss: str = "squared"
    keypoints_weight: float = LossWeights.keypoints
    joints_weight: float = LossWeights.joints
    pose_weight: float = LossWeights.pose
    betas_weight: float = LossWeights.betas
    camera_weight: float = LossWeights.camera
    heatmaps_weight: float = LossWeights.heatmaps
    imagined_joints_weight: float = ImpHMRLossWeights.imagined_joints
    imagined_pose_weight: float = ImpHMRLossWeights.imagined_pose
    imagined_betas_weight: float = ImpHMRLossWeights.imagined_betas
    silhouette_weight: float = ImpHMRLossWeights.silhouette
    consistent_pose_weight: float = ImpHMRLossWeights.consistent_pose
    consistent_betas_weight: float = ImpHMRLossWeights.consistent_betas
    imagination_warmup: int = ImpHMRLossWeights.warmup

    samples: int = 1_000_000
    batch_size: int = 64
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    head_lr_scale: float = 1.0
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup: int = 10_000
    grad_clip: float = 3.0
    ema: float = 0.999
    precision: str = "32"
    seed: int = 0

    devices: int = 1
    nodes: int = 1
    threads: int = 0
    workers: int = 1
    minutes: float = 0.0

    checkpoint_minutes: float = 3.0
    light_checkpoint: bool = False
    log_every: int = 2_000
    picture_every: int = 50_000
    validate_every: int = 50_000
    validation_people: int = 500
    licence: str = "not stated"

    @property
    def loss_weights(self) -> LossWeights:
        return LossWeights(**{f.name: getattr(self, f"{f.name}_weight") for f in fields(LossWeights)})

    @property
    def imphmr_loss_weights(self) -> ImpHMRLossWeights:
        weights = {name: getattr(self, f"{name}_weight") for name in NOVEL_VIEW_TERMS}
        return ImpHMRLossWeights(**weights, warmup=self.imagination_warmup)

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(**{f.name: getattr(self, f"augment_{f.name}") for f in fields(Augmentation)})

    @property
    def model_options(self) -> dict[str, Any]:
        """Keyword arguments of `models.create_model`, but for `pretrained`: those that this model has."""
        taken = inspect.signature(MODELS[self.model]).parameters
        names = (f.name for f in fields(self) if f.name in taken and f.name != "pretrained")
        return {name: getattr(self, name) for name in names}


CHOICES: dict[str, Collection[str]] = {
    "model": MODELS,
    "encoder": ENCODERS,
    "pool": POOLS,
    "regressor_act": ACTIVATIONS,
    "body": BODY_NAMES,
    "loss": ERRORS,
    "optimizer": ("adam", "adamw"),
    "schedule": ("cosine", "step"),
    "precision": ("32", "bf16-mixed", "16-mixed"),
}

MOST_FROZEN = 5
_POSITIVE = (
    "crop", "num_betas", "samples", "batch_size", "learning_rate", "head_lr_scale", "devices", "nodes",
    "field_samples", "field_width",
)  # fmt: skip


def read_config(path: str | Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """A configuration from a TOML file and `key=value` settings that come before it.

    Args:
        path: flat TOML, keys as in TrainConfig. `out` may be left out: runs/<name of the file>.
        overrides: such as "samples=1000"; values as in TOML, and text needs no quotes.

    Raises:
        ConfigError: if the file is missing or not TOML, or a key or value is not allowed.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; configs/ has examples") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not readable as TOML: {error}") from error
    values.setdefault("out", f"runs/{path.stem}")
    config = make_config(values, str(path))
    told = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override!r}: settings have the form key=value")
        told[key.strip()] = _value(text.strip())
    return make_config({**asdict(config), **told}, f"{path} with {' '.join(overrides)}") if told else config


def make_config(values: dict[str, Any], origin: str) -> TrainConfig:
    """A configuration from keys and values, checked; `origin` begins the messages.

    Raises:
        ConfigError: if a key is unknown, or a value has the wrong type or is impossible.
    """
    types = get_type_hints(TrainConfig)
    for key in values:
        if key not in types:
            near = difflib.get_close_matches(key, types, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(types)}"
            raise ConfigError(f"{origin}: unknown key {key!r}; {hint}")
    if "out" not in values:
        raise ConfigError(f"{origin}: the key 'out' is missing: the folder for the results")
    config = TrainConfig(
        **{key: _typed(value, types[key], f"{origin}: {key}") for key, value in values.items()}
    )
    _check(config, origin)
    return config


def write_config(config: TrainConfig, path: Path) -> None:
    """The whole configuration as TOML, so that changed defaults do not change what is on record."""
    # JSON's numbers, strings, booleans and lists are TOML's, but for its escapes and DEL.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in asdict(config).items()]
    path.write_text("".join(lines).replace("\x7f", "\\u007f"), encoding="utf-8")


def _value(text: str) -> Any:
    """A TOML value; what is none is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _typed(value: Any, wanted: Any, what: str) -> Any:
    """The value as the type that the field has."""
    if wanted == tuple[int, int]:
        if isinstance(value, list | tuple) and [type(v) for v in value] == [int, int]:
            return tuple(value)
        raise ConfigError(f"{what} must be [height, width] in px, not {value!r}")
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is str and type(value) in (int, float):
        return str(value)  # precision=32, a folder named 7
    if type(value) is not wanted:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise ConfigError(f"{what} must be {names[wanted]}, not {value!r}")
    return value


def _check(config: TrainConfig, origin: str) -> None:
    """Raise a ConfigError for values that no run can have."""
    rules: list[tuple[str, Callable[[Any], bool], str]] = [
        (key, known.__contains__, f"one of {', '.join(known)}") for key, known in CHOICES.items()
    ]
    for key, value in asdict(config).items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(type(v) in (int, float) for v in numbers):
            continue
        if not all(math.isfinite(v) and (v > 0 if key in _POSITIVE else v >= 0) for v in numbers):
            kind = "positive" if key in _POSITIVE else "not negative"
            raise ConfigError(f"{origin}: {key} must be {kind}, not {value!r}")
    rules.append(("ema", lambda v: v < 1, "below 1"))
    rules.append(("field_size", lambda v: v in SIZES, f"one of {', '.join(map(str, SIZES))}"))
    rules.append(("field_width", lambda v: v % 8 == 0, "a multiple of 8"))
    rules.append(("view_range", lambda v: v <= 180, "at most 180 degrees"))
    rules.append(("regressor_dropout", lambda v: v < 1, "below 1"))
    rules.append(("frozen_stages", lambda v: v <= MOST_FROZEN, f"at most {MOST_FROZEN}"))
    rules.append(("crop", lambda v: min(v) >= 32, "at least 32 px high and wide"))
    for key, allowed, expected in rules:
        value = getattr(config, key)
        if not allowed(value):
            near = difflib.get_close_matches(str(value), CHOICES.get(key, ()), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{origin}: {key} must be {expected}, not {value!r}{hint}")
    if config.frozen_stages and not config.frozen_statistics:
        raise ConfigError(f"{origin}: frozen_stages needs frozen_statistics = true")
    if config.lifting and (config.pool != "heatmaps" or not config.synth or config.model == "imphmr"):
        raise ConfigError(
            f'{origin}: lifting needs pool = "heatmaps", synth above 0, and not the model imphmr'
        )
    if config.kept and (config.pool != "heatmaps" or config.lifting):
        raise ConfigError(f'{origin}: kept needs pool = "heatmaps", and lifting = 0')
    if config.kept and not (config.init or config.encoder_checkpoint):
        raise ConfigError(f"{origin}: kept needs a trained encoder, as init or encoder_checkpoint")
    try:
        _ = config.augmentation
    except ValueError as error:
        raise ConfigError(f"{origin}: augment_{error}") from error
    processes = config.devices * config.nodes
    if config.batch_size % processes:
        raise ConfigError(
            f"{origin}: batch_size {config.batch_size} cannot be shared by {processes} processes "
            "(devices x nodes)"
        )
    if config.batch_size // processes < 2:
        raise ConfigError(f"{origin}: batch_size must be at least 2 per process, for batch normalisation")

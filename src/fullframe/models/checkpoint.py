"""Checkpoints: weights as safetensors, beside them a JSON card that says what they are. Never a pickle."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from fullframe.assets import WEIGHTS
from fullframe.io.atomic import atomic_path
from fullframe.models.crop_regressor import CropRegressor
from fullframe.models.lifter import LifterNetwork

_CARD_BYTES = 1 << 20
# Bounds of a model's options: those of sizes, and of all others.
_MAX_OPTIONS = {"crop": 2048, "num_betas": 300, "regressor_width": 8192}
_MAX_OPTION = 10**6
_OPTIONAL = {"encoder_of", "encoder_sha256"}
"""Keys that cards of networks with their own encoder may lack."""
_ENCODER = "encoder."
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the remedy."""


def find_weights(model: str | Path) -> Path:
    """The checkpoint that a name, such as cliff-lite, or a path stands for.

    Raises:
        CheckpointError: if there is none.
    """
    path = _shipped(model) if is_shipped(model) else Path(model)
    if path.suffix != ".safetensors" or not (path.is_file() or path.with_suffix(".json").is_file()):
        names = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.safetensors")))
        raise CheckpointError(f"no model {model}: give {names}, or the path of a checkpoint (.safetensors)")
    return path


def is_shipped(model: str | Path) -> bool:
    """Whether this is the name of a model that comes with fullframe."""
    return bool(model) and Path(model).name == str(model) and _shipped(model).is_file()


def _shipped(name: str | Path) -> Path:
    return WEIGHTS / f"{name}.safetensors"


@dataclass(frozen=True)
class Card:
    """What a checkpoint is: `<name>.json` beside `<name>.safetensors`.

    Attributes:
        model: key of MODELS, or "lifter".
        options: the model's keyword arguments: encoder, crop (height, width) px, bbox_norm, switches.
        normalisation: mean and std per RGB channel on a 0..1 scale; empty if it sees no pictures.
        body: name of the body whose pose and betas it predicts.
        data: what it was trained on.
        licence: of the weights.
        metrics: name to value; the name says data set and unit.
        dtype: "fp32" or "fp16".
        sha256: of the weights file, so that neither file is used with another's partner.
        fullframe: version that wrote it.
        encoder_of: name of the model that ships whose encoder it has and does not store; "" if it stores it.
        encoder_sha256: of that model's weights file.
    """

    model: str
    options: dict[str, Any]
    normalisation: dict[str, list[float]]
    body: str
    data: str
    licence: str
    metrics: dict[str, float]
    dtype: str
    sha256: str
    fullframe: str
    encoder_of: str = ""
    encoder_sha256: str = ""


def save_checkpoint(
    model: CropRegressor | LifterNetwork,
    path: str | Path,
    *,
    body: str,
    data: str,
    licence: str,
    metrics: Mapping[str, float],
    dtype: str = "fp32",
    encoder_of: str = "",
) -> Card:
    """Write `<name>.safetensors` and its card `<name>.json`; each appears whole or not at all.

    "fp16" halves the convolutions and linear layers; vectors (batch statistics, biases, mean person) keep
    their type, since they are small and variances can leave fp16's range.

    Args:
        path: of the weights, ending in .safetensors.
        body, data, licence, metrics, dtype, encoder_of: see Card.

    Raises:
        ValueError: for another suffix or dtype, an empty body, data or licence, weights not finite, or if the
            model's encoder is not that of `encoder_of`.
        CheckpointError: if `encoder_of` is not the name of a model that ships.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: a checkpoint's name ends in .safetensors")
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
    if not (body and data and licence):
        raise ValueError(f"{path}: a card needs body, data and licence: got {body!r}, {data!r}, {licence!r}")
    tensors = {name: _store(tensor, DTYPES[dtype]) for name, tensor in model.state_dict().items()}
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ValueError(
            f"{path}: not saved, since these weights are not finite in {dtype}: {shorten(broken)}"
        )
    encoder_sha256 = ""
    if encoder_of:
        shared, encoder_sha256 = _shipped_encoder(encoder_of)
        own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(_ENCODER)}
        if own.keys() != shared.keys() or any(
            not torch.equal(own[k].cpu(), v.to(own[k].dtype)) for k, v in shared.items()
        ):
            raise ValueError(f"{path}: the model's encoder is not that of {encoder_of}: store it too")
        tensors = {name: tensor for name, tensor in tensors.items() if name not in shared}
    weights = safetensors.torch.save(tensors)
    card = Card(
        model=model.name,
        options=model.options,
        normalisation=_normalisation(model),
        body=body,
        data=data,
        licence=licence,
        metrics=dict(metrics),
        dtype=dtype,
        sha256=hashlib.sha256(weights).hexdigest(),
        fullframe=version("fullframe"),
        encoder_of=encoder_of,
        encoder_sha256=encoder_sha256,
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(weights)
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    return card


def read_card(model: str | Path) -> Card:
    """The card of a checkpoint, of which the name or path is given as for `find_weights`.

    Raises:
        CheckpointError: if it is missing, is not JSON, lacks or has unknown keys, or impossible values.
    """
    path = find_weights(model).with_suffix(".json")
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: copy the card that was saved with the weights to this place"
        )
    try:
        if path.stat().st_size > _CARD_BYTES:
            raise ValueError(f"it is larger than {_CARD_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not a JSON card ({error}): copy it again from where it came"
        ) from error
    known = {field.name for field in fields(Card)}
    expected = known - _OPTIONAL
    found = set(content) if isinstance(content, dict) else set()
    if not expected <= found <= known:
        raise CheckpointError(
            f"{path} is not a card that fullframe {version('fullframe')} can read: missing are "
            f"{shorten(expected - found)}; unknown are {shorten(found - known)}; copy it again or update"
        )
    if problem := _wrong_value(content):
        raise CheckpointError(f"{path}: {problem}; copy the card again from where it came")
    return Card(**content)


def _wrong_value(card: Mapping[str, Any]) -> str:
    """What is impossible in a card with the right keys; "" if nothing is."""
    texts = ("model", "body", "data", "licence", "dtype", "sha256", "fullframe")
    for key in texts:
        if not isinstance(card[key], str) or not card[key]:
            return f"{key} must be text that is not empty, not {str(card[key])[:100]!r}"
    for key in _OPTIONAL & card.keys():
        if not isinstance(card[key], str):
            return f"{key} must be text, not {str(card[key])[:100]!r}"
    for key in ("options", "normalisation", "metrics"):
        if not isinstance(card[key], dict):
            return f"{key} must be an object, not {str(card[key])[:100]!r}"
    for key, value in card["options"].items():
        values = value if isinstance(value, list) else [value]
        if not all(v is None or isinstance(v, (str, bool, int, float)) for v in values):
            return f"option {key} must be text, a number or a list of these"
        numbers = [v for v in values if isinstance(v, (int, float))]
        most = _MAX_OPTIONS.get(key, _MAX_OPTION)
        if any(not math.isfinite(v) or abs(v) > most for v in numbers):
            return f"option {key} must be finite and at most {most}, not {str(value)[:100]}"
        if key in _MAX_OPTIONS and (len(numbers) < len(values) or any(v != int(v) or v < 1 for v in numbers)):
            return f"option {key} must be made of positive whole numbers, not {str(value)[:100]}"
    return ""


def load_weights(model: CropRegressor | LifterNetwork, path: str | Path, card: Card) -> None:
    """Fill `model` with the weights at `path`, all of them or none.

    Raises:
        CheckpointError: if the file is missing, damaged or not the card's, does not fit the model, or holds
            NaN, infinity or zeros alone; the message names the tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: copy the weights to this place")
    wanted = model.state_dict()
    # No type of number is wider than 8 bytes, and the header is short.
    most = sum(8 * tensor.numel() + 1024 for tensor in wanted.values()) + (1 << 20)
    if path.stat().st_size > most:
        raise CheckpointError(
            f"{path} is too large for the model {card.model} with {model.options}: copy it again from where "
            "it came"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise CheckpointError(
            f"{path} is not the file that {path.with_suffix('.json').name} describes (truncated, damaged or "
            f"from another training): copy both files again from where they came"
        )
    try:
        tensors = safetensors.torch.load(content)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file ({error}); no other kind is read") from error
    if card.encoder_of:
        shared, sha256 = _shipped_encoder(card.encoder_of)
        if sha256 != card.encoder_sha256:
            raise CheckpointError(
                f"{path} belongs to the encoder of another {card.encoder_of} than this fullframe has: use "
                f"fullframe {card.fullframe}, which wrote it"
            )
        tensors |= shared
    reasons = {
        "missing": wanted.keys() - tensors.keys(),
        "unexpected": tensors.keys() - wanted.keys(),
        "of another shape": {
            f"{name} {list(tensors[name].shape)} for {list(wanted[name].shape)}"
            for name in wanted.keys() & tensors.keys()
            if tensors[name].shape != wanted[name].shape
        },
        "of another type of number": {
            f"{name} {tensors[name].dtype}"
            for name in wanted.keys() & tensors.keys()
            if tensors[name].is_floating_point() != wanted[name].is_floating_point()
        },
        "not finite": {name for name, tensor in tensors.items() if not _is_finite(tensor)},
        "all zero": _zero_parts(tensors),
    }
    if any(reasons.values()):
        found = "; ".join(f"{reason}: {shorten(names)}" for reason, names in reasons.items() if names)
        raise CheckpointError(
            f"{path} does not fit the model {card.model} with {model.options}: {found}; "
            f"undo edits of its card, or use fullframe {card.fullframe}, which wrote it"
        )
    if isinstance(model, CropRegressor) and _normalisation(model) != card.normalisation:
        raise CheckpointError(
            f"{path} was trained on colours scaled by {card.normalisation}, but {model.encoder.name} here "
            f"uses {_normalisation(model)}: use fullframe {card.fullframe}, which wrote it"
        )
    model.load_state_dict(tensors)


def _shipped_encoder(name: str) -> tuple[dict[str, Tensor], str]:
    """The stored tensors of the encoder of a model that ships, and the checksum of its file."""
    if not is_shipped(name):
        raise CheckpointError(
            f"no model {name} ships with this fullframe whose encoder could be used: update it"
        )
    content = _shipped(name).read_bytes()
    tensors = safetensors.torch.load(content)
    encoder = {key: tensor for key, tensor in tensors.items() if key.startswith(_ENCODER)}
    return encoder, hashlib.sha256(content).hexdigest()


def _is_finite(tensor: Tensor) -> bool:
    # Sums are faster than isfinite, and propagate NaN and infinity; they may overflow in half precision.
    return not tensor.is_floating_point() or bool(tensor.sum(dtype=torch.float64).isfinite())


def _zero_parts(tensors: Mapping[str, Tensor]) -> set[str]:
    """Parts of a model, such as its encoder, all of whose matrices and kernels are zero."""
    zero: dict[str, bool] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.ndim > 1:
            part = name.partition(".")[0]
            zero[part] = zero.get(part, True) and not tensor.any()
    return {part for part, is_zero in zero.items() if is_zero}


def _store(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor as it is stored: contiguous, on the CPU, in `dtype` if it is a matrix or kernel."""
    large = tensor.is_floating_point() and tensor.ndim > 1
    return tensor.detach().cpu().to(dtype if large else tensor.dtype).contiguous()


def _normalisation(model: CropRegressor | LifterNetwork) -> dict[str, list[float]]:
    if not isinstance(model, CropRegressor):
        return {}
    # Rounded: the buffers are float32, and a reader of the card expects 0.485.
    mean, std = ([round(x, 6) for x in t.flatten().tolist()] for t in (model.encoder.mean, model.encoder.std))
    return {"mean": mean, "std": std}


def shorten(names: Any, most: int = 5) -> str:
    """A few names and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "nothing"

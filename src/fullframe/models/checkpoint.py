"""Checkpoints: weights as safetensors, beside them a JSON card that says what they are. Never a pickle."""

import hashlib
import json
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
from fullframe.models.base import CropRegressor
from fullframe.models.residual_regressor import ResidualRegressor

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the remedy."""


def find_weights(model: str | Path) -> Path:
    """The checkpoint that a name, such as cliff-lite, or a path stands for.

    Raises:
        CheckpointError: if there is none.
    """
    shipped = WEIGHTS / f"{model}.safetensors"
    path = shipped if shipped.is_file() else Path(model)
    if path.suffix != ".safetensors" or not (path.is_file() or path.with_suffix(".json").is_file()):
        names = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.safetensors")))
        raise CheckpointError(f"no model {model}: give {names}, or the path of a checkpoint (.safetensors)")
    return path


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
        metrics: name to value; the name tells data set and unit.
        dtype: "fp32" or "fp16".
        sha256: of the weights file, so that neither file is used with another's partner.
        fullframe: version that wrote it.
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


def save_checkpoint(
    model: CropRegressor | ResidualRegressor,
    path: str | Path,
    *,
    body: str,
    data: str,
    licence: str,
    metrics: Mapping[str, float],
    dtype: str = "fp32",
) -> Card:
    """Write `<name>.safetensors` and its card `<name>.json`; each appears whole or not at all.

    "fp16" halves the convolutions and linear layers; vectors (batch statistics, biases, mean person) keep
    their type, since they are small and variances can leave fp16's range.

    Args:
        path: of the weights, ending in .safetensors.
        body, data, licence, metrics, dtype: see Card.

    Raises:
        ValueError: for another suffix or dtype, an empty body, data or licence, or weights not finite.
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
        raise ValueError(f"{path}: not saved, since these weights are not finite in {dtype}: {_some(broken)}")
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
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(weights)
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    return card


def read_card(model: str | Path) -> Card:
    """The card of a checkpoint, of which the name or path is given as for `find_weights`.

    Raises:
        CheckpointError: if it is missing, is not JSON, or lacks or has unknown keys.
    """
    path = find_weights(model).with_suffix(".json")
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: copy the card that was saved with the weights to this place"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(
            f"{path} is not a JSON card ({error}): copy it again from where it came"
        ) from error
    expected = {field.name for field in fields(Card)}
    found = set(content) if isinstance(content, dict) else set()
    if found != expected:
        raise CheckpointError(
            f"{path} is not a card that fullframe {version('fullframe')} can read: missing are "
            f"{_some(expected - found)}; unknown are {_some(found - expected)}; copy it again or update"
        )
    return Card(**content)


def load_weights(model: CropRegressor | ResidualRegressor, path: str | Path, card: Card) -> None:
    """Fill `model` with the weights at `path`, all of them or none.

    Raises:
        CheckpointError: if the file is missing, damaged or not the card's, or does not fit the model.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: copy the weights to this place")
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
    wanted = model.state_dict()
    reasons = {
        "missing": wanted.keys() - tensors.keys(),
        "unexpected": tensors.keys() - wanted.keys(),
        "of another shape": {
            f"{name} {list(tensors[name].shape)} for {list(wanted[name].shape)}"
            for name in wanted.keys() & tensors.keys()
            if tensors[name].shape != wanted[name].shape
        },
    }
    if any(reasons.values()):
        found = "; ".join(f"{reason}: {_some(names)}" for reason, names in reasons.items() if names)
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


def _store(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor as it is stored: contiguous, on the CPU, in `dtype` if it is a matrix or kernel."""
    large = tensor.is_floating_point() and tensor.ndim > 1
    return tensor.detach().cpu().to(dtype if large else tensor.dtype).contiguous()


def _normalisation(model: CropRegressor | ResidualRegressor) -> dict[str, list[float]]:
    if not isinstance(model, CropRegressor):
        return {}
    # Rounded: the buffers are float32, and whoever reads the card wants 0.485.
    mean, std = ([round(x, 6) for x in t.flatten().tolist()] for t in (model.encoder.mean, model.encoder.std))
    return {"mean": mean, "std": std}


def _some(names: Any, most: int = 5) -> str:
    """A few names and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "nothing"

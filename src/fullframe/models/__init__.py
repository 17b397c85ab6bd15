"""Networks that recover bodies from crops. A new model is one file and one line in MODELS."""

from pathlib import Path
from typing import Any

from fullframe.models.checkpoint import (
    Card,
    CheckpointError,
    find_weights,
    load_weights,
    read_card,
    save_checkpoint,
)
from fullframe.models.cliff import CLIFF, Prediction, box_to_bbox_info
from fullframe.models.encoder import ENCODERS
from fullframe.models.hmr import HMR
from fullframe.models.imphmr.model import ImpHMR, NovelViewPrediction
from fullframe.models.predict import Bodies, predict_people
from fullframe.models.ray import RayCLIFF

MODELS: dict[str, type[CLIFF]] = {
    "hmr": HMR,
    "cliff": CLIFF,
    "ray": RayCLIFF,
    "imphmr": ImpHMR,
}

__all__ = [
    "Bodies",
    "CLIFF",
    "Card",
    "CheckpointError",
    "ENCODERS",
    "HMR",
    "NovelViewPrediction",
    "ImpHMR",
    "MODELS",
    "Prediction",
    "RayCLIFF",
    "create_model",
    "load_model",
    "box_to_bbox_info",
    "predict_people",
    "save_checkpoint",
]


def create_model(name: str, **options: Any) -> CLIFF:
    """A new model in training mode: one of MODELS with that model's keyword arguments.

    Raises:
        ValueError: for an unknown name or value.
        TypeError: for an argument that this model does not have.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    return MODELS[name](**options)


def load_model(model: str | Path, body: str | None = None) -> CLIFF:
    """A trained model in evaluation mode, from `<name>.safetensors` and its card `<name>.json`.

    Args:
        model: cliff-lite, which is built in, or the path of the weights.
        body: name of the body that the result is meant for, if that is known.

    Raises:
        CheckpointError: if the checkpoint is missing, damaged, of an unknown model, or for another body.
    """
    path = find_weights(model)
    card = read_card(path)
    if body is not None and card.body != body:
        raise CheckpointError(
            f"{path} predicts the body {card.body!r}, not {body!r}, and their parameters differ in meaning: "
            f"use body {card.body!r}, or weights trained for {body!r}"
        )
    try:
        network = create_model(card.model, **card.options)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} needs a model that this fullframe does not have ({error}): "
            f"update to {card.fullframe}, which wrote it, or newer"
        ) from error
    load_weights(network, path, card)
    return network.eval()

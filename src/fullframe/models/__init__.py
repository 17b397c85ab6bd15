"""Networks that recover bodies from crops. A new model is one file and one line in MODELS."""

from pathlib import Path
from typing import Any, NamedTuple

from fullframe.models.checkpoint import (
    Card,
    CheckpointError,
    find_weights,
    load_weights,
    read_card,
    save_checkpoint,
)
from fullframe.models.cliff import CLIFF
from fullframe.models.crop_regressor import CropRegressor, Prediction, box_to_bbox_info
from fullframe.models.encoder import ENCODERS
from fullframe.models.hmr import HMR
from fullframe.models.imphmr.imphmr import ImpHMR
from fullframe.models.predict import Bodies, predict_people
from fullframe.models.ray_cliff import RayCLIFF

MODELS: dict[str, type[CropRegressor]] = {
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
    "CropRegressor",
    "ENCODERS",
    "HMR",
    "ImpHMR",
    "LoadedModel",
    "MODELS",
    "Prediction",
    "RayCLIFF",
    "box_to_bbox_info",
    "create_model",
    "load_model",
    "predict_people",
    "save_checkpoint",
]


class LoadedModel(NamedTuple):
    """A trained model.

    Attributes:
        network: in evaluation mode.
        card: of its checkpoint.
    """

    network: CropRegressor
    card: Card


def create_model(name: str, **options: Any) -> CropRegressor:
    """A new model in training mode: one of MODELS with that model's keyword arguments.

    Raises:
        ValueError: for an unknown name or value.
        TypeError: for an argument that this model does not have.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    return MODELS[name](**options)


def load_model(name_or_path: str | Path, body: str | None = None) -> LoadedModel:
    """A trained network and its card, from `<name>.safetensors` and `<name>.json`.

    Args:
        name_or_path: cliff-lite, hmr-lite or imphmr-lite, which are built in, or the path of the weights.
        body: name of the body that the network has to predict; None for any.

    Raises:
        CheckpointError: if the checkpoint is missing, damaged, of an unknown model, or for another body.
    """
    path = find_weights(name_or_path)
    card = read_card(path)
    if body is not None and card.body != body:
        raise CheckpointError(
            f"{path} predicts the body {card.body!r}, not {body!r}, and their parameters differ in meaning: "
            f"use body {card.body!r}, or weights trained for {body!r}"
        )
    try:
        network = create_model(card.model, **card.options)
    except MemoryError:
        raise
    except Exception as error:  # options of a wrong type fail anywhere
        raise CheckpointError(
            f"{path} needs a model that this fullframe does not have ({error or type(error).__name__}): "
            f"update to {card.fullframe}, which wrote it, or newer"
        ) from error
    load_weights(network, path, card)
    return LoadedModel(network.eval(), card)

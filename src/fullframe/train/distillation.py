"""What an ImpHMR's field learns from a trained HMR before everything is trained together.

The regressor's first layer is linear: what it sees of a person's features f is F f, with HMR's weights F.
For the image's direction the field learns to render a map m with M m = F f, while all other layers of the
regressor stay HMR's. Ours; ImpHMR (Cho et al., CVPR 2023) starts from a trained encoder only.
"""

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional

from fullframe.data.batch import Batch
from fullframe.io.progress import Progress, silent
from fullframe.models import CropRegressor, ImpHMR
from fullframe.train.feature_cache import Autocast

_LEARNING_RATE = 2e-3
_GRAD_CLIP = 1.0


def distil(
    network: ImpHMR,
    teacher: CropRegressor,
    batches: Iterator[Batch],
    people: int,
    autocast: Autocast,
    progress: Progress = silent,
) -> float:
    """Train field, code, head and the regressor's weights of the map.

    Args:
        network: which has started from the teacher.
        teacher: HMR or CLIFF.
        batches: of people; labels are not used.
        people: how many to use.
        autocast: context of the forward pass.
        progress: of the people that are done.

    Returns:
        the part of the variance of F f that M m did not explain, over the last tenth of the people.
    """
    device = next(network.parameters()).device
    features = teacher.regressor.fc1.weight[:, : teacher.input_width].detach().to(device)
    columns = nn.Parameter(network.regressor.fc1.weight[:, network.map_columns].detach().clone())
    modules = (network.to_code, network.field, network.head)
    parameters = [columns, *(p for module in modules for p in module.parameters())]
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    done, errors = 0, []
    while done < people:
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min(1, 20 * done / people + 0.01) * _cosine(done / people)
        batch = next(batches).to(device)
        with torch.no_grad():
            encoded, _ = network.encoder(network.prepare(batch.crops))
            inputs = network.assemble_input(encoded, batch.bbox_info)
            wanted = inputs @ features.mT
        with autocast():
            rendered = network.render_features(inputs)
        error = (functional.linear(rendered.float(), columns) - wanted).square().mean()
        loss = error / (wanted - wanted.mean(0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, _GRAD_CLIP)
        optimizer.step()
        done += len(inputs)
        if done > 0.9 * people:
            errors.append(loss.item())
        progress("learning to render features", min(done, people), people)
    with torch.no_grad():
        network.regressor.fc1.weight[:, network.map_columns] = columns
    return sum(errors) / len(errors)


def _cosine(part: float) -> float:
    return (1 + math.cos(math.pi * part)) / 2

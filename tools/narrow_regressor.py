"""The HMR that hmr-lite and imphmr-lite start from: cliff-lite without bounding-box info, and narrower.

    python tools/narrow_regressor.py runs/start/hmr.safetensors --width 640

Of each hidden layer of cliff-lite's regressor the units are kept that add most to the layer after it, over
synthetic people; what the others and the bounding-box info add on average becomes part of the biases. The
encoder is cliff-lite's.
"""

from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor, nn

from fullframe.data.augment import Augmentation
from fullframe.data.mixture import Mixture, loader
from fullframe.models import CLIFF, HMR, load_model, save_checkpoint
from fullframe.synth.cache import CachedPeople
from fullframe.synth.synthetic_people import SyntheticPeople

SOURCE = "cliff-lite"


def main(
    out: Annotated[Path, tyro.conf.Positional],
    /,
    width: int = 640,
    count: int = 2000,
    people: Path | None = None,
) -> None:
    """Write the network.

    Args:
        out: .safetensors.
        width: of both hidden layers.
        count: people to decide on.
        people: folder of rendered people (cache.people_folder); without it they are rendered.
    """
    torch.set_num_threads(1)
    cliff, card = load_model(SOURCE)
    assert isinstance(cliff, CLIFF)
    samples = CachedPeople(people) if people else SyntheticPeople(height=cliff.crop[0])
    mixture = Mixture({"synth": samples}, {"synth": 1.0}, cliff.crop, Augmentation(), 0, cliff.num_betas)
    hmr = narrowed(cliff, mixture, width, count)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        hmr, out, body=card.body, data=f"{SOURCE}'s regressor, {width} units of each hidden layer",
        licence=card.licence, metrics={}, dtype="fp16", encoder_of=SOURCE,
    )  # fmt: skip


@torch.inference_mode()
def narrowed(cliff: CLIFF, mixture: Mixture, width: int, count: int) -> HMR:
    """An HMR with some of a CLIFF's hidden units, chosen on so many people."""
    hidden: list[Tensor] = []
    cliff.regressor.act.register_forward_hook(lambda module, inputs, output: hidden.append(output))
    infos = []
    for batch in loader(mixture, 50):
        cliff(cliff.prepare(batch.crops), batch.bbox_info)
        infos.append(batch.bbox_info)
        if 50 * len(infos) >= count:
            break
    old = cliff.regressor
    first, second = torch.cat(hidden[0::2]), torch.cat(hidden[1::2])  # fc1's and fc2's, in every iteration
    heads = torch.cat([layer.weight for layer in (old.decpose, old.decshape, old.deccam)])
    kept1, kept2 = strongest(first, old.fc2.weight, width), strongest(second, heads, width)

    hmr = HMR(
        cliff.encoder.name, cliff.crop, num_betas=cliff.num_betas, regressor_width=width,
        regressor_act=cliff.regressor_act, regressor_dropout=cliff.regressor_dropout, pool=cliff.pool,
    )  # fmt: skip
    hmr.encoder.load_state_dict(cliff.encoder.state_dict())
    new, features = hmr.regressor, cliff.encoder.features
    info = slice(features, cliff.input_width)
    # cliff-lite's bbox_norm is "plain": it sees the bounding-box info as it is.
    bias = old.fc1.bias + old.fc1.weight[:, info] @ torch.cat(infos).mean(0)
    weight = torch.cat((old.fc1.weight[:, :features], old.fc1.weight[:, cliff.input_width :]), dim=1)
    fill(new.fc1, weight[kept1], bias[kept1])
    bias = without(old.fc2, first, kept1)
    fill(new.fc2, old.fc2.weight[kept2][:, kept1], bias[kept2])
    for name in ("decpose", "decshape", "deccam"):
        layer = getattr(old, name)
        fill(getattr(new, name), layer.weight[:, kept2], without(layer, second, kept2))
    return hmr.eval()


def strongest(activations: Tensor, weight: Tensor, width: int) -> Tensor:
    """The indices of the units whose varying part adds most to the layer that has this weight."""
    return (activations.std(0) * weight.norm(dim=0)).topk(width).indices.sort().values


def without(layer: nn.Linear, activations: Tensor, kept: Tensor) -> Tensor:
    """The bias of a layer with what the units that are not kept add on average."""
    mean = activations.mean(0)
    mean[kept] = 0
    return layer.bias + layer.weight @ mean


def fill(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


if __name__ == "__main__":
    tyro.cli(main)

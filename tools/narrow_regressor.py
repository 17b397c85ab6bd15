"""A CLIFF with a narrower regressor, or an HMR: hmr-lite, which imphmr-lite starts from.

    python tools/narrow_regressor.py mean.safetensors cliff-lite.safetensors --width 920
    python tools/narrow_regressor.py cliff-lite hmr-lite.safetensors --width 640 --hmr

Of each hidden layer the units are kept that add most to the layer after it, over synthetic people; what the
others add on average becomes part of the biases. An HMR loses the bounding-box info in the same way.
"""

from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor, nn

from fullframe.data.augment import Augmentation
from fullframe.data.mixture import Mixture, loader
from fullframe.models import CLIFF, CropRegressor, create_model, load_model, save_checkpoint
from fullframe.synth.cache import CachedPeople
from fullframe.synth.synthetic_people import SyntheticPeople

HMR_OPTIONS = (
    "encoder", "crop", "num_betas", "regressor_width", "regressor_act", "regressor_dropout", "pool",
)  # fmt: skip


def main(
    source: Annotated[str, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    /,
    width: int,
    hmr: bool = False,
    count: int = 2000,
    people: Path | None = None,
) -> None:
    """Write the network.

    Args:
        source: a CLIFF that ships, or a path.
        out: .safetensors.
        width: of both hidden layers.
        hmr: write an HMR, with the encoder left in `source`, which has to ship.
        count: people to decide on.
        people: folder of rendered people (cache.people_folder); without it they are rendered.
    """
    torch.set_num_threads(1)
    cliff, card = load_model(source)
    if not isinstance(cliff, CLIFF):
        raise SystemExit(f"{source} is a {cliff.name}: give a CLIFF")
    if not 0 < width <= cliff.regressor_width:
        raise SystemExit(f"--width must be from 1 to {cliff.regressor_width}, the regressor's, not {width}")
    if count < 1 or out.suffix != ".safetensors":
        raise SystemExit("--count must be at least 1, and the file must end in .safetensors")
    samples = CachedPeople(people) if people else SyntheticPeople(height=cliff.crop[0])
    mixture = Mixture({"synth": samples}, {"synth": 1.0}, cliff.crop, Augmentation(), 0, cliff.num_betas)
    network = narrowed(cliff, mixture, width, count, hmr)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        network, out, body=card.body, data=f"{card.data}; {width} units of each hidden layer",
        licence=card.licence, metrics={}, dtype="fp16", encoder_of=source if hmr else "",
    )  # fmt: skip
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


@torch.no_grad()
def narrowed(cliff: CLIFF, mixture: Mixture, width: int, count: int, hmr: bool) -> CropRegressor:
    """A CLIFF or HMR with some of a CLIFF's hidden units, chosen on so many people."""
    hidden: list[Tensor] = []
    cliff.regressor.act.register_forward_hook(lambda module, inputs, output: hidden.append(output))
    seen: list[Tensor] = []
    cliff.regressor.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for batch in loader(mixture, 50):
        cliff(cliff.prepare(batch.crops), batch.bbox_info)
        if 50 * len(seen) >= count:
            break
    old = cliff.regressor
    first, second = torch.cat(hidden[0::2]), torch.cat(hidden[1::2])  # fc1's and fc2's, in every iteration
    heads = torch.cat([layer.weight for layer in (old.decpose, old.decshape, old.deccam)])
    kept1, kept2 = strongest(first, old.fc2.weight, width), strongest(second, heads, width)

    options = cliff.options | {"regressor_width": width}
    weight: Tensor = old.fc1.weight
    bias: Tensor = old.fc1.bias
    if hmr:
        options = {key: options[key] for key in HMR_OPTIONS}
        features, after = cliff.encoder.features, cliff.input_width
        bias = bias + weight[:, features:after] @ torch.cat(seen)[:, features:after].mean(0)
        weight = torch.cat((weight[:, :features], weight[:, after:]), dim=1)
    network = create_model("hmr" if hmr else cliff.name, **options)
    network.encoder.load_state_dict(cliff.encoder.state_dict())
    new = network.regressor
    fill(new.fc1, weight[kept1], bias[kept1])
    bias = without(old.fc2, first, kept1)
    fill(new.fc2, old.fc2.weight[kept2][:, kept1], bias[kept2])
    for name in ("decpose", "decshape", "deccam"):
        layer = getattr(old, name)
        fill(getattr(new, name), layer.weight[:, kept2], without(layer, second, kept2))
    return network.eval()


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

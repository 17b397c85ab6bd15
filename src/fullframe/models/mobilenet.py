"""MobileNetV2 as in MoveNet MultiPose (Google, 2021), which has learned people's joints from real photos.

Written out, because timm, which has MobileNetV2 too, takes 190 MB and two seconds to import.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fullframe.assets import DETECTORS

FILE = DETECTORS / "movenet-multipose.onnx"
FEATURES = 1280


class Stage(NamedTuple):
    """Blocks of one width (Sandler et al., CVPR 2018, table 2): 1.5 times as wide as there."""

    expansion: int
    channels: int
    blocks: int
    stride: int


STEM = 48
STAGES = (
    Stage(1, 24, 1, 1),
    Stage(6, 40, 2, 2),
    Stage(6, 48, 3, 2),
    Stage(6, 96, 4, 2),
    Stage(6, 144, 3, 1),
    Stage(6, 240, 3, 2),
    Stage(6, 480, 1, 1),
)


class Convolution(nn.Conv2d):
    """With TensorFlow's padding: a stride of 2 begins at the first pixel of sides that are even."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, 0 if stride == 2 else kernel // 2, groups=groups)
        # Without normalisation torch's own beginning would fade over fifty layers.
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 2:
            x = functional.pad(x, (x.shape[3] % 2, 1, x.shape[2] % 2, 1))
        return super().forward(x)


class InvertedResidual(nn.Module):
    """Widen, look around in each channel, narrow; and add what came in if its shape is the same."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = expansion * inputs
        layers: list[nn.Module] = [Convolution(inputs, wide), nn.ReLU6(inplace=True)] if expansion > 1 else []
        layers += [
            Convolution(wide, wide, 3, stride, groups=wide),
            nn.ReLU6(inplace=True),
            Convolution(wide, outputs),
        ]
        self.layers = nn.Sequential(*layers)
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return x + result if self.same else result


class MobileNetV2(nn.Module):
    """The network without classifier; batch normalisation is part of the convolutions.

    Methods and `feature_info` are named as timm's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Convolution(3, STEM, 3, 2), nn.ReLU6(inplace=True))
        stages, inputs = [], STEM
        self.feature_info: list[dict[str, int | str]] = []
        for n, stage in enumerate(STAGES):
            strides = (stage.stride, *(1,) * (stage.blocks - 1))
            widths = (inputs, *(stage.channels,) * (stage.blocks - 1))
            stages.append(
                nn.Sequential(
                    *(InvertedResidual(w, stage.channels, stage.expansion, s)
                      for w, s in zip(widths, strides, strict=True))
                )
            )  # fmt: skip
            inputs = stage.channels
            if n + 1 == len(STAGES) or STAGES[n + 1].stride == 2:  # the last one at its resolution
                self.feature_info.append({"module": f"stages.{n}", "num_chs": inputs})
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(Convolution(inputs, FEATURES), nn.ReLU6(inplace=True))

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map (N, FEATURES, H / 32, W / 32) for (N, 3, H, W) scaled to -1..1."""
        return self.forward_intermediates(x, ())[0]

    def forward_intermediates(self, x: Tensor, indices: Collection[int]) -> tuple[Tensor, list[Tensor]]:
        """The last map, and in between those of `feature_info` with these indices."""
        wanted = {self.feature_info[i]["module"] for i in indices}
        x, found = self.stem(x), []
        for n, stage in enumerate(self.stages):
            x = stage(x)
            if f"stages.{n}" in wanted:
                found.append(x)
        return self.head(x), found

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the last map: (N, FEATURES)."""
        return self.forward_features(x).mean((2, 3))


def weights(net: MobileNetV2) -> dict[str, Tensor]:
    """MoveNet's weights for `net`, out of the detector's file.

    Raises:
        ModuleNotFoundError: without the package onnx.
        ValueError: if it is another file.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "to start from MoveNet's weights, one more package is needed: pip install 'fullframe[train]'"
        ) from error
    graph = onnx.load(FILE).graph
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in graph.initializer}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in arrays:  # stored in half precision
            arrays[node.output[0]] = arrays[node.input[0]]
    given = (array for node in graph.node if node.op_type == "Conv" for array in node.input[1:])
    state = {name: torch.from_numpy(arrays[next(given)].astype(np.float32)) for name in net.state_dict()}
    for name, place in net.state_dict().items():
        if state[name].shape != place.shape:
            raise ValueError(f"{FILE} is not MoveNet MultiPose: {name} is {list(state[name].shape)}")
    return state

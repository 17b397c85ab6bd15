"""MobileNetV2 as in MoveNet MultiPose (Google, 2021), which has learned people's joints from real photos."""

from functools import partial

import numpy as np
import torch
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from fullframe.detect.network import FOLDER

FILE = FOLDER / "movenet-multipose.onnx"
WIDTH = 1.5
# Sandler et al., CVPR 2018, table 2, in timm's notation.
_BLOCKS = (
    ["ds_r1_k3_s1_c16"],
    ["ir_r2_k3_s2_e6_c24"],
    ["ir_r3_k3_s2_e6_c32"],
    ["ir_r4_k3_s2_e6_c64"],
    ["ir_r3_k3_s1_e6_c96"],
    ["ir_r3_k3_s2_e6_c160"],
    ["ir_r1_k3_s1_e6_c320"],
)


def backbone() -> EfficientNet:
    """The network without classifier, with random weights."""
    return EfficientNet(
        decode_arch_def(list(_BLOCKS)),
        num_classes=0,
        pad_type="same",
        act_layer="relu6",
        round_chs_fn=partial(round_channels, multiplier=WIDTH),
    )


def weights(net: EfficientNet) -> dict[str, Tensor]:
    """MoveNet's weights for `backbone`, out of the detector's file.

    There, batch normalisation is part of the convolutions: here it only adds their biases.

    Raises:
        ModuleNotFoundError: without the package onnx.
    """
    import onnx

    graph = onnx.load(FILE).graph
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in graph.initializer}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in arrays:  # stored in half precision
            arrays[node.output[0]] = arrays[node.input[0]].astype(np.float32)
    given = iter([node for node in graph.node if node.op_type == "Conv"])
    state = net.state_dict()
    modules = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for name, module in modules:
        if isinstance(module, nn.Conv2d):
            weight, bias = (torch.from_numpy(arrays[array].copy()) for array in next(given).input[1:])
            if weight.shape != module.weight.shape:
                raise ValueError(f"{FILE} is not MoveNet MultiPose: {name} is {list(weight.shape)}")
            state[f"{name}.weight"] = weight
        else:
            state[f"{name}.weight"].fill_(1)
            state[f"{name}.bias"] = bias
            state[f"{name}.running_mean"].fill_(0)
            state[f"{name}.running_var"].fill_(1 - module.eps)
    return state

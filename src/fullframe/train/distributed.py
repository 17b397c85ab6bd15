"""The processes of a training run: one, or those that torchrun started."""

import os

import torch
from lightning_fabric import Fabric
from torch import Tensor

from fullframe.train.config import ConfigError, TrainConfig


def launch(config: TrainConfig) -> Fabric:
    """This process's part of the run.

    Raises:
        ConfigError: if the processes cannot share the batch.
    """
    devices, nodes = 1, 1
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    world = devices * nodes
    if config.batch_size % world:
        raise ConfigError(f"batch_size {config.batch_size} cannot be shared by {world} processes")
    if config.batch_size // world < 2:
        raise ConfigError("batch_size must be at least 2 per process, for batch normalisation")
    fabric = Fabric(
        accelerator="auto",
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if world > 1 else "auto",
        precision="32-true" if config.precision == "32" else config.precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def all_reduce_mean(fabric: Fabric, values: Tensor) -> Tensor:
    """The mean over processes, in place."""
    if fabric.world_size > 1:
        torch.distributed.all_reduce(values)
        values /= fabric.world_size
    return values


def any_process(fabric: Fabric, *flags: bool) -> list[bool]:
    """For each flag, whether it is set in any process: the same in all, which must act alike."""
    return (
        all_reduce_mean(fabric, torch.tensor(flags, dtype=torch.float32, device=fabric.device)) > 0
    ).tolist()

"""The command `fullframe train`."""

import os
from pathlib import Path
from typing import Annotated

import tyro


def train(
    config: Annotated[Path, tyro.conf.Positional],
    settings: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="KEY=VALUE")] = (),
    /,
) -> int:
    """Train a network, or go on with a run that was stopped.

    Everything is in one flat TOML file; configs/ has examples, and `settings` come before it:
    fullframe train configs/cliff-lite.toml samples=50000 batch_size=16

    Ctrl-C saves a checkpoint; the same command goes on from it. Several GPUs: devices=4, or torchrun, whose
    numbers of processes come before the configuration's.

    Args:
        config: TOML file; keys as in fullframe.train.config.TrainConfig.
        settings: further keys and values.
    """
    from fullframe.cli.console import UsageError, say

    try:
        from fullframe.train.config import read_config
        from fullframe.train.loop import TrainError, fit
        from fullframe.train.sources import open_mixture, open_validation
    except ImportError as error:
        raise UsageError(f"training needs more packages ({error}): pip install 'fullframe[train]'") from error
    from fullframe.data.mixture import DataError, loader

    try:
        options = read_config(config, (*settings, *_torchrun()))
        mixture, validation = open_mixture(options), open_validation(options)

        def batches(start: int, rank: int, world: int):
            return loader(mixture, options.batch_size // world, start, rank, world, options.workers)

        try:
            path = fit(options, batches, mixture.names, validation)
        finally:
            for source, skipped in mixture.tally.failures.items():
                drawn = mixture.tally.drawn[source]
                say(f"{source}: {len(skipped):,} of {drawn:,} could not be read and were replaced")
    except (ValueError, OSError, TrainError, DataError) as error:
        raise UsageError(str(error)) from error
    if path:
        say(f"trained: {path}", style="green")
    return 0


def _torchrun() -> tuple[str, ...]:
    """How many processes torchrun started, as settings; none if it is not torchrun that started this one."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ()
    world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    return f"devices={local}", f"nodes={world // local}"

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
    """Train a network, or resume a run.

    Everything is in one TOML file; configs/ has examples, and `settings` override it:
    fullframe train configs/cliff-lite.toml samples=50000 optim.learning_rate=1e-4

    Ctrl-C saves a checkpoint; the same command resumes from it. Several GPUs or machines: torchrun, as in
    torchrun --nproc-per-node 4 -m fullframe train configs/cliff-lite.toml

    Args:
        config: TOML file; sections and keys as in fullframe.train.config.TrainConfig.
        settings: further keys and values, such as optim.learning_rate=1e-4.
    """
    from fullframe.cli.console import UsageError, say, show_progress

    try:
        from fullframe.train.config import read_config
        from fullframe.train.interrupt import TrainError
        from fullframe.train.loop import fit
        from fullframe.train.sources import open_mixture, open_validation
    except ImportError as error:
        raise UsageError(f"training needs more packages ({error}): pip install 'fullframe[train]'") from error
    from fullframe.body import load_body
    from fullframe.data.mixture import DataError, loader

    try:
        options = read_config(config, settings)
        network = options.network
        body = load_body(network.body, network.body_path or None, network.num_betas)
        with show_progress(disable=os.environ.get("RANK", "0") != "0") as progress:
            mixture = open_mixture(options, body, progress)
            validation = open_validation(options, body)

            def batches(start: int, rank: int, world: int):
                return loader(mixture, options.batch_size // world, start, rank, world, options.workers)

            try:
                path = fit(options, body, batches, mixture.names, validation, progress)
            finally:
                for source, skipped in mixture.stats.failures.items():
                    drawn = mixture.stats.drawn[source]
                    say(f"{source}: {len(skipped):,} of {drawn:,} could not be read and were replaced")
    except (ValueError, OSError, TrainError, DataError) as error:
        raise UsageError(str(error)) from error
    if path:
        say(f"trained: {path}", style="green")
    return 0

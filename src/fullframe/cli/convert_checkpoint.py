"""The command `fullframe convert-checkpoint`."""

from pathlib import Path
from typing import Annotated

import tyro

from fullframe.cli.console import say, usage_errors


def convert_checkpoint(
    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.pt")],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
) -> int:
    """Convert a checkpoint released by CLIFF's authors into a network for --model.

    Args:
        checkpoint: res50-... or hr48-... as downloaded. Nothing in it is executed.
        out: file for the network, ending in .safetensors; its card is written beside it.
    """
    from fullframe.models.released_cliff import save_official

    with usage_errors():
        card = save_official(checkpoint, out)
    say(f"{out}: {card.options['encoder']}, predicts {card.body}; use it with --model {out} --body smpl")
    return 0

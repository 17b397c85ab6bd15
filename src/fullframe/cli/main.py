"""The command `fullframe`: one function per subcommand."""

import os
import sys
from pathlib import Path
from typing import Annotated

import tyro

from fullframe.cli.annotate import annotate, review
from fullframe.cli.console import UsageError, console, say, show_log
from fullframe.cli.evaluate import evaluate
from fullframe.cli.imagine import imagine
from fullframe.cli.run import run
from fullframe.cli.synth import synth
from fullframe.cli.train import train
from fullframe.cli.view import app, view

__all__ = ["UsageError", "console", "main"]


def doctor() -> int:
    """Report what is found and what is missing: versions, devices, bodies, weights, detectors."""
    from fullframe.cli.doctor import examine

    broken, topic = 0, ""
    for finding in examine():
        if finding.topic != topic:
            topic = finding.topic
            say(topic, style="bold")
        marks = {True: ("ok", "green"), False: ("broken", "red"), None: ("absent", "yellow")}
        mark, style = marks[finding.ok]
        say(f"{finding.name}: {finding.text}", f"  {mark:<7}", style)
        broken += finding.ok is False
    return int(broken > 0)


def convert_checkpoint(
    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.pt")],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
) -> int:
    """Turn a checkpoint released by CLIFF's authors into a network that --model takes.

    Args:
        checkpoint: res50-... or hr48-... as downloaded. Nothing in it is executed.
        out: the network's file, ending in .safetensors; its card is written beside it.
    """
    from fullframe.models import released_cliff as official

    try:
        card = official.save_official(checkpoint, out)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    say(f"{out}: {card.options['encoder']}, predicts {card.body}; use it with --model {out} --body smpl")
    return 0


def main() -> None:
    """Entry point of the command."""
    show_log()
    try:
        status = tyro.extras.subcommand_cli_from_dict(
            {
                "run": run,
                "view": view,
                "app": app,
                "imagine": imagine,
                "synth": synth,
                "train": train,
                "evaluate": evaluate,
                "annotate": annotate,
                "review": review,
                "convert-checkpoint": convert_checkpoint,
                "doctor": doctor,
            },
            prog="fullframe",
            description="3D human body meshes from photos and videos, in the camera of the full frame.",
        )
    except UsageError as error:
        say(str(error), "error: ", "red")
        status = 2
    except KeyboardInterrupt:
        say("stopped", style="yellow")
        status = 130
    except BrokenPipeError:  # whoever read the output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        status = 1
    sys.exit(status)

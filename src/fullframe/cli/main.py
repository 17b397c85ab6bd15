"""The command `fullframe`."""

import os
import sys
from collections.abc import Callable

import tyro

from fullframe.cli.annotate import annotate, review
from fullframe.cli.app import app
from fullframe.cli.console import UsageError, say, show_log
from fullframe.cli.convert_checkpoint import convert_checkpoint
from fullframe.cli.doctor import doctor
from fullframe.cli.evaluate import evaluate
from fullframe.cli.imagine import imagine
from fullframe.cli.run import run
from fullframe.cli.synth import synth
from fullframe.cli.train import train
from fullframe.cli.view import view

COMMANDS: dict[str, Callable[..., int]] = {
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
}


def main() -> None:
    """Entry point of the command."""
    show_log()
    try:
        status = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="fullframe",
            description="3D human body meshes from photos and videos, in the camera of the full frame.",
        )
    except UsageError as error:
        say(str(error), "error: ", "red")
        status = 2
    except KeyboardInterrupt:
        say("interrupted", style="yellow")
        status = 130
    except BrokenPipeError:  # the reader of the output, such as head, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        status = 1
    sys.exit(status)

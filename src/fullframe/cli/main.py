"""The command `fullframe`."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

import tyro

from fullframe.cli.annotate import annotate, review
from fullframe.cli.app import app
from fullframe.cli.console import (
    UsageError,
    out_of_memory,
    raise_if_interrupted,
    remember_interrupts,
    say,
    show_log,
)
from fullframe.cli.convert import convert
from fullframe.cli.convert_checkpoint import convert_checkpoint
from fullframe.cli.doctor import doctor
from fullframe.cli.evaluate import evaluate
from fullframe.cli.export import export
from fullframe.cli.imagine import imagine
from fullframe.cli.retarget import retarget
from fullframe.cli.run import run
from fullframe.cli.serve import serve
from fullframe.cli.synth import synth
from fullframe.cli.train import train
from fullframe.cli.view import view

COMMANDS: dict[str, Callable[..., int]] = {
    "run": run,
    "view": view,
    "app": app,
    "serve": serve,
    "imagine": imagine,
    "synth": synth,
    "train": train,
    "evaluate": evaluate,
    "annotate": annotate,
    "review": review,
    "export": export,
    "retarget": retarget,
    "convert": convert,
    "convert-checkpoint": convert_checkpoint,
    "doctor": doctor,
}


class _Terminated(BaseException):
    """SIGTERM, so that blocks end as after Ctrl-C and leave no temporary files."""


def _end_blocks_on_sigterm() -> None:
    process = os.getpid()

    def terminate(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            raise _Terminated
        signal.signal(number, signal.SIG_DFL)  # a worker that was forked
        os.kill(os.getpid(), number)

    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, terminate)


def _run() -> int:
    try:
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="fullframe",
            description="3D human body meshes from photos and videos, in the camera of the full frame.",
        )
    except Exception:
        raise_if_interrupted()  # whatever a package made of it
        raise


def main() -> None:
    """Entry point of the command."""
    show_log()
    remember_interrupts()
    _end_blocks_on_sigterm()
    try:
        status = _run()
    except UsageError as error:
        say(str(error), "error: ", "red")
        status = 2
    except KeyboardInterrupt:
        say("interrupted", style="yellow")
        status = 130
    except _Terminated:
        say("ended by SIGTERM; finished files are whole, the same command resumes", style="yellow")
        status = 143
    except (MemoryError, RuntimeError) as error:
        message = out_of_memory(error)
        if not message:
            raise
        say(message, "error: ", "red")
        status = 1
    except BrokenPipeError:  # the reader of the output, such as head, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        status = 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        say(
            f"{error.filename or 'the disk'}: no space left: free some and re-run the command",
            "error: ",
            "red",
        )
        status = 1
    sys.exit(status)

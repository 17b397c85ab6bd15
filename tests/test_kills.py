"""Killed commands: the same command finishes with the same files as one that was never disturbed.

A row of COMMANDS is the command, and how often it is killed: half of the times at an access to a file, half
at any moment. To add one, write a row.
"""

import gc
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
import video_fixtures
from hostile_files import photo, video

from fullframe import export
from fullframe.body import load_body
from fullframe.cli import main as cli
from fullframe.models import create_model
from fullframe.recovery import photo as recovery
from fullframe.recovery import video as video_recovery
from fullframe.recovery import video_tracker
from fullframe.synth import synthetic_people

assert tyro and export and synthetic_people, "imported here once, not in each child"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

COMMANDS = {
    "clip": ("run clip.mp4 -o out --save overlay,npz,json,glb", 4),
    "photos": ("run photos -o out --save overlay,npz,json,glb", 2),
    "synth": ("synth -o out -n 2", 2),
}
_EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
_FRAMES, _CHUNK, _PHOTOS = 20, 8, 3


class _Detector(video_fixtures.RedBoxes):
    def keypoints(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        return np.full((len(boxes), 17, 3), 0.5, np.float32)


@pytest.fixture(scope="module")
def quick() -> Any:
    """A tiny network of random weights, and short chunks."""
    torch.manual_seed(0)
    network = create_model("cliff", encoder="resnet18", crop=(64, 64), num_betas=11).eval()
    body = load_body(num_betas=11)

    class Quick(recovery.Recoverer):
        def __init__(self, *_: object) -> None:
            self.body, self.network, self.detector = body, network, _Detector()
            self.card, self.fitter, self.name, self.height = None, None, "tiny", None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "Recoverer", Quick)
        for module in (video_tracker, video_recovery):
            patch.setattr(module, "CHUNK", _CHUNK)
        yield


def in_child(folder: Path, command: str, prepare: Callable[[], object] = lambda: None) -> int:
    """The exit status of a command in a process of its own, -9 for one that was killed."""
    child = os.fork()
    if not child:
        gc.freeze()  # what other tests left may be deleted by threads that are not in this process
        status = 99
        try:
            os.chdir(folder)
            os.dup2(os.open("printed.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
            sys.stderr = os.fdopen(2, "w")
            sys.argv = ["fullframe", *command.split()]
            prepare()
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_access(number: int, folder: Path) -> Callable[[], None]:
    """Kills the process before its n-th access to a file in the folder; 0 counts them into a file."""

    def prepare() -> None:
        count = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if event in _EVENTS and str(folder) in os.path.abspath(str(arguments[0])):
                count += 1
                if not number:
                    os.pwrite(counter, b"%9d" % count, 0)
                elif count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        counter = os.open(folder / "count.txt", os.O_CREAT | os.O_WRONLY) if not number else -1
        sys.addaudithook(hook)

    return prepare


def after(seconds: float) -> Callable[[], None]:
    """Kills the process after this time."""

    def prepare() -> None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, seconds)

    return prepare


def files(folder: Path) -> dict[str, str]:
    """SHA-256 by name of everything in the output folder but lock files."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "out").rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def inputs(folder: Path) -> Path:
    (folder / "photos").mkdir(parents=True)
    for number in range(_PHOTOS):
        (folder / f"photos/{number}.png").write_bytes(photo(size=(64 + number, 48)))
    video(_FRAMES)(folder / "clip.mp4")
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_kills(name: str, quick: None, tmp_path: Path) -> None:
    command, kills = COMMANDS[name]
    folder = inputs(tmp_path / "folder")  # the same for all: results name their inputs
    begun = time.monotonic()
    assert in_child(folder, command, at_access(0, folder)) == 0
    seconds = time.monotonic() - begun
    wanted = files(folder)
    assert wanted and not [file for file in wanted if Path(file).name.startswith(".")]
    accesses = int((folder / "count.txt").read_text())
    shares = np.linspace(0, 1, kills // 2 + 2)[1:-1]
    killed = 0
    for number in range(kills):
        shutil.rmtree(folder / "out")
        share = shares[number // 2]
        how = at_access(int(share * accesses), folder) if number % 2 else after(share * seconds)
        killed += in_child(folder, command, how) == -9
        for file, content in files(folder).items():  # what is finished is whole
            hidden = any(part.startswith(".") for part in Path(file).parts)
            assert hidden or file not in wanted or content == wanted[file], (number, file)
        assert in_child(folder, command) == 0, (folder / "printed.txt").read_text()
        assert files(folder) == wanted, number
    assert killed >= kills // 2


def test_two_runs_of_one_clip_into_one_folder(quick: None, tmp_path: Path) -> None:
    """The second names the process that has the folder, and changes nothing."""
    command, _ = COMMANDS["clip"]
    folder = inputs(tmp_path / "folder")
    assert in_child(folder, command) == 0
    wanted = files(folder)
    shutil.rmtree(folder / "out")
    first = os.fork()
    if not first:
        os._exit(in_child(folder, command))
    deadline = time.monotonic() + 60
    while not (folder / "out/.clip_work/request.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert in_child(folder, command) == 1
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == 0
    assert "is in use by another fullframe command (process " in (folder / "printed.txt").read_text()
    assert files(folder) == wanted

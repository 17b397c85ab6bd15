"""Errors are printed in one line, with an exit status."""

import errno
import subprocess
import sys

import pytest

from fullframe.cli import main as module

# What a command raises, its exit status, and what is printed.
MACHINE = [
    (MemoryError(), 1, "out of memory"),
    (RuntimeError("could not create a primitive"), 1, "out of memory (could not create a primitive): close"),
    (RuntimeError("std::bad_alloc"), 1, "out of memory"),
    (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        1,
        "out of memory",
    ),
    (
        OSError(errno.ENOSPC, "No space left on device", "/out/a.npz"),
        1,
        "/out/a.npz: no space left: free some",
    ),
    (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk: no space left: free some"),
]


@pytest.mark.parametrize("error, status, message", MACHINE, ids=str)
def test_errors_are_one_line_and_a_status(monkeypatch, capsys, error, status, message):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(module.tyro.extras, "subcommand_cli_from_dict", fail)
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == status
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EIO, "Input/output error")])
def test_other_errors_stay_visible(monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(module.tyro.extras, "subcommand_cli_from_dict", fail)
    with pytest.raises(type(error)):
        module.main()


TERMINATED = """
import os, signal, sys
from fullframe.cli import main as module

def command(*arguments, **options):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    finally:
        print("blocks have ended")

module.tyro.extras.subcommand_cli_from_dict = command
module.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_sigterm():
    done = subprocess.run([sys.executable, "-c", TERMINATED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 143
    assert done.stdout == "blocks have ended\n"
    assert done.stderr.startswith("ended by SIGTERM") and done.stderr.count("\n") == 1

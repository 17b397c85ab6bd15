"""Nothing leaves the computer: whole commands open no socket."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fullframe.assets import ASSETS

# Audit events come from Python's sockets and from its resolver of host names.
OFFLINE = """
import sys

def refuse(event, arguments):
    if event.startswith("socket.") and "gethostname" not in event:
        raise RuntimeError(f"a socket: {event} {arguments}")

sys.addaudithook(refuse)
"""
COMMANDS = [
    ("run", str(ASSETS / "demo" / "three_people.jpg"), "-o", "out"),
    ("doctor",),
]


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_commands_open_no_socket(tmp_path, arguments):
    code = f"{OFFLINE}\nsys.argv = {['fullframe', *arguments]}\nfrom fullframe.cli.main import main\nmain()"
    done = python(code, tmp_path)
    assert "a socket" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_the_check_notices_sockets(tmp_path):
    assert "a socket: socket.__new__" in python(f"{OFFLINE}\nimport socket\nsocket.socket()", tmp_path).stderr


def test_telemetry_of_onnxruntime_is_off_before_it_is_loaded(tmp_path):
    code = (
        "import os, sys, fullframe.detect\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    )
    assert python(code, tmp_path).stdout.split() == ["1", "False"]

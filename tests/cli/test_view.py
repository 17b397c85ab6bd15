"""What a user sees who makes a mistake, and that Ctrl-C ends it cleanly."""

import os
import signal
import subprocess
import sys

import pytest
from waving import waving_clip

from fullframe.body import load_body
from fullframe.cli.app import app
from fullframe.cli.console import UsageError
from fullframe.cli.view import view

RUN = """import pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from fullframe.cli.view import view
sys.exit(view(pathlib.Path(sys.argv[1])))"""


def test_without_viser(tmp_path, monkeypatch):
    for module in ("show", "app"):
        monkeypatch.delitem(sys.modules, f"fullframe.view.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "viser", None)
    for command in (lambda: view(tmp_path), app):
        with pytest.raises(UsageError, match=r"pip install 'fullframe\[view\]'"):
            command()


def test_mistakes(tmp_path):
    pytest.importorskip("viser", reason="needs the extra view")
    with pytest.raises(UsageError, match="nowhere"):
        view(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no .npz"):
        view(tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"bad")
    with pytest.raises(UsageError, match=r"bad\.npz"):
        view(tmp_path / "bad.npz")
    waving_clip(load_body()).save(tmp_path / "clip.npz")
    with pytest.raises(UsageError, match="--host 203.0.113.7"):
        view(tmp_path / "clip.npz", host="203.0.113.7")
    with pytest.raises(UsageError, match=r"nowhere\.safetensors"):
        app(model="nowhere.safetensors")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("sign", ["SIGINT", "SIGTERM"])
def test_ctrl_c(tmp_path, sign):
    pytest.importorskip("viser", reason="needs the extra view")
    waving_clip(load_body()).save(tmp_path / "clip.npz")
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        assert "http://127.0.0.1:" in line, line + process.stderr.read()
        os.kill(process.pid, getattr(signal, sign))
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "", "")

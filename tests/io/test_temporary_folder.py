"""What servers leave behind: nothing."""

import os
import subprocess
import sys
import tempfile

import pytest

from fullframe.io.temporary_folder import temporary_folder

KILLED = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from fullframe.io.temporary_folder import temporary_folder
with temporary_folder('fullframe_app_') as folder:
    (folder / "page").mkdir()
    (folder / "page" / "upload.mp4").write_bytes(b"private")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_uploads_of_a_killed_server_are_deleted_at_the_next_start(tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=300)
    (killed,) = tmp_path.iterdir()
    assert (killed / "page" / "upload.mp4").exists()
    other, link = tmp_path / "fullframe_other", tmp_path / "fullframe_app_link"
    other.mkdir()
    link.symlink_to(other)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder("fullframe_app_") as first:
        assert not killed.exists() and other.exists() and link.exists()
        with temporary_folder("fullframe_app_") as second:  # another server that runs
            assert first.is_dir() and second.is_dir()
        assert first.is_dir()
    assert sorted(tmp_path.iterdir()) == [link, other]

"""What the page of `fullframe app` leaves behind: nothing."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("viser", reason="needs the extra view")

from fullframe.view import app

KILLED = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from fullframe.view import app
with app._temporary_folder() as folder:
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
    with app._temporary_folder() as first:
        assert not killed.exists() and other.exists() and link.exists()
        with app._temporary_folder() as second:  # another server that runs
            assert first.is_dir() and second.is_dir()
        assert first.is_dir()
    assert sorted(tmp_path.iterdir()) == [link, other]


@pytest.fixture
def page(tmp_path):
    """A page without its browser."""
    page = object.__new__(app.UploadPage)
    page._folder, page._gone, page._timer, page._viewer = tmp_path / "page", False, None, None
    page._downloads, page._job, page._lock = None, None, app.threading.RLock()
    page._recoverer, page._queue = None, SimpleNamespace(remove=lambda job: None)
    page._folder.mkdir()
    return page


def test_a_page_closed_while_a_clip_is_processed(page, monkeypatch):
    """Its folder holds another one, of the work, and more is written after the end of the page."""

    def recover(recoverer, file: Path, name, progress):
        (page._folder / ".work" / "part").mkdir(parents=True)
        page.close()
        assert not page._folder.exists()
        (page._folder / ".work").mkdir(parents=True)
        raise ValueError("the file is gone")

    monkeypatch.setattr(app, "recover_upload", recover)
    page._process(page._folder / "upload.mp4", "a.mp4")
    assert not page._folder.exists()

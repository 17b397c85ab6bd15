import os
import subprocess
import sys

import pytest

from fullframe.io.atomic import atomic_path, is_temporary, remove_abandoned


def test_a_file_appears_whole_and_keeps_its_suffix(tmp_path):
    with atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path and temporary.suffix == ".json"
        assert not (tmp_path / "a.json").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(OSError), atomic_path(tmp_path / "no" / "a.txt") as temporary:
        temporary.write_text("x")


KILLED = """
import os, signal, sys
from fullframe.io.atomic import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_temporary_files_of_killed_processes_are_removed(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.npz")], timeout=300)
    (left,) = tmp_path.iterdir()
    assert is_temporary(left.name)
    others = [tmp_path / name for name in (".b.npz", ".hidden.12345678.npz", f".c.{'0' * 8}{'f' * 6}.npz")]
    for other in others:  # not ours, of an older version, and of another computer
        other.touch()
    with atomic_path(tmp_path / "d.npz") as running:
        running.touch()
        remove_abandoned(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([*others, running])

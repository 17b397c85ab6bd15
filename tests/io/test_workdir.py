import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fullframe.io.workdir import REQUEST, StateFile, WorkDir, WorkError, read_request

REQUESTED = {"model": "a", "tuning": {"steps": 3, "rate": 0.1}}
EXPECTED = list(range(10))


def make(start: int, end: int) -> dict[str, np.ndarray]:
    return {"n": np.arange(start, end)}


def compute(folder, made=None, **options) -> list[int]:
    """Ten numbers in shards of three; `made` collects where the shards begin."""

    def counted(start, end):
        if made is not None:
            made.append(start)
        return make(start, end)

    with WorkDir(folder, REQUESTED) as work:
        return work.shards("numbers", size=3, count=10).compute(counted, **options)["n"].tolist()


def test_shards_are_computed_once_and_joined(tmp_path):
    made, reported = [], []
    assert compute(tmp_path / "a", made, progress=lambda *r: reported.append(r)) == EXPECTED
    assert made == [0, 3, 6, 9]
    assert reported == [("numbers", n, 10) for n in (3, 6, 9, 10)]
    assert compute(tmp_path / "a", made) == EXPECTED and made == [0, 3, 6, 9]
    with WorkDir(tmp_path / "b", {}) as work:
        assert work.shards("none", size=3, count=0).compute(make) == {}


def test_an_interrupted_computation_resumes(tmp_path):
    def stop(stage, done, total):
        if done == 6:
            raise KeyboardInterrupt

    made: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        compute(tmp_path, made, progress=stop)
    assert made == [0, 3]
    assert compute(tmp_path, made) == EXPECTED and made == [0, 3, 6, 9]


def test_shards_hold_files_of_any_kind(tmp_path):
    with WorkDir(tmp_path, {}) as work:
        shards = work.shards(size=4)
        assert not shards.is_done(0)
        with shards.writing(0) as folder:
            (folder / "pixels.bin").write_bytes(b"abc")
            assert not shards.is_done(0)
        assert shards.is_done(0) and (shards.folder(0) / "pixels.bin").read_bytes() == b"abc"
        with pytest.raises(KeyError), shards.writing(4) as folder:
            (folder / "pixels.bin").write_bytes(b"half")
            raise KeyError
        with shards.writing(0) as folder:  # is there already
            (folder / "pixels.bin").write_bytes(b"other")
        assert (shards.folder(0) / "pixels.bin").read_bytes() == b"abc"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["000000000"]


@pytest.mark.parametrize("damage", ["truncated", "changed", "removed", "no checksums", "other span"])
def test_damaged_shards_are_computed_again(tmp_path, caplog, damage):
    compute(tmp_path)
    shard = tmp_path / "numbers/000000003"
    file, checksums = shard / "arrays.npz", shard / "checksums.json"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "changed":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "removed":
        file.unlink()
    elif damage == "no checksums":
        checksums.unlink()
    else:
        content = json.loads(checksums.read_text())
        checksums.write_text(json.dumps({**content, "items": [3, 7]}))
    made: list[int] = []
    with caplog.at_level(logging.WARNING):
        assert compute(tmp_path, made) == EXPECTED
    assert made == [3] and "000000003 is damaged and is computed again" in caplog.text


def test_damage_during_a_run_is_reported_with_a_remedy(tmp_path):
    with WorkDir(tmp_path, {}) as work:
        shards = work.shards("x", size=3, count=3)
        shards.compute(make)
        (tmp_path / "x/000000000/arrays.npz").write_bytes(b"PK")
        with pytest.raises(WorkError, match=r"000000000 is damaged .*: remove this folder"):
            shards.joined()


def test_other_work_is_refused_and_left_alone(tmp_path):
    compute(tmp_path)
    with pytest.raises(
        WorkError, match=r"\(model: a, now b, new: not set, now True, tuning.rate: 0.1, now 0.2\): choose"
    ):
        WorkDir(tmp_path, {"model": "b", "new": True, "tuning": {"steps": 3, "rate": 0.2}})
    made: list[int] = []
    assert compute(tmp_path, made) == EXPECTED and not made


def test_other_work_is_replaced_where_that_is_asked_for(tmp_path):
    compute(tmp_path)
    with WorkDir(tmp_path, {"model": "b"}, restart=True) as work:
        assert "model: a, now b" in work.discarded and "tuning.steps: 3, now not set" in work.discarded
    assert not (tmp_path / "numbers").exists() and read_request(tmp_path)["model"] == "b"
    with WorkDir(tmp_path, {"model": "b"}, restart=True) as work:
        assert work.discarded == ""


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_with_other_files_is_left_alone(tmp_path, restart):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(WorkError, match="holds other files: choose another output"):
        WorkDir(tmp_path, {}, restart=restart)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(WorkError, match=r"cannot be a folder: .*mine.txt is a file"):
        WorkDir(tmp_path / "mine.txt" / "work", {})


def test_a_damaged_request_is_named(tmp_path):
    compute(tmp_path)
    (tmp_path / REQUEST).write_text("{")
    with pytest.raises(WorkError, match=r"request.json is damaged: remove the folder"):
        WorkDir(tmp_path, REQUESTED)
    with pytest.raises(WorkError, match="no such file"):
        read_request(tmp_path / "none")


def test_two_at_once_are_refused(tmp_path):
    with WorkDir(tmp_path, REQUESTED):
        with pytest.raises(
            WorkError, match=rf"in use by another fullframe command \(process {os.getpid()} on .*\): wait"
        ):
            WorkDir(tmp_path, REQUESTED)
        code = f"from fullframe.io.workdir import WorkDir; WorkDir({str(tmp_path)!r}, {REQUESTED!r})"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert other.returncode == 1 and "in use by another" in other.stderr
    assert compute(tmp_path) == EXPECTED


def test_a_second_command_can_wait_for_the_first(tmp_path):
    code = (
        "import time; from fullframe.io.workdir import WorkDir\n"
        f"with WorkDir({str(tmp_path)!r}, {{}}): print('locked', flush=True); time.sleep(0.5)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"locked\n"
        with WorkDir(tmp_path, {}, wait_s=60):
            pass


def test_removal(tmp_path):
    with WorkDir(tmp_path / "a", REQUESTED) as work:
        shards = work.shards("numbers", size=3, count=10)
        shards.compute(make)
        shards.invalidate([5, 4, 9])
        assert shards.missing() == [(3, 6), (9, 10)]
        work.clear_stage("numbers")
        assert len(shards.missing()) == 4
        work.remove()
    assert not (tmp_path / "a").exists()


def all_steps(folder) -> list[int]:
    """Everything that changes files: other work replaced, shards, a state, a stage removed and redone."""
    with WorkDir(folder, {"model": "b"}, restart=True) as work:
        work.shards("old", size=1, count=1).compute(make)
    with WorkDir(folder, REQUESTED, restart=True) as work:
        work.clear_stage("numbers")
        state = work.state()
        count = state.load(int) or 0
        while count < 2:
            count += 1
            state.save(str(count).encode())
        assert state.load(int) == 2
        return work.shards("numbers", size=3, count=10).compute(make)["n"].tolist()


def kill_at_every_step(tmp_path) -> None:
    """A process is killed before its n-th access to a file, for every n."""
    events = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
    for number in range(1, 1000):
        folder = tmp_path / str(number)
        child = os.fork()
        if not child:
            left = number

            def kill(event, arguments):
                nonlocal left
                if event in events and str(tmp_path) in str(arguments[0]):
                    left -= 1
                    if not left:
                        os._exit(9)

            sys.addaudithook(kill)
            ended = 1
            try:
                ended = 0 if all_steps(folder) == EXPECTED else 2
            finally:
                os._exit(ended)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert all_steps(folder) == EXPECTED, number
        names = {path.name for path in folder.rglob("*")} - {".lock"}
        assert not [name for name in names if name.startswith(".")], number
        if ended == 0:
            break
        assert ended == 9, number
    assert 60 < number < 999


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_step_leaves_what_can_be_resumed(tmp_path):
    """From a small process, of which copies are made quickly."""
    code = "import sys, pathlib, test_workdir; test_workdir.kill_at_every_step(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=Path(__file__).parent, check=True)


def test_a_damaged_state_falls_back_to_the_one_before(tmp_path, caplog):
    state = StateFile(tmp_path / "x/state.pt")
    assert state.load(bytes) is None
    state.save(b"first")
    state.save(b"second")
    assert state.load(bytes) == b"second"
    state.path.write_bytes(state.path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert state.load(bytes) == b"first"
    assert f"{state.path} is damaged" in caplog.text
    state.path.unlink()
    assert state.load(bytes) == b"first"
    state.save(b"text")
    state.previous.write_bytes(b"2" + hashlib.sha256(b"2").digest())
    with caplog.at_level(logging.WARNING):
        assert state.load(int) == 2
    assert f"{state.path} cannot be used: invalid literal" in caplog.text
    state.path.unlink()
    state.previous.write_bytes(b"")
    with pytest.raises(WorkError, match=r"state.previous.pt: damaged; remove them to start over"):
        state.load(bytes)
    state.clear()
    assert state.load(bytes) is None

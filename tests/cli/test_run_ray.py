"""`fullframe run --ray`: the same results as without, resumed. Real workers: annotate/test_ray_workers.py."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from commands import fullframe
from PIL import Image

from fullframe.cli import run_shared, runner
from fullframe.io import ray_workers
from fullframe.io.workdir import in_process
from fullframe.results.clip import Clip
from fullframe.results.people import People
from fullframe.video.writer import VideoWriter


@pytest.fixture
def inputs(photo_path: Path, tmp_path: Path) -> Path:
    """Three photos and a clip of two frames."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    with Image.open(photo_path) as image:
        small = image.resize((524, 430))
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        small.save(folder / name)
    with VideoWriter(folder / "clip.mp4", (524, 430), fps=10) as writer:
        for frame in range(2):
            writer.write(np.asarray(small), frame / 10)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Workers of Ray that are this process, one photo at a time: the spans that they are given."""
    pickle = pytest.importorskip("ray", reason="needs the extra scale").cloudpickle
    given: list[tuple[int, int]] = []

    def run(make: Callable[[int, int], None], spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        sent = pickle.loads(pickle.dumps(make))  # as to another process
        return in_process(lambda *span: (given.append(span), sent(*span)), spans)

    @contextmanager
    def workers(address: str) -> Iterator:
        yield run

    monkeypatch.setattr(ray_workers, "ray_workers", workers)
    monkeypatch.setattr(run_shared, "SHARD", 1)
    return given


def same_results(a: Path, b: Path, photos: str = "abc") -> None:
    for name in photos:
        ours, theirs = (People.load(folder / f"{name}.npz") for folder in (a, b))
        assert len(ours) == 3
        np.testing.assert_allclose(ours.vertices, theirs.vertices, atol=1e-4)
    clips = [Clip.load(folder / "clip.npz") for folder in (a, b)]
    np.testing.assert_allclose(clips[0].pose, clips[1].pose, atol=1e-4)


OPTIONS = ("--no-refine", "--save", "npz")


def test_the_results_are_the_same_and_nothing_else_is_left(
    inputs: Path, tmp_path: Path, here: list, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)  # relative paths, also with patterns
    assert (
        fullframe("run", "inputs/*.jpg", "inputs/clip.mp4", "-o", "shared", *OPTIONS, "--ray", "local") == 0
    )
    assert "in 4 inputs" in capsys.readouterr().err
    assert fullframe("run", inputs, "-o", "alone", *OPTIONS) == 0
    same_results(tmp_path / "shared", tmp_path / "alone")
    assert sorted(os.listdir(tmp_path / "shared")) == sorted(os.listdir(tmp_path / "alone"))


def test_an_interrupted_run_is_resumed(inputs: Path, tmp_path: Path, here: list, monkeypatch) -> None:
    command = ("run", inputs, "-o", tmp_path / "out", *OPTIONS, "--ray", "local")
    with monkeypatch.context() as patch:
        write = runner.write_photo

        def interrupted(people, body, pixels, files, rig):
            if "c" in files["npz"].name:
                raise KeyboardInterrupt
            return write(people, body, pixels, files, rig)

        patch.setattr(runner, "write_photo", interrupted)
        assert fullframe(*command) == 130
    assert here == [(0, 1), (1, 2), (2, 3)]
    (tmp_path / "out/b.npz").unlink()  # and it is missed
    del here[:]
    assert fullframe(*command) == 0
    assert here == [(1, 2), (2, 3), (0, 1)]  # the last one is the clip


def test_failures_are_named_and_tried_again(
    inputs: Path, tmp_path: Path, here: list, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(inputs / "b.jpg", tmp_path / "good.jpg")
    (inputs / "b.jpg").write_bytes(b"no photo")
    command = ("run", inputs, "-o", tmp_path / "out", *OPTIONS, "--ray", "local")
    assert fullframe(*command) == 1
    printed = capsys.readouterr().err
    assert "1 of 4 inputs failed" in printed and "b.jpg: not an image" in printed
    del here[:]
    shutil.copy(tmp_path / "good.jpg", inputs / "b.jpg")
    assert fullframe(*command) == 0
    assert here == [(1, 2)]


def test_cameras_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fullframe("run", "0", "-o", tmp_path / "out", "--ray", "local") == 2
    assert "--ray is for photos and videos" in capsys.readouterr().err


def test_without_ray(inputs: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert fullframe("run", inputs, "-o", tmp_path / "out", *OPTIONS, "--ray", "local") == 2
    assert "pip install 'fullframe[scale]'" in capsys.readouterr().err

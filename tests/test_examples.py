"""The scripts in examples/ do what they say."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh
from pose2sim_project import make_project

from fullframe.models import load_model

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_photo_to_glb(photo_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("photo_to_glb").main(photo_path, tmp_path / "people.glb")
    scene = trimesh.load_scene(tmp_path / "people.glb")
    assert len(scene.geometry) == 3 and (tmp_path / "people.jpg").stat().st_size > 10_000
    assert capsys.readouterr().out.count("m from the camera") == 3


def test_own_boxes(photo_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("own_boxes").main(str(photo_path), 60.0, np.array([[62.0, 299, 668, 860], [687, 33, 1049, 860]]))
    assert capsys.readouterr().out.count("pelvis at") == 2


def test_many_photos(photo_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(photo_path, tmp_path / "photos/b.jpg")
    (tmp_path / "photos/a.jpg").write_bytes(b"no photo")
    load("many_photos").main(tmp_path / "photos", tmp_path / "people.csv")
    rows = (tmp_path / "people.csv").read_text().splitlines()
    assert len(rows) == 4 and all("b.jpg" in row for row in rows[1:])
    assert "a.jpg: not an image" in capsys.readouterr().err


@pytest.mark.slow
def test_own_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_project(tmp_path)
    load("own_recording").main(tmp_path / "session", tmp_path / "out")
    printed = capsys.readouterr().out
    assert "network: 12 people" in printed and "refined: 12 people" in printed and "nan" not in printed
    assert (tmp_path / "out/refined/worst.jpg").is_file()


@pytest.mark.slow
def test_train_on_own_labels(photo_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(photo_path, tmp_path / "photos")
    settings = (
        "samples=8",
        "batch_size=4",
        "lifting=0",
        "workers=0",
        "validation_people=0",
        "synth.weight=1",
    )
    assert load("train_on_own_labels").main(tmp_path / "photos", tmp_path / "out", *settings) == 0
    assert "3 of 3 people are reliable" in capsys.readouterr().out
    card = load_model(tmp_path / "out/run/ray.safetensors", "open").card
    assert "own" in card.data and "synth" in card.data


def test_examples_are_short() -> None:
    assert all(len(path.read_text().splitlines()) <= 40 for path in EXAMPLES.glob("*.py"))

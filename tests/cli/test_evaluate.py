import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluate_fixtures import _smpl_files, checkpoint, make_people, perfect, smpl, smpl_checkpoint

from fullframe.body import JOINT_SETS, BodyFileError
from fullframe.cli.console import UsageError
from fullframe.cli.evaluate import evaluate
from fullframe.evaluate.benchmark import evaluate_model
from fullframe.evaluate.predictions import load_predictor
from fullframe.evaluate.protocols import PROTOCOLS
from fullframe.models.checkpoint import CheckpointError

__all__ = ["_smpl_files", "checkpoint", "make_people", "perfect", "smpl", "smpl_checkpoint"]


@pytest.fixture
def coco(tmp_path, photo_path) -> Path:
    """A folder in COCO's form with three people, of whom one is too small to be measured."""
    root = tmp_path / "coco"
    (root / "images").mkdir(parents=True)
    photo = cv2.imread(str(photo_path))
    cv2.imwrite(str(root / "images" / "one.jpg"), photo)
    height, width = photo.shape[:2]
    people = []
    for i, (x, size) in enumerate(((0.1, 0.8), (0.5, 0.7), (0.2, 0.05))):
        box = [x * width, 0.1 * height, 0.3 * width, size * height]
        points = np.random.default_rng(i).uniform(box[:2], np.add(box[:2], box[2:]), (17, 2))
        keypoints = np.concatenate((points, np.full((17, 1), 2)), axis=1).ravel().tolist()
        people.append({
            "id": i, "image_id": 7, "category_id": 1, "bbox": box, "keypoints": keypoints,
            "num_keypoints": 17, "iscrowd": 0, "area": 1.0,
        })  # fmt: skip
    content = {
        "images": [{"id": 7, "file_name": "one.jpg", "width": width, "height": height}],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": list(JOINT_SETS["coco17"].names)}],
    }
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def test_everything_is_written(coco, checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate("coco", model=checkpoint, root=coco, out=out) == 0
    assert {path.name for path in out.iterdir()} == {
        "predictions", "report.md", "scores.json", "sequences.csv", "worst.jpg", "joints.png", "angles.png",
    }  # fmt: skip
    scores = json.loads((out / "scores.json").read_text())
    assert scores["people"] == 2
    assert 0 <= scores["values"]["PCK@0.1 %"] <= 100
    printed = capsys.readouterr()
    assert "PCK@0.1 %" in printed.out and "trained on: nothing" in printed.out
    assert f"written to {out}" in printed.err.replace("\n", "")
    for name in ("worst.jpg", "joints.png", "angles.png"):
        assert cv2.imread(str(out / name)).std() > 1


def test_predictions_are_used_again(coco, checkpoint, tmp_path):
    out = tmp_path / "out"
    first = evaluate_model("coco", checkpoint, coco, out)
    shard = out / "predictions/000000000/arrays.npz"
    before = shard.stat().st_mtime_ns
    again = evaluate_model("coco", checkpoint, coco, out)
    assert shard.stat().st_mtime_ns == before
    assert again.json() == first.json()


def test_predictions_of_another_network_are_not(coco, checkpoint, smpl_checkpoint, tmp_path, smpl):
    evaluate_model("coco", checkpoint, coco, tmp_path / "out")
    with pytest.raises(ValueError, match="holds work with other settings .* or remove"):
        evaluate_model("coco", smpl_checkpoint, coco, tmp_path / "out")


def test_predictions_of_changed_data_are_not(coco, checkpoint, tmp_path):
    evaluate_model("coco", checkpoint, coco, tmp_path / "out")
    content = json.loads((coco / "annotations.json").read_text())
    for annotation in content["annotations"]:
        annotation["keypoints"][0] += 1
    (coco / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="labels"):
        evaluate_model("coco", checkpoint, coco, tmp_path / "out")


def test_progress_reaches_the_end(coco, checkpoint, tmp_path):
    seen = []
    evaluate_model("coco", checkpoint, coco, tmp_path / "out", progress=lambda *report: seen.append(report))
    assert ("predicting", 2, 2) in seen


def test_without_matplotlib_there_is_a_note(coco, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = evaluate_model("coco", checkpoint, coco, tmp_path / "out")
    assert "pip install matplotlib" in report.notes[-1]
    assert not list((tmp_path / "out").glob("*.png"))


def test_unknown_benchmarks_and_missing_folders(checkpoint, tmp_path, monkeypatch):
    recoverer = load_predictor(checkpoint)
    monkeypatch.setattr("fullframe.evaluate.benchmark.load_predictor", lambda *model: recoverer)
    with pytest.raises(ValueError, match=r"unknown benchmark '3dwp'; known: 3dpw, "):
        evaluate_model("3dwp", checkpoint, tmp_path, tmp_path)
    for benchmark in PROTOCOLS:
        if PROTOCOLS[benchmark].needs_root:
            with pytest.raises(FileNotFoundError, match=r"missing.*https?://"):
                evaluate_model(benchmark, checkpoint, tmp_path / "nowhere", tmp_path / "out")
            with pytest.raises(ValueError, match="--root"):
                evaluate_model(benchmark, checkpoint, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no model"):
        evaluate_model("synth", tmp_path / "no.safetensors", None, tmp_path / "out")


def test_a_missing_body(coco, smpl_checkpoint, tmp_path, monkeypatch):
    """Found out before the network runs."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr("fullframe.body.files.SMPL_FOLDER", empty)
    with pytest.raises(BodyFileError, match="smpl-neutral was not found"):
        evaluate_model("coco", smpl_checkpoint, coco, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_errors_of_the_command_name_the_remedy(checkpoint, tmp_path):
    for benchmark, root in (("nonsense", tmp_path), ("3dpw", None), ("3dpw", tmp_path)):
        with pytest.raises(UsageError, match=r"known: 3dpw|--root|3DPW"):
            evaluate(benchmark, model=checkpoint, root=root, out=tmp_path / "out")


def test_the_help_names_every_benchmark():
    assert evaluate.__doc__ is not None
    text = " ".join(evaluate.__doc__.split())
    assert ", ".join([*PROTOCOLS][:-1]) + " or " + [*PROTOCOLS][-1] in text

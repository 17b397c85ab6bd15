"""From photos to files of labels, as users do it."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from fullframe.annotate import pipeline
from fullframe.annotate.labels import Labels
from fullframe.annotate.methods.tuner import Tuning
from fullframe.annotate.pipeline import annotate
from fullframe.cli.annotate import annotate as command
from fullframe.cli.console import UsageError
from fullframe.io.workdir import Shards, WorkDir, WorkError


def contents(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.slow
def test_the_bundled_photo_from_end_to_end(checkpoint, photo_path, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    shutil.copy(photo_path, tmp_path / "photos")
    out = tmp_path / "labels.npz"
    assert command((tmp_path / "photos",), out, "smplify") == 0
    labels = Labels.load(tmp_path / "labels_people.npz")
    assert len(labels) == 3 and labels.reliable.sum() >= 2
    assert labels.photos.tolist() == ["three_people.jpg"] * 3
    assert np.nanmedian(labels.reprojection) < 0.05
    assert "3 people labelled" in capsys.readouterr().err
    page = (tmp_path / "labels.html").read_text()
    assert page.count("<img ") >= 6 and not re.search(r"(src|href)=.?http", page)


def test_labels_from_annotations(checkpoint, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.cliff_annotator, "Tuning", lambda: Tuning(least_steps=2, passes=1))
    given, out = tmp_path / "people.json", tmp_path / "labels.npz"
    written = annotate(photos, out, given, model=checkpoint)
    assert written.problems == [] and [f.name for f in written.files] == [
        "labels.npz",
        "labels_people.npz",
        "labels.html",
    ]
    assert contents(out)["annot_id"].tolist() == [100, 101, 102, 103]
    first = contents(out)
    again = annotate(photos, out, given, model=checkpoint, progress=lambda *report: None)
    assert again.labels.model == "tiny+fit"
    assert all(np.array_equal(first[key], value) for key, value in contents(out).items() if key != "name")
    with pytest.raises(WorkError, match="other settings .method: fit, now none"):
        annotate(photos, out, given, model=checkpoint, method="none")


KILLED = """
import os, sys, signal
import tiny
from fullframe.annotate import pipeline
from fullframe.annotate.methods import cliff_annotator as cliff
from fullframe.annotate.methods.tuner import Tuning
from fullframe.models import ENCODERS
import torch
torch.set_num_threads(1)
ENCODERS["tiny"] = tiny.ENCODER
cliff.SAVE_SECONDS = 0.0
cliff.Tuning = lambda: Tuning(least_steps=4, passes=1)
def progress(stage, done, total):
    if stage == "fine-tuning" and done == 2:
        os.kill(os.getpid(), signal.SIGKILL)
pipeline.annotate(*sys.argv[1:4], method="cliff", model=sys.argv[4], progress=progress)
"""


@pytest.mark.slow
def test_the_same_call_resumes_after_a_kill(checkpoint, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.cliff_annotator, "Tuning", lambda: Tuning(least_steps=4, passes=1))
    given = tmp_path / "people.json"
    (tmp_path / "killed.py").write_text(KILLED)
    arguments = [str(path) for path in (photos, tmp_path / "b.npz", given, checkpoint)]
    ended = subprocess.run(
        [sys.executable, tmp_path / "killed.py", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(tiny.__file__).parent), *sys.path])},
        check=False,
    )
    assert ended.returncode == -9 and not (tmp_path / "b.npz").exists()
    stages = []
    options = {"method": "cliff", "model": checkpoint}
    annotate(photos, tmp_path / "b.npz", given, **options, progress=lambda *report: stages.append(report))
    assert [report for report in stages if report[0] == "fine-tuning"] == [
        ("fine-tuning", 3, 4),
        ("fine-tuning", 4, 4),
    ]
    annotate(photos, tmp_path / "a.npz", given, **options)
    whole, resumed = contents(tmp_path / "a.npz"), contents(tmp_path / "b.npz")
    assert all(np.array_equal(value, resumed[key]) for key, value in whole.items())


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ((), {}, "give the folder"),
        (("nowhere",), {"method": "smplify"}, "nowhere: no such folder"),
        (("no.json", "photos"), {"method": "smplify"}, "no.json: no such file"),
        (("photos",), {"method": "magic"}, "unknown method 'magic'; known: fit, cliff"),
        (("photos",), {"model": "none.safetensors"}, "no model none.safetensors"),
        (("photos",), {"out": Path("labels.txt")}, "ends in .npz"),
        (("photos",), {"model": "keypoint-fit"}, "use the method smplify"),
        (("empty",), {"method": "smplify"}, "empty: no photos in this folder"),
        (("people.json",), {"method": "smplify"}, "people.json: give the folder of the photos too"),
        (
            ("nobody.json", "photos"),
            {"method": "smplify"},
            "no annotation can be used.* folder of photos alone",
        ),
        (("photos",), {"out": Path("empty.npz")}, "empty.npz is a folder"),
        (("people.json", "photos"), {"method": "smplify", "out": Path("people.json/x.npz")}, "is a file"),
        (("people.json", "photos"), {"method": "smplify", "body": "smpl"}, "smpl was not found"),
    ],
)
def test_unusable_requests_are_refused(photos, tmp_path, monkeypatch, inputs, options, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fullframe.body.files.SMPL_FOLDER", tmp_path / "none")
    monkeypatch.setattr("fullframe.body.body_model.SMPL_FOLDER", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.npz").mkdir()
    content = json.loads((tmp_path / "people.json").read_text())
    (tmp_path / "nobody.json").write_text(json.dumps({**content, "annotations": []}))
    with pytest.raises(UsageError, match=message):
        command(tuple(map(Path, inputs)), **{"out": tmp_path / "labels.npz", **options})


def test_a_photo_that_was_missing_is_labelled_once_it_is_there(checkpoint, photos, tmp_path):
    given, out = tmp_path / "people.json", tmp_path / "labels.npz"
    shutil.move(photos / "3.jpg", tmp_path / "3.jpg")
    first = annotate(photos, out, given, method="none", model=checkpoint)
    assert len(first.labels) == 3 and "3.jpg: no such photo; put it there" in first.problems[0]
    shutil.move(tmp_path / "3.jpg", photos / "3.jpg")
    second = annotate(photos, out, given, method="none", model=checkpoint)
    assert second.problems == [] and second.labels.ids.tolist() == [100, 101, 102, 103]
    whole = annotate(photos, tmp_path / "whole.npz", given, method="none", model=checkpoint)
    np.testing.assert_array_equal(second.labels.pose, whole.labels.pose)


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_kill_while_a_repaired_photo_is_added(checkpoint, photos, tmp_path, monkeypatch, killed_at):
    given, out = tmp_path / "people.json", tmp_path / "labels.npz"
    shutil.move(photos / "1.jpg", tmp_path / "1.jpg")
    annotate(photos, out, given, method="none", model=checkpoint)
    shutil.move(tmp_path / "1.jpg", photos / "1.jpg")
    steps = itertools.count(1)

    def until_killed(step):
        def go(*args, **options):
            if next(steps) == killed_at:
                raise KeyboardInterrupt
            return step(*args, **options)

        return go

    with monkeypatch.context() as patch:
        patch.setattr(WorkDir, "clear_stage", until_killed(WorkDir.clear_stage))
        patch.setattr(Shards, "invalidate", until_killed(Shards.invalidate))
        with pytest.raises(KeyboardInterrupt):
            annotate(photos, out, given, method="none", model=checkpoint)
    found = annotate(photos, out, given, method="none", model=checkpoint).labels
    whole = annotate(photos, tmp_path / "whole.npz", given, method="none", model=checkpoint).labels
    assert found.ids.tolist() == whole.ids.tolist()
    np.testing.assert_array_equal(found.translation, whole.translation)


def test_a_wrong_folder_of_photos_can_be_corrected(photos, tmp_path):
    given = tmp_path / "people.json"
    (tmp_path / "wrong").mkdir()
    with pytest.raises(ValueError, match=r"no labelable people in .*wrong; the first problem: .*jpg"):
        annotate(tmp_path / "wrong", tmp_path / "labels.npz", given, method="smplify")
    assert len(annotate(photos, tmp_path / "labels.npz", given, method="smplify").labels)


def test_a_folder_with_other_photos_is_other_work(photo_path, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "labels.npz"
    photos.mkdir()
    shutil.copy(photo_path, photos / "b.jpg")
    (photos / "c.jpg").symlink_to("nowhere.jpg")
    assert set(annotate(photos, out, method="smplify").labels.photos) == {"b.jpg"}
    shutil.copy(photo_path, photos / "a.jpg")
    with pytest.raises(WorkError, match="other settings .photos"):
        annotate(photos, out, method="smplify")

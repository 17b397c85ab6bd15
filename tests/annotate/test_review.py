"""Verdicts and corrections: at once on disk, never lost, and exported with the labels."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from annotate_fixtures import write_photos
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.annotate.labels import Labels
from fullframe.annotate.pipeline import annotate
from fullframe.annotate.review import ACCEPTED, REJECTED, SCORES, Review
from fullframe.cli.annotate import review as command
from fullframe.cli.console import UsageError
from fullframe.data.formats.cliff_npz import CLIFFLabels


def make_labels(samples, checkpoint, folder):
    """Photos of four people, and the path of their labels."""
    photos = write_photos(samples, folder)
    annotate(photos, folder / "labels.npz", folder / "people.json", method="none", model=checkpoint)
    return folder / "labels.npz"


@pytest.fixture(scope="module")
def annotated(samples, checkpoint, tmp_path_factory):
    return make_labels(samples, checkpoint, tmp_path_factory.mktemp("annotated"))


@pytest.fixture
def labels(annotated, tmp_path):
    """The path of labels for four people."""
    for path in annotated.parent.iterdir():
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, tmp_path / path.name)
    return tmp_path / annotated.name


def same(a: Labels, b: Labels) -> bool:
    return all(np.array_equal(x, getattr(b, k), equal_nan=x.dtype.kind == "f") for k, x in vars(a).items()
               if isinstance(x, np.ndarray))  # fmt: skip


def test_a_review_resumes(labels):
    review = Review(labels)
    before = review.labels.keypoints[1].copy()
    review.set_verdict(0, ACCEPTED)
    review.set_verdict(1, REJECTED)
    review.set_verdict(2, ACCEPTED)
    review.set_verdict(2, "")
    review.correct(1, before + np.float32([5, -5, 0]))
    review.correct(3, before)
    review.restore(3)
    again = Review(labels.with_name("labels_people.npz"))
    assert again.verdicts.tolist() == [ACCEPTED, "", "", ""]  # the verdict was about another body
    assert again.changed.tolist() == [False, True, False, False]
    assert same(again.labels, review.labels)
    np.testing.assert_array_equal(again.labels.keypoints[1], before + np.float32([5, -5, 0]))
    assert same(Labels.load(labels.with_name("labels_people.npz")), Review(labels)._original)
    with pytest.raises(ValueError, match="unknown verdict 'maybe'"):
        review.set_verdict(0, "maybe")


def test_verdicts_are_on_disk_before_they_count(labels, monkeypatch):
    review = Review(labels)
    written = []

    def fsync(descriptor):
        written.append(review.file.read_bytes().count(b"\n"))
        assert review.verdicts[0] == ""

    monkeypatch.setattr(os, "fsync", fsync)
    review.set_verdict(0, ACCEPTED)
    assert written == [2] and review.verdicts[0] == ACCEPTED


@pytest.mark.parametrize("cut", [1, 20, 45])
def test_a_line_cut_off_by_a_crash_takes_no_other_with_it(labels, cut):
    review = Review(labels)
    review.set_verdict(0, ACCEPTED)
    whole = review.file.read_bytes()
    review.set_verdict(1, REJECTED)
    review.file.write_bytes(review.file.read_bytes()[: len(whole) + min(cut, 30)])
    again = Review(labels)
    assert again.verdicts.tolist() == [ACCEPTED, "", "", ""]
    again.set_verdict(2, REJECTED)
    assert Review(labels).verdicts.tolist() == [ACCEPTED, "", REJECTED, ""]


def test_a_dragged_keypoint_draws_the_body_to_it(labels):
    review = Review(labels)
    for index in range(4):  # an untrained network's labels: now there is a fit to start from
        review.correct(index, review.labels.keypoints[index])
    good = review.labels.reprojection[0]
    assert good < 0.5 * review._original.reprojection[0] and np.isnan(review.labels.agreement[0])
    elbow, wrist = review.projected(0)[[7, 9]]
    points = review.labels.keypoints[0].copy()
    points[9] = [*(elbow + (elbow - wrist)[::-1] * (1, -1)), 1]  # the forearm turned by 90 degrees
    review.correct(0, points)
    away = np.linalg.norm([wrist, review.projected(0)[9]] - points[9, :2], axis=1)
    assert away[1] < 0.5 * away[0]
    hidden = points.copy()
    hidden[5:] = 0
    review.correct(0, hidden)
    assert review.labels.visible[0] == 5 and not review.labels.reliable[0]
    review.restore(0)
    assert review.labels.reprojection[0] == review._original.reprojection[0]
    assert review.labels.reliable[0] == review._original.reliable[0]


def test_accepted_people_are_exported(labels):
    review = Review(labels)
    assert review.export() == []
    review.correct(1, review.labels.keypoints[1])
    review.set_verdict(3, ACCEPTED)
    review.set_verdict(1, ACCEPTED)
    review.set_verdict(0, REJECTED)
    cliff, people = review.export()
    assert (cliff.name, people.name) == ("labels_accepted.npz", "labels_accepted_people.npz")
    accepted = Labels.load(people)
    assert accepted.ids.tolist() == [101, 103] and accepted.reliable.all()
    np.testing.assert_array_equal(accepted.pose, review.labels.pose[[1, 3]])
    assert len(accepted.people("1.jpg", review.body)) == 1
    training = CLIFFLabels(cliff, labels.with_name("photos"))
    assert len(training) == 2 and training[0].pose is not None


def test_people_are_chosen_by_score(labels):
    review = Review(labels)

    @settings(max_examples=30)
    @given(
        values=st.lists(st.floats(0, 1, width=32) | st.just(float("nan")), min_size=4, max_size=4),
        bounds=st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)),
    )
    def check(values, bounds):
        low, high = sorted(bounds)
        review.labels.prior[:] = values
        order = review.choose("everyone", "prior", worst_first=True)
        known = [values[i] for i in order if not np.isnan(values[i])]
        assert sorted(order) == [0, 1, 2, 3] and known == sorted(known, reverse=True)
        assert np.isnan([values[i] for i in order[len(known) :]]).all()
        assert review.choose("everyone", "prior", low, high) == [
            i for i in range(4) if low <= values[i] <= high
        ]

    check()


def test_people_are_chosen_by_verdict(labels):
    review = Review(labels)
    review.set_verdict(0, ACCEPTED)
    review.set_verdict(2, REJECTED)
    review.correct(3, review.labels.keypoints[3])
    by = SCORES[0]
    assert review.choose("not reviewed", by) == [1, 3]
    assert review.choose(ACCEPTED, by) == [0]
    assert review.choose(REJECTED, by) == [2]
    assert review.choose("changed", by) == [3]
    assert review.choose("unreliable", by) == np.flatnonzero(~review.labels.reliable).tolist()


def test_other_files_are_named(labels, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere_people.npz: no such file; give the labels"):
        Review(tmp_path / "nowhere.npz")
    review = Review(labels)
    review.set_verdict(0, ACCEPTED)
    lines = review.file.read_text().splitlines()
    for broken, message in (
        ([json.dumps({"labels": "others"}), lines[1]], "belongs to other labels .* move it away"),
        ([lines[0], json.dumps({"id": 7, "verdict": ACCEPTED})], "line 2: not of a review"),
        ([lines[0], json.dumps({"id": 100, "verdict": "maybe"})], "line 2: not of a review"),
        ([lines[0], json.dumps({"id": 100, "corrected": {"keypoints": [[1]]}})], "line 2: not of a review"),
        ([lines[0], "?", lines[1]], "line 2: damaged"),
    ):
        review.file.write_text("\n".join(broken) + "\n")
        with pytest.raises(ValueError, match=f"labels_review.jsonl.*{message}"):
            Review(labels)


def test_undone_corrections_take_the_verdict_with_them(labels):
    review = Review(labels)
    review.correct(1, review.labels.keypoints[1])
    review.set_verdict(1, ACCEPTED)
    review.restore(1)
    assert review.verdicts[1] == "" and Review(labels).verdicts[1] == ""


def test_two_reviews_of_the_same_labels_do_not_mix(labels):
    first, second = Review(labels), Review(labels)
    first.set_verdict(0, ACCEPTED)
    with pytest.raises(ValueError, match="changed by another review"):
        second.set_verdict(0, REJECTED)
    first.set_verdict(1, REJECTED)
    assert Review(labels).verdicts.tolist() == [ACCEPTED, REJECTED, "", ""]


def test_labels_may_end_in_people(labels, tmp_path):
    for name in ("labels.npz", "labels_people.npz"):
        (tmp_path / name).rename(tmp_path / name.replace("labels", "crowd_people"))
    review = Review(tmp_path / "crowd_people.npz")
    assert review.file.name == "crowd_people_review.jsonl"
    assert Review(tmp_path / "crowd_people_people.npz").file == review.file


def test_mistakes_are_reported(samples, checkpoint, tmp_path, monkeypatch):
    labels = make_labels(samples, checkpoint, tmp_path)
    pytest.importorskip("viser", reason="needs the extra view")
    with pytest.raises(UsageError, match=r"nowhere_people\.npz: no such file"):
        command(tmp_path / "nowhere.npz")
    assert Review(labels).images() == tmp_path / "photos"
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="photos: no such folder"):
        command(labels)
    shutil.rmtree(tmp_path / "labels_work")
    with pytest.raises(UsageError, match="give it after the labels"):
        command(labels)
    monkeypatch.delitem(sys.modules, "fullframe.view.review_page", raising=False)
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(UsageError, match=r"pip install 'fullframe\[view\]'"):
        command(labels)


# Values of a correction in the file, and what the message says about them.
IMPOSSIBLE = [
    ({"pose": [[[[float("nan")] * 3] * 3] * 24]}, "pose has shape"),
    ({"pose": [[[float("nan")] * 3] * 3] * 24}, "pose holds NaN"),
    ({"betas": [1e30] * 11}, "betas holds"),
    ({"betas": []}, "betas has shape"),
    ({"translation": ["a", "b", "c"]}, "could not convert"),
    ({"translation": None}, "translation has shape"),
    ({"keypoints": [[0, 0, 7]] * 17}, "confidences holds 7"),
    ({"reprojection": float("inf")}, "reprojection holds inf"),
]


@pytest.mark.parametrize("changes, message", IMPOSSIBLE)
def test_impossible_corrections_are_refused(labels, changes, message):
    review = Review(labels)
    review.correct(1, review.labels.keypoints[1])
    lines = [json.loads(line) for line in review.file.read_text().splitlines()]
    lines[1]["corrected"].update(changes)
    review.file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match=f"labels_review.jsonl, line 2.*{message}"):
        Review(labels)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_review(labels):
    os.mkfifo(labels.with_name("labels_review.jsonl"))
    with pytest.raises(ValueError, match="labels_review.jsonl: not a regular file"):
        Review(labels)

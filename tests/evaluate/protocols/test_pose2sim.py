"""A recording of several cameras, measured on images and on whole clips."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pose2sim_project import BACKGROUND, FRAMES, make_project

from fullframe.data.formats.pose2sim import Pose2Sim
from fullframe.evaluate import clip_predictions as clips
from fullframe.evaluate.benchmark import evaluate_model
from fullframe.evaluate.clip_predictions import predict_clips
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import load_predictor
from fullframe.evaluate.protocols.pose2sim import CLIPS, measure_clips
from fullframe.io.workdir import WorkError
from fullframe.results.clip import ROWS


class Contrast:
    """A detector of whatever is not the background."""

    name = "contrast"

    def __init__(self, blind: tuple[int, ...] = ()) -> None:
        self.blind, self.calls = blind, 0

    def boxes(self, image):
        self.calls += 1
        y, x = np.nonzero(np.abs(image.astype(int) - BACKGROUND).max(axis=2) > 40)
        box = np.float32([[x.min(), y.min(), x.max(), y.max()]])
        return box, np.full(1, 0.9, np.float32)

    def keypoints(self, image, boxes):
        """Nobody's joints are seen."""
        return np.zeros((len(boxes), 17, 3), np.float32)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("pose2sim"))


@pytest.fixture
def recoverer(checkpoint):
    recoverer = load_predictor(checkpoint)
    recoverer.detector = Contrast()
    return recoverer


def test_images_are_measured(project, checkpoint, tmp_path):
    report = evaluate_model("pose2sim", checkpoint, project.trial, tmp_path / "out")
    assert report.people == 3 * 4  # of 12 frames at 30 frames/s, every third
    assert np.isfinite(list(report.scores.values.values())).all()
    assert "trial_0-12.trc: axes y-up, as Pose2Sim writes them." in report.notes
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert content["joints"]["left_wrist"]["low"] > 0
    assert (tmp_path / "out" / "worst.jpg").is_file()
    assert len((tmp_path / "out" / "sequences.csv").read_text().splitlines()) == 1 + 3


def test_people_without_keypoints_do_not_end_the_run(project, checkpoint, tmp_path, monkeypatch):
    """A fit to people of whom no joint is found gives a body all the same."""
    monkeypatch.setattr("fullframe.recovery.photo.load_detector", lambda name: Contrast())
    for model, refine in ((checkpoint, True), ("keypoint-fit", False)):
        out = tmp_path / f"{refine}"
        report = evaluate_model("pose2sim", model, project.trial, out, refine=refine)
        assert np.isfinite(report.scores.people["MPJPE mm"]).sum() == 3 * 4


def test_whole_clips_go_through_the_steps_of_run(project, recoverer, tmp_path):
    samples = CLIPS.open(project.trial)
    reports = []
    record = reports.append
    found = predict_clips(
        recoverer,
        samples,
        tmp_path / "clips",
        {},
        enlarge=1.1,
        progress=lambda stage, *counts: record(counts),
    )
    assert len(found) == len(samples) == 3 * FRAMES
    assert reports == [(FRAMES * n, FRAMES * 3) for n in (1, 2, 3)]
    assert list(found.names) == [sample.name for sample in samples]
    assert np.isfinite(found.pose).all()
    for start in range(0, len(found), FRAMES):  # a person in a clip has one shape
        assert np.ptp(found.betas[start : start + FRAMES], axis=0).max() == 0
    # The bodies stand where the people are: their boxes are found in undistorted pictures.
    root = found.translation[:, :2] / found.translation[:, 2:] * found.focal + found.principal_point
    assert (found.boxes[:, :2] - 20 < root).all() and (root < found.boxes[:, 2:] + 20).all()
    scores = measure_clips(found, BodyCache("open"))
    assert scores.values["found %"] == 100
    assert np.isfinite(list(scores.values.values())).all()


def test_clips_are_not_recovered_twice(project, recoverer, tmp_path, monkeypatch):
    samples = CLIPS.open(project.trial)
    first = predict_clips(recoverer, samples, tmp_path / "clips", {"model": "a"}, enlarge=1.1)
    files = sorted((tmp_path / "clips").glob("*/clip.npz"))
    assert len(files) == 3
    files[1].write_bytes(b"PK")
    recovered = []
    real = clips._recovered

    def counted(recoverer, video, camera):
        recovered.append(video.name)
        return real(recoverer, video, camera)

    monkeypatch.setattr(clips, "_recovered", counted)
    again = predict_clips(recoverer, samples, tmp_path / "clips", {"model": "a"}, enlarge=1.1)
    assert recovered == ["cam_02.mp4"]
    np.testing.assert_allclose(again.pose, first.pose, atol=1e-6)
    with pytest.raises(WorkError, match="model: a, now b"):
        predict_clips(recoverer, samples, tmp_path / "clips", {"model": "b"}, enlarge=1.1)


def test_people_who_are_not_found_are_counted(project, recoverer, tmp_path, monkeypatch):
    """In one of three clips the detector finds another person, far from the truth."""
    boxes = recoverer.detector.boxes

    def elsewhere(image):
        found, scores = boxes(image)
        person_is_narrow = found[0, 2] - found[0, 0] < 40  # of the camera that sees the side
        return (np.float32([[0, 0, 20, 60]]) if person_is_narrow else found), scores

    monkeypatch.setattr(recoverer.detector, "boxes", elsewhere)
    samples = CLIPS.open(project.trial)
    found = predict_clips(recoverer, samples, tmp_path, {}, enlarge=1.1)
    missed = ~np.isfinite(found.pose).all(axis=(1, 2, 3))
    assert 0 < missed.sum() < len(found)
    scores = measure_clips(found, BodyCache("open"))
    assert scores.values["found %"] == pytest.approx(100 * (~missed).mean())
    np.testing.assert_array_equal(np.isnan(scores.people["MPJPE mm"]), missed)


def test_the_right_person_is_compared(project, recoverer, tmp_path):
    """Two people in a frame are assigned by their boxes, each once, whatever the order."""
    samples = [*Pose2Sim(project.trial)][:1] * 2
    clip = clips._recovered(recoverer, samples[0].image.video, samples[0].image.camera)
    rows = np.r_[0, 0]
    twice = clip.take(slice(0, 1))
    values = {name: getattr(twice, name)[rows].copy() for name in ("boxes", "pose", "betas", "translation")}
    values["boxes"][1] += 400
    values["translation"][1] += 7
    two = type(clip)(
        **{
            **twice._values(),
            **{name: getattr(twice, name)[rows] for name in ROWS},
            **values,
            "frames": np.zeros(2, np.int64),
            "track_ids": np.arange(2),
        }
    )
    from dataclasses import replace

    people = [replace(samples[0], box=samples[0].box + 400), samples[0]]
    found = clips._matched(two, people)
    np.testing.assert_allclose(found.translation[0] - found.translation[1], [7, 7, 7], atol=1e-4)


def test_the_command_measures_clips(project, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("fullframe.recovery.photo.load_detector", lambda name: Contrast())
    report = evaluate_model("pose2sim-clips", checkpoint, project.trial, tmp_path / "out")
    assert report.people == 3 * FRAMES and report.scores.values["found %"] == 100
    assert "found %" in report.markdown()
    assert (tmp_path / "out" / "worst.jpg").is_file()


def test_a_folder_without_anybody(checkpoint, tmp_path):
    with pytest.raises(FileNotFoundError, match="triangulate first"):
        evaluate_model("pose2sim", checkpoint, tmp_path, tmp_path / "out")
    assert torch.is_grad_enabled() and not Path(tmp_path / "out").exists()

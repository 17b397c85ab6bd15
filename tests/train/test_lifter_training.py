"""Training on simulated detections."""

import csv
from pathlib import Path

import torch
from torch.testing import assert_close

from fullframe.models.lifter import LifterNetwork, RayEstimate, own_frame, place_of
from fullframe.synth.detections import Simulator
from fullframe.train.lifter_training import LifterLosses, LifterTrainer, batches

SMALL = {"width": 32, "blocks": 1}


def measured(net: LifterNetwork) -> dict[str, float]:
    return {"mean of a weight": net.inputs.weight.mean().item()}


def test_the_truth_has_zero_cost():
    truth = Simulator(1).draw(200)
    frame = own_frame(truth.keypoints, truth.bbox_info)
    root = frame.rotation.mT @ truth.pose[:, 0]
    place = place_of(frame, (frame.rotation.mT @ truth.translation[..., None])[..., 0])
    log_variance = torch.full((len(root), 24), -4.0)
    pose = torch.cat((root[:, None], truth.pose[:, 1:]), 1)
    _, terms = LifterLosses()(RayEstimate(pose, truth.betas, place, log_variance), frame, truth)
    for name in ("rotation", "joints", "betas", "place", "reprojection"):
        assert terms[name] < 5e-3, name


def test_likelihood_is_best_where_the_variance_is_the_errors():
    truth = Simulator(1).draw(200)
    frame = own_frame(truth.keypoints, truth.bbox_info)
    net = LifterNetwork(**SMALL)
    estimate = net.estimate(frame, truth.keypoints[..., 2])
    losses = LifterLosses()
    log_variance = torch.zeros(24, requires_grad=True)
    optimizer = torch.optim.Adam([log_variance], 0.1)
    for _ in range(200):
        held = estimate._replace(log_variance=log_variance.expand(len(frame.spread), 24))
        loss = losses(held, frame, truth)[1]["uncertainty"]
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()
    error = estimate.pose[:, 1].mT @ truth.pose[:, 1]
    turn = ((error.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).acos()
    assert_close(log_variance[1].exp(), turn.square().mean() / 3, rtol=0.1, atol=0)


def test_batches_have_their_size_and_nobody_twice():
    source = batches(Simulator(1), 700)
    first, second = next(source), next(source)
    assert len(first.betas) == len(second.betas) == 700
    everyone = torch.cat((first.pose, second.pose)).flatten(1)
    assert len(everyone.unique(dim=0)) == 1400


def test_a_stopped_run_resumes(tmp_path: Path):
    run = LifterTrainer(tmp_path, SMALL, batch=64)
    run.run(64 * 20, measured, every=64 * 10)
    again = LifterTrainer(tmp_path, batch=64)
    assert (again.people, again.steps, again.options) == (64 * 20, 20, SMALL)
    for name, value in run.net.state_dict().items():
        assert_close(again.net.state_dict()[name], value)
    again.run(64 * 40, measured, every=64 * 10, cool=True)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["people"]) for row in rows] == [640, 1280, 1920, 2560]
    assert float(rows[-1]["joints"]) < float(rows[0]["joints"])

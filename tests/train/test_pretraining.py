import itertools

import tiny
import torch
from tiny import StickPeople, batches

from fullframe.body import load_body
from fullframe.body.joint_sets import HEATMAP_SETS, JOINT_SETS
from fullframe.evaluate import metrics
from fullframe.losses.objective import LossWeights, Objective
from fullframe.models import create_model
from fullframe.models.heatmap_pool import NUM_HEATMAPS
from fullframe.train import pretraining

CONFIG = tiny.configure(
    network__encoder="tiny", network__crop=(64, 48), batch_size=8, workers=0, network__num_betas=11
)


def test_joints_alone_teach_the_regressor(monkeypatch):
    monkeypatch.setattr(pretraining, "PASSES", 50)
    torch.manual_seed(0)
    body = load_body(num_betas=11)
    losses = Objective(body, LossWeights(pose=10.0), "l1")
    net = create_model(
        "cliff", encoder="resnet18", crop=(64, 48), num_betas=11, pool="heatmaps", regressor_act="relu"
    )
    stages: list[tuple[str, int, int]] = []
    encoder = {name: value.clone() for name, value in net.encoder.state_dict().items()}
    errors = []
    held_out = next(batches(CONFIG, StickPeople())(1000, 0, 1))
    held_out = held_out.take(held_out.has_pose.nonzero()[:, 0])
    places = torch.zeros(len(held_out), NUM_HEATMAPS, 3)
    places[:, : len(JOINT_SETS[HEATMAP_SETS[0]])] = held_out.keypoints["coco17"]
    for _ in range(2):
        features = pretraining.simulate_detection_noise(
            places, net.crop, torch.Generator().manual_seed(1)
        ).flatten(1)
        cells = torch.zeros(len(features), net.encoder.features - features.shape[1])
        with torch.inference_mode():
            found = net.regress(torch.cat((cells, features), dim=1), held_out.bbox_info)
        errors.append(float(metrics.rotation_error(found.pose[:, 17], held_out.pose[:, 17]).mean()))
        if not stages:
            people = batches(CONFIG, StickPeople())(0, 0, 1)
            pretraining.pretrain_regressor(net, losses, people, 64, 0, lambda *values: stages.append(values))
    assert errors[1] < 0.7 * errors[0], errors
    # The encoder is as before, and what it will say beside the joints has no influence yet.
    assert all(torch.equal(value, encoder[name]) for name, value in net.encoder.state_dict().items())
    assert not net.regressor.fc1.weight[:, : cells.shape[1]].any()
    assert [key for key, _ in itertools.groupby(stage for stage, *_ in stages)] == [
        "collecting labels",
        "pre-training on joints",
    ]
    assert stages[-1][1] == stages[-1][2]


def test_simulated_detection_noise():
    joints = torch.zeros(4000, 6, 3)
    joints[..., :3] = torch.tensor([0.3, -0.4, 1.0])
    joints[:, 4] = torch.tensor([5.0, -5.0, 1.0])  # far outside
    joints[:, 5, 2] = 0  # unknown
    seen = pretraining.simulate_detection_noise(joints, (128, 96), torch.Generator().manual_seed(0))
    assert seen.shape == joints.shape
    x, y, spread = seen.unbind(2)
    assert x.abs().max() <= 0.75 and y.abs().max() <= 1 and spread.min() > 0
    assert (x[:, 0].median() - 0.3).abs() < 0.01 and (y[:, 0].median() + 0.4).abs() < 0.01
    assert (x[:, 4].median() - 0.75).abs() < 1e-6 and (y[:, 4].median() + 1).abs() < 1e-6
    assert spread[:, 5].min() > 0.19
    # The spread says how far a joint may be off.
    sure = spread[:, 0] < 0.04
    assert (y[sure, 0] + 0.4).abs().mean() < 0.5 * (y[~sure, 0] + 0.4).abs().mean()

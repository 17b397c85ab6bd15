"""A network and people small enough to train in a test; as a script, training runs of them.

    python tiny.py config.toml ...

Without what differs between one process and several: dropout, and statistics over the batch.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from fullframe.body import JOINT_SETS, BodyModel, load_body
from fullframe.data.augment import Augmentation
from fullframe.data.mixture import Mixture, loader
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera
from fullframe.geometry.rotation import rotvec_to_matrix
from fullframe.losses.objective import Objective
from fullframe.models.encoder import ENCODERS, IMAGENET_NORMALISATION, EncoderInfo
from fullframe.train import loop
from fullframe.train.config import TrainConfig, read_config, update_config

ENCODER = EncoderInfo("test_resnet.r160_in1k", 96, IMAGENET_NORMALISATION)

CAMERA = Camera.from_focal(150, (160, 120))


@pytest.fixture(autouse=True, scope="module")
def tiny_encoder():
    """A network that trains in seconds, known only where this fixture is imported."""
    ENCODERS["tiny"] = ENCODER
    yield
    del ENCODERS["tiny"]


class StickPeople(Sequence[Sample]):
    """People with raised or lowered arms as coloured lines; every second one without 3D labels."""

    def __init__(self, number: int = 32) -> None:
        torch.manual_seed(7)
        body = load_body(num_betas=11)
        rotvec = 0.2 * torch.randn(number, 24, 3)
        rotvec[:, 0] = torch.tensor([np.pi, 0.0, 0.0]) + 0.2 * torch.randn(number, 3)
        rotvec[:, 16:18, 2] += 2 * torch.rand(number, 2) - 1
        self.pose, self.betas = rotvec_to_matrix(rotvec), torch.randn(number, 11)
        self.translation = torch.tensor([0.0, 0.2, 3.5]) + 0.2 * torch.randn(number, 3)
        joints = Objective(body).predict_joints(self.betas, self.pose, ("smpl24", "coco17"))
        self.joints = {name: (x + self.translation[:, None]).numpy() for name, x in joints.items()}

    def __len__(self) -> int:
        return len(self.pose)

    def __getitem__(self, index: int) -> Sample:
        pixels = np.full((CAMERA.size[1], CAMERA.size[0], 3), 40, np.uint8)
        ones = np.ones((24, 1), np.float32)
        xyz = self.joints["coco17"][index]
        xy = xyz[:, :2] / xyz[:, 2:] * CAMERA.focal + CAMERA.principal_point
        for k, (a, b) in enumerate(JOINT_SETS["coco17"].bones):
            color = (255 * (k % 2), 255 * (k // 2 % 2), 40 * (k // 4))
            cv2.line(pixels, xy[a].round().astype(int).tolist(), xy[b].round().astype(int).tolist(), color, 3)
        known = index % 2 == 0
        return Sample(
            pixels,
            CAMERA,
            np.concatenate((xy.min(0) - 4, xy.max(0) + 4)).astype(np.float32),
            keypoints={"coco17": np.concatenate((xy, ones[:17]), 1).astype(np.float32)},
            joints={"smpl24": np.concatenate((self.joints["smpl24"][index], ones), 1)} if known else {},
            pose=self.pose[index].numpy() if known else None,
            betas=self.betas[index].numpy() if known else None,
            translation=self.translation[index].numpy() if known else None,
        )


def configure(config: TrainConfig | None = None, **settings) -> TrainConfig:
    """A configuration with other values: configure(config, optim__learning_rate=1e-3)."""
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    with patch.dict(ENCODERS, tiny=ENCODER):
        return update_config(config or TrainConfig("run"), changes)


def body_of(config: TrainConfig) -> BodyModel:
    network = config.network
    return load_body(network.body, network.body_path or None, network.num_betas)


def batches(config: TrainConfig, people: Sequence[Sample] | None = None) -> loop.Batches:
    """What `fit` takes, for these people."""
    mixture = Mixture(
        {"sticks": people or StickPeople()},
        {"sticks": 1.0},
        config.network.crop,
        Augmentation(jpeg=0, blur=0),
        config.seed,
        config.network.num_betas,
    )
    return lambda start, rank, world: loader(
        mixture, config.batch_size // world, start, rank, world, config.workers
    )


def build_still(config: TrainConfig, build=loop.build_network) -> nn.Module:
    """The network without dropout, its batch normalisation for good in evaluation mode."""
    model = build(config)
    model.regressor.dropout.p = 0.0
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = _fixed_norm.__get__(module)
    return model


def _fixed_norm(self: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    mean, var, weight, bias = self.running_mean, self.running_var, self.weight, self.bias
    x = nn.functional.batch_norm(x, mean, var, weight, bias, False, 0.0, self.eps)
    return self.act(self.drop(x)) if hasattr(self, "act") else x


def table(path: Path) -> list[dict[str, float]]:
    """The rows of a CSV file of numbers."""
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    ENCODERS["tiny"] = ENCODER
    loop.build_network = build_still
    for path in sys.argv[1:]:
        options = read_config(path, ())
        loop.fit(options, body_of(options), batches(options), ("sticks",))

"""True bodies of some people, and a batch of their labels."""

import math

import pytest
import roma
import torch

from fullframe.body import load_body
from fullframe.data.batch import Batch
from fullframe.losses.objective import Objective
from fullframe.models import create_model
from fullframe.models.crop_regressor import Prediction


@pytest.fixture(scope="module")
def body():
    return load_body(num_betas=11)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("cliff", encoder="resnet18", crop=(64, 48), num_betas=11)


def people(body, number=4, seed=0):
    """True bodies of some people, and where their crops sit."""
    torch.manual_seed(seed)
    pose = roma.rotvec_to_rotmat(0.3 * torch.randn(number, 24, 3))
    pose[:, 0] = roma.rotvec_to_rotmat(torch.tensor([math.pi, 0.0, 0.0]) + 0.3 * torch.randn(number, 3))
    betas = torch.randn(number, body.num_betas)
    weak_camera = torch.tensor([0.85, 0.02, 0.15]).expand(number, 3).clone()
    bbox_info = torch.cat((0.3 * torch.randn(number, 2), 0.2 + 0.3 * torch.rand(number, 1)), 1)
    return Prediction(pose, betas, weak_camera), bbox_info


def labelled(body, model, sets=("coco17", "smpl24"), number=4, seed=0):
    """A batch and the prediction that is right for it."""
    truth, bbox_info = people(body, number, seed)
    joints = Objective(body).predict_joints(truth.betas, truth.pose, sets)
    ones = torch.ones(number)
    batch = Batch(
        crops=torch.zeros(number, 64, 48, 3, dtype=torch.uint8),
        bbox_info=bbox_info,
        keypoints={
            s: torch.cat((model.project(x, truth, bbox_info), torch.ones_like(x[..., :1])), -1)
            for s, x in joints.items()
        },
        joints={s: torch.cat((x + 7, torch.ones_like(x[..., :1])), -1) for s, x in joints.items()},
        pose=truth.pose,
        has_pose=ones,
        betas=truth.betas,
        has_betas=ones,
        source=torch.zeros(number, dtype=torch.int64),
    )
    return batch, truth

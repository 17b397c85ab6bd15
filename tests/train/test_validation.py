from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from fullframe.body import load_body
from fullframe.data.mixture import DataError
from fullframe.geometry.box import box_from_xyxy
from fullframe.models.crop_regressor import Prediction, box_to_bbox_info
from fullframe.train.validation import Validation, hold_out


class Oracle(nn.Module):
    """Returns given predictions, for people in order."""

    def __init__(self, pose, betas, weak_camera):
        super().__init__()
        self.here = nn.Parameter(torch.zeros(1))
        self.answers = Prediction(pose, betas, weak_camera)

    def prepare(self, crops):
        return crops

    def forward(self, crops, bbox_info):
        rows = [(self.bbox_info - place).norm(dim=1).argmin().item() for place in bbox_info]
        return Prediction(*(x[rows] for x in self.answers))


@pytest.fixture(scope="module")
def body():
    return load_body(num_betas=11)


@pytest.fixture(scope="module")
def people():
    return tiny.StickPeople(80)  # more than are predicted at a time


def oracle(people, labelled):
    """Right in everything for the people with these numbers."""
    boxes = np.stack([people[i].box for i in labelled])
    bbox_info = box_to_bbox_info(box_from_xyxy(boxes, 4 / 3, 1.2), tiny.CAMERA)
    x, y, z = people.translation[labelled].T
    scale = 2 / (bbox_info[:, 2] * z)
    aside = 2 * bbox_info[:, :2] / (bbox_info[:, 2] * scale)[:, None]
    camera = torch.stack((scale, x - aside[:, 0], y - aside[:, 1]), dim=1)
    model = Oracle(people.pose[labelled].clone(), people.betas[labelled].clone(), camera)
    model.bbox_info = bbox_info
    return model


def test_the_truth_has_no_error_and_known_errors_are_found(body, people):
    numbers = list(range(0, 80, 2))  # those with 3D labels
    samples = [people[i] for i in numbers]
    validate = Validation(body, {"sticks": samples}, 100, (64, 48))
    model = oracle(people, numbers)
    right = validate(model)
    assert list(right) == ["sticks_mpjpe_mm", "sticks_pa_mpjpe_mm", "sticks_root_degrees"]
    assert all(value < 0.01 for value in right.values())
    # Turning everyone by 10 degrees about the camera's axis is what PA-MPJPE cannot see.
    angle = np.radians(10)
    turn = torch.tensor([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    model.answers.pose[:, 0] = turn.float() @ model.answers.pose[:, 0]
    wrong = validate(model)
    assert wrong["sticks_root_degrees"] == pytest.approx(10, abs=1e-3)
    assert wrong["sticks_pa_mpjpe_mm"] < 0.01 and wrong["sticks_mpjpe_mm"] > 10


def test_photos_that_cannot_be_read_are_left_out(people, tmp_path, caplog):
    gone = [replace(people[0], image=tmp_path / f"{i}.jpg") for i in range(2)]
    some = [people[0], *gone, people[2], people[4]]
    found = hold_out(some, 2, (64, 48))
    expected = hold_out([people[0], people[2]], 2, (64, 48))
    assert torch.equal(found.batch.crops, expected.batch.crops) and len(found.sides) == 2
    assert "0.jpg" in caplog.text and "1.jpg" in caplog.text
    with pytest.raises(DataError, match=r"no held-out image can be read(.|\n)*1\.jpg"):
        hold_out(gone, 2, (64, 48))


def test_pck_is_in_the_full_frame(body, people):
    numbers = list(range(1, 80, 2))  # 2D labels only
    samples = [people[i] for i in numbers]
    validate = Validation(body, {"sticks": samples}, 100, (64, 48))
    model = oracle(people, numbers)
    assert validate(model) == {"sticks_pck10": 1.0}
    # A tenth of the box's longer side; the box is the crop over 1.2 in height or, if wider, in width.
    held_out = hold_out(samples, 100, (64, 48))
    depth = people.translation[numbers, 2]
    for part, expected in ((0.09, 1.0), (0.11, 0.0)):
        moved = oracle(people, numbers)
        shift = part * torch.from_numpy(held_out.sides).float() * moved.bbox_info[:, 2] / 2 * depth
        moved.answers.weak_camera[:, 1] += shift
        # Joints nearer or farther than the body's middle move a little more or less than it.
        assert validate(moved)["sticks_pck10"] == pytest.approx(expected, abs=0.1)

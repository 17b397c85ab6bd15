"""From detected keypoints to bodies."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fullframe.geometry.camera import Camera
from fullframe.models.checkpoint import CheckpointError, read_card, save_checkpoint
from fullframe.models.lift_people import lift_people, lifted_share, load_lifter
from fullframe.models.lifter import LifterNetwork

CAMERA = Camera.from_focal(800, (640, 480))
BOXES = np.array([[100, 50, 220, 400], [300, 80, 420, 460]])


@pytest.fixture
def lifter() -> LifterNetwork:
    torch.manual_seed(0)
    net = LifterNetwork(width=32, blocks=1)
    torch.nn.init.normal_(net.outputs.weight, std=0.05)
    return net.eval()


def keypoints() -> np.ndarray:
    rng = np.random.default_rng(0)
    places = BOXES[:, None, :2] + rng.random((2, 17, 2)) * (BOXES[:, None, 2:] - BOXES[:, None, :2])
    return np.concatenate((places, rng.uniform(0.4, 0.9, (2, 17, 1))), 2)


def test_a_saved_lifter_predicts_the_same(tmp_path: Path, lifter: LifterNetwork):
    path = tmp_path / "mine.safetensors"
    save_checkpoint(lifter, path, body="open", data="none", licence="Apache-2.0", metrics={})
    again = load_lifter(path)
    assert read_card(path).model == "lifter"
    ours, theirs = (lift_people(net, keypoints(), BOXES, CAMERA) for net in (again, lifter))
    for one, other in zip((*ours.bodies, ours.variance), (*theirs.bodies, theirs.variance), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_models_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match="not a lifter"):
        load_lifter(Path("cliff-lite"))


def test_bodies_are_where_the_keypoints_are(lifter: LifterNetwork):
    bodies = lift_people(lifter, keypoints(), BOXES, CAMERA).bodies
    x, y, z = bodies.translation.T
    at = np.stack((x / z, y / z), 1) * 800 + CAMERA.principal_point
    assert (z > 0).all() and (np.abs(at - keypoints()[..., :2].mean(1)) < 200).all()


def test_pixels_need_not_be_square_and_scale_does_not_matter(lifter: LifterNetwork):
    one = lift_people(lifter, keypoints(), BOXES, CAMERA).bodies
    larger = Camera.from_focal(1600, (1280, 960))
    twice = lift_people(lifter, keypoints() * [2, 2, 1], BOXES * 2, larger).bodies
    np.testing.assert_allclose(twice.translation, one.translation, rtol=1e-4)
    wide = Camera.from_intrinsics([810, 790, 320, 240], (640, 480))
    stretched = keypoints()
    stretched[..., :2] = (stretched[..., :2] - [320, 240]) * [810 / 800, 790 / 800] + [320, 240]
    found = lift_people(lifter, stretched, BOXES, wide).bodies
    np.testing.assert_allclose(found.pose, one.pose, atol=1e-3)


def test_nobody(lifter: LifterNetwork):
    bodies = lift_people(lifter, np.zeros((0, 17, 3)), np.zeros((0, 4)), CAMERA).bodies
    assert bodies.pose.shape == (0, 24, 3, 3) and bodies.translation.shape == (0, 3)


def test_the_lifter_counts_more_where_limbs_are_seen():
    confidence = torch.zeros(5, 17)
    confidence[:, 5:] = torch.tensor([0.3, 0.6, 0.7, 0.9, 0.9])[:, None]
    confidence[0, :5] = 1  # of the face
    determined = torch.tensor([True, True, True, True, False])
    assert lifted_share(confidence, determined).tolist() == pytest.approx([0.5, 0.5, 0.75, 1, 0])

"""Simulated detections: exact truth, and noise with the statistics that were measured."""

import pytest
import torch
from torch.testing import assert_close

from fullframe.body import load_body
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.geometry.camera import project
from fullframe.geometry.rotation import rotvec_to_matrix
from fullframe.synth.detections import COCO, FastBody, SimulatedDetections, Simulator


@pytest.fixture(scope="module")
def people() -> SimulatedDetections:
    return Simulator(7).draw(6000)


def errors(people: SimulatedDetections) -> torch.Tensor:
    """(N, 17) of the detections from the body's joints, as shares of the crop's height."""
    rays = project(people.joints + people.translation[:, None], 1.0) - people.bbox_info[:, None, :2]
    return (rays / people.bbox_info[:, None, 2:] - people.keypoints[..., :2] / 2).norm(dim=2)


def test_fast_body_is_the_body():
    model = KeypointRegressor(load_body("open", num_betas=11), "coco17")
    betas, pose = torch.randn(5, 11), rotvec_to_matrix(0.5 * torch.randn(5, 24, 3))
    state = model(betas, pose)
    coco, joints = FastBody()(betas, pose)
    assert_close(coco, state.keypoints, atol=1e-5, rtol=0)
    assert_close(joints, state.joints, atol=1e-5, rtol=0)


def test_truth_is_consistent(people: SimulatedDetections):
    coco = FastBody()(people.betas, people.pose)[0]
    assert_close(coco, people.joints, atol=1e-4, rtol=0)
    assert_close(torch.linalg.det(people.pose), torch.ones(people.pose.shape[:2]), atol=1e-3, rtol=0)
    assert all(values.isfinite().all() for values in people)


def test_the_same_seed_gives_the_same_people():
    one, same, other = Simulator(3).draw(50), Simulator(3).draw(50), Simulator(4).draw(50)
    assert torch.equal(one.keypoints, same.keypoints) and torch.equal(one.pose, same.pose)
    assert one.keypoints.shape != other.keypoints.shape or not torch.equal(one.keypoints, other.keypoints)


def test_sure_joints_are_right_and_unsure_ones_are_not(people: SimulatedDetections):
    error, confidence = errors(people), people.keypoints[..., 2]
    # benchmarks/detector_noise.py: medians of .01 to .03 above a confidence of .5.
    assert 0.008 < error[confidence > 0.6].median() < 0.022
    assert 0.02 < error[(confidence > 0.3) & (confidence < 0.4)].median() < 0.06
    assert error[(confidence > 0) & (confidence < 0.1)].median() > 0.1
    assert 0.75 < (error[people.visible] < 0.1).float().mean() < 0.9


def test_what_is_out_of_view_is_not_sure(people: SimulatedDetections):
    confidence = people.keypoints[..., 2]
    ankles = [COCO.names.index(f"{side}_ankle") for side in ("left", "right")]
    seen, hidden = (
        confidence[:, ankles][mask] for mask in (people.visible[:, ankles], ~people.visible[:, ankles])
    )
    assert seen.median() > 0.4 and hidden.median() < 0.1
    assert 0.1 < (~people.visible[:, ankles]).float().mean() < 0.6


def test_missing_keypoints_say_nothing_of_their_place(people: SimulatedDetections):
    missing = people.keypoints[people.keypoints[..., 2] == 0]
    assert len(missing) > 0 and (missing == 0).all()


def test_left_and_right_are_sometimes_swapped(people: SimulatedDetections):
    rays = project(people.joints + people.translation[:, None], 1.0) - people.bbox_info[:, None, :2]
    places = 2 * rays / people.bbox_info[:, None, 2:]
    knees = [13, 14]
    apart = (places[:, 13] - places[:, 14]).norm(dim=1) > 0.25
    sure = (people.keypoints[:, knees, 2] > 0.3).all(1) & people.visible[:, knees].all(1) & apart
    crossed = (people.keypoints[:, knees, :2] - places[:, [14, 13]]).norm(dim=2).amax(1) < 0.12
    assert 0.01 < crossed[sure].float().mean() < 0.1


def test_people_are_before_the_camera_and_mostly_in_their_crop(people: SimulatedDetections):
    points = people.joints + people.translation[:, None]
    assert (points[..., 2] > 0.15).all()
    inside = people.keypoints[..., :2].abs().amax(2) < 1.05
    assert inside[people.keypoints[..., 2] > 0.5].float().mean() > 0.95


def test_children_adults_and_every_heading_occur(people: SimulatedDetections):
    kids = (people.betas[:, 10] > 0).float().mean()
    assert 0.04 < kids < 0.09
    facing = people.pose[:, 0, 2, 2]  # of the body's z axis along the camera's
    assert (facing > 0.5).float().mean() > 0.15 and (facing < -0.5).float().mean() > 0.3
    upright = people.pose[:, 0, 1, 1] < -0.5  # the camera's y points down
    lying = people.pose[:, 0, 1, 1].abs() < 0.3
    assert upright.float().mean() > 0.6 and lying.float().mean() > 0.03

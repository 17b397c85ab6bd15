import math

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.geometry.camera import project
from fullframe.models import create_model

DIRECTIONS = torch.tensor(
    [[0.0, 0.0], [0.5, 0.0], [-0.5, 0.1], [0.2, 0.4], [-0.3, -0.4]], dtype=torch.float64
)


@pytest.fixture(scope="module")
def nets():
    """CLIFF and its ray-relative variant with the same weights, blind to the location otherwise."""
    torch.manual_seed(0)
    options = {"encoder": "resnet18", "crop": (32, 32), "bbox_info_input": False}
    cliff, ray = (create_model(name, **options).eval().double() for name in ("cliff", "ray"))
    torch.nn.init.xavier_uniform_(cliff.regressor.decpose.weight)
    ray.load_state_dict(cliff.state_dict())
    return cliff, ray


def run(net, directions):
    crop = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bbox_info = torch.cat((directions, torch.full_like(directions[:, :1], 0.3)), dim=1)
    with torch.no_grad():
        return net(crop.expand(len(directions), -1, -1, -1), bbox_info)


def turned_camera(direction):
    """World to camera of a camera at the same place that looks along the ray: the shortest turn there."""
    ray = torch.cat((direction, torch.ones(1))) / math.sqrt(float(direction @ direction) + 1)
    axis = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]).double(), ray)
    angle = torch.arccos(ray[2])
    turn = axis / axis.norm() * angle if angle > 0 else axis
    return ray, roma.rotvec_to_rotmat(turn).mT


def appearances(pose):
    """What a camera turned towards each person sees of a body with that root rotation, 4 m away."""
    body = torch.tensor([[0.3, 0.5, 0.1], [-0.3, 0.4, 0.2], [0.0, -0.8, 0.0], [0.1, 0.7, -0.1]]).double()
    seen = []
    for direction, root in zip(DIRECTIONS, pose[:, 0], strict=True):
        ray, view = turned_camera(direction)
        seen.append(project((body @ root.mT + 4 * ray) @ view.mT, 1.0))
    return torch.stack(seen)


def test_same_crop_means_same_appearance_along_every_ray(nets):
    """Equal crops give bodies that look equal to a camera turned towards them.

    CLIFF without its bbox_info input gives equal rotations in the camera frame, and those look different.
    """
    cliff, ray = nets
    seen = appearances(run(ray, DIRECTIONS).pose)
    torch.testing.assert_close(seen, seen[:1].expand_as(seen), atol=1e-12, rtol=0)
    seen = appearances(run(cliff, DIRECTIONS).pose)
    assert (seen[1:] - seen[0]).abs().amax(dim=(1, 2)).min() > 0.02


def test_bodies_that_look_the_same_have_the_same_network_target(nets):
    """The other way round: turn camera and body together, and what the network itself has to state stays."""
    _, ray = nets
    stated = run(ray, DIRECTIONS[:1]).pose[0, 0]  # on the axis the result is what the network states
    for direction, root in zip(DIRECTIONS, run(ray, DIRECTIONS).pose[:, 0], strict=True):
        _, view = turned_camera(direction)
        torch.testing.assert_close(view @ root, stated, atol=1e-12, rtol=0)


def test_only_the_root_rotation_differs_from_cliff_and_nothing_on_the_axis(nets):
    cliff, ray = (run(net, DIRECTIONS) for net in nets)
    assert torch.equal(ray.pose[:, 1:], cliff.pose[:, 1:])
    assert torch.equal(ray.betas, cliff.betas) and torch.equal(ray.weak_camera, cliff.weak_camera)
    torch.testing.assert_close(ray.pose[0, 0], cliff.pose[0, 0], atol=1e-15, rtol=0)
    angles = torch.rad2deg(roma.rotmat_geodesic_distance(ray.pose[:, 0], cliff.pose[:, 0]))
    off_axis = torch.rad2deg(torch.arctan(DIRECTIONS.norm(dim=1)))
    torch.testing.assert_close(angles, off_axis, atol=1e-5, rtol=0)


@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(-math.pi, math.pi))
@settings(max_examples=25)
def test_turning_the_image_about_its_principal_point_turns_the_result(nets, x, y, angle):
    """A roll of the camera by Rz: the direction turns, and the root in the rolled frame is Rz A(d) R.

    The network of the rolled crop has to state Rz R for that: A(Rz d) Rz R = Rz A(d) R.
    """
    _, ray = nets
    roll = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, angle]).double())
    direction = torch.tensor([[x, y]]).double()
    rolled = direction @ roll[:2, :2].mT
    stated = run(ray, torch.zeros(1, 2).double()).pose[0, 0]
    root, root_rolled = (run(ray, d).pose[0, 0] for d in (direction, rolled))
    turn = root_rolled @ stated.mT  # A(Rz d)
    torch.testing.assert_close(roll @ root, turn @ roll @ stated, atol=1e-12, rtol=0)

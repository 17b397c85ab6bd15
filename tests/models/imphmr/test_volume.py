"""The field and its renderer: against a slow reference, by hand, and which way a growing phi goes."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import relu, softplus

from fullframe.body import load_body
from fullframe.models.imphmr import volume
from fullframe.models.imphmr.field import LAYERS, OCTAVES, SKIP, Field, positional_encoding
from fullframe.models.imphmr.volume import composite, render, rotate_root, rotation_y, sample_rays

SIZE, SAMPLES = 4, 3


@pytest.fixture(scope="module")
def field():
    torch.manual_seed(0)
    return Field(code=5, width=8).double()


def slow_field(field, point, code):
    """Density and feature (8,) at one point (3,) for one code (5,), layer by layer as GIRAFFE draws them."""
    where = [c * math.pi / 2 * 2**octave for octave in range(OCTAVES) for c in point]
    where = torch.tensor([math.sin(w) for w in where] + [math.cos(w) for w in where]).double()
    x = relu(field.place(where) + field.person(code))
    for number in range(LAYERS):
        x = relu(field.layers[number](x))
        if number == SKIP:
            x = x + field.place_again(where) + field.person_again(code)
    feature = field.last(relu(field.feature(x) + field.person_feature(code)))
    return float(softplus(field.density(x))), feature


def slow_map(field, code, phi):
    """The map (8, SIZE, SIZE) and opacity of one person from one direction, ray by ray."""
    features, opacity = torch.zeros(8, SIZE, SIZE).double(), torch.zeros(SIZE, SIZE).double()
    for row in range(SIZE):
        for column in range(SIZE):
            x, y = ((2 * i + 1) / SIZE - 1 for i in (column, row))
            enter = -math.sqrt(1 - x * x)  # the cylinder's front
            length = -2 * enter / SAMPLES
            passed = 1.0
            for part in range(SAMPLES):
                z = enter + (part + 0.5) * length
                # The camera at phi has its right (cos, 0, -sin) and looks along (sin, 0, cos).
                cos, sin = math.cos(phi), math.sin(phi)
                density, feature = slow_field(field, (x * cos + z * sin, y, z * cos - x * sin), code)
                stopped = 1 - math.exp(-density * length)
                features[:, row, column] += passed * stopped * feature
                opacity[row, column] += passed * stopped
                passed *= 1 - stopped
    return features, opacity


@torch.no_grad()
def test_rendering_is_that_of_the_slow_reference(field):
    torch.manual_seed(1)
    codes, phis = torch.randn(3, 5).double(), [0.0, 0.7, -2.5]
    points, lengths = (x.double() for x in sample_rays(SIZE, SAMPLES))
    expected = [slow_map(field, code, phi) for code, phi in zip(codes, phis, strict=True)]
    maps, opacity = render(field, codes, points, lengths, torch.tensor(phis).double())
    torch.testing.assert_close(maps, torch.stack([m for m, _ in expected]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(opacity, torch.stack([o for _, o in expected]), atol=1e-6, rtol=1e-5)
    assert maps.std() > 0.1  # there is something to compare
    for fast, slow in zip(render(field, codes[:1], points, lengths), expected[0], strict=True):
        torch.testing.assert_close(fast[0], slow, atol=1e-6, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("phi", [None, torch.linspace(-2, 2, 7).double()])
def test_rendering_some_people_at_a_time_changes_nothing(field, phi, monkeypatch):
    torch.manual_seed(1)
    codes = torch.randn(7, 5).double()
    points, lengths = (x.double() for x in sample_rays(SIZE, SAMPLES))
    whole = render(field, codes, points, lengths, phi)
    monkeypatch.setattr(volume, "_AT_ONCE", 3 * SIZE * SIZE * SAMPLES)
    for parts, expected in zip(render(field, codes, points, lengths, phi), whole, strict=True):
        torch.testing.assert_close(parts, expected)


@torch.no_grad()
def test_mixed_precision_does_not_move_places():
    torch.manual_seed(0)
    field, code = Field(code=5, width=8), torch.randn(2, 5)
    with torch.autocast("cpu", torch.bfloat16):
        ahead, turned = (render(field, code, *sample_rays(8, 4), phi)[0] for phi in (None, torch.zeros(2)))
    assert torch.equal(ahead, turned)


def test_a_ray_by_hand():
    # Half of the light passes each part: 1/2, 1/4, and behind them nothing new.
    density = torch.tensor([math.log(2) / 0.5, math.log(2) / 0.5, 0.0])
    weights, opacity = composite(density, torch.tensor(0.5))
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.25, 0.0]))
    assert opacity.item() == pytest.approx(0.75)
    wall, full = composite(torch.tensor([0.0, 1e6, 5.0]), torch.tensor(0.1))
    assert wall.tolist() == [0, 1, 0] and full.item() == 1


def test_rays_fill_the_cylinder():
    points, lengths = sample_rays(16, 10)
    radius = points[..., [0, 2]].norm(dim=-1)
    assert radius.max() < 1 and points[..., 1].abs().max() == 1 - 1 / 16
    assert (points[..., 1:, 2] - points[..., :-1, 2] > 0).all()  # near ones first: z goes away
    # The parts' volumes add up to the cylinder's.
    assert (lengths.sum() * 10 * 16 * (2 / 16) ** 2).item() == pytest.approx(2 * math.pi, rel=0.01)


def test_gradients_of_rendering(field):
    points, lengths = (x.double() for x in sample_rays(2, 3))
    codes = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    phi = torch.tensor([0.4, -1.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c, p: render(field, c, points, lengths, p), (codes, phi))
    density = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: composite(d, torch.tensor(0.3).double()), (density,))


def test_the_encoding_distinguishes_places():
    places = torch.linspace(-1, 1, 101)[:, None].expand(-1, 3)
    codes = positional_encoding(places)
    assert codes.shape == (101, 6 * OCTAVES)
    distance = torch.cdist(codes, codes) + 10 * torch.eye(101)
    assert distance.min() > 0.1


class Blobs(torch.nn.Module):
    """Fields of one dense ball of radius 0.12 each; their codes (N, 3) are the centres."""

    def forward(self, points, code):
        near = ((points - code[:, None]).norm(dim=-1) < 0.12).to(points)
        return 1e3 * near, near[..., None]

    def project_features(self, rendered, opacity):
        return rendered


def seen_at(maps):
    """(N, 2) the mean place x, y in the map's [-1, 1] of what is seen in maps (N, S, S)."""
    size = maps.shape[-1]
    centre = (torch.arange(size) + 0.5) * (2 / size) - 1
    total = maps.sum((1, 2))
    return torch.stack(((maps.sum(1) * centre).sum(1) / total, (maps.sum(2) * centre).sum(1) / total), -1)


@pytest.mark.parametrize("degrees", [0, 30, 90, -60, 180])
def test_a_growing_phi_turns_points_and_bodies_by_minus_phi(degrees):
    """A field of points at a known body's joints, rendered from phi, is where R_y(-phi) puts the joints.

    So the truth for what the network infers from phi is the body whose root is turned by R_y(-phi).
    """
    phi = torch.tensor([math.radians(degrees)])
    body = load_body()
    pose = torch.eye(3).repeat(1, 24, 1, 1)
    pose[0, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # upright, facing the camera
    pose[0, 16] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # the left arm backwards or forwards
    rows = [15, 20, 21, 7, 8]  # head, wrists, ankles
    joints = body(torch.zeros(1, 10), pose).joints
    joints = (joints - joints[:, :1])[0, rows]
    points, lengths = sample_rays(48, 96)
    maps, _ = render(Blobs(), joints, points, lengths, phi.expand(5))
    turned = body(torch.zeros(1, 10), rotate_root(pose, phi)).joints
    turned = (turned - turned[:, :1])[0, rows]
    by_hand = joints.numpy() @ rotation_about_y(-degrees).T
    np.testing.assert_allclose(turned.numpy(), by_hand, atol=1e-6)
    torch.testing.assert_close(seen_at(maps[:, 0]), turned[:, :2], atol=0.02, rtol=0)


def rotation_about_y(degrees):
    a = math.radians(degrees)
    return np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])


def test_phi_goes_clockwise_seen_from_above():
    """From in front of the person (z = -1) to the image's left (x = -1): figure 7 of ImpHMR."""
    phi = torch.tensor([0.0, 90.0, 180.0, 270.0]).deg2rad()
    places = rotation_y(phi) @ torch.tensor([0.0, 0, -1])
    expected = torch.tensor([[0.0, 0, -1], [-1, 0, 0], [0, 0, 1], [1, 0, 0]])
    torch.testing.assert_close(places, expected, atol=1e-6, rtol=0)
    # A nose that points at the camera points to the right of the picture taken from the image's left.
    nose = torch.tensor([0.0, 0, -0.5])
    torch.testing.assert_close(
        rotation_y(phi[1:2]).mT[0] @ nose, torch.tensor([0.5, 0, 0]), atol=1e-6, rtol=0
    )

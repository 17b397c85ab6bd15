import math

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.body import load_body
from fullframe.models.imphmr.silhouettes import Silhouettes, draw_silhouettes
from fullframe.render.rasterize import rasterize


@pytest.fixture(scope="module")
def body():
    return load_body(num_betas=11)


def people(number):
    torch.manual_seed(0)
    rotvec = 0.4 * torch.randn(number, 24, 3)
    rotvec[:, 0] = torch.tensor([math.pi, 0.0, 0.0]) + 0.5 * torch.randn(number, 3)
    return torch.randn(number, 11), roma.rotvec_to_rotmat(rotvec)


def test_reduced_bodies_look_like_whole_ones_through_the_other_rasteriser(body):
    betas, pose = people(6)
    found = Silhouettes(body, 64, 1.25)(betas, pose).numpy()
    posed = body(betas, pose)
    far = 1000.0  # rays from there are parallel
    intrinsics = np.array([[32 / 1.25 * far, 0, 31.5], [0, 32 / 1.25 * far, 31.5], [0, 0, 1]])
    for picture, vertices, pelvis in zip(found, posed.vertices, posed.joints[:, 0], strict=True):
        moved = (vertices - pelvis).numpy() + np.array([0, 0, far])
        nothing = np.empty((len(moved), 0))
        seen = rasterize(moved, body.faces.numpy(), nothing, intrinsics, (64, 64), antialias=False)
        whole = np.zeros(64 * 64)
        whole[seen.pixel] = 1
        whole = whole.reshape(64, 64)
        assert (picture * whole).sum() > 0.95 * np.maximum(picture, whole).sum()


corners = st.tuples(*[st.floats(-1.5, 1.5, width=32)] * 6)


@given(corners)
@settings(max_examples=60)
def test_triangles_are_filled_at_pixel_centres(corners):
    size, half = 9, 1.0
    a, b, c = np.array(corners).reshape(3, 2)
    found = draw_silhouettes(np.array([[a, b, c]]), np.array([[0, 1, 2]], np.int32), size, half)[0]

    def side(p, q, at):
        return (q[0] - p[0]) * (at[1] - p[1]) - (q[1] - p[1]) * (at[0] - p[0])

    for row in range(size):
        for column in range(size):
            at = (np.array([column, row]) + 0.5) * (2 * half / size) - half
            sides = [side(a, b, at), side(b, c, at), side(c, a, at)]
            if min(abs(s) for s in sides) > 1e-3:  # not on an edge
                assert found[row, column] == (max(sides) < 0)  # counter-clockwise with y down


def test_middle_and_extent_in_metres():
    # A square of 1 m around the pelvis in a picture of 2.5 m and 50 px: 20 px in the middle.
    square = np.array([[[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]])
    found = draw_silhouettes(square, np.array([[0, 2, 1], [0, 3, 2]], np.int32), 50, 1.25)[0]
    expected = np.zeros((50, 50))
    expected[15:35, 15:35] = 1
    assert (found == expected).all()
    outside = draw_silhouettes(square + 9, np.array([[0, 2, 1], [0, 3, 2]], np.int32), 50, 1.25)
    assert not outside.any()

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from waving import tilted, waving_clip

from fullframe.body import load_body
from fullframe.body.body_model import BodyModel
from fullframe.geometry.world import Y_UP, level_frame
from fullframe.view.rig import bone_poses, quaternion, rig

BODY = load_body()


def rotation_of(wxyz: np.ndarray) -> np.ndarray:
    w, x, y, z = wxyz
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def skinned(shape, poses, person: int) -> np.ndarray:
    """What the browser computes, written out: three.js binds each bone to its rest joint."""
    vertices = np.zeros_like(shape.vertices, dtype=np.float64)
    for k in range(24):
        rotation = rotation_of(poses.wxyz[person, k])
        moved = (shape.vertices - shape.joints[k]) @ rotation.T + poses.positions[person, k]
        vertices += shape.weights[:, k, None] * moved
    return vertices


def test_bones_give_the_body_models_vertices():
    clip = waving_clip(BODY, people=2, frames=3)
    rows = [torch.from_numpy(x) for x in (clip.betas, clip.pose, clip.translation)]
    shapes = [rig(BODY, clip.betas[i]) for i in range(2)]
    data = dataclasses.replace(
        BODY.data, pose_dirs=np.zeros_like(BODY.data.pose_dirs), weights=shapes[0].weights
    )
    expected = BodyModel(data)(*rows).vertices.numpy()
    poses = bone_poses(BODY, *rows)
    for row in range(6):
        np.testing.assert_allclose(skinned(shapes[row % 2], poses, row), expected[row], atol=2e-5)


def test_what_is_left_out_moves_the_surface_little():
    """Pose blend shapes and fifth weights: the viewer's bodies are near those of the other pictures."""
    clip = waving_clip(BODY, people=1, frames=2)
    rows = [torch.from_numpy(x) for x in (clip.betas, clip.pose, clip.translation)]
    full = BODY(*rows).vertices.numpy()[0]
    away = np.linalg.norm(skinned(rig(BODY, clip.betas[0]), bone_poses(BODY, *rows), 0) - full, axis=1)
    assert away.mean() < 0.003 and np.percentile(away, 99) < 0.03


def test_weights_are_at_most_four_and_whole():
    weights = rig(BODY, np.zeros(10, np.float32)).weights
    assert (weights > 0).sum(axis=1).max() == 4
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    strongest = BODY.data.weights.argmax(axis=1)
    assert (weights.argmax(axis=1) == strongest).mean() > 0.999


def test_feet_stand_on_the_ground_upright():
    clip = waving_clip(BODY)
    rotation, position = level_frame(clip.ground)
    np.testing.assert_allclose(rotation, tilted(10).T, atol=1e-6)
    np.testing.assert_allclose(position, [0, 1.5, 0], atol=1e-6)
    people = clip.people(0, BODY)
    world = people.vertices @ rotation.T + position
    np.testing.assert_allclose(world[..., 1].min(axis=1), 0, atol=0.02)
    head, pelvis = people.joints[:, 15] @ rotation.T, people.joints[:, 0] @ rotation.T
    assert ((head - pelvis)[:, 1] > 0.4).all()
    # Who faces the camera has the left arm on the picture's right.
    assert (people.joints[:, 16, 0] > people.joints[:, 17, 0]).all()


@settings(max_examples=30)
@given(st.floats(-60, 90), st.floats(-40, 40), st.floats(0.2, 20), st.floats(0.1, 10))
def test_the_world_is_level(pitch, roll, height, length):
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    to_camera = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ tilted(pitch)
    up = to_camera @ [0, 1, 0]
    rotation, position = level_frame(length * np.array([*up, height]))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) > 0
    np.testing.assert_allclose(rotation @ up, [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(position, [0, height, 0], atol=1e-9)
    # A point of the ground plane lies at y = 0.
    on_ground = -height * up + np.cross(up, [1.0, 2.0, 3.0])
    assert abs((rotation @ on_ground + position)[1]) < 1e-8
    ahead = rotation @ [0, 0, 1]
    assert ahead[2] <= 1e-9 and abs(ahead[0]) < 1e-9


def test_without_ground_the_camera_is_level():
    rotation, position = level_frame(np.full(4, np.nan))
    np.testing.assert_array_equal(rotation, Y_UP.rotation)
    np.testing.assert_array_equal(position, 0)


@pytest.mark.parametrize("degrees", [0, 10, 90, 179])
def test_quaternion(degrees):
    np.testing.assert_allclose(rotation_of(quaternion(tilted(degrees))), tilted(degrees), atol=1e-9)

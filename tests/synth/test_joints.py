import numpy as np
import pytest
import torch

from fullframe.body import load_body
from fullframe.synth.joints import JOINTS, NUM_BETAS, OpenBodyPoser
from fullframe.synth.poses import Poses


@pytest.fixture(scope="module")
def body():
    return load_body("open", num_betas=NUM_BETAS)


def test_joints_are_those_of_the_body_model(body):
    rng = np.random.default_rng(0)
    poses, bodies = Poses(), OpenBodyPoser()
    for _ in range(10):
        theta, _ = poses.draw(rng)
        betas = rng.normal(size=NUM_BETAS).astype(np.float32)
        posed = bodies.pose(betas, theta)
        expected = body(torch.from_numpy(betas)[None], torch.from_numpy(posed.rotations)[None])
        keypoints = bodies.keypoints(betas, posed)
        assert tuple(keypoints) == JOINTS
        np.testing.assert_allclose(keypoints["smpl24"], expected.joints[0], atol=1e-5)
        for name in JOINTS[1:]:
            np.testing.assert_allclose(keypoints[name], body.regress(expected.vertices, name)[0], atol=1e-4)


def test_transforms_take_rest_joints_to_posed_joints(body):
    betas = np.linspace(-1, 1, NUM_BETAS).astype(np.float32)
    posed = OpenBodyPoser().pose(betas, Poses().draw(np.random.default_rng(1))[0])
    rest = body.rest_joints(torch.from_numpy(betas)[None])[0].numpy()
    moved = (posed.transforms[..., :3] @ rest[..., None])[..., 0] + posed.transforms[..., 3]
    np.testing.assert_allclose(moved, posed.joints, atol=1e-5)
    np.testing.assert_allclose(posed.joints[0], posed.rest_pelvis, atol=1e-6)

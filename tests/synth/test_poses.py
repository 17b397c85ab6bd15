import numpy as np
import pytest
import roma
import torch

from fullframe.synth.joints import NUM_BETAS, OpenBodyPoser
from fullframe.synth.poses import KINDS, Poses, crouch, lie, mirror, poses_of_labels, seat, stand
from fullframe.synth.scene import Scenes

LEFT_HIP, RIGHT_HIP, LEFT_KNEE, LEFT_ANKLE, HEAD = 1, 2, 4, 7, 15


def joints(theta):
    bodies, betas = OpenBodyPoser(), np.zeros(NUM_BETAS, np.float32)
    return np.stack([bodies.pose(betas, pose).joints for pose in theta])


@pytest.fixture(scope="module")
def captured():
    poses = Poses()
    return poses.theta[:: len(poses.theta) // 64][:64]


def test_same_seed_same_poses_and_every_kind_appears():
    poses = Poses()
    first, second = (np.random.default_rng(3) for _ in range(2))
    kinds = set()
    for _ in range(120):
        (a, kind), (b, _) = poses.draw(first), poses.draw(second)
        np.testing.assert_array_equal(a, b)
        assert a.shape == (24, 3) and np.isfinite(a).all()
        kinds.add(kind)
    assert kinds == set(KINDS)


def test_splits_share_no_pose():
    train = {pose.tobytes() for pose in Poses("train").theta}
    val = {pose.tobytes() for pose in Poses("val").theta}
    assert len(train) > 8000 and len(val) > 900 and not train & val


def test_extra_poses_are_drawn_half_of_the_time():
    extra = np.full((5, 24, 3), 0.123)
    poses = Poses(extra=extra)
    rng = np.random.default_rng(0)
    drawn = [bool((poses._captured(rng) == 0.123).all()) for _ in range(400)]
    assert 0.4 < np.mean(drawn) < 0.6


def test_poses_of_photos_face_forward(tmp_path):
    """A body that leans 20 degrees forward, from three sides; the last one is not reliable."""
    lean, half_turn = np.radians([20, 0, 0]), np.array([np.pi, 0, 0])
    roots = [
        roma.rotvec_composition(
            [torch.from_numpy(r) for r in (half_turn, np.array([0, heading, 0]), lean)]
        ).numpy()
        for heading in (0.0, 1.2, -2.5, 0.3)
    ]
    pose = np.full((4, 24, 3), 0.1)
    pose[:, 0] = roots
    np.savez(tmp_path / "labels.npz", pose=pose.reshape(4, 72), has_smpl=np.array([1, 1, 1, 0]))
    found = poses_of_labels(tmp_path / "labels.npz")
    assert found.shape == (3, 24, 3)
    np.testing.assert_allclose(found[:, 0], np.tile(lean, (3, 1)), atol=1e-6)
    np.testing.assert_array_equal(found[:, 1:], pose[:3, 1:])
    drawn = Scenes("train", tmp_path / "labels.npz").poses.theta
    assert (drawn[-3:] == found).all() and len(drawn) > 8000


def test_lists_without_poses_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", imgname=np.array(["a.jpg"]))
    with pytest.raises(ValueError, match=r"a\.npz: not a (usable|list with poses)"):
        poses_of_labels(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", pose=np.zeros((2, 72)), has_smpl=np.zeros(2))
    with pytest.raises(ValueError, match=r"b\.npz: no person in it has a reliable body"):
        poses_of_labels(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=r"absent\.npz cannot be read: No such file"):
        poses_of_labels(tmp_path / "absent.npz")
    (tmp_path / "c.npz").write_text("theta")
    with pytest.raises(ValueError, match=r"c\.npz: not a (usable|list with poses)"):
        poses_of_labels(tmp_path / "c.npz")


def test_mirror_is_its_own_inverse_and_mirrors_joints(captured):
    np.testing.assert_allclose(mirror(mirror(captured)), captured)
    plain, mirrored = joints(captured[:8]), joints(mirror(captured[:8]))
    np.testing.assert_allclose(mirrored[:, LEFT_HIP, 0], -plain[:, RIGHT_HIP, 0], atol=5e-3)


def test_sitting_has_level_thighs_and_head_up(captured):
    found = joints(seat(captured, np.random.default_rng(0)))
    thigh = found[:, LEFT_KNEE] - found[:, LEFT_HIP]
    # Forward (+z) in front of the hips, and far less down than when standing.
    assert (thigh[:, 2] > 0.1).all() and (thigh[:, 1] > -0.35).all()


def test_standing_has_legs_below_and_a_straight_back(captured):
    found = joints(stand(captured, np.random.default_rng(0)))
    leg = found[:, LEFT_ANKLE] - found[:, LEFT_HIP]
    assert (leg[:, 1] < -0.7).all()
    assert (found[:, HEAD, 1] - found[:, 0, 1] > 0.4).all()


def test_crouching_is_low(captured):
    standing, crouching = joints(stand(captured, np.random.default_rng(0))), joints(
        crouch(captured, np.random.default_rng(0))
    )  # fmt: skip
    height = [np.median(found[:, 0, 1] - found[..., 1].min(axis=1)) for found in (standing, crouching)]
    assert height[1] < 0.75 * height[0]


def test_lying_is_level(captured):
    found = joints(lie(captured, np.random.default_rng(0)))
    spine = found[:, 12] - found[:, 0]
    tilt = np.abs(spine[:, 1]) / np.linalg.norm(spine, axis=1)
    assert np.median(tilt) < 0.4

import numpy as np
import roma
import torch

from fullframe.assets import POSE_PRIOR
from fullframe.fit.prior import PosePrior, inverse_right_jacobian


def test_inverse_right_jacobian() -> None:
    axis = torch.nn.functional.normalize(torch.randn(50, 3, dtype=torch.float64), dim=-1)
    rotvec = axis * torch.linspace(0, 2.8, 50, dtype=torch.float64)[:, None]
    step = 1e-6 * torch.randn(50, 3, dtype=torch.float64)
    turned = roma.rotvec_to_rotmat(rotvec) @ roma.rotvec_to_rotmat(step)
    change = roma.rotmat_to_rotvec(turned) - rotvec
    expected = (inverse_right_jacobian(rotvec) @ step[..., None])[..., 0]
    torch.testing.assert_close(change, expected, atol=1e-10, rtol=1e-4)


def test_inverse_right_jacobian_of_no_rotation_is_the_identity() -> None:
    torch.testing.assert_close(inverse_right_jacobian(torch.zeros(3)), torch.eye(3))


def test_natural_poses_are_likelier_than_random_ones() -> None:
    prior = PosePrior()
    natural = prior.exemplars[:, 1:].flatten(1)
    shuffled = torch.stack([column[torch.randperm(len(natural))] for column in natural.T], 1)
    assert prior.energy(natural)[0].median() < 0.5 * prior.energy(shuffled)[0].median()
    assert prior.energy(natural)[0].min() >= 0


def test_energy_is_the_likeliest_components() -> None:
    """Up to a constant it is -log of weight times density, by torch's own distribution."""
    prior = PosePrior().double()
    poses = prior.exemplars[:20, 1:].flatten(1)
    with np.load(POSE_PRIOR) as file:
        log_weights = torch.from_numpy(file["weights"]).double().log()
    normal = torch.distributions.MultivariateNormal(prior.means, precision_matrix=prior.precisions)
    log_density = log_weights + normal.log_prob(poses[:, None])
    energy, component = prior.energy(poses)
    assert (component == log_density.argmax(1)).all()
    constant = energy + log_density.amax(1)
    torch.testing.assert_close(constant, constant[:1].expand(20), atol=1e-3, rtol=0)


def test_limits_let_natural_poses_pass_and_stop_a_knee_that_bends_forwards() -> None:
    prior = PosePrior()
    natural = prior.exemplars[:, 1:].flatten(1)
    assert (prior.beyond_limits(natural).abs() < 0.3).float().mean() > 0.99
    broken = torch.zeros(1, 69)
    broken[0, 3 * 3] = -1.0  # left knee about x: the shin forwards
    assert prior.beyond_limits(broken)[0, 9] < -0.5


def test_exemplars_come_with_their_mirror_images() -> None:
    prior = PosePrior()
    first, second = prior.exemplars.chunk(2)
    left_elbow, right_elbow = 18, 19
    torch.testing.assert_close(first[:, left_elbow] * torch.tensor([1.0, -1, -1]), second[:, right_elbow])


def test_completing_a_pose() -> None:
    """What is seen stays, what is not becomes likelier than any other choice nearby."""
    prior = PosePrior()
    poses = prior.exemplars[::400, 1:].flatten(1)
    assert torch.equal(prior.complete(poses, torch.ones_like(poses, dtype=torch.bool)), poses)
    seen = torch.ones_like(poses, dtype=torch.bool)
    seen[:, 0:6] = seen[:, 9:15] = False  # hips and knees
    completed = prior.complete(poses, seen)
    assert torch.equal(completed[seen], poses[seen])
    energy = prior.energy(completed)[0]
    assert (energy <= prior.energy(poses)[0]).all()
    for _ in range(20):
        other = completed + 0.1 * torch.randn_like(completed) * ~seen
        assert (prior.energy(other)[0] >= energy).all()

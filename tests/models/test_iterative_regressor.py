import numpy as np
import pytest
import roma
import torch

from fullframe.assets import POSE_PRIOR
from fullframe.geometry.rotation import rot6d_to_matrix
from fullframe.models.iterative_regressor import IterativeRegressor


@pytest.mark.parametrize(("inputs", "width", "count"), [(2048 + 3, 2208, 3_472_541), (2048, 2205, 3_469_469)])
def test_golden_parameter_counts(inputs, width, count):
    regressor = IterativeRegressor(inputs)
    assert regressor.fc1.in_features == width
    assert sum(p.numel() for p in regressor.parameters()) == count


def test_starts_at_the_mean_person():
    regressor = IterativeRegressor(8).eval()
    for head in (regressor.decpose, regressor.decshape, regressor.deccam):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    pose, betas, camera = regressor(torch.randn(2, 8))
    matrices = rot6d_to_matrix(pose.view(2, 24, 6))
    root = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(matrices[:, 0], root.expand(2, 3, 3), atol=1e-6, rtol=0)
    rotvec = torch.from_numpy(np.load(POSE_PRIOR)["mean_pose"])[1:]
    torch.testing.assert_close(matrices[0, 1:], roma.rotvec_to_rotmat(rotvec), atol=1e-5, rtol=0)
    assert torch.equal(betas, torch.zeros(2, 10))
    assert torch.equal(camera, torch.tensor([[0.9, 0, 0]] * 2))


def test_mean_person_is_saved_but_not_learned():
    regressor = IterativeRegressor(11)
    names = {"init_pose", "init_shape", "init_cam"}
    assert names <= set(regressor.state_dict()) and not names & {n for n, _ in regressor.named_parameters()}


def test_heads_start_small():
    """Xavier-uniform with gain 0.01: |w| <= 0.01 sqrt(6 / (in + out))."""
    regressor = IterativeRegressor(67)
    for head in (regressor.decpose, regressor.decshape, regressor.deccam):
        bound = 0.01 * (6 / (head.in_features + head.out_features)) ** 0.5
        assert 0.9 * bound < head.weight.abs().max() <= bound * (1 + 1e-6)


def test_three_residual_passes_over_the_same_weights():
    """Against the passes written out, with the inputs in the order of the published code."""
    torch.manual_seed(0)
    r = IterativeRegressor(19, num_betas=7).eval().double()
    torch.nn.init.xavier_uniform_(r.decpose.weight)
    inputs = torch.randn(2, 19).double()
    pose, betas, camera = r.init_pose.repeat(2, 1), r.init_shape.repeat(2, 1), r.init_cam.repeat(2, 1)
    for _ in range(3):
        x = torch.cat((inputs, pose, betas, camera), 1)
        x = (x @ r.fc1.weight.T + r.fc1.bias) @ r.fc2.weight.T + r.fc2.bias
        pose = pose + x @ r.decpose.weight.T + r.decpose.bias
        betas = betas + x @ r.decshape.weight.T + r.decshape.bias
        camera = camera + x @ r.deccam.weight.T + r.deccam.bias
    for result, expected in zip(r(inputs), (pose, betas, camera), strict=True):
        torch.testing.assert_close(result, expected)


def test_without_activation_it_is_affine_and_with_relu_not():
    x = torch.randn(3, 16, dtype=torch.float64)
    x[2] = (x[0] + x[1]) / 2
    gaps = {}
    for act in ("none", "relu"):
        torch.manual_seed(0)
        pose = IterativeRegressor(16, act=act).eval().double()(x)[0].detach()
        gaps[act] = float((pose[2] - (pose[0] + pose[1]) / 2).abs().max())
    assert gaps["none"] < 1e-12 and gaps["relu"] > 1e-6


def test_dropout_is_active_in_training_only():
    torch.manual_seed(0)
    regressor, x = IterativeRegressor(16), torch.randn(1, 16)
    assert not torch.equal(regressor(x)[0], regressor(x)[0])
    regressor.eval()
    assert torch.equal(regressor(x)[0], regressor(x)[0])


def test_unknown_activation():
    with pytest.raises(ValueError, match="unknown regressor_act 'gelu'; known: none, relu"):
        IterativeRegressor(11, act="gelu")

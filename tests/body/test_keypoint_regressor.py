import roma
import torch

from fullframe.body import load_body
from fullframe.body.keypoint_regressor import KeypointRegressor


def random_bodies(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pose = roma.rotvec_to_rotmat(0.5 * torch.randn(count, 24, 3, generator=generator, dtype=torch.float64))
    return torch.randn(count, 10, generator=generator, dtype=torch.float64), pose


def test_keypoints_are_those_of_the_whole_body() -> None:
    body = load_body().double()
    betas, pose = random_bodies(5)
    for joint_set in ("coco17", "h36m17", "lsp14", "j24"):
        expected = body.regress(body(betas, pose).vertices, joint_set)
        keypoints = KeypointRegressor(body, joint_set).double()(betas, pose).keypoints
        torch.testing.assert_close(keypoints, expected, atol=1e-5, rtol=0)


def test_shape_jacobian_is_exact() -> None:
    model = KeypointRegressor(load_body()).double()
    betas, pose = random_bodies(2)
    analytic = model.shape_jacobian(model(betas, pose))
    step = torch.randn(2, 10, dtype=torch.float64)
    moved = model(betas + step, pose).keypoints - model(betas, pose).keypoints
    torch.testing.assert_close((analytic @ step[:, None, :, None])[..., 0], moved)


def test_pose_jacobian_without_pose_blend_shapes_is_exact() -> None:
    model = KeypointRegressor(load_body()).double()
    model.pose_dirs.zero_()
    betas, pose = random_bodies(2)
    analytic = model.pose_jacobian(model(betas, pose))
    step = 1e-6 * torch.randn(2, 24, 3, dtype=torch.float64)
    ahead, behind = (model(betas, pose @ roma.rotvec_to_rotmat(s * step)).keypoints for s in (1, -1))
    expected = torch.einsum("nkcji,nji->nkc", analytic, step)
    torch.testing.assert_close((ahead - behind) / 2, expected, atol=1e-11, rtol=1e-5)


def test_joint_jacobian_is_exact() -> None:
    model = KeypointRegressor(load_body()).double()
    betas, pose = random_bodies(2)
    analytic = model.joint_jacobian(model(betas, pose))
    step = 1e-6 * torch.randn(2, 72 + 10, dtype=torch.float64)
    turn, shape = step[:, :72].unflatten(1, (24, 3)), step[:, 72:]
    ahead, behind = (model(betas + s * shape, pose @ roma.rotvec_to_rotmat(s * turn)).joints for s in (1, -1))
    torch.testing.assert_close(
        (ahead - behind) / 2, (analytic @ step[:, None, :, None])[..., 0], atol=1e-11, rtol=1e-5
    )

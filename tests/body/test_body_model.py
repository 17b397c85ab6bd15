import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_smpl import synthetic_smpl

from fullframe.body import PARENTS, BodyFileError, BodyModel, load_body
from fullframe.body.body_model import _BlendShapes
from fullframe.body.files import BodyData


def tiny_body(num_vertices: int = 48) -> BodyModel:
    """A stick figure small enough for numerical derivatives, in float64."""
    arrays = synthetic_smpl(num_vertices)
    data = BodyData(
        name="tiny",
        template=arrays["v_template"],
        shape_dirs=arrays["shapedirs"],
        pose_dirs=arrays["posedirs"],
        joint_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        faces=arrays["f"].astype(np.int64),
        regressors={"smpl24": arrays["J_regressor"]},
    )
    return BodyModel(data).double()


def random_input(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rotvec = 0.6 * torch.randn(count, 24, 3, generator=generator, dtype=torch.float64)
    betas = torch.randn(count, 10, generator=generator, dtype=torch.float64)
    translation = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return betas, roma.rotvec_to_rotmat(rotvec), translation


def slow_forward(data: BodyData, betas: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One body, vertex by vertex, straight from the SMPL paper's equations 2 to 10."""
    shaped = data.template + data.shape_dirs @ betas
    rest = data.joint_regressor @ shaped
    posed = shaped + data.pose_dirs @ (pose[1:] - np.eye(3)).reshape(-1)
    transforms = []
    for joint, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = pose[joint]
        local[:3, 3] = rest[joint] - (rest[parent] if parent >= 0 else 0)
        transforms.append(transforms[parent] @ local if parent >= 0 else local)
    joints = np.array([transform[:3, 3] for transform in transforms])
    vertices = []
    for vertex, weights in zip(posed, data.weights, strict=True):
        moved = [t[:3, :3] @ (vertex - j) + t[:3, 3] for t, j in zip(transforms, rest, strict=True)]
        vertices.append(weights @ np.array(moved))
    return np.array(vertices), joints


def test_forward_is_the_papers_formula() -> None:
    body = tiny_body()
    betas, pose, translation = random_input(11)  # more than one chunk of bodies
    vertices, joints = body(betas, pose, translation)
    for i in range(len(betas)):
        expected = slow_forward(body.data, betas[i].numpy(), pose[i].numpy())
        torch.testing.assert_close(
            vertices[i] - translation[i], torch.from_numpy(expected[0]), atol=1e-6, rtol=0
        )
        torch.testing.assert_close(
            joints[i] - translation[i], torch.from_numpy(expected[1]), atol=1e-6, rtol=0
        )


def test_gradients() -> None:
    body = tiny_body(24)
    inputs = [x[:2].requires_grad_() for x in random_input(2)]
    assert torch.autograd.gradcheck(lambda *x: body(*x), inputs, atol=1e-6)
    assert torch.autograd.gradcheck(body.rest_joints, inputs[:1], atol=1e-6)


def test_gradients_across_chunks() -> None:
    body = tiny_body()
    betas, pose, _ = random_input(19)
    together = [x.clone().requires_grad_() for x in (betas, pose)]
    body(*together).vertices.pow(2).sum().backward()
    for i in range(19):
        alone = [x[i : i + 1].clone().requires_grad_() for x in (betas, pose)]
        body(*alone).vertices.pow(2).sum().backward()
        for whole, one in zip(together, alone, strict=True):
            torch.testing.assert_close(whole.grad[i : i + 1], one.grad)


@pytest.fixture(scope="module")
def open_body() -> BodyModel:
    return load_body().double()


def test_at_zero_pose_it_is_the_shaped_template(open_body: BodyModel) -> None:
    betas, _, _ = random_input(2)
    vertices, joints = open_body(betas, torch.eye(3, dtype=torch.float64).repeat(2, 24, 1, 1))
    data = open_body.data
    shaped = np.moveaxis(data.template[..., None] + data.shape_dirs[..., :10] @ betas.numpy().T, -1, 0)
    np.testing.assert_allclose(vertices.numpy(), shaped, atol=1e-6)
    np.testing.assert_allclose(joints.numpy(), data.joint_regressor @ shaped, atol=1e-5)
    torch.testing.assert_close(joints, open_body.rest_joints(betas))


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_turning_the_root_turns_the_body_about_its_rest_pelvis(open_body: BodyModel, seed: int) -> None:
    betas, pose, translation = random_input(1, seed)
    turn = roma.random_rotmat(1, dtype=torch.float64)[0]
    before = open_body(betas, pose, translation)
    pelvis = open_body.rest_joints(betas)[:, 0]
    turned = pose.clone()
    turned[:, 0] = turn @ pose[:, 0]
    # The whole body turned about the camera's origin: R0' = Q R0, t' = Q (J0 + t) - J0.
    after = open_body(betas, turned, (pelvis + translation) @ turn.T - pelvis)
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a, b @ turn.T)


def test_translation_is_added_last(open_body: BodyModel) -> None:
    betas, pose, translation = random_input(2)
    for a, b in zip(open_body(betas, pose, translation), open_body(betas, pose), strict=True):
        torch.testing.assert_close(a, b + translation[:, None])


def test_vertices_of_another_body_are_refused(open_body: BodyModel) -> None:
    with pytest.raises(BodyFileError, match="6890 vertices belong to another body: open has 6700"):
        open_body.regress(torch.zeros(1, 6890, 3))
    with pytest.raises(BodyFileError, match="unknown joint set 'coco18'"):
        open_body.regress(torch.zeros(1, 6700, 3), "coco18")


def test_it_moves_between_types_and_has_no_state_to_save(open_body: BodyModel) -> None:
    assert open_body.state_dict() == {}
    single = load_body()
    betas, pose, _ = random_input(2)
    a, b = single(betas.float(), pose.float()).vertices, open_body(betas, pose).vertices
    assert a.dtype == torch.float32
    torch.testing.assert_close(a.double(), b, atol=1e-5, rtol=0)


def test_no_bodies(open_body: BodyModel) -> None:
    empty = open_body(torch.zeros(0, 10).double(), torch.zeros(0, 24, 3, 3).double())
    assert empty.vertices.shape == (0, 6700, 3) and empty.joints.shape == (0, 24, 3)


def test_sparse_pose_blend_shapes_make_no_difference() -> None:
    """Blocks of vertices that skip features which do not move them, against the plain product."""
    data = tiny_body(96).data
    dirs = np.zeros_like(data.pose_dirs)
    for vertex in range(96):
        start = vertex // 12 * 20
        dirs[vertex, :, start : start + 9] = data.pose_dirs[vertex, :, start : start + 9]
    sparse = _BlendShapes(data.template, dirs)
    assert len(sparse.lengths) > 1 and len(_BlendShapes(data.template, data.pose_dirs).lengths) == 1
    feature = torch.randn(3, 207, dtype=torch.float64)
    expected = torch.from_numpy(data.template + np.einsum("vcd,nd->nvc", dirs, feature.numpy()))
    torch.testing.assert_close(sparse(feature).transpose(1, 2), expected)

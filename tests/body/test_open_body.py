"""The open body as it is shipped."""

from importlib import resources

import numpy as np
import pytest
import roma
import torch
from scipy.spatial import cKDTree

from fullframe.body import JOINT_SETS, BodyModel, load_body

MIRROR = torch.diag(torch.tensor([-1.0, 1, 1]))


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body(num_betas=11)


@pytest.fixture(scope="module")
def mirror(body: BodyModel) -> np.ndarray:
    template = body.data.template
    distance, index = cKDTree(template).query(template * [-1, 1, 1])
    assert distance.max() < 1e-5
    return index


def rest(count: int) -> torch.Tensor:
    return torch.eye(3).repeat(count, 24, 1, 1)


def test_shapes(body: BodyModel) -> None:
    assert body.name == "open"
    assert body.num_vertices == 6700 != 6890  # so that SMPL's regressors fail loudly
    assert body.faces.shape == (13388, 3)
    assert body.parts is not None and len(body.parts) == 6700
    assert len(body.part_names) == 14 and set(body.parts) == set(range(14))
    vt, ft = body.uv
    assert ft.shape == (13388, 3) and ft.max() == len(vt) - 1
    assert vt.min() >= 0 and vt.max() <= 1
    size = (resources.files("fullframe") / "assets" / "open_body.npz").stat().st_size
    assert size <= 2.5e6


def test_rest_pose_is_smpls(body: BodyModel) -> None:
    joints = dict(
        zip(JOINT_SETS["smpl24"].names, body.rest_joints(torch.zeros(1, 11))[0].numpy(), strict=True)
    )
    np.testing.assert_allclose(joints["pelvis"], 0, atol=0.003)
    assert joints["left_hip"][0] > 0.05 > -0.05 > joints["right_hip"][0]
    assert joints["head"][1] > joints["neck"][1] > joints["spine3"][1] > joints["spine1"][1] > 0
    arm = joints["left_wrist"] - joints["left_shoulder"]
    assert arm[0] > 0.4 and abs(arm[1:]).max() < 0.05  # level, to the body's left
    leg = joints["left_ankle"] - joints["left_hip"]
    assert leg[1] < -0.7 and abs(leg[[0, 2]]).max() < 0.06
    assert (joints["left_foot"] - joints["left_ankle"])[2] > 0.1  # facing +z
    vertices = body(torch.zeros(1, 11), rest(1)).vertices[0]
    nose = body.regress(vertices[None], "coco17")[0, 0]
    assert nose[2] > joints["head"][2] + 0.05


def test_mesh_is_closed_and_faces_outwards(body: BodyModel) -> None:
    faces = body.faces.numpy()
    edges = np.concatenate((faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]))
    assert len(np.unique(edges, axis=0)) == len(edges)  # each edge once in each direction
    assert {tuple(e) for e in edges[:, ::-1]} == {tuple(e) for e in edges}
    corners = body.data.template[faces].astype(np.float64)
    volume = np.einsum("fc,fc->", np.cross(corners[:, 0], corners[:, 1]), corners[:, 2]) / 6
    assert 0.05 < volume < 0.12  # cubic metres


def test_weights_and_regressors_sum_to_one(body: BodyModel) -> None:
    np.testing.assert_allclose(body.data.weights.sum(1), 1, atol=1e-6)
    assert body.data.weights.min() >= 0
    for name in JOINT_SETS:
        matrix = body.data.regressors[name]
        assert matrix.shape == (len(JOINT_SETS[name]), 6700)
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)
        if name != "smpl24":
            assert matrix.min() >= 0


def test_a_mirrored_pose_gives_the_mirrored_mesh(body: BodyModel, mirror: np.ndarray) -> None:
    generator = torch.Generator().manual_seed(0)
    pose = roma.rotvec_to_rotmat(0.5 * torch.randn(4, 24, 3, generator=generator))
    betas = torch.randn(4, 11, generator=generator)
    flip = list(JOINT_SETS["smpl24"].flip_permutation)
    original, mirrored = body(betas, pose), body(betas, MIRROR @ pose[:, flip] @ MIRROR)
    torch.testing.assert_close(mirrored.joints, original.joints[:, flip] @ MIRROR, atol=2e-5, rtol=0)
    expected = original.vertices[:, mirror] @ MIRROR
    torch.testing.assert_close(mirrored.vertices, expected, atol=1e-3, rtol=0)
    for name, joint_set in JOINT_SETS.items():
        flipped = body.regress(original.vertices, name)[:, list(joint_set.flip_permutation)] @ MIRROR
        torch.testing.assert_close(body.regress(mirrored.vertices, name), flipped, atol=1e-3, rtol=0)


def test_faces_and_parts_are_mirrored_too(body: BodyModel, mirror: np.ndarray) -> None:
    faces = {frozenset(face) for face in body.faces.tolist()}
    assert {frozenset(mirror[list(face)].tolist()) for face in faces} == faces
    names = body.part_names
    for vertex, part in enumerate(body.parts):
        side, _, rest_of_name = names[part].partition("_")
        other = {"left": "right", "right": "left"}.get(side)
        expected = names[part] if other is None else f"{other}_{rest_of_name}"
        assert names[body.parts[mirror[vertex]]] == expected


def test_people_have_human_sizes(body: BodyModel) -> None:
    generator = torch.Generator().manual_seed(0)
    betas = torch.randn(200, 11, generator=generator)
    betas[:, 10] = 0
    height = np.ptp(body(betas, rest(200)).vertices[..., 1].numpy(), axis=1)
    assert 1.65 < height.mean() < 1.78
    assert height.min() > 1.3 and height.max() < 2.15
    assert np.corrcoef(height, betas[:, 0])[0, 1] > 0.95  # taller with beta 0
    kid = torch.zeros(1, 11)
    kid[0, 10] = 1
    assert 0.95 < np.ptp(body(kid, rest(1)).vertices[0, :, 1].numpy()) < 1.3


def test_joints_stay_inside_the_body_when_posed(body: BodyModel) -> None:
    """Keypoints of a bent knee and elbow stay near the joints that bend."""
    pose = rest(1)
    names = JOINT_SETS["smpl24"].names
    for joint, turn in (("left_knee", (2.0, 0, 0)), ("left_elbow", (0, -2.0, 0)), ("left_hip", (-1.5, 0, 0))):
        pose[0, names.index(joint)] = roma.rotvec_to_rotmat(torch.tensor(turn))
    vertices, joints = body(torch.zeros(1, 11), pose)
    coco = dict(zip(JOINT_SETS["coco17"].names, body.regress(vertices)[0], strict=True))
    for joint in ("left_knee", "left_elbow", "left_wrist", "left_ankle"):
        assert (coco[joint] - joints[0, names.index(joint)]).norm() < 0.05

import numpy as np
import pytest
import roma
import torch

from fullframe.body import JOINT_SETS, load_body
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.protocols import shared
from fullframe.evaluate.protocols.shared import J14, J17, PVE, PVE_UNALIGNED, mesh_errors, named_joints


def turn(axis, degrees) -> np.ndarray:
    vector = torch.zeros(3, dtype=torch.float64)
    vector[axis] = np.radians(degrees)
    return roma.rotvec_to_rotmat(vector).numpy().astype(np.float32)


def test_joint_choices_are_those_of_spin():
    """By the rows that SPIN takes from the regressor of Human3.6M and from its own 24 joints."""
    h36m, j24 = JOINT_SETS["h36m17"].names, JOINT_SETS["j24"].names
    assert [h36m.index(name) for name in J14] == [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
    assert [j24.index(name) for name in J14] == [*range(13), 18]
    assert [h36m.index(name) for name in J17][14:] == [0, 7, 9]
    assert [j24.index(name) for name in J17][14:] == [14, 16, 17]


def test_the_truth_has_no_error(make_people, perfect):
    scores = mesh_errors(perfect(make_people(5)), BodyCache("open"))
    assert list(scores.values) == ["MPJPE mm", "PA-MPJPE mm", PVE, PVE_UNALIGNED]
    np.testing.assert_allclose(list(scores.values.values()), 0, atol=1e-3)
    np.testing.assert_allclose([*scores.joints.values()], 0, atol=1e-3)
    assert scores.notes == ()


def test_a_turned_body_by_hand(make_people, perfect):
    """Turned by 30 degrees about y at the root: every joint moves by the rotation, PA undoes it."""
    samples = make_people(1)
    predictions = perfect(samples)
    predictions.pose[0, 0] = turn(1, 30) @ predictions.pose[0, 0]
    scores = mesh_errors(predictions, BodyCache("open"))
    body = load_body(num_betas=11)
    given = (torch.from_numpy(x[None]) for x in (samples[0].betas, samples[0].pose))
    vertices = body(*given).vertices
    joints = (body.regressor("h36m17") @ vertices[0]).numpy().astype(np.float64)
    relative = joints - joints[0]
    moved = 1000 * np.linalg.norm(relative @ turn(1, 30).T - relative, axis=1)
    rows = [JOINT_SETS["h36m17"].names.index(name) for name in J14]
    assert scores.values["MPJPE mm"] == pytest.approx(moved[rows].mean(), abs=1e-2)
    for name, row in zip(J14, rows, strict=True):
        assert scores.joints[name] == pytest.approx(moved[row], abs=1e-2)
    assert scores.values["PA-MPJPE mm"] == pytest.approx(0, abs=1e-2)
    skin = vertices[0].numpy().astype(np.float64)
    about = skin - joints[0]
    expected = 1000 * np.linalg.norm(about @ turn(1, 30).T - about, axis=1).mean()
    assert scores.values[PVE] == pytest.approx(expected, abs=1e-2)
    # Without alignment the body has turned about its rest pelvis instead.
    about = skin - body.rest_joints(torch.from_numpy(samples[0].betas[None]))[0, 0].numpy()
    expected = 1000 * np.linalg.norm(about @ turn(1, 30).T - about, axis=1).mean()
    assert scores.values[PVE_UNALIGNED] == pytest.approx(expected, abs=1e-2)


def test_swapped_sides_are_caught(make_people, perfect):
    """Limbs of the wrong side, in a body that leans to neither: no alignment may hide it."""
    predictions = perfect(make_people(3))
    swap = list(JOINT_SETS["smpl24"].flip_permutation)
    mirror = np.diag([-1.0, 1.0, 1.0]).astype(np.float32)
    predictions.pose[:, 1:] = mirror @ predictions.pose[:, swap][:, 1:] @ mirror
    scores = mesh_errors(predictions, BodyCache("open"))
    assert min(scores.values["MPJPE mm"], scores.values["PA-MPJPE mm"]) > 30


def test_other_bodies_have_no_vertex_error(smpl, make_people, perfect):
    """A network of the open body against SMPL: joints are compared by name, vertices are not."""
    predictions = perfect(make_people(4, "smpl-male"))
    scores = mesh_errors(predictions, BodyCache("open"))
    assert np.isfinite([scores.values["MPJPE mm"], scores.values["PA-MPJPE mm"]]).all()
    assert np.isnan([scores.values[PVE], scores.values[PVE_UNALIGNED]]).all()
    assert scores.notes == (
        "PVE: n/a, since the vertices of open and smpl-male are not the same points of the skin.",
    )


def test_people_without_a_body_are_counted(make_people, perfect):
    predictions = perfect(make_people(4))
    predictions.true_betas[1] = np.nan
    scores = mesh_errors(predictions, BodyCache("open"))
    assert scores.notes == ("1 of 4 people have no true body and are not measured.",)
    np.testing.assert_array_equal(np.isnan(scores.people["MPJPE mm"]), [False, True, False, False])
    assert np.isfinite(scores.values["MPJPE mm"])


def test_named_joints_need_all_of_them(make_people, perfect):
    samples = make_people(3)
    samples[1].joints["j24"][JOINT_SETS["j24"].names.index("jaw"), 3] = 0
    found, known = named_joints(perfect(samples), J17)
    np.testing.assert_array_equal(known, [True, False, True])
    names = JOINT_SETS["j24"].names
    for column, name in enumerate(J17):
        np.testing.assert_array_equal(found[2, column], samples[2].joints["j24"][names.index(name), :3])


def test_predicted_pixels_are_projected_joints(make_people, perfect):
    samples = make_people(3)
    predictions = perfect(samples)
    for joint_set in ("coco17", "lsp14", "smpl24"):
        found = shared.pixels(predictions, BodyCache("open"), joint_set)
        expected = [s.keypoints[joint_set][:, :2] for s in samples]
        np.testing.assert_allclose(found, expected, atol=1e-3)
        errors = shared.keypoint_errors(predictions, BodyCache("open"), joint_set)
        np.testing.assert_allclose(errors, 0, atol=1e-3)


def test_unlabelled_joints_have_no_error(make_people, perfect):
    samples = make_people(2)
    samples[0].keypoints["coco17"][3] = 0
    errors = shared.keypoint_errors(perfect(samples), BodyCache("open"), "coco17")
    assert np.isnan(errors[0, 3])
    assert np.isnan(errors).sum() == 1


def test_pck_of_people_by_hand():
    errors = np.array([[0.05, 0.2, np.nan], [0.1, 0.09, 0.0], [np.nan] * 3])
    np.testing.assert_allclose(shared.pck_of_people(errors, 0.1), [50, 200 / 3, np.nan])

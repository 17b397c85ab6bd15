"""Protocols whose truth is joints, not bodies: Human3.6M's markers and MPI-INF-3DHP."""

import numpy as np
import pytest
import torch

from fullframe.body import JOINT_SETS, load_body
from fullframe.evaluate.metrics import AUC_THRESHOLDS
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.protocols import h36m, mpi_inf_3dhp
from fullframe.evaluate.protocols.shared import J14, J17

J24 = JOINT_SETS["j24"].names


def labelled(make_people, number: int = 3):
    """People whose j24 truth is exactly what the Human3.6M regressor gives, relative to the pelvis."""
    samples = make_people(number)
    body = load_body(num_betas=11)
    for sample in samples:
        vertices = body(*(torch.from_numpy(x[None]) for x in (sample.betas, sample.pose))).vertices
        joints = dict(
            zip(JOINT_SETS["h36m17"].names, body.regress(vertices, "h36m17")[0].numpy(), strict=True)
        )
        truth = np.zeros((24, 4), np.float32)
        for name in J17:
            truth[J24.index(name)] = [*(joints[name] - joints["pelvis"]), 1]
        sample.joints = {"j24": truth}
    return samples


def without_bodies(predictions):
    predictions.true_pose[:] = np.nan
    return predictions


def move(sample, name: str, millimetres: float) -> None:
    sample.joints["j24"][J24.index(name), 0] += millimetres / 1000


def test_mpi_inf_3dhp_by_hand(make_people, perfect):
    samples = labelled(make_people)
    measure = mpi_inf_3dhp.PROTOCOL.measure
    scores = measure(perfect(samples), BodyCache("open"))
    assert scores.values["MPJPE mm"] == pytest.approx(0, abs=1e-3)
    assert scores.values["PCK@150mm %"] == 100
    assert scores.values["AUC %"] == pytest.approx(100 * 30 / 31)
    # One wrist is off by 149 mm, another by 151 mm, of 3 x 17 joints.
    move(samples[0], "left_wrist", 149)
    move(samples[1], "right_wrist", 151)
    scores = measure(perfect(samples), BodyCache("open"))
    assert scores.values["MPJPE mm"] == pytest.approx((149 + 151) / 51, abs=1e-3)
    assert scores.values["PCK@150mm %"] == pytest.approx(100 * 50 / 51)
    # Strictly above 149 mm lies 150 only; above 151 none.
    full, last = 30 / 31, (AUC_THRESHOLDS > 149).mean()
    assert last == 1 / 31
    assert scores.values["AUC %"] == pytest.approx(100 * (49 * full + last) / 51, abs=1e-6)
    assert scores.joints["left_wrist"].mean() == pytest.approx(149 / 3, abs=1e-3)
    assert scores.values["PA-MPJPE mm"] > 1


def test_moving_the_pelvis_moves_everything_else(make_people, perfect):
    samples = labelled(make_people, 1)
    move(samples[0], "pelvis", 50)
    values = mpi_inf_3dhp.PROTOCOL.measure(perfect(samples), BodyCache("open")).values
    assert values["MPJPE mm"] == pytest.approx(16 * 50 / 17, abs=1e-3)


def test_swapped_sides_are_caught(make_people, perfect):
    samples = labelled(make_people)
    for sample in samples:
        sample.joints["j24"] = sample.joints["j24"][list(JOINT_SETS["j24"].flip_permutation)]
    values = mpi_inf_3dhp.PROTOCOL.measure(perfect(samples), BodyCache("open")).values
    assert min(values["MPJPE mm"], values["PA-MPJPE mm"]) > 50


def test_people_without_all_joints_are_left_out(make_people, perfect):
    samples = labelled(make_people)
    samples[1].joints["j24"][J24.index("jaw"), 3] = 0
    scores = mpi_inf_3dhp.PROTOCOL.measure(perfect(samples), BodyCache("open"))
    np.testing.assert_array_equal(np.isnan(scores.people["MPJPE mm"]), [False, True, False])
    assert scores.values["MPJPE mm"] == pytest.approx(0, abs=1e-3)


def test_h36m_against_markers_by_hand(make_people, perfect):
    samples = labelled(make_people)
    move(samples[0], "head", 28)
    move(samples[0], "jaw", 500)  # is not one of the 14
    scores = h36m.PROTOCOL_2.measure(without_bodies(perfect(samples)), BodyCache("open"))
    assert scores.values["MPJPE (markers) mm"] == pytest.approx(28 / 42, abs=1e-3)
    assert np.isnan(scores.values["MPJPE (MoSh) mm"])
    assert scores.joints["head"].mean() == pytest.approx(28 / 3, abs=1e-3)
    assert scores.notes == (
        "0 of 3 people have MoSh bodies.",
        "3 of 3 people have joints of the markers.",
    )


def test_h36m_distinguishes_both_truths(make_people, perfect):
    samples = labelled(make_people)
    for sample in samples:
        for name in J14:
            move(sample, name, 10)
    scores = h36m.PROTOCOL_1.measure(perfect(samples), BodyCache("open"))
    assert scores.values["MPJPE (MoSh) mm"] == pytest.approx(0, abs=1e-3)
    assert scores.values["MPJPE (markers) mm"] == pytest.approx(10, abs=1e-3)
    assert scores.values["PA-MPJPE (markers) mm"] == pytest.approx(0, abs=1e-2)

from dataclasses import replace

import numpy as np
import pytest
import torch

from fullframe.body import BodyFileError, load_body
from fullframe.evaluate import posed_bodies as module
from fullframe.evaluate.posed_bodies import BodyCache, pick, posed_pairs, posed_predictions


def test_everyone_is_posed_once_and_paired_with_their_truth(smpl, make_people, perfect, monkeypatch):
    monkeypatch.setattr(module, "BATCH_SIZE", 3)
    samples = make_people(7, "smpl-male") + make_people(5, "smpl-female", seed=1)
    order = np.random.default_rng(0).permutation(12)
    predictions = perfect([samples[i] for i in order])
    seen = []
    for some, predicted, true in posed_pairs(predictions, BodyCache("smpl-neutral")):
        assert len(some) <= 3
        assert predicted.body.name == "smpl-neutral"
        assert {true.body.name} == set(predictions.true_bodies[some])
        pose = torch.from_numpy(predictions.pose[some])
        for posed, betas in ((predicted, predictions.betas), (true, predictions.true_betas)):
            expected = posed.body(torch.from_numpy(betas[some]), pose)
            np.testing.assert_array_equal(posed.vertices, expected.vertices)
            np.testing.assert_array_equal(posed.joints("smpl24"), expected.joints)
        seen += some.tolist()
    assert sorted(seen) == list(range(12))


def test_people_without_truth_are_left_out(make_people, perfect):
    predictions = perfect(make_people(4))
    predictions.true_pose[2] = np.nan
    found = [some.tolist() for some, _, _ in posed_pairs(predictions, BodyCache("open"))]
    assert found == [[0, 1, 3]]


def test_kids_get_the_kid_template(smpl, make_people, perfect):
    samples = make_people(3, "smpl-neutral")
    samples[1] = replace(samples[1], kid=0.5)
    predictions = perfect(samples)
    found = {}
    for some, _, true in posed_pairs(predictions, BodyCache("smpl-neutral")):
        found |= dict(zip(some.tolist(), true.vertices, strict=True))
    # The kid is 0.6 times as large as the adult, and its weight is one half: the body shrinks by a fifth. The
    # template's offset of 3 m is taken away, the adult's own centre is not.
    rest = torch.eye(3).expand(1, 24, 3, 3)
    body, betas = BodyCache("smpl-neutral").shaped(
        "smpl-neutral", np.zeros((1, 10), np.float32), np.float32([0.5])
    )
    kid = body(torch.from_numpy(betas), rest).vertices[0].numpy()
    adult = load_body("smpl-neutral")(torch.zeros(1, 10), rest).vertices[0].numpy()
    expected = 0.8 * adult - 0.5 * 0.6 * adult.mean(axis=0)
    np.testing.assert_allclose(kid, expected, atol=1e-5)
    adult = load_body("smpl-neutral")(
        *(torch.from_numpy(getattr(samples[1], k)[None]) for k in ("betas", "pose"))
    )
    assert np.ptp(found[1][:, 1]) < 0.95 * np.ptp(adult.vertices.numpy()[0, :, 1])


def test_a_missing_or_wrong_kid_template_is_named(smpl, tmp_path, monkeypatch):
    monkeypatch.setattr("fullframe.body.files.SMPL_FOLDER", tmp_path)
    for name in ("SMPL_NEUTRAL.npz",):
        (tmp_path / name).symlink_to(smpl / name)
    kid = (np.zeros((1, 10), np.float32), np.ones(1, np.float32))
    with pytest.raises(BodyFileError, match=r"smpl_kid_template.npy is missing.*agora"):
        BodyCache("smpl-neutral").shaped("smpl-neutral", *kid)
    np.save(tmp_path / "smpl_kid_template.npy", np.zeros((10475, 3)))
    with pytest.raises(BodyFileError, match=r"expected \(6890, 3\)"):
        BodyCache("smpl-neutral").shaped("smpl-neutral", *kid)


def test_chosen_predictions(make_people, perfect):
    predictions = perfect(make_people(5))
    people = np.array([4, 1])
    ((some, posed),) = posed_predictions(predictions, BodyCache("open"), people)
    np.testing.assert_array_equal(some, people)
    expected = load_body("open", num_betas=11)(
        torch.from_numpy(predictions.betas[people]), torch.from_numpy(predictions.pose[people])
    )
    np.testing.assert_array_equal(posed.vertices, expected.vertices)


def test_picked_joints_have_the_names():
    points = np.arange(17)[:, None] * np.ones(3)
    np.testing.assert_array_equal(
        pick(points, "h36m17", ["pelvis", "left_hip", "right_wrist"])[:, 0], [0, 1, 16]
    )

import pickle
import zipfile

import numpy as np
import pytest
import torch

from fullframe.body import BodyFileError, load_body
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.protocols.agora import PROTOCOL, match, write_submission

measure = PROTOCOL.measure


def person(x: float, y: float = 0.0, size: float = 100.0) -> np.ndarray:
    """24 joints that fill a box."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, size, (24, 2))
    points[:2] = [[0, 0], [size, size]]
    return points + np.array([x, y])


def crowd(make_people, perfect, columns):
    """Two images of two people each who stand apart: person i at columns[i] metres."""
    samples = make_people(4, "smpl-neutral")
    for sample, x in zip(samples, columns, strict=True):
        shift = np.array([x, 0, 4], np.float32) - sample.translation
        sample.translation = sample.translation + shift
        points = sample.joints["smpl24"][:, :3] = sample.joints["smpl24"][:, :3] + shift
        sample.keypoints["smpl24"][:, :2] = points[:, :2] / points[:, 2:] * 300 + (100, 80)
    return perfect(samples)


def test_matching_takes_the_closest_first():
    true = np.stack([person(0), person(1000)])
    assert match(np.stack([person(1010), person(5)]), true) == [(1, 0), (0, 1)]
    # Both predictions show the first person: the closer one is taken; the other does not overlap the second.
    assert match(np.stack([person(20), person(10)]), true) == [(1, 0)]


def test_matching_needs_overlap_of_a_tenth():
    # Boxes of 101 px: shifted by 80, they share 21 columns: 21 / (202 - 21) = .116; by 85: 16 / 186 = .086.
    assert match(person(80)[None], person(0)[None]) == [(0, 0)]
    assert match(person(85)[None], person(0)[None]) == []


def test_a_close_pair_apart_takes_away_one_prediction():
    """AGORA's counter: after one pair without overlap, one of two predictions is matched, not both."""
    true = np.stack([person(0, size=10), person(3000, size=100)])
    # Distances: prediction 0 is 12 px from person 0 but does not overlap, so this pair comes first.
    predicted = np.stack([person(12, size=10), person(3040, size=100)])
    assert match(predicted, true) == [(1, 1)]
    # With two such pairs nobody is left to be matched.
    predicted = np.stack([person(12, size=10), person(3020, size=10)])
    true = np.stack([person(0, size=10), person(3000, size=10)])
    assert match(predicted, true) == []


def test_the_truth_is_matched_whatever_the_order(smpl, make_people, perfect):
    """Two predictions of one image change places: matching finds whose they are."""
    predictions = crowd(make_people, perfect, (-0.8, 0.8, -0.8, 0.8))
    for name in ("pose", "betas", "translation"):
        array = getattr(predictions, name)
        array[[0, 1]] = array[[1, 0]]
    scores = measure(predictions, BodyCache("smpl-neutral"))
    assert scores.values["F1"] == scores.values["precision"] == scores.values["recall"] == 1
    for name in ("MPJPE mm", "MVE mm", "NMJE mm", "NMVE mm"):
        assert scores.values[name] == pytest.approx(0, abs=1e-3)


def test_a_missed_person_by_hand(smpl, make_people, perfect):
    """One of four is predicted elsewhere: 3 found, 1 false, 1 missed, so F1 = 3 / (3 + 1) = .75."""
    predictions = crowd(make_people, perfect, (-0.8, 0.8, -0.8, 0.8))
    predictions.translation[3, 1] += 5
    # The first is larger than they are: 100 mm at the joint whose bone is twice as long, and so on.
    predictions.betas[0, 0] += 2
    scores = measure(predictions, BodyCache("smpl-neutral"))
    assert scores.values["F1"] == scores.values["precision"] == scores.values["recall"] == 0.75
    body = load_body("smpl-neutral")
    pose = torch.from_numpy(predictions.pose[:1])
    a, b = (body(torch.from_numpy(x[:1]), pose) for x in (predictions.betas, predictions.true_betas))
    hips = [(out.joints[:, 1] + out.joints[:, 2]) / 2 for out in (a, b)]
    for name, normalised, points in (("MPJPE mm", "NMJE mm", "joints"), ("MVE mm", "NMVE mm", "vertices")):
        difference = (getattr(a, points) - hips[0]) - (getattr(b, points) - hips[1])
        expected = 1000 * float(difference.norm(dim=-1).mean()) / 3
        assert expected > 1
        assert scores.values[name] == pytest.approx(expected, rel=1e-3)
        assert scores.values[normalised] == pytest.approx(expected / 0.75, rel=1e-3)
    assert np.isnan(scores.people["MPJPE mm"][3])


def test_children_are_charged_all_false_predictions(smpl, make_people, perfect):
    predictions = crowd(make_people, perfect, (-0.8, 0.8, -0.8, 0.8))
    predictions.kid[:2] = 0.0, 0.5
    predictions.translation[3, 1] += 5
    # The child's prediction is an adult: an error of its own.
    scores = measure(predictions, BodyCache("smpl-neutral"))
    # 1 child found, 1 false prediction (of an adult), none missed: F1 = 1 / 1.5, precision 1 / 2.
    assert scores.values["kids: F1"] == 0.67
    assert scores.values["kids: precision"] == 0.5
    assert scores.values["kids: recall"] == 1
    assert scores.values["kids: MPJPE mm"] > 50
    assert scores.values["kids: NMJE mm"] == pytest.approx(scores.values["kids: MPJPE mm"] / 0.67)
    assert scores.values["MPJPE mm"] == pytest.approx(scores.values["kids: MPJPE mm"] / 3, abs=1e-2)


def test_vertices_of_the_body_alone(smpl, make_people, perfect, tmp_path, monkeypatch):
    predictions = crowd(make_people, perfect, (-0.8, 0.8, -0.8, 0.8))
    predictions.pose[:, 22] = np.diag([1, -1, -1])
    everywhere = measure(predictions, BodyCache("smpl-neutral"))
    assert any("body_verts_smpl.npy" in note for note in everywhere.notes)
    assert everywhere.values["MVE mm"] > 1
    for path in smpl.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.setattr("fullframe.body.files.SMPL_FOLDER", tmp_path)
    chosen = np.arange(0, 6890, 3)
    np.save(tmp_path / "body_verts_smpl.npy", chosen)
    scores = measure(predictions, BodyCache("smpl-neutral"))
    assert scores.notes == ()
    body, betas = load_body("smpl-neutral"), torch.from_numpy(predictions.betas)
    a, b = (body(betas, torch.from_numpy(x)) for x in (predictions.pose, predictions.true_pose))
    # The hips have not moved, so bodies are where they are.
    expected = 1000 * float((a.vertices - b.vertices)[:, chosen].norm(dim=-1).mean())
    assert scores.values["MVE mm"] == pytest.approx(expected, rel=1e-4)
    assert abs(scores.values["MVE mm"] - everywhere.values["MVE mm"]) > 0.1
    np.save(tmp_path / "body_verts_smpl.npy", np.array([1.5]))
    with pytest.raises(BodyFileError, match="body_verts_smpl.npy: expected a list"):
        measure(predictions, BodyCache("smpl-neutral"))


def test_submission_is_what_the_server_reads(smpl, make_people, perfect, tmp_path):
    predictions = crowd(make_people, perfect, (-0.8, 0.8, -0.8, 0.8))
    (note,) = write_submission(predictions, BodyCache("smpl-neutral"), tmp_path)
    assert note == "submission.zip: 4 people of 2 images, in AGORA's format."
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        names = archive.namelist()
        contents = {name: archive.read(name) for name in names}
    assert sorted(names) == [f"predictions/{image}_personId_{k}.pkl" for image in (0, 1) for k in (0, 1)]
    content = contents["predictions/1_personId_1.pkl"]
    assert b"numpy._core" not in content  # numpy 1 cannot read that
    person = pickle.loads(content, encoding="latin1")
    shapes = {name: value.shape for name, value in person["params"].items()}
    assert shapes == {
        "transl": (1, 3), "betas": (1, 10), "global_orient": (1, 1, 3, 3), "body_pose": (1, 23, 3, 3),
    }  # fmt: skip
    assert all(type(value) is np.ndarray for value in (*person["params"].values(), person["joints"]))
    assert person["pose2rot"] is False
    np.testing.assert_array_equal(person["params"]["global_orient"][0, 0], predictions.pose[3, 0])
    np.testing.assert_allclose(person["joints"], predictions.keypoints["smpl24"][3, :, :2], atol=1e-2)


def test_no_submission_of_another_body(make_people, perfect, tmp_path):
    (note,) = write_submission(perfect(make_people(2)), BodyCache("open"), tmp_path)
    assert "AGORA takes SMPL" in note
    assert not list(tmp_path.iterdir())

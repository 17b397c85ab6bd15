"""Files of labels: nothing is lost, and our readers of the released form read them."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from fullframe.annotate.labels import Labels, score_labels, write_cliff
from fullframe.annotate.photo_people import read_people
from fullframe.annotate.pipeline import keep_predictions
from fullframe.data.formats.cliff_npz import CLIFFLabels
from fullframe.data.formats.spin_npz import SPINList
from fullframe.export import EXPORTERS
from fullframe.geometry.camera import project_points
from fullframe.recovery.plausibility import MIN_KEYPOINTS


@pytest.fixture
def labels(job, photos, tmp_path, body) -> Labels:
    """Of two in the first photo and one in each other; the last has two keypoints only."""
    given = read_people(tmp_path / "people.json", photos)
    points = job.crops.keypoints.copy()
    points[-1, 2:] = 0
    return score_labels(
        replace(job.crops, keypoints=points), given, keep_predictions(job), None, body, "test"
    )


def test_saved_and_read_without_loss(labels, tmp_path):
    labels.save(tmp_path / "labels.npz")
    back = Labels.load(tmp_path / "labels.npz")
    for field in fields(Labels):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(labels, field.name))


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="other.npz is not a file of labels"):
        Labels.load(tmp_path / "other.npz")


def test_the_released_form_gives_the_same_bodies(labels, photos, tmp_path, body):
    good = replace(labels, reliable=np.array([True, True, False, True]))
    write_cliff(good, tmp_path / "labels.npz", body)
    ours = SPINList(tmp_path / "labels.npz", photos, aspect=4 / 3)
    theirs = CLIFFLabels(tmp_path / "labels.npz", photos)
    for reader in (ours, theirs):
        assert len(reader) == len(good)
        for i, sample in enumerate(reader):
            assert sample.image == photos / good.photos[i]
            assert sample.camera.size == tuple(good.sizes[i])
            assert sample.camera.focal == pytest.approx(tuple(good.focal[i]))
            if i == 2:  # nobody trains on bodies that are not to be trusted
                assert sample.pose is None and sample.translation is None
                continue
            np.testing.assert_allclose(sample.pose, good.pose[i], atol=2e-6)
            np.testing.assert_array_equal(sample.betas, good.betas[i])
            np.testing.assert_array_equal(sample.translation, good.translation[i])
    assert ours[0].body == theirs[0].body == "open" and ours[0].name == "1.jpg#100"
    np.testing.assert_array_equal(ours[0].box, good.boxes[0])
    np.testing.assert_array_equal(ours[0].keypoints["coco17"], good.keypoints[0])
    np.testing.assert_array_equal(theirs[0].keypoints["j24"][19], good.keypoints[0, 0])  # the nose


def test_stored_joints_are_those_of_the_body(labels, tmp_path, body):
    write_cliff(labels, tmp_path / "labels.npz", body)
    with np.load(tmp_path / "labels.npz") as file:
        joints, ids, part = file["S"], file["annot_id"], file["part"]
    assert ids.tolist() == [100, 101, 102, 103]
    people = labels.people("1.jpg", body)
    truth = body.regress(torch.from_numpy(people.vertices), "j24").numpy()
    np.testing.assert_allclose(joints[:2, :, :3], truth - truth[:, 14:15], atol=1e-5)
    assert part.shape == (4, 24, 3) and (part[0, :, 2] > 0).sum() == 17


def test_scores_mean_what_they_say(labels, body):
    people = labels.people("2.jpg", body)
    points = body.regress(torch.from_numpy(people.vertices), "coco17").numpy()[0]
    away = np.linalg.norm(project_points(points, people.camera) - labels.keypoints[2, :, :2], axis=1)
    side = (labels.boxes[2, 2:] - labels.boxes[2, :2]).max()
    assert labels.reprojection[2] == pytest.approx(np.sqrt((away**2).mean()) / side, rel=1e-4)
    assert labels.visible.tolist() == [17, 17, 17, 2] and MIN_KEYPOINTS > 2
    assert not labels.reliable[3]


def test_people_of_a_photo_can_be_exported(labels, body, tmp_path):
    people = labels.people("1.jpg", body)
    assert len(people) == 2 and people.camera.size == (160, 120)
    EXPORTERS["json"](people, tmp_path / "one.json")
    assert (tmp_path / "one.json").stat().st_size > 100
    with pytest.raises(KeyError):
        labels.people("9.jpg", body)


# What is changed in a good file, and what the message says about it.
IMPOSSIBLE = [
    ({"focal": np.zeros((4, 2))}, "focal holds 0 to 0"),
    ({"focal": np.full((4, 2), np.nan)}, "focal holds NaN"),
    ({"principal_point": np.full((4, 2), np.inf)}, "principal_point holds inf"),
    ({"sizes": np.full((4, 2), -1)}, "sizes holds -1"),
    ({"sizes": np.full((4, 2), 10**8)}, "sizes holds 1e"),
    ({"ids": np.zeros(4, int)}, "ids holds an id twice"),
    ({"ids": np.arange(3)}, "not of the same people"),
    ({"boxes": np.full((4, 4), 1e30)}, "boxes holds 1e"),
    ({"betas": np.zeros((4, 1000))}, "betas has 1000 coefficients"),
    ({"pose": np.full((4, 24, 3, 3), np.inf)}, "pose holds inf"),
    ({"keypoints": np.zeros((4, 5, 3))}, "keypoints has 5 points"),
    ({"keypoints": np.full((4, 17, 3), np.nan)}, "keypoints holds NaN"),
    ({"prior": np.full(4, np.inf)}, "prior holds inf"),
    ({"reliable": np.zeros(4)}, "reliable is of type"),
    ({"photos": np.arange(4)}, "photos is of type"),
    ({"photos": np.array(["../secret.jpg", "a", "b", "c"])}, "'../secret.jpg' is outside"),
    ({"photos": np.array(["a/../../secret.jpg", "a", "b", "c"])}, "is outside"),
    ({"photos": np.array(["/etc/passwd", "a", "b", "c"])}, "'/etc/passwd' is outside"),
    ({"photos": np.array(["", "a", "b", "c"])}, "is outside"),
    (
        {"header": np.array('{"joint_set": "none", "body": "open", "model": ""}')},
        "joint_set 'none' is unknown",
    ),
    ({"header": np.array('{"joint_set": 5, "body": "open", "model": ""}')}, "joint_set must be text"),
    ({"header": np.array("[" * 10**5)}, "is not a file of labels"),
]


@pytest.mark.parametrize("changes, message", IMPOSSIBLE)
def test_impossible_values_are_refused(labels, tmp_path, changes, message):
    path = tmp_path / "labels.npz"
    labels.save(path)
    with np.load(path) as file:
        content = dict(file)
    np.savez(path, **{**content, **changes})
    with pytest.raises(ValueError, match=f"labels.npz.*{message}"):
        Labels.load(path)

"""Protocols on labelled pixels: COCO and LSPET; the angle of synth; photos made smaller."""

import numpy as np
import pytest
import roma
import torch

from fullframe.body import JOINT_SETS
from fullframe.data.sample import Sample
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.protocol import mean
from fullframe.evaluate.protocols import coco, lspet, synth
from fullframe.evaluate.protocols.resized import Resized
from fullframe.geometry.camera import Camera


def test_coco_by_hand(make_people, perfect):
    samples = make_people(2)
    for sample in samples:
        sample.box[:] = [0, 0, 60, 100]
        sample.keypoints["coco17"][:5] = 0  # 12 labels left
    predictions = perfect(samples)
    measure = coco.PROTOCOL.measure
    assert measure(predictions, BodyCache("open")).values == {"PCK@0.1 %": 100}
    # The longer side is 100 px: 9.9 px are near enough, 10.1 px are not.
    predictions.keypoints["coco17"][0, 5, 0] += 9.9
    predictions.keypoints["coco17"][0, 6, 1] += 10.1
    predictions.keypoints["coco17"][1, 7, 1] += 50
    scores = measure(predictions, BodyCache("open"))
    assert scores.values["PCK@0.1 %"] == pytest.approx(100 * 22 / 24)
    np.testing.assert_allclose(scores.people["PCK@0.1 % per person"], 100 * 11 / 12)
    names = JOINT_SETS["coco17"].names
    assert mean(scores.joints[names[7]]) == pytest.approx(25, abs=1e-3)
    assert np.isnan(scores.joints["nose"]).all()


def test_coco_sides_are_those_of_the_person(make_people, perfect):
    predictions = perfect(make_people(4))
    predictions.keypoints["coco17"] = predictions.keypoints["coco17"][
        :, list(JOINT_SETS["coco17"].flip_permutation)
    ]
    assert coco.PROTOCOL.measure(predictions, BodyCache("open")).values["PCK@0.1 %"] < 75


def test_lspet_by_hand(make_people, perfect):
    samples = make_people(2)
    predictions = perfect(samples)
    measure = lspet.PROTOCOL.measure
    everything = {"PCK@0.1 %": 100, "PCK@0.1 %, sides free": 100, "PCK@0.2 torso %": 100}
    assert measure(predictions, BodyCache("open")).values == everything
    names = JOINT_SETS["lsp14"].names
    labels = predictions.keypoints["lsp14"]
    torso = np.linalg.norm(
        labels[0, names.index("left_shoulder"), :2] - labels[0, names.index("right_hip"), :2]
    )
    predictions.boxes[:] = [0, 0, 1000, 50]
    labels[0, names.index("left_wrist"), 0] += 0.21 * torso
    labels[0, names.index("right_wrist"), 0] += 0.19 * torso
    labels[1, names.index("left_ankle"), 1] += 101
    scores = measure(predictions, BodyCache("open"))
    assert scores.values["PCK@0.1 %"] == pytest.approx(100 * 27 / 28)
    assert scores.values["PCK@0.2 torso %"] == pytest.approx(100 * 26 / 28)
    # Without the hip there is no torso to measure with.
    labels[0, names.index("right_hip"), 2] = 0
    scores = measure(predictions, BodyCache("open"))
    assert scores.values["PCK@0.2 torso %"] == pytest.approx(100 * 13 / 14)
    assert scores.values["PCK@0.1 %"] == pytest.approx(100 * 26 / 27)


def test_lspet_labels_with_exchanged_sides_count_as_they_are_meant(make_people, perfect):
    predictions = perfect(make_people(2))
    labels = predictions.keypoints["lsp14"]
    labels[1] = labels[1, list(JOINT_SETS["lsp14"].flip_permutation)]
    labels[0, JOINT_SETS["lsp14"].names.index("left_wrist"), 0] += 1e4
    values = lspet.PROTOCOL.measure(predictions, BodyCache("open")).values
    assert values["PCK@0.1 %, sides free"] == pytest.approx(100 * 27 / 28)
    assert values["PCK@0.1 %"] < 80


def test_synth_reports_the_angle_of_the_root(make_people, perfect):
    predictions = perfect(make_people(4))
    for person, degrees in enumerate((0, 10, 30, 100)):
        turn = roma.rotvec_to_rotmat(torch.tensor([0, np.radians(degrees), 0])).numpy()
        predictions.pose[person, 0] = turn @ predictions.pose[person, 0]
    scores = synth.PROTOCOL.measure(predictions, BodyCache("open"))
    assert list(scores.values) == [
        "MPJPE mm", "PA-MPJPE mm", "PVE mm", "root rotation deg", "root rotation deg, median",
    ]  # fmt: skip
    assert scores.values["root rotation deg"] == pytest.approx(35, abs=1e-3)
    assert scores.values["root rotation deg, median"] == pytest.approx(20, abs=1e-3)
    assert scores.values["PA-MPJPE mm"] == pytest.approx(0, abs=1e-2)
    assert scores.people["MPJPE mm"][3] > scores.people["MPJPE mm"][1] > 10


def photo(width: int, height: int) -> Sample:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    image = np.stack((x * 200 / width, y * 200 / height, 0 * x), axis=-1).round().astype(np.uint8)
    camera = Camera.from_focal(1000, (width, height))
    return Sample(image, camera, np.float32([10, 20, 60, 90]))


def test_resized_photos_show_what_they_showed():
    sample = photo(400, 240)
    (small,) = Resized([sample], 200)[:]
    assert small.image.shape == (120, 200, 3)
    assert small.camera == sample.camera
    np.testing.assert_array_equal(small.box, sample.box)
    x, y, scale = small.window
    for p in ((10, 30), (150, 100)):
        full = np.array([x, y]) + scale * np.array(p)
        # Colours tell where a pixel comes from: 200 levels over the photo.
        expected = full * [200 / 400, 200 / 240]
        np.testing.assert_allclose(small.image[p[1], p[0], :2], expected, atol=1)


def test_small_photos_and_copies_stay():
    sample = photo(100, 80)
    copy = photo(400, 240)
    copy.window = (0.5, 0.5, 2.0)
    resized = Resized([sample, copy], 200)
    assert resized[0] is sample
    assert resized[1] is copy

import cv2
import numpy as np
import pytest

from fullframe.evaluate.protocols import PROTOCOLS, synth
from fullframe.evaluate.protocols.synth_occluded import HIDDEN, Occluded, cover


@pytest.fixture(scope="module")
def people():
    everyone = synth.people(None)
    return [everyone[i] for i in range(4)]


def test_half_of_everyone_is_covered(people):
    for index, sample in enumerate(people):
        pixels = sample.image.copy()
        covered = cover(pixels, sample, np.random.default_rng(index))
        x, y, scale = sample.window
        joints = np.rint((sample.keypoints["smpl24"][:, :2] - (x, y)) / scale).astype(int)
        height, width = covered.shape
        joints = joints[((joints >= 0) & (joints < (width, height))).all(axis=1)]
        assert HIDDEN <= covered[joints[:, 1], joints[:, 0]].mean() < 1
        changed = (pixels != sample.image).any(-1)
        assert (changed <= covered).all() and covered.mean() < 0.9


def test_the_same_people_get_the_same_occluders_and_labels_stay(people):
    first, again = Occluded(people), Occluded(people)
    assert len(first) == 4
    for index, sample in enumerate(people):
        seen = first[index]
        assert np.array_equal(seen.image, again[index].image)
        assert not np.array_equal(seen.image, sample.image)
        assert seen.keypoints is sample.keypoints and seen.box is sample.box and seen.name == sample.name
    assert PROTOCOLS["synth-occluded"].measure is synth.PROTOCOL.measure


def test_a_person_in_no_frame_is_left_alone(people):
    sample = people[0]
    pixels = cv2.flip(sample.image, 1)
    away = type(sample)(
        sample.image, sample.camera, sample.box, sample.window,
        keypoints={"smpl24": np.full((24, 3), 1e6, np.float32)},
    )  # fmt: skip
    assert not cover(pixels, away, np.random.default_rng(0)).any()

"""People of a known height."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_clips import BODY, person, together

from fullframe.motion.postprocess import postprocess
from fullframe.motion.shape import check_height, constant_shape, keep_in_view, with_height

TIMES = np.arange(60) / 30


def statures(betas: np.ndarray) -> np.ndarray:
    heights = BODY.data.template[:, 1] + betas @ BODY.data.shape_dirs[:, 1, : BODY.num_betas].T
    return np.ptp(heights, axis=1)


@given(st.integers(0, 2**32 - 1), st.floats(0.6, 2.3))
@settings(max_examples=20)
def test_bodies_have_the_given_height(seed, metres):
    betas = np.random.default_rng(seed).normal(0, 0.8, (3, BODY.num_betas)).astype(np.float32)
    found = with_height(BODY, betas, np.arange(3), metres)
    np.testing.assert_allclose(statures(found), metres, atol=1e-4)
    np.testing.assert_array_equal(found[:, 1:], betas[:, 1:])


def test_heights_by_track():
    betas = np.zeros((4, BODY.num_betas), np.float32)
    found = with_height(BODY, betas, np.array([0, 1, 0, 5]), {0: 1.9, 5: 1.5, 8: 1.2})
    np.testing.assert_allclose(statures(found), [1.9, statures(betas)[0], 1.9, 1.5], atol=1e-4)
    np.testing.assert_array_equal(with_height(BODY, betas, np.arange(4), None), betas)


def test_taller_people_stand_farther_away():
    """They cover the same part of the image: joints stay within a hundredth of the body's size in it."""
    clip = person(TIMES[:20])
    before = clip.betas
    after, translation = constant_shape(clip, BODY, 2.0)
    scale = 2.0 / statures(before)[0]
    assert scale > 1.1
    np.testing.assert_allclose(translation[:, 2] / clip.translation[:, 2], scale, rtol=0.03)

    def pixels(betas, moved):
        joints = replace(clip, betas=betas, translation=moved).people(7, BODY).joints[0]
        return joints[:, :2] / joints[:, 2:]

    there, here = pixels(before, clip.translation), pixels(after, translation)
    assert np.linalg.norm(there - here, axis=1).max() < 0.02 * np.ptp(there, axis=0).max()
    same = keep_in_view(BODY, clip.pose, clip.translation, before, before)
    np.testing.assert_allclose(same, clip.translation, atol=1e-5)


def test_the_ground_follows():
    """Everything in metres has the person's scale: also how far below the camera the ground is."""
    clip = person(TIMES)
    plain, tall = (postprocess(clip, BODY, height=height) for height in (None, {0: 2.0}))
    scale = 2.0 / statures(plain.betas)[0]
    np.testing.assert_allclose(statures(tall.betas), 2.0, atol=1e-4)
    assert tall.ground[3] / plain.ground[3] == pytest.approx(scale, rel=0.04)


def test_only_the_people_named():
    clip = together(person(TIMES), person(TIMES, track_id=1))
    found = postprocess(clip, BODY, height={1: 1.5}, keep_tracks=True)
    known = statures(found.betas[found.track_ids == 1])
    np.testing.assert_allclose(known, 1.5, atol=1e-4)
    assert abs(statures(found.betas[found.track_ids == 0])[0] - 1.5) > 0.1


@pytest.mark.parametrize(
    ("height", "said"),
    [(17.5, "did you mean 1.75"), (175.0, "did you mean 1.75"), (1750.0, "did you mean 1.75"), (0.0, "0 m"),
     (-1.7, "from 0.5"), ({0: 1.7, 1: 62.0}, "62 m"), (float("nan"), "nan")],
)  # fmt: skip
def test_impossible_heights(height, said):
    with pytest.raises(ValueError, match=said):
        check_height(height)
    check_height({0: 1.75, 3: 0.95})
    check_height(None)

from dataclasses import replace

import numpy as np
import pytest
import torch
from motion_clips import BETAS, BODY, UPRIGHT, person, rotations, together
from motion_metrics import foot_skating, jitter, mpjpe

from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.fit import KeypointFitter, clip_fitter, fit_clip
from fullframe.geometry.camera import project_points
from fullframe.motion.shape import with_height
from fullframe.results.clip import Clip

FITTER = KeypointFitter(BODY)
REGRESSOR = KeypointRegressor(BODY)


def walker(frames: int = 40, sideways: float = 0.0) -> Clip:
    """Somebody who turns by a quarter and raises an arm, feet on the ground, with exact keypoints."""
    times = np.arange(frames) / 30
    share = times / times[-1]
    vectors = np.zeros((frames, 24, 3))
    vectors[:, 0, 1] = -np.pi / 4 * share
    vectors[:, 16, 2], vectors[:, 17, 2] = -1.2 + 1.5 * share, 1.2
    vectors[:, 18, 1] = -0.6
    pose = rotations(vectors)
    pose[:, 0] = UPRIGHT @ pose[:, 0]
    betas = np.tile(np.linspace(0.8, -0.4, BETAS), (frames, 1))
    place = np.array([sideways, 0.2, 4.0]) + share[:, None] * np.array([0.1, 0.0, 0.1])
    return seen(person(times, pose=pose, betas=betas, translation=place))


def seen(clip: Clip) -> Clip:
    """The clip with its own keypoints."""
    clip = replace(clip, keypoints=clip.keypoints.copy())
    with torch.inference_mode():
        points = REGRESSOR(torch.from_numpy(clip.betas), torch.from_numpy(clip.pose)).keypoints.numpy()
    points = points + clip.translation[:, None]
    pixels = project_points(points.reshape(-1, 3), clip.camera)
    clip.keypoints[..., :2], clip.keypoints[..., 2] = pixels.reshape(-1, 17, 2), 0.9
    return clip


def wrong(truth: Clip, seed: int = 0) -> Clip:
    """The clip as a network might see it: wrong poses and distances, slowly varying."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, (1, 24, 3)) + 2 * np.pi * np.arange(len(truth))[:, None, None] / 25
    turn = rotations(0.08 * np.sin(phase))
    away = np.exp(0.05 * np.sin(phase[:, 0, :1]))
    return replace(truth, pose=truth.pose @ turn, translation=truth.translation * away)


@pytest.fixture(scope="module")
def truth() -> Clip:
    return walker()


def rows_of(clip: Clip) -> list[np.ndarray]:
    return [rows for _, rows in clip.tracks()]


def test_keypoints_of_all_frames_mend_the_motion(truth: Clip) -> None:
    start = wrong(truth)
    found = fit_clip(FITTER, start, rows_of(start))
    assert mpjpe(found, truth, BODY) < 0.6 * mpjpe(start, truth, BODY)
    assert jitter(found, BODY) < jitter(start, BODY)
    errors = [np.linalg.norm(clip.translation - truth.translation, axis=1) for clip in (start, found)]
    assert np.std(errors[1]) < 0.5 * np.std(errors[0])
    assert (found.betas == found.betas[0]).all()
    np.testing.assert_array_equal(found.keypoints, start.keypoints)
    assert (start.pose == wrong(truth).pose).all(), "the clip given stays as it was"


def test_standing_feet_stay(truth: Clip) -> None:
    times = truth.times
    still = seen(person(times, betas=truth.betas))
    start = wrong(still)
    standing = replace(start, contacts=np.ones((len(start), 2), bool))
    free, held = (fit_clip(FITTER, clip, rows_of(clip)) for clip in (start, standing))
    held_feet, free_feet = (foot_skating(clip, BODY, standing=standing) for clip in (held, free))
    assert held_feet < 0.5 * free_feet
    assert mpjpe(held, still, BODY) <= 1.05 * mpjpe(free, still, BODY)


def test_long_clips_are_solved_in_windows(truth: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    start = wrong(truth)
    whole = fit_clip(FITTER, start, rows_of(start))
    monkeypatch.setattr(clip_fitter, "WINDOW", 12)
    monkeypatch.setattr(clip_fitter, "OVERLAP", 10)
    done = []
    parts = fit_clip(FITTER, start, rows_of(start), progress=lambda stage, n, total: done.append((n, total)))
    assert done == [(0, 40), (12, 40), (24, 40), (40, 40)]
    assert mpjpe(parts, truth, BODY) < 1.2 * mpjpe(whole, truth, BODY)
    assert jitter(parts, BODY) < 1.3 * jitter(whole, BODY), "no jumps between windows"
    assert (parts.betas == parts.betas[0]).all()


def test_a_known_height_is_kept(truth: Clip) -> None:
    start = wrong(truth)
    found = fit_clip(FITTER, start, rows_of(start), {0: 1.9})
    np.testing.assert_allclose(with_height(BODY, found.betas, found.track_ids, 1.9), found.betas, atol=1e-5)


def test_a_camera_that_turns_makes_no_difference(truth: Clip) -> None:
    turns = rotations(np.array([0.0, 0.3, 0.0]) * np.linspace(0, 1, len(truth))[:, None])
    start = wrong(truth)
    still = fit_clip(FITTER, start, rows_of(start))
    # Each frame's camera frame, from the world.
    turned = replace(start.rotated(turns.swapaxes(1, 2), BODY))
    pixels = seen(truth.rotated(turns.swapaxes(1, 2), BODY)).keypoints
    turned = replace(turned, keypoints=pixels, boxes=boxes_of(pixels))
    np.testing.assert_allclose(turned.camera_rotation, turns, atol=1e-6)
    found = fit_clip(FITTER, turned, rows_of(turned)).in_world(BODY)
    assert mpjpe(found, truth, BODY) < 1.3 * mpjpe(still, truth, BODY)


def boxes_of(keypoints: np.ndarray) -> np.ndarray:
    points = keypoints[..., :2]
    return np.concatenate((points.min(1) - 10, points.max(1) + 10), axis=1)


def test_each_person_is_fitted_as_if_alone(truth: Clip) -> None:
    first, second = wrong(truth), wrong(walker(sideways=0.8), seed=1)
    second = replace(second, track_ids=np.ones(len(second), np.int64))
    both = together(first, second)
    found = fit_clip(FITTER, both, rows_of(both))
    for one in (first, second):
        alone = fit_clip(FITTER, one, rows_of(one))
        of_it = found.take(found.track_ids == one.track_ids[0])
        np.testing.assert_allclose(of_it.pose, alone.pose, atol=1e-4)
        np.testing.assert_allclose(of_it.translation, alone.translation, atol=1e-4)


def test_frames_without_keypoints_follow_their_neighbours(truth: Clip) -> None:
    start = wrong(truth)
    start = replace(start, keypoints=start.keypoints.copy(), detected=start.detected.copy())
    gap = slice(15, 21)
    start.keypoints[gap], start.detected[gap] = 0, False
    found = fit_clip(FITTER, start, rows_of(start))
    rows = np.arange(15, 21)
    assert mpjpe(found.take(rows), truth, BODY) < 0.8 * mpjpe(start.take(rows), truth, BODY)


@pytest.mark.parametrize("frames", [1, 2])
def test_too_few_frames_stay_as_they_are(truth: Clip, frames: int) -> None:
    start = wrong(truth).take(np.arange(frames))
    found = fit_clip(FITTER, start, rows_of(start))
    np.testing.assert_array_equal(found.pose, start.pose)
    np.testing.assert_allclose(found.translation, start.translation, atol=1e-5)


def test_no_people(truth: Clip) -> None:
    nobody = truth.take(np.zeros(0, np.int64))
    assert len(fit_clip(FITTER, nobody, [])) == 0

from dataclasses import replace

import numpy as np
import pytest
from motion_clips import BODY, person, rotations, seen, together, walker, wrong
from motion_metrics import foot_skating, jitter, mpjpe

from fullframe.fit import KeypointFitter, clip_fitter, fit_clip
from fullframe.motion.shape import with_height
from fullframe.motion.skeleton import joint_positions
from fullframe.results.clip import Clip

FITTER = KeypointFitter(BODY)


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
    # Each window's own shape first, then the motion.
    assert done == [(0, 80), (12, 80), (24, 80), (40, 80), (52, 80), (64, 80), (80, 80)]
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
    turned = start.rotated(turns.swapaxes(1, 2), BODY)
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


def test_windows_agree_on_one_shape(truth: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    start = wrong(truth)
    start = replace(start, betas=np.zeros_like(start.betas))
    whole = fit_clip(FITTER, start, rows_of(start))
    monkeypatch.setattr(clip_fitter, "WINDOW", 12)
    monkeypatch.setattr(clip_fitter, "OVERLAP", 10)
    parts = fit_clip(FITTER, start, rows_of(start))
    assert (parts.betas == parts.betas[0]).all()
    errors = [np.linalg.norm((clip.betas - truth.betas)[0]) for clip in (start, whole, parts)]
    assert errors[1] < errors[0] and errors[2] < errors[0]


def test_one_wrong_box_does_not_spoil_the_others(truth: Clip) -> None:
    start = wrong(truth)
    boxes = start.boxes.copy()
    middle, half = (boxes[20, :2] + boxes[20, 2:]) / 2, boxes[20, 2:] - boxes[20, :2]
    boxes[20] = np.concatenate((middle - half, middle + half))
    found = fit_clip(FITTER, replace(start, boxes=boxes), rows_of(start))
    assert mpjpe(found, truth, BODY) < 0.6 * mpjpe(start, truth, BODY)


def test_a_hand_at_the_lens_does_not_spoil_the_others() -> None:
    """There the energy of a frame is infinite."""
    near = walker(depth=0.6)
    forward = np.zeros((len(near), 24, 3))
    forward[:, 16, 1] = -1.5 * np.exp(-(((np.arange(len(near)) - 20) / 3) ** 2))
    near = seen(replace(near, pose=near.pose @ rotations(forward)))
    assert (joint_positions(BODY, near)[20, 20:24, 2] < 0.1).any()
    start = wrong(near)
    found = fit_clip(FITTER, start, rows_of(start))
    far = np.r_[0:12, 28 : len(start)]
    assert mpjpe(found.take(far), near, BODY) < 0.8 * mpjpe(start.take(far), near, BODY)


def test_people_without_keypoints_stay_where_they_are() -> None:
    """Neither prior nor the wish to stand upright turns somebody who lies."""
    pose = walker().pose
    pose[:, 0] = rotations(np.array([[0.0, 0.0, 1.4]])) @ pose[:, 0]
    start = person(np.arange(40) / 30, pose=pose)
    found = fit_clip(FITTER, start, rows_of(start))
    assert mpjpe(found, start, BODY) < 15
    assert np.abs(found.translation - start.translation).max() < 0.05


def test_progress_can_end_the_work_at_any_time(truth: Clip) -> None:
    start = wrong(truth)

    def cancel(stage: str, done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_clip(FITTER, start, rows_of(start), progress=cancel)


@pytest.mark.parametrize("frames", [1, 2])
def test_too_few_frames_stay_as_they_are(truth: Clip, frames: int) -> None:
    start = wrong(truth).take(np.arange(frames))
    found = fit_clip(FITTER, start, rows_of(start))
    np.testing.assert_array_equal(found.pose, start.pose)
    np.testing.assert_allclose(found.translation, start.translation, atol=1e-5)


def test_no_people(truth: Clip) -> None:
    nobody = truth.take(np.zeros(0, np.int64))
    assert len(fit_clip(FITTER, nobody, [])) == 0

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from motion_clips import BETAS, BODY, CAMERA, person, rotations, seen, standing, together, walker, wrong
from motion_metrics import foot_skating, jitter, mpjpe

from fullframe.body import load_body
from fullframe.evaluate.metrics import rotation_error
from fullframe.fit import KeypointFitter, fit_clip
from fullframe.geometry.camera import project_points
from fullframe.motion.postprocess import postprocess
from fullframe.motion.skeleton import skeletons
from fullframe.results.clip import Clip

TIMES = np.arange(90) / 30


def waving(times: np.ndarray, frequency: float = 0.7) -> np.ndarray:
    """Poses of a person who turns around once in 4 s and swings arms and legs."""
    vectors = np.zeros((len(times), 24, 3))
    vectors[:, 0, 1] = np.pi / 2 * times
    for joint, size in ((16, 0.8), (17, -0.8), (1, 0.3), (2, -0.3), (4, 0.4)):
        vectors[:, joint, 0] = size * np.sin(2 * np.pi * frequency * times)
    pose = rotations(vectors)
    pose[:, 0] = np.diag([1.0, -1, -1]) @ pose[:, 0]
    return pose


def walking(times: np.ndarray) -> np.ndarray:
    return np.array([-1.0, 0.2, 6.0]) + times[:, None] * np.array([0.7, 0.0, -0.5])


def noisy(clip: Clip, seed: int = 0) -> Clip:
    rng = np.random.default_rng(seed)
    turn = rotations(rng.normal(0, 0.06, (len(clip), 24, 3)))
    place = clip.translation * np.exp(rng.normal(0, 0.03, (len(clip), 1)))
    betas = clip.betas + rng.normal(0, 0.3, clip.betas.shape)
    return replace(clip, pose=clip.pose @ turn, translation=place, betas=betas)


def test_motion_without_noise_stays_as_it_is():
    truth = person(TIMES, pose=waving(TIMES), translation=walking(TIMES))
    found = postprocess(truth, BODY)
    assert rotation_error(found.pose, truth.pose).max() < 1.5
    assert np.abs(found.translation - truth.translation).max() < 0.02
    inner = slice(15, 75)
    assert rotation_error(found.pose, truth.pose)[inner].max() < 0.5


def test_noise_goes_and_motion_stays():
    truth = person(TIMES, pose=waving(TIMES), translation=walking(TIMES))
    raw = noisy(truth)
    found = postprocess(raw, BODY)
    assert jitter(found, BODY) < jitter(raw, BODY) / 10
    assert jitter(found, BODY, in_camera=True) < jitter(raw, BODY, in_camera=True) / 10
    assert mpjpe(found, truth, BODY) < 0.7 * mpjpe(raw, truth, BODY)
    assert np.abs(found.translation - truth.translation)[10:-10, 2].max() < 0.25
    left = jitter(postprocess(raw, BODY, smooth=False), BODY)
    assert left > 0.5 * jitter(raw, BODY)


def test_there_is_no_lag():
    truth = person(TIMES, pose=waving(TIMES, 1.0))
    found = postprocess(noisy(truth), BODY)
    swing = [c.pose[:, 16, 2, 1] for c in (truth, found)]
    shifts = range(-4, 5)
    match = [np.corrcoef(swing[0][10:-10], np.roll(swing[1], s)[10:-10])[0, 1] for s in shifts]
    assert shifts[int(np.argmax(match))] == 0


def test_one_shape_per_track_and_the_body_still_covers_the_same_part_of_the_image():
    rng = np.random.default_rng(1)
    betas = rng.normal(0, 1, (30, BETAS))
    raw = person(TIMES[:30], betas=betas)
    other = person(TIMES[:30], track_id=3, betas=betas + 2, translation=np.tile([1.0, 0.2, 6], (30, 1)))
    found = postprocess(together(raw, other), BODY, smooth=False)
    assert len(np.unique(found.betas, axis=0)) == 2
    assert np.abs(found.betas[found.track_ids == 0][0] - betas.mean(axis=0)).max() < 0.6
    mine = found.take(found.track_ids == 0)
    pixels = [
        np.array([project_points(j, CAMERA) for j in skeletons(BODY, c.betas, c.pose, c.translation).joints])
        for c in (raw, mine)
    ]
    height = np.ptp(pixels[0][..., 1], axis=1)
    np.testing.assert_allclose(np.ptp(pixels[1][..., 1], axis=1), height, rtol=0.04)
    assert np.linalg.norm(pixels[0] - pixels[1], axis=-1).max() < 0.03 * height.max()
    assert np.ptp(mine.translation[:, 2]) > 0.1


def test_outlying_shapes_do_not_count():
    betas = np.full((30, BETAS), 0.5)
    betas[[4, 9]] = 8
    found = postprocess(person(TIMES[:30], betas=betas), BODY)
    np.testing.assert_allclose(found.betas, 0.5, atol=1e-5)


@pytest.mark.parametrize("smooth", [True, False])
def test_short_gaps_are_filled_and_long_ones_are_not(smooth):
    times = np.arange(120) / 30
    keep = np.ones(120, bool)
    keep[20:34] = False  # 0.47 s
    keep[70:90] = False  # 0.67 s
    truth = person(times, pose=waving(times), translation=walking(times))
    found = postprocess(truth.take(keep), BODY, smooth=smooth)
    assert found.frames.tolist() == [k for k in range(120) if not 70 <= k < 90]
    assert found.frames[~found.detected].tolist() == list(range(20, 34))
    filled = found.take(~found.detected)
    there = truth.take(np.arange(20, 34))
    assert (filled.scores == 0).all()
    assert rotation_error(filled.pose, there.pose).mean() < 4
    assert np.abs(filled.translation - there.translation).max() < 0.1
    assert np.abs(filled.boxes - there.boxes).mean() < 5


def test_a_cut_is_never_smoothed_or_filled_across():
    first = person(TIMES, translation=np.tile([-1.0, 0.2, 5.0], (90, 1)))
    jump = np.arange(90) >= 45
    translation = np.where(jump[:, None], [1.0, 0.2, 7.0], [-1.0, 0.2, 5.0])
    pose = standing(90)
    pose[jump, 0] = pose[jump, 0] @ rotations(np.array([0, 2.0, 0]))
    clip = person(TIMES, pose=pose, translation=translation)
    found = postprocess(clip, BODY, cuts=[45])
    np.testing.assert_allclose(found.translation, clip.translation, atol=1e-3)
    assert rotation_error(found.pose, clip.pose).max() < 0.05
    blurred = postprocess(clip, BODY)
    assert np.abs(blurred.translation - clip.translation).max() > 0.05
    gap = first.take(np.abs(np.arange(90) - 45) > 3)
    assert postprocess(gap, BODY, cuts=[45]).detected.all()


def test_false_tracks_are_dropped_but_a_short_shot_is_kept():
    long = person(TIMES)
    short = person(TIMES, track_id=7, translation=np.tile([1.0, 0.2, 5.0], (90, 1))).take(np.arange(40, 44))
    unknown = person(TIMES, track_id=-1, translation=np.tile([-1.0, 0.2, 5.0], (90, 1)))
    found = postprocess(together(long, short, unknown), BODY)
    assert set(found.track_ids.tolist()) == {0}
    assert len(postprocess(together(long, short), BODY, cuts=[40, 44])) == 90 - 4 + 4 + 4
    assert len(postprocess(person(np.arange(5) * 1.0), BODY)) == 5


def test_a_brief_second_track_on_a_person_is_dropped_but_not_one_beside_them():
    """The detector takes a wider box for the person in some frames, where the first track has none."""
    first = person(TIMES, keep=np.setdiff1d(np.arange(90), (20, 26, 32)))
    wide = person(TIMES, track_id=1, keep=np.array([20, 22, 26, 28, 32, 34]))
    wide.boxes[:] += np.array([-60, -4, 60, 4], np.float32)
    found = postprocess(together(first, wide), BODY)
    assert set(found.track_ids.tolist()) == {0} and len(found) == 90
    wide.boxes[:, ::2] += 300
    assert set(postprocess(together(first, wide), BODY).track_ids.tolist()) == {0, 1}


def test_pieces_of_one_person_are_joined_but_not_those_of_two():
    pieces = [person(TIMES, track_id=k).take(np.arange(*span)) for k, span in ((2, (0, 40)), (5, (46, 90)))]
    found = postprocess(together(*pieces), BODY)
    assert set(found.track_ids.tolist()) == {2}
    assert len(found) == 90
    far = person(TIMES, track_id=5, translation=np.tile([1.2, 0.2, 5.0], (90, 1))).take(np.arange(46, 90))
    assert set(postprocess(together(pieces[0], far), BODY).track_ids.tolist()) == {2, 5}
    rival = person(TIMES, track_id=9, translation=np.tile([0.1, 0.2, 5.0], (90, 1))).take(np.arange(46, 90))
    assert set(postprocess(together(*pieces, rival), BODY).track_ids.tolist()) == {2, 5, 9}


def test_people_are_finished_each_on_their_own():
    people = [
        noisy(person(TIMES, track_id=k, pose=waving(TIMES, 0.5 + 0.2 * k),
                     translation=walking(TIMES) + np.array([k, 0, k])), k)
        for k in range(3)
    ]  # fmt: skip
    all_of_them = postprocess(together(*people), BODY)
    for k, one in enumerate(people):
        alone, among = postprocess(one, BODY), all_of_them.take(all_of_them.track_ids == k)
        np.testing.assert_allclose(alone.pose, among.pose, atol=1e-5)
        np.testing.assert_allclose(alone.translation, among.translation, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("lock_feet", [True, False])
def test_very_short_clips(count, lock_feet):
    clip = person(np.arange(count) / 30)
    found = postprocess(clip, BODY, lock_feet=lock_feet)
    np.testing.assert_allclose(found.translation, clip.translation, atol=0.02)
    assert found.frames.tolist() == list(range(count))


def test_no_people():
    clip = person(TIMES).take(np.zeros(90, bool))
    found = postprocess(clip, BODY, lock_feet=True, cuts=[3])
    assert len(found) == 0
    assert found.num_frames == 90
    assert np.isnan(found.ground).all()


def test_minutes_without_people():
    times = np.arange(6000) / 30
    clip = person(times).take((np.arange(6000) < 20) | (np.arange(6000) >= 5970))
    found = postprocess(clip, BODY)
    assert found.frames.tolist() == clip.frames.tolist()


@pytest.mark.parametrize("fps", [1, 12.5, 240])
def test_any_frame_rate(fps):
    times = np.arange(40) / fps
    truth = person(times, pose=waving(times, 0.1), translation=walking(times / times[-1]))
    found = postprocess(noisy(truth), BODY)
    assert len(found) == 40
    assert mpjpe(found, truth, BODY) <= 1.02 * mpjpe(noisy(truth), truth, BODY)


def test_another_body_is_refused():
    clip = person(TIMES)
    with pytest.raises(ValueError, match="num_betas=10"):
        postprocess(clip, load_body("open", num_betas=11))
    with pytest.raises(ValueError, match="smpl"):
        postprocess(replace(clip, body="smpl"), BODY)


def test_people_around_a_camera_that_turns():
    """Someone walks past the camera, which follows them until they are behind where it looked at first."""
    away = np.linspace(-1.2, 2.0, 90)
    path = 5 * np.stack((np.sin(away), np.full(90, 0.05), np.cos(away)), axis=1)
    truth = person(TIMES, pose=waving(TIMES), translation=path)
    turn = rotations(np.linspace(-1.2, 2.0, 90)[:, None] * (0.03, 1, 0))
    seen = noisy(truth.rotated(turn.swapaxes(1, 2), BODY))
    seen = seen.take(~np.isin(seen.frames, [20, 21, 22, 50]))
    seen.camera_rotation = turn
    found = postprocess(seen, BODY)
    np.testing.assert_array_equal(found.camera_rotation, turn)
    world = found.in_world(BODY)
    assert len(world) == 90 and world.detected.sum() == 86
    error = np.linalg.norm(world.translation - truth.translation, axis=1)
    raw = np.linalg.norm(seen.in_world(BODY).translation - truth.translation[seen.frames], axis=1)
    assert error.mean() < 0.6 * raw.mean()
    assert rotation_error(world.pose[:, 0], truth.pose[:, 0]).mean() < 4
    np.testing.assert_allclose(postprocess(seen, BODY, smooth=False).camera_rotation, turn)


def test_feet_stand_in_the_world_of_a_camera_that_turns():
    true = person(TIMES)
    turn = rotations(np.sin(TIMES * 2)[:, None] * (0, 0.5, 0))
    turning = true.rotated(turn.swapaxes(1, 2), BODY)
    found = postprocess(turning, BODY)
    assert found.contacts.all()
    # As if it stood still, they would slide.
    assert not postprocess(
        replace(turning, camera_rotation=np.tile(np.eye(3), (90, 1, 1))), BODY
    ).contacts.all()
    assert foot_skating(found.in_world(BODY), BODY) < 0.02


def test_motion_is_fitted_to_keypoints():
    """With a camera that turns, a cut, and somebody of whom no keypoints are known."""
    truth = walker(90, stands=True)
    other = person(TIMES, 1, translation=np.tile([1.5, 0.2, 5.0], (len(TIMES), 1)))
    raw = together(wrong(truth), other)
    turn = rotations(np.array([0.0, 0.2, 0.0]) * TIMES[:, None]).swapaxes(1, 2)
    turned = replace(raw.rotated(turn, BODY), keypoints=raw.keypoints.copy())
    turned.keypoints[turned.track_ids == 0] = seen(truth.rotated(turn, BODY)).keypoints
    fit = partial(fit_clip, KeypointFitter(BODY))
    for clip in (raw, turned):
        smoothed, fitted = (
            postprocess(clip, BODY, cuts=[50], fit=each).in_world(BODY) for each in (None, fit)
        )
        first, second = (fitted.take(fitted.track_ids == track) for track in (0, 1))
        assert mpjpe(first, truth, BODY) < 0.8 * mpjpe(smoothed.take(smoothed.track_ids == 0), truth, BODY)
        assert mpjpe(second, other, BODY) < 15
        np.testing.assert_allclose(fitted.uncertainty, smoothed.uncertainty)
    unsmoothed = postprocess(raw, BODY, smooth=False)
    np.testing.assert_array_equal(postprocess(raw, BODY, smooth=False, fit=fit).pose, unsmoothed.pose)

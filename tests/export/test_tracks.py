import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fullframe.export.tracks import Track, even_rate, joints, resampled, seen, tracks
from fullframe.geometry.world import Y_UP, level_frame

FEW = settings(max_examples=40)


@FEW
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda n: np.linalg.norm(n) > 0.1), st.floats(0.1, 30))
def test_level_frame_stands_on_the_ground(normal, height):
    normal = np.array(normal) / np.linalg.norm(normal)
    frame = level_frame(np.array([*normal, height]))
    np.testing.assert_allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(frame.rotation) > 0
    np.testing.assert_allclose(frame.rotation @ normal, (0, 1, 0), atol=1e-9)
    np.testing.assert_allclose(frame.origin, (0, height, 0))  # the camera, above the ground
    points = np.random.default_rng(0).normal(size=(5, 3)) * 5
    np.testing.assert_allclose(
        (points @ frame.rotation.T + frame.origin)[:, 1], points @ normal + height, atol=1e-8
    )


def test_level_frame_keeps_the_cameras_heading():
    for pitch in (-1.0, 0.0, 0.5, 1.5):
        up = Rotation.from_euler("x", pitch).apply([0, -1, 0])
        ahead = level_frame(np.array([*up, 2.0])).rotation @ [0, 0, 1]
        assert ahead[2] < 0 and abs(ahead[0]) < 1e-9
    # Straight down: what is at the image's upper edge is ahead.
    down = level_frame(np.array([0, 0, -1.0, 3.0])).rotation
    np.testing.assert_allclose(down @ [0, -1, 0], (0, 0, -1), atol=1e-9)


def test_an_unknown_ground_leaves_the_camera_frame_upright():
    assert level_frame(np.full(4, np.nan)) is Y_UP
    assert level_frame(np.array([0, -1, 0, np.nan])) is Y_UP
    np.testing.assert_array_equal(Y_UP.rotation @ [1, 2, 3], (1, -2, -3))


def test_tracks_are_the_people(make_clip, body):
    clip = make_clip()
    places = joints(clip, body)
    for track, (number, rows) in zip(tracks(clip, body, Y_UP), clip.tracks(), strict=True):
        assert track.id == number
        np.testing.assert_array_equal(track.times, clip.times[clip.frames[rows]])
        np.testing.assert_allclose(track.pelvis, places[rows, 0] * (1, -1, -1), atol=1e-5)
        turns = Rotation.from_quat(track.rotations[:, 0]).as_matrix()
        np.testing.assert_allclose(turns, Y_UP.rotation @ clip.pose[rows, 0], atol=1e-5)
        turns = Rotation.from_quat(track.rotations[:, 5]).as_matrix()
        np.testing.assert_allclose(turns, clip.pose[rows, 5], atol=1e-5)
        assert ((track.rotations[1:] * track.rotations[:-1]).sum(-1) >= 0).all()
    for frame in (0, 3):
        np.testing.assert_allclose(places[clip.rows_of(frame)], clip.people(frame, body).joints, atol=1e-5)


def test_seen(make_clip):
    clip = make_clip()
    times, there = seen(clip, 7)  # absent in frames 0, 1 and 6
    np.testing.assert_allclose(times, np.array([0, 2, 6, 7]) / 25)
    assert there.tolist() == [False, True, False, True]
    times, there = seen(clip, 4)
    assert times.tolist() == [0] and there.tolist() == [True]


def test_another_body_is_refused(make_clip, body):
    remedy = r"10 betas of the body open.*open with 11; use load_body\('open', num_betas=10\)"
    with pytest.raises(ValueError, match=remedy):
        list(tracks(make_clip(num_betas=10), body, Y_UP))
    with pytest.raises(ValueError, match="smpl-male"):
        joints(make_clip(body="smpl-male"), body)


@pytest.mark.parametrize("name", ["pose", "betas", "translation"])
def test_what_is_not_finite_is_refused(make_clip, body, name):
    clip = make_clip()
    getattr(clip, name)[5] = np.nan
    with pytest.raises(ValueError, match=f"{name} of person {clip.track_ids[5]} in frame {clip.frames[5]}"):
        list(tracks(clip, body, Y_UP))


def test_even_rate(make_clip):
    for fps, rate in ((1, 30), (24, 30), (25, 30), (29.97, 30), (50, 60), (59.94, 60), (240, 240)):
        assert even_rate(make_clip(times=np.arange(12) / fps)) == rate
    assert even_rate(make_clip(frames=1)) == 30


def some_track(times, seed=0):
    rng = np.random.default_rng(seed)
    rotations = Rotation.random(24 * len(times), rng).as_quat().reshape(-1, 24, 4)
    pelvis = rng.normal(size=(len(times), 3))
    return Track(3, np.array(times, float), rotations, pelvis, rng.normal(size=(24, 3)), np.zeros(11))


def angle(a, b):
    return (Rotation.from_quat(a.reshape(-1, 4)).inv() * Rotation.from_quat(b.reshape(-1, 4))).magnitude()


@FEW
@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.integers(0, 1000))
def test_resampling_meets_the_frames(steps, seed):
    """Frames at multiples of 1/30 s are met exactly; in between, the turn is even."""
    ticks = np.cumsum([0, *steps])
    track = some_track(2.5 + ticks / 30, seed)
    even = resampled(track, 30, 2.5)
    np.testing.assert_allclose(even.times, 2.5 + np.arange(ticks[-1] + 1) / 30)
    np.testing.assert_allclose(even.pelvis[ticks], track.pelvis, atol=1e-6)
    assert angle(even.rotations[ticks], track.rotations).max() < 1e-5
    np.testing.assert_allclose(np.linalg.norm(even.rotations, axis=-1), 1, atol=1e-9)
    assert ((even.rotations[1:] * even.rotations[:-1]).sum(-1) >= -1e-9).all()
    first = angle(even.rotations[0], even.rotations[1])
    whole = angle(track.rotations[0], track.rotations[1])
    np.testing.assert_allclose(first * steps[0], whole, atol=1e-5)


def test_resampling_one_frame():
    track = some_track([4.0])
    even = resampled(track, 30, 4.0)
    assert even.times.tolist() == [4.0]
    np.testing.assert_allclose(even.pelvis, track.pelvis)
    assert angle(even.rotations, track.rotations).max() < 1e-6


def test_the_first_pose_is_held_until_the_person_enters():
    track = some_track([1.0, 1.1, 1.2], 3)
    even = resampled(track, 10, 0.0)
    np.testing.assert_allclose(even.times, np.arange(13) / 10)
    np.testing.assert_allclose(even.pelvis, track.pelvis[[0] * 11 + [1, 2]])
    assert angle(even.rotations, track.rotations[[0] * 11 + [1, 2]]).max() < 1e-6

from dataclasses import replace

import numpy as np
from motion_clips import BODY, UPRIGHT, person, rotations, standing, together
from motion_metrics import acceleration_error, foot_skating, jitter, mpjpe

from fullframe.evaluate.metrics import rotation_error
from fullframe.motion.postprocess import postprocess
from fullframe.motion.skeleton import LEGS, skeletons, soles

TIMES = np.arange(90) / 30


def tilted(pitch: float) -> np.ndarray:
    """World (y up, facing the camera) to a camera that looks down by `pitch` degrees."""
    return rotations(np.array([np.radians(-pitch), 0, 0])) @ UPRIGHT


def on_ground(pitch: float, places, height: float = 1.4):
    """People who stand at places (x, z) before a camera at a height: their clip, and the true ground."""
    turn = tilted(pitch)
    clips = []
    for k, (x, z) in enumerate(places):
        pose = standing(90)
        pose[:, 0] = turn
        rest = skeletons(BODY, np.zeros((1, 10)), np.eye(3)[None, None].repeat(24, 1))
        clip = person(TIMES[:1], pose=np.eye(3)[None, None].repeat(24, 1), translation=np.zeros((1, 3)))
        sole = soles(BODY, clip)[..., 1].min()
        pelvis = turn @ np.array([x, rest.joints[0, 0, 1] - sole - height, z])
        clips.append(person(TIMES, k, pose, np.tile(pelvis - rest.joints[0, 0], (90, 1))))
    return together(*clips), np.append(turn[:, 1], height)


def test_the_ground_is_where_people_stand():
    for pitch, places in ((0, [(0, -5)]), (12, [(0, -5), (1.5, -7)]), (25, [(-1, -4), (1, -6), (0, -8)])):
        clip, truth = on_ground(pitch, places)
        ground = postprocess(clip, BODY).ground
        assert np.degrees(np.arccos(min(ground[:3] @ truth[:3], 1))) < 2
        feet = soles(BODY, clip)
        assert np.abs(feet @ ground[:3] + ground[3]).max() < 0.05


def test_the_ground_survives_jumps_and_false_feet():
    clip, truth = on_ground(10, [(0, -5), (1.5, -7)])
    moved = clip.translation.copy()
    jump = (clip.frames > 30) & (clip.frames < 50)
    moved[jump] += 0.4 * truth[:3]
    ground = postprocess(replace(clip, translation=moved), BODY, smooth=False).ground
    assert np.degrees(np.arccos(min(ground[:3] @ truth[:3], 1))) < 2
    assert abs(ground[3] - truth[3]) < 0.06


def test_standing_has_two_feet_on_the_ground_and_jumping_none():
    clip, truth = on_ground(5, [(0, -5)])
    assert postprocess(clip, BODY).contacts.all()
    height = 0.5 * np.sin(np.clip((TIMES - 1) / 0.5, 0, 1) * np.pi)
    jumping = replace(clip, translation=clip.translation + height[:, None] * truth[:3])
    found = postprocess(jumping, BODY, smooth=False).contacts
    assert found[:28].all()
    assert not found[33:42].any()
    assert found[48:].all()


def sliding(clip):
    """A person who stands, but the network lets the body wander and tremble."""
    rng = np.random.default_rng(0)
    way = 0.06 * np.stack((np.sin(2 * TIMES), 0.3 * np.sin(3 * TIMES), 2 * np.sin(1.5 * TIMES)), axis=1)
    pose = clip.pose.copy()
    bend = np.zeros((90, 24, 3))
    bend[:, [1, 2], 0], bend[:, [4, 5], 0] = -0.3, 0.5
    bend[:, [1, 2, 4, 5], 0] += rng.normal(0, 0.02, (90, 4))
    pose = pose @ rotations(bend)
    return replace(clip, translation=clip.translation + way, pose=pose)


def test_locked_feet_stay_and_the_rest_hardly_moves():
    clip, _ = on_ground(8, [(0, -5)])
    raw = sliding(clip)
    free, locked = postprocess(raw, BODY), postprocess(raw, BODY, lock_feet=True)
    assert locked.contacts.any(axis=1).mean() > 0.9
    assert foot_skating(free, BODY) > 0.03
    assert foot_skating(locked, BODY) < 0.2 * foot_skating(free, BODY)
    assert mpjpe(locked, free, BODY) < 20
    changed = [j for j in range(24) if rotation_error(locked.pose[:, j], free.pose[:, j]).max() > 1e-2]
    assert set(changed) <= {joint for leg in LEGS for joint in leg[:3]}
    np.testing.assert_allclose(
        locked.pose @ locked.pose.swapaxes(-1, -2), np.broadcast_to(np.eye(3), locked.pose.shape), atol=1e-5
    )
    points = soles(BODY, locked)
    above = points[..., 1, :] @ locked.ground[:3] + locked.ground[3]
    assert np.abs(above[locked.contacts]).max() < 0.02


def test_bones_keep_their_lengths_and_feet_their_direction():
    clip, _ = on_ground(8, [(0, -5)])
    free, locked = (postprocess(sliding(clip), BODY, lock_feet=lock) for lock in (False, True))
    one, other = (skeletons(BODY, c.betas, c.pose, c.translation) for c in (free, locked))
    for hip, knee, ankle, _ in LEGS:
        for a, b in ((hip, knee), (knee, ankle)):
            lengths = [np.linalg.norm(s.joints[:, a] - s.joints[:, b], axis=1) for s in (one, other)]
            np.testing.assert_allclose(*lengths, atol=1e-5)
        np.testing.assert_allclose(one.rotations[:, ankle], other.rotations[:, ankle], atol=1e-5)


def test_measures_of_the_same_clip_and_of_a_shaking_one():
    clip = person(TIMES)
    assert mpjpe(clip, clip, BODY) == 0
    assert acceleration_error(clip, clip, BODY) == 0
    assert jitter(clip, BODY, in_camera=True) < 1e-6
    shaken = replace(
        clip, translation=clip.translation + np.array([0.01, 0, 0]) * (-1) ** np.arange(90)[:, None]
    )
    # The third difference of +-1 cm is 8 cm.
    assert abs(jitter(shaken, BODY, in_camera=True) - 0.08 * 30**3) < 1
    assert jitter(shaken, BODY) < 1e-1
    standing_feet = replace(shaken, contacts=np.ones((90, 2), bool))
    assert abs(foot_skating(standing_feet, BODY) - 0.02 * 30) < 1e-3
    assert np.isnan(foot_skating(clip, BODY))
    assert np.isnan(jitter(clip.take(np.arange(3)), BODY))
    assert np.isnan(mpjpe(clip, replace(clip, track_ids=clip.track_ids + 1), BODY))

import bvhio
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from fullframe.body.joint_sets import JOINT_SETS, PARENTS
from fullframe.export.bvh import write_clip_bvh
from fullframe.export.tracks import joints
from fullframe.geometry.world import Y_UP, level_frame

NAMES = JOINT_SETS["smpl24"].names


def local_rotations(path):
    """Frames x 24 rotations by bvhio, which turns the angles into quaternions with its own code."""
    container = bvhio.readAsBvh(str(path))
    by_name = {joint.Name: joint for joint, *_ in container.Root.layout()}
    turns = [[key.Rotation.to_tuple() for key in by_name[name].Keyframes] for name in NAMES]  # w, x, y, z
    return container, Rotation.from_quat(np.roll(np.array(turns).reshape(-1, 4), -1, axis=1)), by_name


def world_positions(path, frames):
    """frames x 24 positions by bvhio's own chain of transforms."""
    root = bvhio.readAsHierarchy(str(path))
    result = []
    for frame in frames:
        root.loadPose(frame, recursive=True)
        by_name = {joint.Name: joint.PositionWorld.to_tuple() for joint, *_ in root.layout()}
        result.append([by_name[name] for name in NAMES])
    return np.array(result)


@pytest.mark.parametrize("known", [True, False])
def test_an_independent_parser_gets_the_motion_back(make_clip, body, tmp_path, known):
    clip = make_clip(times=np.arange(12) / 30, absent=())
    if not known:
        clip.ground[:] = np.nan
    files = write_clip_bvh(clip, body, tmp_path / "walk.bvh")
    assert [file.name for file in files] == ["walk_4.bvh", "walk_7.bvh"]
    frame = level_frame(clip.ground)
    places = 100 * (joints(clip, body) @ frame.rotation.T + frame.origin)
    for file, (_, rows) in zip(files, clip.tracks(), strict=True):
        container, turns, _ = local_rotations(file)
        assert container.FrameCount == 12 and container.FrameTime == pytest.approx(1 / 30, abs=1e-6)
        pose = clip.pose[rows].astype(float)
        pose[:, 0] = frame.rotation @ pose[:, 0]
        wanted = Rotation.from_matrix(pose.swapaxes(0, 1).reshape(-1, 3, 3))
        assert np.degrees((turns.inv() * wanted).magnitude()).max() < 0.01
        np.testing.assert_allclose(world_positions(file, range(12)), places[rows], atol=0.02)  # cm


def test_frames_between_those_of_the_video(make_clip, body, tmp_path):
    """From 25 to 30 frames a second the turn is even, over the gap too; the first pose is held before."""
    clip = make_clip()
    file = write_clip_bvh(clip, body, tmp_path / "a.bvh")[1]
    container, turns, _ = local_rotations(file)
    rows = np.flatnonzero(clip.track_ids == 7)
    times = clip.times[clip.frames[rows]]
    assert container.FrameCount == int(times[-1] * 30 + 1e-6) + 1
    at = np.maximum(np.arange(container.FrameCount) / 30, times[0])
    knee = Slerp(times, Rotation.from_matrix(clip.pose[rows, 4]))(at)
    found = Rotation.from_quat(turns.as_quat().reshape(24, -1, 4)[4])
    assert np.degrees((knee.inv() * found).magnitude()).max() < 0.01


def test_rest_pose_is_the_shaped_t_pose(make_clip, body, tmp_path):
    clip = make_clip()
    file = write_clip_bvh(clip, body, tmp_path / "a.bvh")[0]
    _, _, by_name = local_rotations(file)
    rest = body.rest_joints(torch.from_numpy(clip.betas[:1]))[0].numpy()
    for joint in range(1, 24):
        offset = np.array(by_name[NAMES[joint]].Offset.to_tuple())
        np.testing.assert_allclose(offset, 100 * (rest[joint] - rest[PARENTS[joint]]), atol=1e-3)
    text = file.read_text()
    assert text.count("End Site") == 5 and text.count("CHANNELS 3 Zrotation Xrotation Yrotation") == 23
    # End sites reach on to the toes, crown and fingertips.
    head = np.array(by_name["head"].EndSite.to_tuple())
    assert 10 < head[1] < 30
    assert by_name["left_hand"].EndSite.to_tuple()[0] > 3 > -3 > by_name["right_hand"].EndSite.to_tuple()[0]


def test_angles_do_not_jump(make_clip, body, tmp_path):
    """Someone spins twice and lies down on the way: curves stay smooth, although X passes 90 degrees."""
    frames = 120
    clip = make_clip(frames=frames, num_people=1, times=np.arange(frames) / 30)
    clip.ground[:] = np.nan
    share = np.linspace(0, 1, frames)[:, None]
    spin = Rotation.from_euler("Y", 720 * share, degrees=True)
    lean = Rotation.from_euler("X", 150 * share, degrees=True)
    clip.pose[:, 0] = Y_UP.rotation @ (lean * spin).as_matrix()
    file = write_clip_bvh(clip, body, tmp_path / "a.bvh")[0]
    lines = file.read_text().splitlines()
    numbers = np.array([line.split() for line in lines[lines.index("MOTION") + 3 :]], float)
    assert numbers.shape == (frames, 75)
    assert np.abs(np.diff(numbers[:, 3:6], axis=0)).max() < 10
    turns = Rotation.from_euler("ZXY", numbers[:, 3:6], degrees=True)
    assert np.degrees((turns.inv() * lean * spin).magnitude()).max() < 0.01


def test_one_frame_no_people_and_another_body(make_clip, body, smpl_body, tmp_path):
    container, _, _ = local_rotations(write_clip_bvh(make_clip(frames=1), body, tmp_path / "a.bvh")[0])
    assert container.FrameCount == 1
    assert write_clip_bvh(make_clip().take(slice(0, 0)), body, tmp_path / "b.bvh") == []
    clip = make_clip(body="smpl-neutral", num_betas=10)
    assert len(write_clip_bvh(clip, smpl_body, tmp_path / "c.bvh")) == 2

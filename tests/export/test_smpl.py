import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fullframe.body.joint_sets import PARENTS
from fullframe.export.smpl import write_clip_smpl
from fullframe.export.tracks import joints
from fullframe.geometry.world import level_frame


def amass_joints(data, rest):
    """22 joints as AMASS's tools place them: the pelvis at its rest place plus trans, z up."""
    poses = data["poses"].reshape(len(data["poses"]), 52, 3)
    turns, places = [], []
    for k in range(22):
        local = Rotation.from_rotvec(poses[:, k])
        if k == 0:
            turns.append(local)
            places.append(rest[0] + data["trans"])
        else:
            parent = PARENTS[k]
            turns.append(turns[parent] * local)
            places.append(places[parent] + turns[parent].apply(rest[k] - rest[parent]))
    return np.stack(places, 1)


def test_an_smpl_body_comes_back(make_clip, smpl_body, tmp_path):
    clip = make_clip(times=np.arange(12) / 30, absent=(0, 1), body="smpl-neutral", num_betas=10)
    files = write_clip_smpl(clip, smpl_body, tmp_path / "walk")
    assert [file.name for file in files] == ["walk_4.smpl.npz", "walk_7.smpl.npz"]
    frame = level_frame(clip.ground)
    places = joints(clip, smpl_body) @ frame.rotation.T + frame.origin
    z_up = places[..., [0, 2, 1]] * (1, -1, 1)
    for file, (_, rows) in zip(files, clip.tracks(), strict=True):
        with np.load(file) as data:  # no pickles
            # All files begin with the clip; the first pose is held until the person is seen.
            assert data["poses"].shape == (12, 156) and data["trans"].shape == (12, 3)
            assert data["first_seen"] == clip.times[clip.frames[rows[0]]]
            rows = np.append(np.repeat(rows[:1], 12 - len(rows)), rows)
            np.testing.assert_array_equal(data["betas"], clip.betas[rows[0]])
            rest = smpl_body.rest_joints(torch.from_numpy(data["betas"][None]))[0].numpy()
            np.testing.assert_allclose(amass_joints(data, rest), z_up[rows, :22], atol=1e-4)
            assert not data["poses"][:, 66:].any()
            assert str(data["gender"]) == "neutral" and str(data["body"]) == "smpl-neutral"
            # Blender's add-on turns the rate into an integer and refuses less than 30.
            assert int(data["mocap_frame_rate"]) == int(data["mocap_framerate"]) == 30
    assert z_up[..., 2].min() > -0.3 and z_up[..., 2].max() > 1  # on its feet


def test_the_open_body_does_not_pass_for_smpl(make_clip, body, tmp_path):
    clip = make_clip()
    file = write_clip_smpl(clip, body, tmp_path / "a")[0]
    with np.load(file) as data:
        assert data["betas"].shape == (10,) and not data["betas"].any()
        np.testing.assert_array_equal(data["body_betas"], clip.betas[0])
        assert str(data["body"]) == "open" and str(data["gender"]) == "neutral"
        frame = level_frame(clip.ground)
        pelvis = joints(clip, body)[0, 0] @ frame.rotation.T + frame.origin
        smpl_pelvis = data["trans"][0] + (0, -0.22, 0.03)
        np.testing.assert_allclose(smpl_pelvis, pelvis[[0, 2, 1]] * (1, -1, 1), atol=1e-5)


def test_unknown_ground_one_frame_and_no_people(make_clip, body, tmp_path):
    clip = make_clip(frames=1, ground=np.full(4, np.nan))
    with np.load(write_clip_smpl(clip, body, tmp_path / "a")[0]) as data:
        assert data["poses"].shape == (1, 156)
        pelvis = data["trans"][0] + (0, -0.22, 0.03)
        assert pelvis[1] == pytest.approx(clip.translation[0, 2], abs=0.01)  # depth is y
        assert str(data["axes"]) == "metres, z up"
    assert write_clip_smpl(make_clip().take(slice(0, 0)), body, tmp_path / "b") == []

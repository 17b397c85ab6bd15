from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from dataset_files import emdb_content, make_clip, matrix, project, write_emdb, write_pickle

from fullframe.body import BodyFileError, files
from fullframe.data.formats.emdb import EMDB

GOOD = np.array([True, True, False, True])


@pytest.fixture
def clip(bodies):
    return make_clip(bodies["female"], "female", 4, matrix(1450.0, 1440, 1920), np.random.default_rng(1))


@pytest.fixture
def root(clip, tmp_path: Path) -> Path:
    write_emdb(tmp_path, "P0/00_mvs_a", emdb_content("P0_00_mvs_a", clip, GOOD, emdb1=True))
    write_emdb(tmp_path, "P2/20_outdoor_walk", emdb_content("P2_20_outdoor_walk", clip, GOOD, emdb1=False))
    return tmp_path


def test_good_frames_in_the_camera(root: Path, clip, bodies) -> None:
    data = EMDB(root, bodies=bodies)
    assert [sample.frame for sample in data] == [0, 1, 3]
    assert EMDB(root, "emdb2", bodies)[0].name == "P2_20_outdoor_walk/00000.jpg#0"
    for sample in data:
        assert sample.body == "smpl-female" and sample.sequence == "P0_00_mvs_a"
        assert sample.image == root / f"P0/00_mvs_a/images/{sample.frame:05d}.jpg"
        assert sample.camera.size == (1440, 1920)
        arrays = (torch.from_numpy(a)[None] for a in (sample.betas, sample.pose, sample.translation))
        posed = bodies["female"](*arrays).joints[0].numpy()
        np.testing.assert_allclose(posed, clip.joints[sample.frame], atol=2e-5)
        keypoints = sample.keypoints["smpl24"]
        pixels = project(posed.astype(float), sample.camera.intrinsics)
        np.testing.assert_allclose(keypoints[:, :2], pixels, atol=0.05)
        assert (keypoints[:, 2] == 1).all()
        # Frame 1 is among those whose box is invalid; then it is drawn around the keypoints.
        margin = 0 if sample.frame == 1 else 20
        np.testing.assert_allclose(sample.box, [*pixels.min(0) - margin, *pixels.max(0) + margin], atol=0.05)


def test_the_root_is_turned_by_the_camera(root: Path, clip, bodies) -> None:
    sample = EMDB(root, bodies=bodies)[2]
    world = roma.rotvec_to_rotmat(torch.from_numpy(clip.pose[3].reshape(24, 3))).numpy()
    np.testing.assert_allclose(sample.pose[0], clip.extrinsics[3, :3, :3] @ world[0], atol=1e-5)
    np.testing.assert_allclose(sample.pose[1:], world[1:], atol=1e-5)


def test_smpl_is_needed(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fullframe.body.body_model.SMPL_FOLDER", tmp_path / "nothing")
    monkeypatch.setattr(files, "SMPL_FOLDER", tmp_path / "nothing")
    with pytest.raises(BodyFileError, match="smpl-female was not found"):
        EMDB(root)


def test_missing_and_wrong_files(root: Path, clip, bodies, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere is missing.*ait.ethz.ch/emdb"):
        EMDB(tmp_path / "nowhere", bodies=bodies)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty/P\*.*_data.pkl is missing.*ait.ethz.ch"):
        EMDB(tmp_path / "empty", bodies=bodies)
    with pytest.raises(ValueError, match="unknown subset 'emdb3' of EMDB"):
        EMDB(root, "emdb3", bodies)
    content = emdb_content("P0_00_mvs_a", clip, GOOD, emdb1=True)
    path = root / "P0/00_mvs_a/P0_00_mvs_a_data.pkl"
    del content["kp2d"], content["smpl"]["trans"]
    write_pickle(path, content)
    with pytest.raises(ValueError, match=r"P0_00_mvs_a_data.pkl: not a sequence .* lacks kp2d, smpl/trans"):
        EMDB(root, bodies=bodies)
    write_pickle(path, [1])
    with pytest.raises(ValueError, match="it lacks gender, name, emdb1"):
        EMDB(root, bodies=bodies)
    write_emdb(root, "P0/00_mvs_a", emdb_content("P0_00_mvs_a", clip, GOOD[:3], emdb1=True))
    with pytest.raises(ValueError, match=r"smpl/poses_root is float64 \(4, 3\), expected numbers \(3, 3\)"):
        EMDB(root, bodies=bodies)
    write_emdb(root, "P0/00_mvs_a", emdb_content("P0_00_mvs_a", clip, GOOD, emdb1=False))
    with pytest.raises(ValueError, match="none of the 2 sequences belongs to emdb1"):
        EMDB(root, bodies=bodies)

"""Clips as npz, JSON and CSV, and what all their exporters have in common."""

import csv
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fullframe.export import CLIP_EXPORTERS
from fullframe.export.tracks import joints, tracks
from fullframe.geometry.world import Y_UP
from fullframe.results.clip import Clip


def test_npz_is_lossless(make_clip, body, tmp_path):
    clip = make_clip()
    again = Clip.load(CLIP_EXPORTERS["npz"](clip, body, tmp_path / "a.npz")[0])
    np.testing.assert_array_equal(again.pose, clip.pose)
    assert again.camera == clip.camera and again.video == "street.mp4"


def test_csv(make_clip, body, tmp_path):
    clip = make_clip()
    (file,) = CLIP_EXPORTERS["csv"](clip, body, tmp_path / "a.csv")
    with open(file, newline="") as opened:
        rows = list(csv.DictReader(opened))
    places = joints(clip, body)
    assert len(rows) == len(clip) * 24
    row = rows[10 * 24 + 7]
    assert row["joint"] == "left_ankle"
    assert int(row["frame"]) == clip.frames[10] and int(row["track_id"]) == clip.track_ids[10]
    assert float(row["time_s"]) == pytest.approx(clip.times[clip.frames[10]])
    found = np.array([[row["x_m"], row["y_m"], row["z_m"]] for row in rows], float)
    np.testing.assert_allclose(found, places.reshape(-1, 3), atol=1e-4)
    assert {row["detected"] for row in rows[2 * 24 : 3 * 24]} == {"0"}
    assert {row["detected"] for row in rows[3 * 24 :]} == {"1"}


@pytest.mark.parametrize("known", [True, False])
def test_json(make_clip, body, tmp_path, known):
    clip = make_clip()
    if not known:
        clip.ground[:] = np.nan
    clip.reprojection, clip.reliable = np.linspace(0, 0.2, len(clip)), np.arange(len(clip)) % 2 == 0
    clip.reprojection[3] = np.nan
    clip.uncertainty = np.linspace(0.01, 0.1, clip.uncertainty.size).reshape(-1, 24, 3)
    clip.uncertainty[3] = np.nan
    (file,) = CLIP_EXPORTERS["json"](clip, body, tmp_path / "a.json")
    result = json.loads(file.read_text())
    assert result["format"] == "fullframe clip 1" and result["body"] == "open"
    assert result["video"] == "street.mp4" and result["camera"]["focal"] == [900, 950]
    assert "radians" in result["conventions"]["pose"] and "y down" in result["conventions"]["axes"]
    assert result["joint_names"][0] == "pelvis" and len(result["times"]) == 12
    assert result["ground"] == (pytest.approx(clip.ground.tolist()) if known else None)
    places = joints(clip, body)
    for person, (track, rows) in zip(result["people"], clip.tracks(), strict=True):
        assert person["track_id"] == track and person["frames"] == clip.frames[rows].tolist()
        np.testing.assert_allclose(person["betas"], clip.betas[rows[0]], atol=1e-5)
        np.testing.assert_allclose(person["joints"], places[rows], atol=1e-5)
        np.testing.assert_allclose(person["translation"], clip.translation[rows], atol=1e-5)
        turns = Rotation.from_rotvec(np.reshape(person["pose"], (-1, 3))).as_matrix()
        np.testing.assert_allclose(turns.reshape(-1, 24, 3, 3), clip.pose[rows], atol=1e-5)
        assert person["detected"] == clip.detected[rows].tolist()
        assert person["contacts"] == clip.contacts[rows].tolist()
        assert person["reliable"] == clip.reliable[rows].tolist()
        errors = [np.nan if error is None else error for error in person["reprojection"]]
        np.testing.assert_allclose(errors, clip.reprojection[rows], atol=1e-5)
        unknown = np.full((24, 3), np.nan)
        sigma = [unknown if value is None else value for value in person["uncertainty"]]
        np.testing.assert_allclose(sigma, clip.uncertainty[rows], atol=1e-5)


def test_no_people(make_clip, body, tmp_path):
    clip = make_clip().take(slice(0, 0))
    (file,) = CLIP_EXPORTERS["json"](clip, body, tmp_path / "a.json")
    assert json.loads(file.read_text())["people"] == []
    (file,) = CLIP_EXPORTERS["csv"](clip, body, tmp_path / "a.csv")
    assert file.read_text().splitlines() == ["frame,time_s,track_id,detected,joint,x_m,y_m,z_m"]


@pytest.mark.parametrize("name", sorted(CLIP_EXPORTERS))
def test_the_files_named_are_all_that_is_written(make_clip, body, tmp_path, name):
    if name == "usd":
        pytest.importorskip("pxr", reason="needs usd-core (pip install 'fullframe[usd]')")
    files = CLIP_EXPORTERS[name](make_clip(), body, tmp_path / f"my.clip.{name}")
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert all(file.name.startswith("my.clip") for file in files)


@pytest.mark.parametrize("name", sorted(set(CLIP_EXPORTERS) - {"npz"}))
def test_a_file_is_whole_or_absent(make_clip, body, tmp_path, name):
    if name == "usd":
        pytest.importorskip("pxr", reason="needs usd-core (pip install 'fullframe[usd]')")
    clip = make_clip(num_people=1)
    clip.pose[3, 2] = np.nan
    with pytest.raises(ValueError, match="person 4 in frame 3"):
        CLIP_EXPORTERS[name](clip, body, tmp_path / f"a.{name}")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="10 betas"):
        CLIP_EXPORTERS[name](make_clip(num_betas=10), body, tmp_path / f"a.{name}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(set(CLIP_EXPORTERS) - {"usd"}))
def test_a_folder_that_does_not_exist(make_clip, body, tmp_path, name):
    with pytest.raises(OSError):
        CLIP_EXPORTERS[name](make_clip(), body, tmp_path / "no" / f"a.{name}")


def test_a_camera_that_turns(make_clip, body, tmp_path):
    """Table and JSON are in the frames' cameras and say how these turn; motions are in the world."""
    clip = make_clip()
    angles = np.linspace(0, 1, clip.num_frames)
    turns = Rotation.from_rotvec(angles[:, None] * (0, 1, 0)).as_matrix()
    turning = clip.rotated(turns.swapaxes(1, 2), body)
    CLIP_EXPORTERS["json"](turning, body, tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    np.testing.assert_allclose(np.array(found["camera_rotation"])[:, 1], angles, atol=1e-5)
    CLIP_EXPORTERS["json"](clip, body, tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["camera_rotation"] is None
    for one, other in zip(tracks(turning, body, Y_UP), tracks(clip, body, Y_UP), strict=True):
        np.testing.assert_allclose(one.pelvis, other.pelvis, atol=1e-5)
        np.testing.assert_allclose(np.abs((one.rotations * other.rotations).sum(-1)), 1, atol=1e-6)

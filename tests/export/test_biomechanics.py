"""Clips for biomechanics: markers as TRC, OpenSim's coordinates as MOT, angles as CSV and a chart."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.trc import read_trc
from fullframe.export import CLIP_EXPORTERS
from fullframe.export.markers import HALPE_26, MARKERS, SKIN_MARKERS, MarkerSet
from fullframe.export.tracks import Track
from fullframe.export.trc import lab_frame

# As in Markers_Halpe26.xml and Markers_LSTM.xml of Pose2Sim's OpenSim setup.
POSE2SIM_HALPE_26 = (
    "Nose Head Neck LShoulder RShoulder LElbow RElbow LWrist RWrist Hip LHip RHip LKnee RKnee LAnkle RAnkle "
    "LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
)
POSE2SIM_LSTM = (
    "r.ASIS_study L.ASIS_study r.PSIS_study L.PSIS_study r_knee_study r_mknee_study r_ankle_study "
    "r_mankle_study r_toe_study r_5meta_study r_calc_study L_knee_study L_mknee_study L_ankle_study "
    "L_mankle_study L_toe_study L_calc_study L_5meta_study r_shoulder_study L_shoulder_study C7_study "
    "r_lelbow_study r_melbow_study r_lwrist_study r_mwrist_study L_lelbow_study L_melbow_study "
    "L_lwrist_study L_mwrist_study r_thigh1_study r_thigh2_study r_thigh3_study L_thigh1_study "
    "L_thigh2_study L_thigh3_study r_sh1_study r_sh2_study r_sh3_study L_sh1_study L_sh2_study L_sh3_study "
    "RHJC_study LHJC_study"
)


def t_pose(make_clip, body, frames=3):
    """One person in a T-pose who faces a level camera."""
    clip = make_clip(frames=frames, num_people=1, ground=np.array([0, -1.0, 0, 1.2]))
    clip.pose[:] = np.eye(3)
    clip.pose[:, 0] = np.diag([1, -1, -1])
    clip.betas[:] = 0
    clip.translation[:] = (0.5, 0.2, 4)
    return clip


def at_rest(body) -> dict[str, np.ndarray]:
    """Markers of the mean body at rest, in its axes: x left, y up, z forward."""
    rest = body.rest_joints(torch.zeros(1, body.num_betas))[0].double().numpy()
    still = np.zeros((1, 24, 4))
    still[..., 3] = 1
    track = Track(0, np.zeros(1), still, rest[None, 0], rest, np.zeros(body.num_betas, np.float32))
    return dict(zip(MARKERS, MarkerSet(body).positions(track)[0], strict=True))


def in_camera(place: np.ndarray, body, clip) -> np.ndarray:
    """A place on the body at rest where `t_pose` has it: the root turns the body about its pelvis."""
    pelvis = body.rest_joints(torch.zeros(1, body.num_betas))[0, 0].double().numpy()
    return (place - pelvis) * (1, -1, -1) + pelvis + clip.translation[0]


def test_marker_names():
    assert len(HALPE_26) == len(set(HALPE_26)) == 26 and set(POSE2SIM_HALPE_26.split()) < set(HALPE_26)
    assert sorted(SKIN_MARKERS) == sorted(POSE2SIM_LSTM.split()) and len(SKIN_MARKERS) == 43
    assert len(set(MARKERS)) == 69


def test_markers_are_where_they_are_palpated(body):
    at = at_rest(body)
    joints = dict(
        zip(JOINT_SETS["smpl24"].names, body.rest_joints(torch.zeros(1, 11))[0].numpy(), strict=True)
    )
    sole = min(at[name][1] for name in ("LHeel", "RHeel"))
    for side, prefix, outward in (("left", "L", 1), ("right", "r", -1)):

        def relative(name, joint, side=side, prefix=prefix, outward=outward):
            return (at[prefix + name] - joints[f"{side}_{joint}"]) * (outward, 1, 1)

        lateral, medial = relative("_knee_study", "knee"), relative("_mknee_study", "knee")
        assert 0.03 < lateral[0] < 0.08 and -0.09 < medial[0] < -0.03
        assert abs(lateral[1]) < 0.02 and abs(medial[1]) < 0.02
        assert relative("_ankle_study", "ankle")[0] > 0.02 > -0.02 > relative("_mankle_study", "ankle")[0]
        assert relative("_lelbow_study", "elbow")[1] > 0.02 > -0.02 > relative("_melbow_study", "elbow")[1]
        # Palms down: the thumb's side is in front.
        assert relative("_lwrist_study", "wrist")[2] > 0.01 > -0.01 > relative("_mwrist_study", "wrist")[2]
        spine = relative(".ASIS_study", "hip")
        assert spine[2] > 0.05 and spine[1] > 0.05 and relative(".PSIS_study", "hip")[2] < -0.05
        assert relative("_calc_study", "ankle")[2] < -0.03 and relative("_toe_study", "ankle")[2] > 0.1
        assert relative("_5meta_study", "ankle")[0] > relative("_toe_study", "ankle")[0] + 0.03
        assert all(at[f"{prefix}{name}"][1] - sole < 0.05 for name in ("_toe_study", "_5meta_study"))
        assert relative("_shoulder_study", "shoulder")[1] > 0.03
        np.testing.assert_allclose(at[f"{prefix.upper()}HJC_study"], joints[f"{side}_hip"], atol=1e-6)
        np.testing.assert_allclose(at[f"{prefix.upper()}Wrist"], joints[f"{side}_wrist"], atol=1e-6)
    assert at["Head"][1] == pytest.approx(body.data.template[:, 1].max(), abs=1e-5)
    assert at["C7_study"][2] < joints["neck"][2] - 0.04


def test_markers_are_symmetric(body):
    at = at_rest(body)
    for name, place in at.items():
        if name.startswith("L"):
            other = at[
                ("r" if name.endswith("_study") and not name.endswith("HJC_study") else "R") + name[1:]
            ]
            np.testing.assert_allclose(place * (-1, 1, 1), other, atol=0.012, err_msg=name)


def test_markers_of_smpl(smpl_body):
    assert set(at_rest(smpl_body)) == set(MARKERS)


def test_trc_of_a_t_pose(make_clip, body, tmp_path):
    """x towards the camera, y up from the ground, z to the left of the picture, metres."""
    clip = t_pose(make_clip, body)
    (file,) = CLIP_EXPORTERS["trc"](clip, body, tmp_path / "a.trc")
    assert file.name == "a_4.trc"
    trc = read_trc(file)
    assert trc.markers == MARKERS and trc.rate == 25 and trc.start == 0 and trc.points.shape == (3, 69, 3)
    assert "\tm\t" in file.read_text().splitlines()[2]
    at = dict(zip(trc.markers, trc.points[1], strict=True))
    for name, place in at_rest(body).items():
        camera = in_camera(place, body, clip)
        np.testing.assert_allclose(at[name], (-camera[2], 1.2 - camera[1], -camera[0]), atol=2e-5)


def test_trc_in_the_camera_frame(make_clip, body, tmp_path):
    """Joint centres of moving people, seen by a tilted camera, are those of the clip."""
    clip = make_clip()
    people = dict(clip.tracks())
    for file in CLIP_EXPORTERS["trc"](clip, body, tmp_path / "a.trc"):
        trc, rows = read_trc(file), people[int(file.stem[-1])]
        frame = lab_frame(clip.ground)
        for row in rows[::3]:
            person = clip.people(int(clip.frames[row]), body)
            joints = person.joints[person.track_ids.tolist().index(clip.track_ids[row])]
            found = trc.points[clip.frames[row] - trc.start, trc.markers.index("LKnee")]
            expected = frame.rotation @ joints[JOINT_SETS["smpl24"].names.index("left_knee")] + frame.origin
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_people_who_come_late_and_go_out_of_sight(make_clip, body, tmp_path):
    """The second person is seen in frames 2 to 5 and from 7 on; until frame 1 nothing is made up."""
    clip = make_clip(absent=(0, 1, 5, 6))
    trc = read_trc(CLIP_EXPORTERS["trc"](clip, body, tmp_path / "a.trc")[1])
    assert trc.start == 2 and len(trc.points) == 10
    assert np.isnan(trc.points).all(axis=(1, 2)).tolist() == [False] * 3 + [True] * 2 + [False] * 5
    time = read_mot(CLIP_EXPORTERS["mot"](clip, body, tmp_path / "a.mot")[1])["time"]
    np.testing.assert_allclose(time, np.array([2, 3, 4, 7, 8, 9, 10, 11]) / 25, atol=1e-6)


def test_uneven_times_are_resampled(make_clip, body, tmp_path):
    """Rates that vary are no gaps: the clip's mean rate, without holes, up to its end."""
    times = np.cumsum([0, 0.02, 0.02, 0.1, 0.02, 0.04, 0.04, 0.02, 0.1, 0.02, 0.02, 0.04])
    clip = make_clip(num_people=1, times=times)
    trc = read_trc(CLIP_EXPORTERS["trc"](clip, body, tmp_path / "a.trc")[0])
    assert trc.rate == pytest.approx(11 / times[-1], rel=1e-5)
    assert len(trc.points) == 12 and np.isfinite(trc.points).all()


def test_a_person_of_one_frame(make_clip, body, tmp_path):
    clip = make_clip(absent=tuple(range(11)))
    trc = read_trc(CLIP_EXPORTERS["trc"](clip, body, tmp_path / "a.trc")[1])
    assert trc.start == 11 and trc.points.shape == (1, 69, 3)


@pytest.mark.parametrize("kind", ["trc", "mot", "angles"])
def test_nobody(make_clip, body, tmp_path, kind):
    if kind == "angles":
        pytest.importorskip("matplotlib")
    clip = make_clip()
    assert CLIP_EXPORTERS[kind](clip.take(slice(0, 0)), body, tmp_path / "a") == []


def read_mot(path) -> dict[str, np.ndarray]:
    lines = path.read_text().splitlines()
    end = lines.index("endheader")
    header = dict(line.split("=") for line in lines[:end] if "=" in line)
    names, values = lines[end + 1].split("\t"), np.loadtxt(path, skiprows=end + 2, ndmin=2)
    assert (int(header["nRows"]), int(header["nColumns"])) == values.shape and header["inDegrees"] == "yes"
    return dict(zip(names, values.T, strict=True))


def test_mot_of_a_t_pose(make_clip, body, tmp_path):
    clip = t_pose(make_clip, body)
    values = read_mot(CLIP_EXPORTERS["mot"](clip, body, tmp_path / "a.mot")[0])
    place = [values.pop(name)[0] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]
    np.testing.assert_allclose(values.pop("time"), [0, 0.04, 0.08], atol=1e-6)
    away = {name: v[1] for name, v in values.items() if abs(v[1]) > 1e-4}
    assert away == pytest.approx({"arm_add_r": -90, "arm_add_l": -90, "pro_sup_r": 90, "pro_sup_l": 90})
    x, y, z = in_camera(at_rest(body)["Hip"], body, clip)
    expected = (0.056 - z, 0.078 + 1.2 - y, -x)
    np.testing.assert_allclose(place, expected, atol=1e-5)


def test_angles(make_clip, body, tmp_path):
    pytest.importorskip("matplotlib")
    clip = t_pose(make_clip, body, frames=20)
    degrees = np.linspace(0, 60, 20)
    names = JOINT_SETS["smpl24"].names
    clip.pose[:, names.index("left_knee")] = Rotation.from_euler(
        "x", degrees[:, None], degrees=True
    ).as_matrix()
    clip.contacts[:] = False
    clip.contacts[5:10, 0] = True
    table, chart = CLIP_EXPORTERS["angles"](clip, body, tmp_path / "a.angles")
    assert (table.name, chart.name) == ("a_4_angles.csv", "a_4_angles.png")
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 and len(rows[0]) == 4 + 36 and rows[7]["frame"] == "7"
    np.testing.assert_allclose([float(row["knee_flexion_l"]) for row in rows], degrees, atol=2e-3)
    assert all(abs(float(row["knee_flexion_r"])) < 1e-3 for row in rows)
    assert [row["contact_l"] for row in rows] == ["0"] * 5 + ["1"] * 5 + ["0"] * 10
    assert {row["contact_r"] for row in rows} == {"0"}
    with Image.open(chart) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert pixels.shape[0] > 1000 and pixels.shape[1] == 1200
    blue = (pixels[..., 2] - pixels[..., 0] > 15) & (pixels[..., 2] > 225)  # the left foot's shade
    orange = (pixels[..., 0] - pixels[..., 2] > 15) & (pixels[..., 0] > 225)
    assert blue.sum() > 20_000 and orange.sum() < 1000


def test_angles_are_empty_out_of_sight(make_clip, body, tmp_path):
    pytest.importorskip("matplotlib")
    table = CLIP_EXPORTERS["angles"](make_clip(absent=(0, 5, 6)), body, tmp_path / "a.angles")[2]
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == [str(frame) for frame in range(1, 12)]
    assert [row["hip_flexion_r"] == "" for row in rows] == [False] * 4 + [True] * 2 + [False] * 5

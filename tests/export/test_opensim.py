"""OpenSim reads the files, and its inverse kinematics find the angles."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.trc import read_trc
from fullframe.export import CLIP_EXPORTERS
from fullframe.motion.joint_angles import joint_angles

opensim = pytest.importorskip("opensim", reason="needs opensim, of which PyPI has no wheels for every system")

NAMES = JOINT_SETS["smpl24"].names
SEGMENTS = {
    "pelvis": ("Hip", ("r.ASIS_study", "L.ASIS_study", "r.PSIS_study", "L.PSIS_study")),
    "femur": ("RHip", ("r_thigh1_study", "r_thigh2_study", "r_thigh3_study", "RKnee")),
    "tibia": ("RKnee", ("r_sh1_study", "r_sh2_study", "r_sh3_study", "RAnkle")),
}
"""Bodies of a model of the right leg: the marker of the joint that carries it, and those on it."""


def leg_model(places: dict[str, np.ndarray], file: Path) -> None:
    """Pelvis, thigh and shank, with their axes along OpenSim's and markers where they are in the T-pose."""
    model = opensim.Model()
    model.setName("leg")
    parent, before = model.getGround(), np.zeros(3)
    for name, (joint_marker, markers) in SEGMENTS.items():
        body = opensim.Body(name, 1.0, opensim.Vec3(0), opensim.Inertia(1.0))
        model.addBody(body)
        place = (
            opensim.Vec3(*(places[joint_marker] - before).tolist()) if name != "pelvis" else opensim.Vec3(0)
        )
        kind = {"pelvis": opensim.FreeJoint, "femur": opensim.BallJoint, "tibia": opensim.PinJoint}[name]
        zero = opensim.Vec3(0)
        joint = kind(f"{name}_joint", parent, place, zero, body, zero, zero)
        model.addJoint(joint)
        before = places[joint_marker]
        for marker in markers:
            at = opensim.Vec3(*(places[marker] - before).tolist())
            model.addMarker(opensim.Marker(marker, body, at))
        parent = body
    model.finalizeConnections()
    model.printToXML(str(file))


@pytest.fixture
def walker(make_clip):
    """One person who faces a level camera, flexes hip and knee, and turns."""
    frames = 12
    clip = make_clip(frames=frames, num_people=1, ground=np.array([0, -1.0, 0, 1.2]))
    share = np.linspace(0, 1, frames)[:, None]

    def turn(axis, degrees):
        return Rotation.from_euler(axis, share * degrees, degrees=True).as_matrix()

    clip.pose[:] = np.eye(3)
    clip.pose[:, 0] = np.diag([1, -1, -1]) @ turn("y", 40)
    clip.pose[:, NAMES.index("right_hip")] = turn("x", -60)
    clip.pose[:, NAMES.index("right_knee")] = turn("x", 80)
    clip.translation[:] = (0.5, 0.2, 4)
    return clip


def test_files_load(walker, body, tmp_path):
    (markers,) = CLIP_EXPORTERS["trc"](walker, body, tmp_path / "a.trc")
    (motion,) = CLIP_EXPORTERS["mot"](walker, body, tmp_path / "a.mot")
    table = opensim.TimeSeriesTableVec3(str(markers))
    assert (table.getNumRows(), table.getNumColumns()) == (12, 69)
    assert table.getTableMetaDataString("Units") == "m" and table.getTableMetaDataString("DataRate") == "25"
    knee = table.getDependentColumn("RKnee")[3].to_numpy()
    trc = read_trc(markers)
    np.testing.assert_allclose(knee, trc.points[3, trc.markers.index("RKnee")], atol=1e-6)
    storage = opensim.Storage(str(motion))
    assert storage.getSize() == 12 and storage.isInDegrees()
    angles = opensim.TimeSeriesTable(str(motion))
    np.testing.assert_allclose(angles.getDependentColumn("knee_angle_r").to_numpy()[-1], 80, atol=1e-3)
    np.testing.assert_allclose(angles.getDependentColumn("pelvis_rotation").to_numpy()[-1], 40, atol=1e-3)


def test_out_of_sight_is_missing(make_clip, body, tmp_path):
    clip = make_clip(absent=(0, 5, 6))
    file = CLIP_EXPORTERS["trc"](clip, body, tmp_path / "a.trc")[1]
    table = opensim.TimeSeriesTableVec3(str(file))
    column = table.getDependentColumn("Nose")
    noses = np.array([column[row].to_numpy() for row in range(table.getNumRows())])
    assert np.isnan(noses).all(axis=1).tolist() == [False] * 4 + [True] * 2 + [False] * 5


def test_inverse_kinematics(walker, body, tmp_path):
    """The angles that OpenSim finds from the markers are those of joint_angles; skin moves a little."""
    still = walker.take(walker.frames == 0)
    trc = read_trc(CLIP_EXPORTERS["trc"](still, body, tmp_path / "still.trc")[0])
    leg_model(dict(zip(trc.markers, trc.points[0], strict=True)), tmp_path / "leg.osim")
    (markers,) = CLIP_EXPORTERS["trc"](walker, body, tmp_path / "a.trc")
    tool = opensim.InverseKinematicsTool()
    model = opensim.Model(str(tmp_path / "leg.osim"))
    model.initSystem()
    tool.setModel(model)
    tool.setMarkerDataFileName(str(markers))
    tool.setStartTime(0)
    tool.setEndTime(11 / 25)
    tool.setResultsDir(str(tmp_path))
    tool.setOutputMotionFileName(str(tmp_path / "found.mot"))
    for _, names in SEGMENTS.values():
        for name in names:
            task = opensim.IKMarkerTask()
            task.setName(name)
            task.setWeight(1)
            tool.getIKTaskSet().cloneAndAppend(task)
    assert tool.run()
    found = opensim.TimeSeriesTable(str(tmp_path / "found.mot"))
    columns = {name: found.getDependentColumn(name).to_numpy() for name in found.getColumnLabels()}
    pose = walker.pose.astype(np.float64)
    pose[:, 0] = np.diag([1, -1, -1]) @ pose[:, 0]  # y up, z towards the camera
    expected = joint_angles(pose)
    np.testing.assert_allclose(-columns["tibia_joint_coord_0"], expected["knee_flexion_r"], atol=2)
    np.testing.assert_allclose(columns["femur_joint_coord_2"], expected["hip_flexion_r"], atol=2)

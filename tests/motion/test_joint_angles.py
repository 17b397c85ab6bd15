"""Joint angles of poses whose angles are known, and their continuity over time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fullframe.body.body_model import forward_kinematics, load_body
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.motion.joint_angles import joint_angles, opensim_coordinates

NAMES = JOINT_SETS["smpl24"].names
FORWARD, UP, LEFT = np.array([0, 0, 1.0]), np.array([0, 1.0, 0]), np.array([1.0, 0, 0])


def posed(**turns: Rotation) -> np.ndarray:
    """(1, 24, 3, 3) the T-pose with some joints turned."""
    pose = np.tile(np.eye(3), (1, 24, 1, 1))
    for name, turn in turns.items():
        pose[0, NAMES.index(name)] = turn.as_matrix()
    return pose


def about(axis: np.ndarray, degrees: float) -> Rotation:
    return Rotation.from_rotvec(np.radians(degrees) * axis)


def test_the_t_pose_is_zero():
    angles = joint_angles(posed())
    assert len(angles) == 36
    for name, values in angles.items():
        assert values == pytest.approx([0], abs=1e-9), name
    opensim = opensim_coordinates(posed())
    away = {name: values[0] for name, values in opensim.items() if abs(values[0]) > 1e-9}
    assert away == pytest.approx({"arm_add_r": -90, "arm_add_l": -90, "pro_sup_r": 90, "pro_sup_l": 90})


# The joint, the axis of the turn (right-handed, in the body's axes), the angle's name, its value for a turn
# by 30 degrees, the joint that then moves, and where to.
KNOWN = [
    ("right_hip", -LEFT, "hip_flexion_r", 30, "right_knee", FORWARD),
    ("left_hip", -LEFT, "hip_flexion_l", 30, "left_knee", FORWARD),
    ("right_hip", FORWARD, "hip_adduction_r", 30, "right_knee", LEFT),
    ("left_hip", -FORWARD, "hip_adduction_l", 30, "left_knee", -LEFT),
    ("right_hip", UP, "hip_rotation_r", 30, "right_foot", LEFT),
    ("left_hip", -UP, "hip_rotation_l", 30, "left_foot", -LEFT),
    ("right_knee", LEFT, "knee_flexion_r", 30, "right_ankle", -FORWARD),
    ("left_knee", LEFT, "knee_flexion_l", 30, "left_ankle", -FORWARD),
    ("right_ankle", -LEFT, "ankle_dorsiflexion_r", 30, "right_foot", UP),
    ("left_ankle", -LEFT, "ankle_dorsiflexion_l", 30, "left_foot", UP),
    ("spine2", -LEFT, "trunk_extension", 30, "head", -FORWARD),
    ("spine2", FORWARD, "trunk_bending", 30, "head", -LEFT),
    ("spine3", UP, "trunk_rotation", 30, "right_shoulder", FORWARD),
    ("pelvis", -LEFT, "pelvis_tilt", 30, "neck", -FORWARD),
    ("pelvis", FORWARD, "pelvis_list", 30, "neck", -LEFT),
    ("pelvis", UP, "pelvis_rotation", 30, "right_hip", FORWARD),
    ("right_shoulder", UP, "shoulder_plane_r", 30, "right_elbow", FORWARD),
    ("left_shoulder", -UP, "shoulder_plane_l", 30, "left_elbow", FORWARD),
    ("right_shoulder", -FORWARD, "shoulder_elevation_r", 30, "right_elbow", UP),
    ("left_shoulder", FORWARD, "shoulder_elevation_l", 30, "left_elbow", UP),
    ("right_elbow", UP, "elbow_flexion_r", 30, "right_wrist", FORWARD),
    ("left_elbow", -UP, "elbow_flexion_l", 30, "left_wrist", FORWARD),
]


@pytest.mark.parametrize(("joint", "axis", "name", "value", "moved", "where"), KNOWN)
def test_signs(joint, axis, name, value, moved, where):
    """One joint turned by 30 degrees is one angle of 30 degrees, and the limb moves where the name says."""
    pose = posed(**{joint: about(axis, 30)})
    angles = joint_angles(pose)
    assert {key: v[0] for key, v in angles.items() if abs(v[0]) > 1e-6} == pytest.approx({name: value})
    rest = load_body().rest_joints(torch.zeros(1, 10)).double()
    at_rest = forward_kinematics(rest, torch.from_numpy(posed()))[1][0, NAMES.index(moved)].numpy()
    turned = forward_kinematics(rest, torch.from_numpy(pose))[1][0, NAMES.index(moved)].numpy()
    assert (turned - at_rest) @ where > 0.02


def test_internal_rotation_of_a_raised_arm_turns_the_palm_down_and_back():
    """The thumbs of the T-pose point forwards; internal rotation turns them down."""
    for side, axis in (("right", LEFT), ("left", LEFT)):
        angles = joint_angles(posed(**{f"{side}_shoulder": about(axis, 30)}))
        assert angles[f"shoulder_rotation_{side[0]}"][0] == pytest.approx(30)
        assert (about(axis, 30).apply(FORWARD) @ UP) < 0


def test_hanging_arms_are_zero_in_opensim():
    pose = posed(right_shoulder=about(FORWARD, 90), left_shoulder=about(-FORWARD, 90))
    angles = opensim_coordinates(pose)
    for name in ("arm_flex", "arm_add", "arm_rot"):
        assert angles[f"{name}_r"] == pytest.approx([0], abs=1e-6)
        assert angles[f"{name}_l"] == pytest.approx([0], abs=1e-6)
    assert joint_angles(pose)["shoulder_elevation_r"] == pytest.approx([-90])
    raised = posed(right_shoulder=about(-LEFT, 40) * about(FORWARD, 90))
    assert opensim_coordinates(raised)["arm_flex_r"] == pytest.approx([40])


def test_the_order_of_the_hip():
    """Flexion about the pelvis's axis, rotation about the thigh's, adduction about the one between."""
    turn = about(-LEFT, 50) * about(FORWARD, 20) * about(UP, 10)
    angles = joint_angles(posed(right_hip=turn))
    found = [angles[name][0] for name in ("hip_flexion_r", "hip_adduction_r", "hip_rotation_r")]
    assert found == pytest.approx([50, 20, 10])


def test_the_pelvis_tilts_about_its_own_axis_whichever_way_it_faces():
    for yaw in (0, 90, -135):
        angles = joint_angles(posed(pelvis=about(UP, yaw) * about(-LEFT, 15)))
        assert angles["pelvis_tilt"] == pytest.approx([15])
        assert angles["pelvis_rotation"] == pytest.approx([yaw])


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 4))
@settings(max_examples=25)
def test_angles_are_continuous(seed, turns):
    """A person who turns round and round, with limbs that swing: no angle jumps, whole turns add up."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, 400)
    pose = np.empty((len(time), 24, 3, 3))
    for joint in range(24):
        swing = np.sin(2 * np.pi * (time * rng.uniform(0.5, 2) + rng.uniform()))[:, None]
        pose[:, joint] = Rotation.from_rotvec(0.6 * swing * rng.normal(0, 0.4, 3)).as_matrix()
    spin = Rotation.from_rotvec(2 * np.pi * turns * time[:, None] * UP)
    pose[:, 0] = spin.as_matrix() @ pose[:, 0]
    for angles in (joint_angles(pose), opensim_coordinates(pose)):
        for name, values in angles.items():
            if not name.startswith(("shoulder", "arm")):  # those are singular in poses of their own
                assert np.abs(np.diff(values)).max() < 20, name
    gone = joint_angles(pose)["pelvis_rotation"]
    assert gone[-1] - gone[0] == pytest.approx(360 * turns, abs=120)


def test_half_a_turn_and_more():
    """An angle continues past 180 degrees, also where the second of three angles passes 90."""
    degrees = np.arange(0, 400, 5.0)
    pose = np.concatenate([posed(right_hip=about(-LEFT, x), left_hip=about(-FORWARD, x)) for x in degrees])
    angles = joint_angles(pose)
    turns = 360 * round(np.median(degrees) / 360)
    np.testing.assert_allclose(angles["hip_flexion_r"], degrees - turns, atol=1e-6)
    np.testing.assert_allclose(angles["hip_adduction_l"], degrees - turns, atol=1e-5)


def test_the_angles_give_the_pose():
    """Rotations from the hip's and the shoulder's angles, in the order said, are those of the pose."""
    rng = np.random.default_rng(3)
    turn = Rotation.random(random_state=rng)
    axes = np.array([FORWARD, UP, -LEFT]).T  # ISB's in the body's
    angles = {name: values[0] for name, values in joint_angles(posed(right_hip=turn)).items()}
    hip = Rotation.from_euler(
        "ZXY", [angles[f"hip_{part}_r"] for part in ("flexion", "adduction", "rotation")], degrees=True
    )
    np.testing.assert_allclose(axes @ hip.as_matrix() @ axes.T, turn.as_matrix(), atol=1e-9)
    angles = {name: values[0] for name, values in joint_angles(posed(right_shoulder=turn)).items()}
    arm = [angles["shoulder_plane_r"], -90 - angles["shoulder_elevation_r"], angles["shoulder_rotation_r"]]
    hanging = about(FORWARD, -90).as_matrix()  # from the hanging arm to the T-pose's
    found = axes @ Rotation.from_euler("YXY", arm, degrees=True).as_matrix() @ axes.T
    np.testing.assert_allclose(found @ hanging.T, turn.as_matrix(), atol=1e-9)


def test_nobody():
    assert all(len(values) == 0 for values in joint_angles(np.zeros((0, 24, 3, 3))).values())

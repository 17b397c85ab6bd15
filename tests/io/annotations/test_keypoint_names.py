import pytest

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.io.annotations.keypoint_names import (
    COCO17,
    KNOWN_NAMES,
    ORDERS,
    canonical,
    order_from_count,
    order_from_names,
)


def test_known_names_are_those_of_the_joint_sets():
    assert set().union(*(joints.names for joints in JOINT_SETS.values())) == KNOWN_NAMES
    assert JOINT_SETS["coco17"].names == COCO17


@pytest.mark.parametrize(
    ("written", "name"),
    [("Nose", "nose"), ("left eye", "left_eye"), ("LEye", "left_eye"), ("Rknee", "right_knee"),
     ("R_Ankle", "right_ankle"), ("left-hip", "left_hip"), ("rightShoulder", "right_shoulder"),
     ("shoulder_left", "left_shoulder"), ("Head Top", "head_top"), ("MidHip", "pelvis"), ("Hip", "pelvis"),
     ("root", "pelvis"), ("right ear", "right_ear"), ("lwrist", "left_wrist"),
     (" Left Elbow ", "left_elbow")],
)  # fmt: skip
def test_names_in_many_spellings(written, name):
    assert canonical(written) == name


@pytest.mark.parametrize(
    "name", ["LBigToe", "ear", "upper_neck", "left_eye_inner", "", "L", "\ud800", "x" * 10**6]
)
def test_other_names_stay_unknown(name):
    assert canonical(name) not in KNOWN_NAMES


@pytest.mark.parametrize("key", ORDERS)
def test_lists_without_names_are_recognised_by_their_length(key):
    order = order_from_count(len(ORDERS[key]))
    assert set(order.names) == set(COCO17) and order.total == len(ORDERS[key])
    assert [ORDERS[key][row] for row in order.rows] == list(order.names)


OPENPOSE = (  # from its documentation
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee LAnkle "
    "REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
)
HALPE = (  # from its README
    "Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee Rknee LAnkle "
    "RAnkle Head Neck Hip LBigToe RBigToe LSmallToe RSmallToe LHeel RHeel"
)


@pytest.mark.parametrize(("words", "key"), [(OPENPOSE, "OpenPose BODY_25"), (HALPE, "Halpe-26")])
def test_lists_with_the_names_of_their_authors(words, key):
    names = words.split()
    assert tuple(canonical(n) if canonical(n) in COCO17 else "-" for n in names) == ORDERS[key]
    order = order_from_names(names, "x")
    assert order.names == order_from_count(len(names)).names
    assert order.note == f"17 of {len(names)} keypoints are used (x)"


@pytest.mark.parametrize(
    "names",
    [
        "root right_hip right_knee right_foot left_hip left_knee left_foot spine thorax neck_base head "
        "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist",
        "Hip RHip RKnee RFoot LHip LKnee LFoot Spine Thorax Neck/Nose Head LShoulder LElbow LWrist RShoulder "
        "RElbow RWrist",
    ],
)
def test_human36m_with_the_names_of_mmpose_and_videopose3d(names):
    order = order_from_names(names.split(), "x")
    assert set(order.names) == set(JOINT_SETS["h36m17"].names)
    assert order.names[1:4] == ("right_hip", "right_knee", "right_ankle")


@pytest.mark.parametrize(
    ("names", "message"),
    [(("nose", "tail", "left_wing"), "unknown keypoint names tail, left_wing; known are"),
     (("nose", "Nose"), "the keypoint nose stands twice"),
     (("withers",) * 20, "unknown keypoint names")],
)  # fmt: skip
def test_lists_with_too_little_information_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        order_from_names(names, "x")


@pytest.mark.parametrize("count", [0, 1, 14, 16, 21, 10**6])
def test_other_lengths_are_refused(count):
    with pytest.raises(ValueError, match=f"{count} keypoints without names; known are 17 .COCO"):
        order_from_count(count)

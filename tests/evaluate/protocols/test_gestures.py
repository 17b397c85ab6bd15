"""Real people with 3D truth: the sample that comes with fullframe, and errors of limbs."""

import numpy as np
import pytest
import torch

from fullframe.body import JOINT_SETS, load_body
from fullframe.data.formats.triangulated_joints import LIMBS, coco17_joints, limb_box, limb_sample
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import load_predictor, predict
from fullframe.evaluate.protocols.gestures import PROTOCOL, people
from fullframe.evaluate.protocols.shared import limb_errors
from fullframe.geometry.camera import Camera, project_points
from fullframe.io.image import read_photo

COCO = JOINT_SETS["coco17"].names


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return people(tmp_path_factory.mktemp("nothing"))


def test_the_sample_is_whole(frames):
    assert len(frames) == 160 and len({s.name for s in frames}) == 160
    assert len({s.sequence for s in frames}) == 7
    for sample in frames[::20]:
        assert read_photo(sample.image).size == sample.camera.size == (540, 960)
    for sample in frames:
        known = sample.joints["coco17"][:, 3] > 0
        assert {*LIMBS, "nose"} == {name for name, k in zip(COCO, known, strict=True) if k}
        x, y = sample.keypoints["coco17"][known, :2].T
        assert (sample.box[0] < x).all() and (x < sample.box[2]).all()
        assert (sample.box[1] < y).all() and (y < sample.box[3]).all()
        assert 2 < sample.joints["coco17"][known, 2].mean() < 4


def test_pictures_agree_with_the_truth(frames):
    """The detector finds the joints of the limbs where the truth, seen by the camera, has them."""
    recoverer = load_predictor("keypoint-fit")
    rows = [COCO.index(name) for name in LIMBS]
    for sample in frames[5::50]:
        found = recoverer.detector.keypoints(read_photo(sample.image).pixels, sample.box[None])[0, rows, :2]
        error = np.linalg.norm(found - sample.keypoints["coco17"][rows, :2], axis=1)
        assert error.mean() < 0.03 * (sample.box[3] - sample.box[1])


@pytest.mark.parametrize(("model", "refine"), [("cliff-lite", True), ("keypoint-fit", False)])
def test_what_is_measured_is_what_run_gives(frames, model, refine, tmp_path):
    """The same joints as of the photo with the true box and camera, for people fitted together as well."""
    recoverer = load_predictor(model, refine)
    some = [frames[10], frames[90]]
    found = predict(recoverer, some, tmp_path, {}, enlarge=PROTOCOL.enlarge)
    out = recoverer.body(*(torch.from_numpy(x) for x in (found.betas, found.pose, found.translation)))
    for sample, joints in zip(some, out.joints.numpy(), strict=True):
        one = recoverer(sample.image, intrinsics=sample.camera.intrinsics, boxes=sample.box[None])
        np.testing.assert_allclose(joints, one.joints[0], atol=2e-3)


def labelled(make_people, number: int = 3):
    """People whose truth is exactly where the body has its coco17 joints."""
    samples = make_people(number)
    for sample in samples:
        sample.joints = {"coco17": sample.joints["coco17"]}
    return samples


def test_the_truth_has_no_error(make_people, perfect):
    scores = limb_errors(perfect(labelled(make_people)), BodyCache("open"))
    np.testing.assert_allclose(list(scores.values.values()), 0, atol=1e-2)
    assert tuple(scores.joints) == LIMBS
    assert scores.notes == ()


def test_errors_by_hand(make_people, perfect):
    """A wrist that is off by 120 mm is off by 11/12 of it from the mean of twelve, the others by 1/12."""
    samples = labelled(make_people, 2)
    samples[0].joints["coco17"][COCO.index("left_wrist"), 2] += 0.12
    scores = limb_errors(perfect(samples), BodyCache("open"))
    assert scores.values["MPJPE mm"] == pytest.approx(120 / 12 / 2, abs=1e-2)
    assert scores.values["centred MPJPE mm"] == pytest.approx((110 + 11 * 10) / 12 / 2, abs=1e-2)
    np.testing.assert_allclose(scores.joints["left_wrist"], [110, 0], atol=1e-2)
    np.testing.assert_allclose(scores.joints["right_knee"], [10, 0], atol=1e-2)
    assert scores.values["torso rotation deg"] == pytest.approx(0, abs=1e-2)


def test_hips_elsewhere_do_not_move_the_centred_error(make_people, perfect):
    """Hips 60 mm in front: MPJPE counts 60 mm for ten joints, centred 50 mm for two and 10 mm for ten."""
    samples = labelled(make_people, 1)
    for side in ("left", "right"):
        samples[0].joints["coco17"][COCO.index(f"{side}_hip"), 2] -= 0.06
    values = limb_errors(perfect(samples), BodyCache("open")).values
    assert values["MPJPE mm"] == pytest.approx(50, abs=1e-2)
    assert values["centred MPJPE mm"] == pytest.approx((2 * 50 + 10 * 10) / 12, abs=1e-2)


def test_true_bone_lengths_leave_the_errors_of_directions(make_people, perfect):
    """A taller person with longer thighs has no error then, a forearm that points elsewhere keeps its own."""
    samples = labelled(make_people, 1)
    joints = samples[0].joints["coco17"]
    joints[:, :3] *= 1.2
    for side in ("left", "right"):
        hip, knee, ankle = (COCO.index(f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        joints[[knee, ankle], :3] += 0.3 * (joints[knee, :3] - joints[hip, :3])
    values = limb_errors(perfect(samples), BodyCache("open")).values
    assert values["MPJPE mm"] > 50
    assert values["MPJPE with true bone lengths mm"] == pytest.approx(0, abs=1e-2)
    elbow, wrist = COCO.index("left_elbow"), COCO.index("left_wrist")
    forearm = joints[wrist, :3] - joints[elbow, :3]
    joints[wrist, :3] = joints[elbow, :3] - forearm
    values = limb_errors(perfect(samples), BodyCache("open")).values
    expected = 2e3 * np.linalg.norm(forearm) / 12
    assert values["MPJPE with true bone lengths mm"] == pytest.approx(expected, abs=1e-2)


def test_a_turned_person_has_a_turned_torso(make_people, perfect):
    samples = labelled(make_people, 1)
    predictions = perfect(samples)
    c, s = np.cos(np.radians(25)), np.sin(np.radians(25))
    predictions.pose[0, 0] = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ predictions.pose[0, 0]
    values = limb_errors(predictions, BodyCache("open")).values
    assert values["torso rotation deg"] == pytest.approx(25, abs=1e-3)
    assert values["PA-MPJPE mm"] == pytest.approx(0, abs=1e-2)
    assert values["MPJPE mm"] > 50


def test_people_without_all_limbs_are_reported(make_people, perfect):
    samples = labelled(make_people)
    samples[1].joints["coco17"][COCO.index("left_knee"), 3] = 0
    scores = limb_errors(perfect(samples), BodyCache("open"))
    np.testing.assert_array_equal(np.isnan(scores.people["MPJPE mm"]), [False, True, False])
    assert scores.notes == ("1 of 3 people are not measured: not all of their twelve joints are known.",)


def test_marker_names_and_unknown_points():
    points = np.array([[1, 2, 3], [4, np.nan, 6], [7, 8, 9], [1, 1, 1]], float)
    joints = coco17_joints(points, ["LShoulder", "RAnkle", "Nose", "LBigToe"])
    np.testing.assert_array_equal(joints[COCO.index("left_shoulder")], [1, 2, 3, 1])
    np.testing.assert_array_equal(joints[COCO.index("nose")], [7, 8, 9, 1])
    assert joints[:, 3].sum() == 2


def test_boxes_by_hand():
    np.testing.assert_allclose(limb_box(np.array([[10.0, 20], [110, 220], [50, 60]])), [-2, -18, 122, 244])


def test_a_sample_of_a_person_at_the_border():
    """The box is cut to the image as a detected one; somebody behind the camera's side has none."""
    body = load_body()
    out = body(torch.zeros(1, 10), torch.eye(3).repeat(1, 24, 1, 1), torch.tensor([[1.2, 0, 3]]))
    points = body.regress(out.vertices, "coco17")[0].numpy()
    camera = Camera.from_focal(500, (640, 480))
    joints = np.c_[points, np.ones(17)].astype(np.float32)
    sample = limb_sample("a.jpg", camera, joints, "a#0", "a", 0)
    assert sample.box[2] <= 640
    np.testing.assert_allclose(sample.keypoints["coco17"][:, :2], project_points(points, camera), rtol=1e-5)
    joints[:, 0] += 10
    with pytest.raises(ValueError, match="outside the 640 x 480"):
        limb_sample("a.jpg", camera, joints, "a#0", "a", 0)
    joints[2:, 3] = 0
    joints[0, 3] = 0
    with pytest.raises(ValueError, match="a#0: fewer than two joints"):
        limb_sample("a.jpg", camera, joints, "a#0", "a", 0)

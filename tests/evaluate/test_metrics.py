import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.evaluate import metrics

FLIP = list(JOINT_SETS["smpl24"].flip_permutation)


def people(number: int = 5, joints: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(number, joints, 3))


def rotations(number: int, seed: int = 0) -> np.ndarray:
    torch.manual_seed(seed)
    return roma.random_rotmat(number, dtype=torch.float64).numpy()


def turn(axis: int, degrees: float) -> np.ndarray:
    vector = torch.zeros(3, dtype=torch.float64)
    vector[axis] = np.radians(degrees)
    return roma.rotvec_to_rotmat(vector).numpy()


points = arrays(np.float64, (3, 8, 3), elements=st.floats(-2, 2, width=32))
seeds = st.integers(0, 10_000)


def test_identity_gives_zero():
    truth, rotation = people(), rotations(120).reshape(5, 24, 3, 3)
    for error in (
        metrics.mpjpe(truth, truth),
        metrics.pa_mpjpe(truth, truth),
        metrics.pve(truth, truth),
        metrics.pve(truth, truth, truth[:, 0], truth[:, 0]),
        metrics.rotation_error(rotation, rotation),
        metrics.mpjae(rotation, rotation),
        metrics.acceleration_error(truth, truth),
    ):
        np.testing.assert_allclose(error, 0, atol=1e-9)


def test_mpjpe_by_hand():
    truth = np.zeros((1, 3, 3))
    predicted = np.array([[[0, 0, 0], [0.03, 0.04, 0], [0, 0, 0.1]]])
    # Root 0: errors 0, 50, 100 mm.
    np.testing.assert_allclose(metrics.joint_errors(predicted, truth), [[0, 50, 100]])
    np.testing.assert_allclose(metrics.mpjpe(predicted, truth), [50])
    # The root need not be among the measured joints.
    np.testing.assert_allclose(metrics.mpjpe(predicted, truth, root=0, joints=[1, 2]), [75])
    # The middle of joints 0 and 2 moves by 50 mm along z.
    expected = [50, np.hypot(50, 50), 50]
    np.testing.assert_allclose(metrics.joint_errors(predicted, truth, root=(0, 2)), [expected])


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_a_similarity_has_no_error_after_alignment(scale):
    truth, rotation = people(), rotations(5)
    moved = scale * truth @ rotation.swapaxes(1, 2) + people(5, 1, seed=1)
    assert metrics.mpjpe(moved, truth).min() > 100
    np.testing.assert_allclose(metrics.pa_mpjpe(moved, truth), 0, atol=1e-9)
    np.testing.assert_allclose(metrics.procrustes(moved, truth).scale, 1 / scale)
    np.testing.assert_allclose(metrics.procrustes(moved, truth).rotation, rotation.swapaxes(1, 2), atol=1e-12)


def test_reflections_are_not_allowed():
    # The named corners of a box: mirrored, they coincide again only by a reflection.
    truth = np.array([[x, y, z] for x in (0, 3) for y in (0, 2) for z in (0, 1)], float)[None]
    mirrored = truth * [-1, 1, 1]
    found = metrics.procrustes(mirrored, truth)
    np.testing.assert_allclose(np.linalg.det(found.rotation), 1)
    assert metrics.pa_mpjpe(mirrored, truth)[0] > 50


def test_a_flat_mirror_image_is_a_rotation():
    # In a plane, turning over equals mirroring, so nothing is left.
    truth = people() * [1, 1, 0]
    np.testing.assert_allclose(metrics.pa_mpjpe(truth * [-1, 1, 1], truth), 0, atol=1e-9)


def test_points_that_coincide_keep_their_scale():
    predicted = np.full((1, 4, 3), 2.0)
    found = metrics.procrustes(predicted, people(1, 4))
    np.testing.assert_array_equal(found.scale, [1])
    np.testing.assert_allclose(found.apply(predicted)[0], people(1, 4).mean(axis=1).repeat(4, 0))


def test_swapped_sides_are_caught():
    truth = people()
    assert metrics.mpjpe(truth[:, FLIP], truth).min() > 100
    assert metrics.pa_mpjpe(truth[:, FLIP], truth).min() > 100
    pose = rotations(48).reshape(2, 24, 3, 3)
    assert metrics.mpjae(pose[:, FLIP], pose).min() > 10


def test_pve_with_and_without_roots():
    truth = people(2, 100).astype(np.float32)
    predicted = truth + np.float32([0.03, 0, 0.04])
    np.testing.assert_allclose(metrics.pve(predicted, truth), 50, rtol=1e-5)
    np.testing.assert_allclose(metrics.pve(predicted, truth, predicted[:, 7], truth[:, 7]), 0, atol=1e-3)
    # The roots alone differ: everything is moved by 20 mm.
    np.testing.assert_allclose(metrics.pve(truth, truth, np.zeros((2, 3)), np.full((2, 3), [0, 0.02, 0])), 20)


def test_pve_refuses_other_bodies_and_half_an_alignment():
    with pytest.raises(ValueError, match="different bodies"):
        metrics.pve(people(2, 6700), people(2, 6890))
    with pytest.raises(ValueError, match="both"):
        metrics.pve(people(), people(), predicted_root=np.zeros((5, 3)))


def test_different_shapes_are_refused():
    for function in (metrics.mpjpe, metrics.pa_mpjpe, metrics.acceleration_error):
        with pytest.raises(ValueError, match="same shape"):
            function(people(joints=14), people(joints=24))


@pytest.mark.parametrize("degrees", [0, 1e-6, 30, 90, 179.999, 180])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotation_error_by_hand(axis, degrees):
    base = rotations(1)[0]
    found = metrics.rotation_error(turn(axis, degrees) @ base, base)
    assert found == pytest.approx(degrees, abs=1e-5)


def test_global_rotations_are_products_along_the_chain():
    pose = np.tile(np.eye(3), (1, 24, 1, 1))
    # Pelvis, left hip, left knee each by 20 degrees about x: the left foot is turned by 60.
    pose[0, [0, 1, 4]] = turn(0, 20)
    found = metrics.global_rotations(pose)[0]
    for joint, degrees in ((0, 20), (1, 40), (4, 60), (10, 60), (2, 20), (15, 20)):
        np.testing.assert_allclose(found[joint], turn(0, degrees), atol=1e-12)


def test_angle_joints_are_those_of_emdb():
    names = [JOINT_SETS["smpl24"].names[joint] for joint in metrics.ANGLE_JOINTS]
    pairs = [f"{side}_{name}" for name in ("hip", "knee", "shoulder", "elbow") for side in ("left", "right")]
    assert names == ["pelvis", *pairs]
    assert [JOINT_SETS["smpl24"].names[joint] for joint in metrics.MID_HIP] == ["left_hip", "right_hip"]


def test_mpjae_by_hand():
    truth = np.tile(np.eye(3), (1, 24, 1, 1))
    predicted = truth.copy()
    predicted[0, 4] = turn(1, 90)  # the left knee is one of nine; what it turns below is not measured
    np.testing.assert_allclose(metrics.mpjae(predicted, truth), [10])
    predicted[0, 22] = turn(1, 90)  # hands do not count
    np.testing.assert_allclose(metrics.mpjae(predicted, truth), [10])
    predicted[0, 1] = turn(0, 45)  # the left hip turns itself and the knee
    knee = metrics.rotation_error(turn(0, 45) @ turn(1, 90), np.eye(3))
    np.testing.assert_allclose(metrics.mpjae(predicted, truth), [(45 + knee) / 9])


def test_pa_mpjae_undoes_a_turn_of_the_whole_body():
    truth = rotations(24).reshape(1, 24, 3, 3)
    joints = people(1)
    predicted = truth.copy()
    predicted[:, 0] = turn(1, 50) @ truth[:, 0]
    turned = joints @ turn(1, 50).T
    np.testing.assert_allclose(metrics.mpjae(predicted, truth), [50])
    aligned = metrics.mpjae(predicted, truth, metrics.procrustes(turned, joints))
    np.testing.assert_allclose(aligned, 0, atol=1e-6)


def test_acceleration_error_by_hand():
    still = np.zeros((5, 2, 3))
    moving = still.copy()
    moving[2, :, 0] = 0.01  # a jump of 10 mm: second differences 10, -20, 10
    np.testing.assert_allclose(metrics.acceleration_error(moving, still), [10, 20, 10])
    assert metrics.acceleration_error(moving[:2], still[:2]).size == 0


def test_jitter_by_hand():
    time = np.arange(10.0)
    joints = np.zeros((10, 24, 3))
    joints[..., 1] = (0.5 * time**2)[:, None]
    assert metrics.jitter(joints) == pytest.approx(0, abs=1e-6)  # constant acceleration
    # t^3 / 6 has a third difference of 1: 1 mm per frame^3 at 30 frames/s is 27 m/s^3 = 2.7 (10 m/s^3),
    # of which 15 joints in 24 remain.
    joints[..., 1] = 0.001 * (time**3 / 6)[:, None]
    assert metrics.jitter(joints) == pytest.approx(2.7 * 15 / 24)
    assert metrics.jitter(joints, fps=15) == pytest.approx(2.7 * 15 / 24 / 8)
    joints[:, [1, 2, 3, 4, 5, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19]] = 0
    assert metrics.jitter(joints) == 0  # the nine others do not count
    assert np.isnan(metrics.jitter(joints[:3]))
    with pytest.raises(ValueError, match="24 joints"):
        metrics.jitter(joints[:, :17])


def test_pck_and_auc_by_hand():
    assert metrics.pck([149.999, 150.0], 150) == 0.5  # strictly below
    assert metrics.pck([[0.05, np.nan], [0.2, 0.01]], 0.1) == pytest.approx(2 / 3)
    assert np.isnan(metrics.pck([np.nan], 1))
    assert metrics.auc([0.0]) == pytest.approx(30 / 31)  # 0 < 0 is false
    # 75 mm is below 80, 85, ..., 150: 15 of 31 thresholds.
    assert metrics.auc([75.0]) == pytest.approx(15 / 31)
    assert metrics.auc([0.0, 75.0]) == pytest.approx(45 / 62)


def test_detection_by_hand():
    # 7 / (7 + 1) = 0.875; 7 / 8 and 7 / 8
    assert metrics.detection(7, 1, 1) == (0.88, 0.88, 0.88)
    # 78 / (78 + 11) = 0.8764; precision 78 / 80 = 0.975; recall 78 / 98 = 0.7959
    assert metrics.detection(78, 2, 20) == (0.88, 0.97, 0.8)
    assert metrics.detection(0, 3, 4) == (0, 0, 0)
    assert metrics.detection(5, 0, 0) == (1, 1, 1)


def test_bootstrap_covers_the_mean_and_narrows():
    values = np.random.default_rng(0).normal(10, 2, 400)
    low, high = metrics.bootstrap(values)
    assert low < values.mean() < high
    # The standard error is 0.1: the interval is about 0.39 wide.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert metrics.bootstrap(values) == (low, high)
    low, high = metrics.bootstrap(values, np.median)
    assert low < np.median(values) < high
    assert np.isnan(metrics.bootstrap([])).all()


def test_bootstrap_over_clusters_knows_how_few_there_are():
    """With all values of a cluster alike, the interval is that of the clusters' values."""
    of_clusters = np.random.default_rng(0).normal(10, 2, 40)
    clusters = np.repeat([f"clip{i}" for i in range(40)], 25)
    low, high = metrics.bootstrap(np.repeat(of_clusters, 25), clusters=clusters)
    alone = metrics.bootstrap(of_clusters)
    assert high - low == pytest.approx(alone[1] - alone[0], rel=0.15)
    people = metrics.bootstrap(np.repeat(of_clusters, 25))
    assert high - low > 3 * (people[1] - people[0])
    assert np.isnan(metrics.bootstrap([1.0, 2.0], clusters=["a", "a"])).all()


def test_bootstrap_weighs_clusters_by_their_people():
    """Two clusters of 3 and 1: the mean is 0, 8, or 2 in half of the draws."""
    values, clusters = [0.0, 0.0, 0.0, 8.0], ["a", "a", "a", "b"]
    assert metrics.bootstrap(values, clusters=clusters) == (0, 8)
    assert metrics.bootstrap(values, clusters=clusters, level=0.4) == (2, 2)


def test_torso_frames_by_hand():
    """A person who faces the camera: left is right in the picture, y up, z to the camera."""
    joints = np.array([[0.2, -0.5, 3], [-0.2, -0.5, 3], [0.1, 0, 3], [-0.1, 0, 3]])[:, None]
    frame = metrics.torso_frames(*joints)[0]
    np.testing.assert_allclose(frame, np.diag([1, -1, -1]), atol=1e-12)
    turned = roma.rotvec_to_rotmat(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64)).numpy()
    moved = metrics.torso_frames(*(joints @ turned.T + [1, 2, 3]))
    np.testing.assert_allclose(moved[0], turned @ frame, atol=1e-12)
    angle = np.degrees(np.linalg.norm([0.3, -0.5, 0.2]))
    np.testing.assert_allclose(metrics.rotation_error(moved, frame[None]), [angle])


def test_a_twisted_torso_turns_by_half():
    """Shoulders turned by 40 degrees over hips as wide: the frame turns by 20."""
    joints = np.array([[0.1, -0.5, 0], [-0.1, -0.5, 0], [0.1, 0, 0], [-0.1, 0, 0]])[:, None]
    twisted = joints.copy()
    angle = np.radians(40)
    twisted[:2] @= np.array(
        [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    )
    error = metrics.rotation_error(metrics.torso_frames(*twisted), metrics.torso_frames(*joints))
    np.testing.assert_allclose(error, [20], atol=1e-6)


def test_torch_tensors_are_taken():
    truth, predicted = torch.randn(3, 14, 3), torch.randn(3, 14, 3)
    expected = metrics.pa_mpjpe(predicted.numpy(), truth.numpy())
    np.testing.assert_array_equal(metrics.pa_mpjpe(predicted, truth), expected)


@settings(max_examples=40)
@given(points, points, seeds)
def test_alignment_is_the_best_similarity(predicted, truth, seed):
    """No other similarity has a smaller sum of squares; MPJPE itself may be a little smaller elsewhere."""
    rng = np.random.default_rng(seed)
    best = metrics.procrustes(predicted, truth)
    other = metrics.Similarity(
        best.scale * rng.uniform(0.9, 1.1, 3),
        rotations(3, seed),
        best.translation + rng.normal(0, 0.1, (3, 3)),
    )
    near = metrics.Similarity(best.scale, best.rotation, best.translation + rng.normal(0, 0.01, (3, 3)))

    def squares(similarity):
        return ((similarity.apply(predicted) - truth) ** 2).sum(axis=(1, 2))

    moved = metrics.Similarity(np.ones(3), np.tile(np.eye(3), (3, 1, 1)), (truth - predicted)[:, 0])
    for candidate in (other, near, moved):
        assert (squares(best) <= squares(candidate) + 1e-9).all()
    # So the root mean square after alignment is at most that after moving the roots onto each other.
    aligned = np.sqrt((metrics.pa_joint_errors(predicted, truth) ** 2).mean(axis=1))
    rooted = np.sqrt((metrics.joint_errors(predicted, truth) ** 2).mean(axis=1))
    assert (aligned <= rooted + 1e-6).all()
    # And a mean is at most a root mean square.
    assert (metrics.pa_mpjpe(predicted, truth) <= rooted + 1e-6).all()


@settings(max_examples=40)
@given(seeds, st.floats(0.2, 5))
def test_invariances(seed, scale):
    predicted, truth = people(3, 14, seed), people(3, 14, seed + 1)
    rotation, shift = rotations(3, seed), people(3, 1, seed + 2)
    turned = scale * predicted @ rotation.swapaxes(1, 2) + shift
    np.testing.assert_allclose(metrics.pa_mpjpe(turned, truth), metrics.pa_mpjpe(predicted, truth), rtol=1e-6)
    np.testing.assert_allclose(metrics.mpjpe(predicted + shift, truth), metrics.mpjpe(predicted, truth))
    # Turning and moving both changes nothing.
    both = [x @ rotation.swapaxes(1, 2) + shift for x in (predicted, truth)]
    np.testing.assert_allclose(metrics.mpjpe(*both), metrics.mpjpe(predicted, truth))
    # Joints in another order change nothing, as long as both have it.
    order = np.random.default_rng(seed).permutation(14)
    np.testing.assert_allclose(
        metrics.pa_mpjpe(predicted[:, order], truth[:, order]), metrics.pa_mpjpe(predicted, truth)
    )


@settings(max_examples=40)
@given(seeds)
def test_rotation_error_is_a_metric(seed):
    a, b, c = rotations(3, seed)
    ab, ba, bc, ac = (metrics.rotation_error(x, y) for x, y in ((a, b), (b, a), (b, c), (a, c)))
    assert ab == pytest.approx(ba)
    assert 0 <= ac <= min(ab + bc + 1e-9, 180)
    np.testing.assert_allclose(ab, metrics.rotation_error(c @ a, c @ b), atol=1e-6)

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.body import JOINT_SETS, load_body
from fullframe.fit import FitWeights, KeypointFitter, keypoint_fitter
from fullframe.fit.energy import (
    BETA_BOUNDS,
    CHILD_BOUNDS,
    DISTANCES,
    Parameters,
    Problem,
    evaluate,
    normal_equations,
)
from fullframe.geometry.camera import Camera, project
from fullframe.models.lift_people import lift_people, lifted_share
from fullframe.models.lifter import LifterNetwork
from fullframe.models.predict import Bodies, mean_bodies

CAMERA = Camera.from_fov(60, (1280, 720))
FRONT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
LEFT_HIP, RIGHT_HIP = 1, 2
ADULTS, CHILDREN = KeypointFitter(load_body()), KeypointFitter(load_body(num_betas=11))
torch.manual_seed(0)
LIFTED = KeypointFitter(CHILDREN.body, lifter=LifterNetwork(width=32, blocks=1).eval())


@pytest.fixture(scope="module")
def fitter() -> KeypointFitter:
    return ADULTS


def bodies(fitter: KeypointFitter, count: int) -> Bodies:
    """Natural poses that face all ways, side by side."""
    generator = torch.Generator().manual_seed(3)
    chosen = torch.randint(len(fitter._exemplars[0]), (count,), generator=generator)
    pose = fitter._exemplars[0][chosen].clone()
    turns = torch.linspace(0, 2 * torch.pi, count + 1)[:-1]
    about_y = roma.rotvec_to_rotmat(torch.stack((0 * turns, turns, 0 * turns), -1))
    pose[:, 0] = FRONT @ about_y @ pose[:, 0]
    betas = 0.7 * torch.randn(count, 10, generator=generator)
    translation = torch.stack(
        (torch.linspace(-2, 2, count), torch.zeros(count), torch.linspace(4, 9, count)), -1
    )
    return Bodies(pose.numpy(), betas.numpy(), translation.numpy())


def keypoints_of(fitter: KeypointFitter, truth: Bodies, camera: Camera = CAMERA) -> np.ndarray:
    pose, betas, translation = (torch.from_numpy(x) for x in truth)
    points = fitter.model(betas, pose).keypoints + translation[:, None]
    pixels = project(points, camera.focal[0], torch.tensor(camera.principal_point))
    return np.concatenate((pixels.numpy(), np.ones((*pixels.shape[:2], 1))), 2)


def boxes_of(keypoints: np.ndarray) -> np.ndarray:
    return np.concatenate((keypoints[..., :2].min(1) - 10, keypoints[..., :2].max(1) + 10), 1)


def joints_of(fitter: KeypointFitter, found: Bodies) -> np.ndarray:
    pose, betas, translation = (torch.from_numpy(x) for x in found)
    return fitter.body(betas, pose, translation).joints.numpy()


@pytest.mark.parametrize("started", [False, True])
def test_gradient_and_hessian(started: bool) -> None:
    """Without pose blend shapes the analytic gradient is exact, and the Hessian that of the squared terms."""
    fitter = KeypointFitter(load_body())
    model, prior, weights = fitter.model.double(), fitter.prior.double(), FitWeights()
    model.pose_dirs.zero_()
    torch.manual_seed(0)
    options = {"dtype": torch.float64}
    parameters = Parameters(
        roma.rotvec_to_rotmat(0.5 * torch.randn(3, 24, 3, **options)),
        torch.randn(3, 10, **options),
        torch.tensor([[0.1, 0.2, 1.0], [0.0, -0.1, 2.0], [0.3, 0.0, 1.5]], **options),
    )
    rays, confidence = 0.1 * torch.randn(3, 17, 2, **options), torch.rand(3, 17, **options)
    problem = Problem(rays, confidence, rays[:, 0], torch.tensor([0.3, 0.4, 0.2], **options))
    problem = problem._replace(depth=torch.tensor([1.2, 1.0, 1.9], **options))
    if started:
        turned = parameters.pose @ roma.rotvec_to_rotmat(0.3 * torch.randn(3, 24, 3, **options))
        towards = parameters._replace(pose=turned, betas=parameters.betas + 1)
        problem = problem._replace(towards=towards, hold=0.01 * torch.rand(3, 24, **options))
    state = evaluate(model, prior, weights, problem, parameters)
    gradient, hessian = normal_equations(model, prior, weights, problem, state)
    step = torch.zeros(3, 85, **options, requires_grad=True)
    evaluate(model, prior, weights, problem, parameters.moved(step)).energy.sum().backward()
    assert step.grad is not None
    torch.testing.assert_close(gradient, step.grad / 2)
    assert (torch.linalg.eigvalsh(hessian) > -1e-9).all()


def test_known_bodies_are_found_again(fitter: KeypointFitter) -> None:
    truth = bodies(fitter, 8)
    keypoints = keypoints_of(fitter, truth)
    fit = fitter.fit(keypoints, boxes_of(keypoints), CAMERA)
    assert (fit.error < 0.02).all()
    found, expected = joints_of(fitter, fit.bodies), joints_of(fitter, truth)
    root_relative = np.linalg.norm((found - found[:, :1]) - (expected - expected[:, :1]), axis=-1).mean(1)
    assert np.median(root_relative) < 0.1
    depth = np.abs(found[:, 0, 2] / expected[:, 0, 2] - 1)
    assert np.median(depth) < 0.1
    # Left stays left: the hip lines point the same way.
    across = [j[:, LEFT_HIP] - j[:, RIGHT_HIP] for j in (found, expected)]
    assert ((across[0] * across[1]).sum(1) > 0).all()


def test_mirrored_keypoints_give_mirrored_bodies(fitter: KeypointFitter) -> None:
    truth = bodies(fitter, 4)
    keypoints = keypoints_of(fitter, truth)
    mirrored = keypoints[:, JOINT_SETS["coco17"].flip_permutation].copy()
    mirrored[..., 0] = 1280 - mirrored[..., 0]
    first, second = (fitter.fit(k, boxes_of(k), CAMERA).bodies for k in (keypoints, mirrored))
    expected = joints_of(fitter, first)[:, JOINT_SETS["smpl24"].flip_permutation] * [-1, 1, 1]
    found = joints_of(fitter, second)
    # The mixture prior is learned from mirrored poses too, but not symmetric to the last digit.
    assert np.median(np.linalg.norm(found - expected, axis=-1)) < 0.05


def test_each_person_is_fitted_as_if_alone(fitter: KeypointFitter) -> None:
    keypoints = keypoints_of(fitter, bodies(fitter, 3))
    boxes = boxes_of(keypoints)
    together = fitter.fit(keypoints, boxes, CAMERA)
    for i in range(3):
        alone = fitter.fit(keypoints[i : i + 1], boxes[i : i + 1], CAMERA)
        np.testing.assert_allclose(alone.energy[0], together.energy[i], rtol=0.01)


def test_resolution_does_not_matter(fitter: KeypointFitter) -> None:
    keypoints = keypoints_of(fitter, bodies(fitter, 2))
    large = keypoints * [3, 3, 1]
    camera = Camera.from_fov(60, (3840, 2160))
    first = fitter.fit(keypoints, boxes_of(keypoints), CAMERA)
    second = fitter.fit(large, 3 * boxes_of(keypoints), camera)
    np.testing.assert_allclose(second.energy, first.energy, rtol=0.01)
    np.testing.assert_allclose(second.bodies.translation, first.bodies.translation, atol=0.05)


def test_unseen_legs_follow_the_prior(fitter: KeypointFitter) -> None:
    keypoints = keypoints_of(fitter, bodies(fitter, 4))
    keypoints[:, 13:] = [5000, -3000, 0.05]
    fit = fitter.fit(keypoints, boxes_of(keypoints[:, :13]), CAMERA)
    rotvec = roma.rotmat_to_rotvec(torch.from_numpy(fit.bodies.pose[:, 1:])).flatten(1)
    assert fitter.prior.beyond_limits(rotvec).abs().max() < 0.2
    assert (fit.error < 0.03).all()


def test_what_keypoints_do_not_determine_stays_at_the_start(fitter: KeypointFitter) -> None:
    truth = bodies(fitter, 4)
    keypoints = keypoints_of(fitter, truth)
    boxes = boxes_of(keypoints)
    keypoints[:, 13:, 2] = 0  # knees and ankles
    free = KeypointFitter(fitter.body, weights=FitWeights(start=0))
    near, far = (f.fit(keypoints, boxes, CAMERA, start=truth).bodies for f in (fitter, free))
    legs = [4, 5, 7, 8]
    moved = [
        np.linalg.norm(joints_of(fitter, b) - joints_of(fitter, truth), axis=-1)[:, legs].mean()
        for b in (near, far)
    ]
    assert moved[0] < 0.8 * moved[1]


def test_sure_joints_of_the_start_are_held(fitter: KeypointFitter) -> None:
    truth = bodies(fitter, 3)
    keypoints = keypoints_of(fitter, truth)
    start = truth._replace(pose=truth.pose.copy())
    elbow = 18
    start.pose[:, elbow] = start.pose[:, elbow] @ roma.rotvec_to_rotmat(torch.tensor([0, -0.6, 0.0])).numpy()
    variance = np.full((3, 24), 0.05)
    turned = []
    for of_elbow in (0.05, 1e-5):
        variance[:, elbow] = of_elbow
        fit = fitter.fit(keypoints, boxes_of(keypoints), CAMERA, start=start, variance=variance)
        turn = torch.from_numpy(start.pose[:, elbow].swapaxes(1, 2) @ fit.bodies.pose[:, elbow])
        turned.append(roma.rotmat_to_rotvec(turn).norm(dim=1).mean())
    assert turned[0] > 0.25 and turned[1] < 0.05


def test_a_lifter_gives_the_start(fitter: KeypointFitter) -> None:
    truth = bodies(fitter, 2)
    keypoints = keypoints_of(fitter, truth)
    lifted = lift_people(LIFTED.lifter, keypoints, boxes_of(keypoints), CAMERA)
    ours = LIFTED.fit(keypoints, boxes_of(keypoints), CAMERA)
    started = CHILDREN.fit(
        keypoints, boxes_of(keypoints), CAMERA, start=lifted.bodies, variance=lifted.variance
    )
    for one, other in zip(ours.bodies, started.bodies, strict=True):
        np.testing.assert_array_equal(one, other)
    network = Bodies(truth.pose, np.zeros((2, 11), np.float32), truth.translation)
    keypoints[..., 2] = 0.7
    lifted = lift_people(LIFTED.lifter, keypoints, boxes_of(keypoints), CAMERA)
    share = lifted_share(torch.from_numpy(keypoints[..., 2]), torch.ones(2, dtype=torch.bool)).numpy()
    assert (share < 1).all()
    mean = mean_bodies(lifted.bodies, network, share)
    ours = LIFTED.fit(keypoints, boxes_of(keypoints), CAMERA, start=network)
    started = CHILDREN.fit(keypoints, boxes_of(keypoints), CAMERA, start=mean, variance=lifted.variance)
    np.testing.assert_allclose(ours.bodies.pose, started.bodies.pose, atol=1e-4)
    keypoints[..., 2] = 0
    unseen = LIFTED.fit(keypoints, boxes_of(keypoints), CAMERA, start=network)
    np.testing.assert_allclose(unseen.bodies.pose, network.pose, atol=1e-5)
    unseen = LIFTED.fit(keypoints, boxes_of(keypoints), CAMERA)
    lifted = lift_people(LIFTED.lifter, keypoints, boxes_of(keypoints), CAMERA)
    np.testing.assert_allclose(unseen.bodies.pose, lifted.bodies.pose, atol=1e-5)


def test_people_of_whom_nothing_is_seen_are_no_children(fitter: KeypointFitter) -> None:
    truth = bodies(fitter, 2)
    toddlers = np.zeros((2, 11), np.float32)
    toddlers[:, 10] = 1.2
    network = Bodies(truth.pose, toddlers, truth.translation)
    keypoints = keypoints_of(CHILDREN, network)
    boxes = boxes_of(keypoints)
    keypoints[1, :, 2] = 0
    lifted = lift_people(LIFTED.lifter, keypoints, boxes, CAMERA).bodies
    found = LIFTED.fit(keypoints, boxes, CAMERA, start=network).bodies
    np.testing.assert_allclose(found.betas[1], lifted.betas[1], atol=1e-5)
    assert found.betas[1, 10] < 0.6 < found.betas[0, 10]
    assert found.translation[1, 2] > 1.2 * network.translation[1, 2]
    np.testing.assert_allclose(
        keypoints_of(CHILDREN, found)[1, :, :2],
        keypoints[1, :, :2],
        atol=0.1 * (boxes[1, 3] - boxes[1, 1]),
    )


def test_what_is_not_seen_is_uncertain(fitter: KeypointFitter) -> None:
    keypoints = keypoints_of(fitter, bodies(fitter, 3))
    boxes = boxes_of(keypoints)
    keypoints[1, :, 2] = 0
    seen = LIFTED.fit(keypoints, boxes, CAMERA)
    assert seen.uncertainty.shape == (3, 24, 3) and np.isnan(seen.uncertainty[1]).all()
    assert (seen.uncertainty[[0, 2]] > 0).all() and (seen.uncertainty[[0, 2]] < 0.5).all()
    assert np.isnan(CHILDREN.fit(keypoints, boxes, CAMERA).uncertainty).all()
    left_wrist, knees = 20, [4, 5]
    keypoints[:, [7, 9], 2] = 0.1  # too little to be used
    hidden = LIFTED.fit(keypoints, boxes, CAMERA).uncertainty / seen.uncertainty
    assert (hidden[[0, 2], left_wrist].max(1) > 1.5).all()
    assert (hidden[[0, 2], left_wrist].max(1) > 1.2 * hidden[[0, 2]][:, knees].max((1, 2))).all()
    assert (hidden[[0, 2]] > 1).mean() > 0.9


def test_an_outlier_is_ignored(fitter: KeypointFitter) -> None:
    truth = bodies(fitter, 1)
    keypoints = keypoints_of(fitter, truth)
    clean = fitter.fit(keypoints, boxes_of(keypoints), CAMERA)
    boxes = boxes_of(keypoints)
    keypoints[0, 9, :2] += 0.8 * (boxes[0, 2:] - boxes[0, :2]).max()  # a wrist that lies elsewhere
    fit = fitter.fit(keypoints, boxes, CAMERA)
    others = [j for j in range(24) if j not in (18, 20, 22)]  # but for the left arm
    moved = joints_of(fitter, fit.bodies)[0, others, :2] - joints_of(fitter, clean.bodies)[0, others, :2]
    assert np.linalg.norm(moved, axis=-1).mean() < 0.08


def test_a_start_is_improved(fitter: KeypointFitter, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = bodies(fitter, 2)
    keypoints = keypoints_of(fitter, truth)
    start = truth._replace(translation=truth.translation + np.float32([0.1, 0.1, 0.5]))
    after = fitter.fit(keypoints, boxes_of(keypoints), CAMERA, start=start)
    monkeypatch.setattr(keypoint_fitter, "HELD_ITERATIONS", 0)
    before = fitter.fit(keypoints, boxes_of(keypoints), CAMERA, start=start)
    assert (after.energy < before.energy).all()
    assert (after.error < 0.02).all()


def test_without_keypoints_the_body_is_placed_in_its_box(fitter: KeypointFitter) -> None:
    boxes = np.array([[100.0, 100, 250, 500], [900, 300, 960, 420]])
    fit = fitter.fit(np.zeros((2, 17, 3)), boxes, CAMERA)
    points = joints_of(fitter, fit.bodies)
    pixels = points[..., :2] / points[..., 2:] * CAMERA.focal[0] + CAMERA.principal_point
    for box, person in zip(boxes, pixels, strict=True):
        np.testing.assert_allclose(person.mean(0), (box[:2] + box[2:]) / 2, atol=0.25 * (box[3] - box[1]))
        assert 0.5 < np.ptp(person[:, 1]) / (box[3] - box[1]) < 1.1


def test_no_people(fitter: KeypointFitter) -> None:
    fit = fitter.fit(np.zeros((0, 17, 3)), np.zeros((0, 4)), CAMERA)
    assert fit.bodies.pose.shape == (0, 24, 3, 3) and fit.error.shape == (0,)


def test_keypoints_that_determine_no_distance_leave_the_start(fitter: KeypointFitter) -> None:
    """Two wrists, or all joints within a few pixels, say nothing of a body's distance."""
    start = bodies(fitter, 3)
    keypoints = keypoints_of(fitter, start)
    boxes = boxes_of(keypoints)
    keypoints[0, [i for i in range(17) if i not in (9, 10)], 2] = 0
    keypoints[1, :, :2] = keypoints[1, :1, :2] + np.arange(34).reshape(17, 2) / 10
    fit = fitter.fit(keypoints, boxes, CAMERA, start=start)
    assert fit.determined.tolist() == [False, False, True]
    for found, known in zip(fit.bodies, start, strict=True):
        np.testing.assert_allclose(found[:2], known[:2], atol=1e-5)
    fit = fitter.fit(keypoints, boxes, CAMERA)
    assert fit.determined.tolist() == [False, False, True]
    assert (fit.bodies.translation[:, 2] > 1).all() and (fit.bodies.translation[:, 2] < 30).all()


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    fitter=st.sampled_from((ADULTS, CHILDREN, LIFTED)),
    started=st.booleans(),
)
def test_bodies_stay_within_bounds_whatever_the_keypoints(
    seed: int, fitter: KeypointFitter, started: bool
) -> None:
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform((-500, -500, 0), (1800, 1200, 1), (4, 17, 3)) * rng.choice(
        (1, 1e-3, 1e4), (4, 1, 1)
    )
    keypoints[..., 2] = rng.uniform(0, 1, (4, 17)) * rng.integers(0, 2, (4, 17))
    corner = rng.uniform((0, 0), (1000, 500), (4, 2))
    boxes = np.concatenate((corner, corner + 10 ** rng.uniform(0, 3, (4, 2))), 1)
    start = None
    if started:
        known = bodies(fitter, 4)
        betas = np.pad(known.betas * 10, ((0, 0), (0, fitter.body.num_betas - 10)), constant_values=5)
        start = Bodies(known.pose, betas.astype(np.float32), known.translation * 10 ** rng.uniform(-3, 4))
    found = fitter.fit(keypoints, boxes, CAMERA, start=start).bodies
    assert all(np.isfinite(value).all() for value in found)
    low, high = np.array(DISTANCES) * (1 - 1e-5, 1 + 1e-5)
    assert (found.translation[:, 2] >= low).all() and (found.translation[:, 2] <= high).all()
    assert (np.abs(found.betas[:, :10]) <= BETA_BOUNDS[1] + 1e-5).all()
    assert (found.betas[:, 10:] >= CHILD_BOUNDS[0]).all() and (
        found.betas[:, 10:] <= CHILD_BOUNDS[1] + 1e-5
    ).all()

"""Bodies fitted to 2D keypoints in the camera of the full frame, all people of an image at once.

The energy is SMPLify's (Bogo et al., ECCV 2016), with residuals in units of each person's box so that it
does not depend on resolution: robust reprojection, a mixture prior on pose, joint limits, a prior on shape,
and a weak wish that people stand upright. It is minimised by Levenberg-Marquardt with analytic derivatives
from several starts.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fullframe.body import JOINT_SETS, BodyModel
from fullframe.body.keypoint_regressor import KeypointRegressor, KeypointState
from fullframe.fit.prior import PosePrior, inverse_right_jacobian
from fullframe.geometry.camera import Camera
from fullframe.geometry.rotation import matrix_to_rotvec, ray_rotation, rotvec_to_matrix, skew
from fullframe.models.lift_people import (
    LIFTER_MIN_CONFIDENCE,
    determine_distance,
    lift_people,
    lifted_share,
    limb_confidence,
)
from fullframe.models.lifter import LifterNetwork
from fullframe.models.predict import Bodies, mean_bodies
from fullframe.motion.shape import keep_in_view
from fullframe.threads import single_thread

LIMB_JOINTS = (1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21)
"""SMPL's hips, knees, ankles, shoulders, elbows and wrists."""
STARTS = 4
"""Of a fit that is given none: seen from the front, the back and both sides."""
ITERATIONS, HELD_ITERATIONS = 40, 20
"""Levenberg-Marquardt steps; where a start holds the fit, more lower no error of benchmarks/accuracy.py."""
NEAREST = 0.1
"""Metres in front of the camera below which no part of a body may come."""
DISTANCES = (0.3, 100.0)
"""Metres from the camera between which a body is placed."""
SEEN_LENGTHS = (0.15, 3.0)
"""Metres that the longer side of a box can span on a body: a hand at least, outstretched limbs at most."""
BETA_BOUNDS = (-3.0, 3.0)
"""Standard deviations within which shapes stay; statures are then 0.7 to 2.1 m, children included."""
CHILD_BOUNDS = (0.0, 1.2)
"""The same for the eleventh coefficient of the open body, 1 for the mean child."""
CERTAIN, CERTAIN_BY_CONFIDENCE = 3.9, 3.25
"""Errors are larger than the curvature of the energy says: by the first number less the second times the mean
confidence of the keypoints of the limbs (docs/benchmarks.md, Certainty)."""


@dataclass(frozen=True)
class FitWeights:
    """Weights of the energy; reprojection errors are in units of the box's longer side."""

    robust: float = 0.06
    """Error at which the Geman-McClure loss has fallen to half of the squared error."""
    pose: float = 3e-4
    """Mixture prior. SMPLify's 4.78^2 at 224 px would be 4.6e-4."""
    shape: float = 3e-4
    """Sum of squared betas. SMPLify's 5^2 at 224 px would be 5e-4."""
    limits: float = 0.01
    """Squared radians beyond the joint limits."""
    upright: float = 4e-3
    """Squared sine of the body's tilt against the image's vertical."""
    start: float = 1e-3
    """Squared radians from the rotations of bodies that are given to start from. A network sees depth and
    hidden limbs better than keypoints show them."""
    likelihood: float = 1.5e-4
    """The same over the variance of each joint's rotation, where the start has one."""
    start_shape: float = 1e-3
    """Sum of squared differences from the betas of a start with variances."""
    depth: float = 2e-3
    """Squared logarithm of the distance over that of the start: it decides where keypoints say nothing."""
    min_confidence: float = LIFTER_MIN_CONFIDENCE
    """Keypoints below this are not used."""
    full_confidence: float = 0.5
    """Keypoints from this on count in full, those below by the square of their share of it."""


class Fit(NamedTuple):
    """Fitted bodies of N people.

    Attributes:
        bodies: pose, betas and translation.
        energy: (N,) of the best start.
        error: (N,) root mean square reprojection error over the keypoints used, in units of the box.
        determined: (N,) whether the keypoints determine a body; where they do not, it is the start's; with
            a lifter, in the lifter's shape.
        uncertainty: (N, 24, 3) metres: standard deviation of SMPL's joints along the camera's axes, of their
            places from the mean of LIMB_JOINTS; NaN where it is unknown, as without a lifter.
    """

    bodies: Bodies
    energy: NDArray[np.float32]
    error: NDArray[np.float32]
    determined: NDArray[np.bool_]
    uncertainty: NDArray[np.float32]


class KeypointFitter:
    """Fits bodies to 2D keypoints.

    Args:
        body: the body to fit.
        joint_set: what the keypoints are.
        weights: of the energy.
        lifter: fits begin with its bodies, or with the mean of its bodies and those of the start, and stay
            near them; without it, fits that are given no start begin with four exemplars. It has to predict
            this body, from this joint set.
    """

    name = "keypoint-fit"

    def __init__(
        self,
        body: BodyModel,
        joint_set: str = "coco17",
        weights: FitWeights | None = None,
        lifter: LifterNetwork | None = None,
    ) -> None:
        self.body = body
        self.lifter = lifter
        self.weights = weights or FitWeights()
        self.prior = PosePrior()
        self.model = KeypointRegressor(body, joint_set)
        names = JOINT_SETS[joint_set].names
        self.legs = torch.tensor([name.endswith(("knee", "ankle")) for name in names])

    @cached_property
    @torch.no_grad()
    def _exemplars(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pose (E, 24, 3, 3), keypoints (E, K, 3) and energy (E,) of the prior's exemplars."""
        pose = rotvec_to_matrix(self.prior.exemplars)
        keypoints = self.model(torch.zeros(len(pose), self.body.num_betas), pose).keypoints
        return pose, keypoints, self.prior.energy(self.prior.exemplars[:, 1:].flatten(1))[0]

    @torch.no_grad()
    @single_thread()
    def fit(
        self,
        keypoints: ArrayLike,
        boxes: ArrayLike,
        camera: Camera,
        start: Bodies | None = None,
        variance: ArrayLike | None = None,
    ) -> Fit:
        """Fit one body to each person.

        Args:
            keypoints: (N, K, 3) x, y px and confidence.
            boxes: (N, 4) x1, y1, x2, y2 px; their longer side is the unit of error.
            camera: of the full image.
            start: bodies to start from and to stay near to in pose and shape, if there are any.
            variance: (N, 24) of the rotations of the start's joints about each axis, squared radians, if it
                is known: surer joints are held more firmly. With a lifter, it is the lifter's.

        Raises:
            ValueError: with a lifter, if a box is not finite or has no area.
        """
        target = torch.as_tensor(np.asarray(keypoints, np.float32))
        xyxy = torch.as_tensor(np.asarray(boxes, np.float32))
        weights = self.weights
        problem = _Problem.from_pixels(target, xyxy, self.legs, camera, weights)
        if self.lifter is not None:
            lifted, variance = lift_people(self.lifter, keypoints, boxes, camera)
            if start is None:
                start = lifted
            else:
                share = lifted_share(target[..., 2], problem.determined)
                start = mean_bodies(lifted, start, share.numpy())
                # A network makes children of people of whom it sees next to nothing.
                start = self._with_shape(start, lifted.betas, ~problem.determined.numpy())
        iterations = ITERATIONS if start is None else HELD_ITERATIONS
        if start is None:
            count, starts = STARTS, self._starts(problem)
            problem = problem.repeat(count)
        else:
            count, starts = 1, _Parameters.from_bodies(start)
            hold = torch.full((len(target), 24), weights.start)
            if variance is not None:
                hold = weights.likelihood / torch.as_tensor(np.asarray(variance, np.float32))
                weights = replace(weights, shape=weights.start_shape)
            problem = problem._replace(towards=problem.clamp(starts), hold=hold)
        starts = problem.clamp(starts)
        problem = problem._replace(depth=starts.place[:, 2])
        # A tolerant loss first, so that a limb that starts far away is still drawn to its keypoints.
        tolerant = replace(weights, robust=3 * weights.robust)
        state = _minimise(self.model, self.prior, tolerant, problem, starts, iterations // 3)
        # A network has seen more than keypoints: what it says of hidden joints stays.
        parameters = self._complete(state.parameters, problem) if start is None else state.parameters
        rest = iterations - iterations // 3
        state = _minimise(self.model, self.prior, weights, problem, parameters, rest)
        best = state.energy.view(-1, count).argmin(1) + torch.arange(len(target)) * count
        problem, state = (_rows(value, best) for value in (problem, state))
        determined = problem.determined
        if problem.towards is not None:
            kept = _evaluate(self.model, self.prior, weights, problem, problem.towards)
            state = _where(determined, state, kept)
        uncertainty = torch.full((len(target), 24, 3), torch.nan)
        if self.lifter is not None:
            sigma = self._uncertainty(weights, problem, state, target[..., 2])
            uncertainty[determined] = sigma[determined]
        used = problem.confidence > 0
        square = (state.residual.square().sum(-1) * used).sum(1) / used.sum(1).clamp(min=1)
        parameters = state.parameters
        values = (parameters.pose, parameters.betas, parameters.translation)
        return Fit(
            Bodies(*(value.numpy() for value in values)),
            state.energy.numpy(),
            square.sqrt().numpy(),
            determined.numpy(),
            uncertainty.numpy(),
        )

    def _with_shape(self, bodies: Bodies, betas: NDArray[np.float32], rows: NDArray[np.bool_]) -> Bodies:
        """Some bodies with other betas (N, B), where they cover the same part of the image."""
        if not rows.any():
            return bodies
        betas = np.where(rows[:, None], betas, bodies.betas)
        moved = keep_in_view(self.body, bodies.pose, bodies.translation, bodies.betas, betas)
        return bodies._replace(betas=betas, translation=np.where(rows[:, None], moved, bodies.translation))

    def _uncertainty(
        self, weights: FitWeights, problem: "_Problem", state: "_State", confidence: Tensor
    ) -> Tensor:
        """Standard deviations (N, 24, 3), see Fit.

        Over its weight `likelihood` the energy is a negative log likelihood, half its squares: the inverse of
        its Gauss-Newton Hessian is a covariance (Laplace's approximation).
        """
        _, hessian = _normal_equations(self.model, self.prior, weights, problem, state)
        hessian = hessian + 1e-9 * torch.eye(hessian.shape[-1])
        jacobian = self.model.joint_jacobian(state.keypoints)
        jacobian = torch.nn.functional.pad(jacobian, (0, 3))  # the place moves all joints alike
        jacobian = (jacobian - jacobian[:, list(LIMB_JOINTS)].mean(1, keepdim=True)).flatten(1, 2)
        turned = torch.linalg.solve(hessian, jacobian.mT)
        variance = weights.likelihood * (jacobian * turned.mT).sum(2)
        factor = CERTAIN - CERTAIN_BY_CONFIDENCE * limb_confidence(confidence)[:, None]
        return (variance.clamp(min=0).sqrt() * factor).unflatten(1, (24, 3))

    def _complete(self, parameters: "_Parameters", problem: "_Problem") -> "_Parameters":
        """Joints that move no visible keypoint get the likeliest rotations, whatever the start had there."""
        moves = self.model.weights @ self.model.ancestors > 0.05  # (K, 24)
        seen = ((problem.confidence > 0)[..., None] & moves).any(1)[:, 1:].repeat_interleave(3, 1)
        body_pose = matrix_to_rotvec(parameters.pose[:, 1:]).flatten(1)
        completed = self.prior.complete(body_pose, seen).unflatten(1, (23, 3))
        pose = torch.cat((parameters.pose[:, :1], rotvec_to_matrix(completed)), 1)
        return parameters._replace(pose=pose)

    def _starts(self, problem: "_Problem") -> "_Parameters":
        """For each person the best exemplar facing towards the camera, away from it, and to either side.

        Exemplars are turned about the vertical and compared with the keypoints under the best similarity of
        the image plane, whose rotation tilts the body and whose scale gives the distance.
        """
        exemplar_pose, exemplar_keypoints, exemplar_energy = self._exemplars
        turns = torch.arange(16) * (2 * torch.pi / 16)
        about_y = torch.stack((0 * turns, turns, 0 * turns), -1)
        # The body's y axis points up, the camera's down.
        facing = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotvec_to_matrix(about_y)  # (T, 3, 3)
        points = torch.einsum("tij,ekj->teki", facing, exemplar_keypoints)
        flat = torch.view_as_complex(points[..., :2].contiguous())  # (T, E, K)
        target = torch.view_as_complex(problem.target.contiguous())  # (N, K), rays times 1
        weight = problem.confidence / problem.confidence.sum(1, keepdim=True).clamp(min=1e-6)

        mean = torch.einsum("nk,tek->nte", weight.to(flat.dtype), flat)
        power = torch.einsum("nk,tek->nte", weight, flat.abs() ** 2) - mean.abs() ** 2
        centre = (weight * target).sum(1)
        spread = target - centre[:, None]
        product = torch.einsum("nk,tek->nte", weight * spread, flat.conj())
        variance = (weight * spread.abs() ** 2).sum(1)[:, None, None]
        similarity = product / power.clamp(min=1e-6)
        # Two points do not show a body: its box does, roughly.
        blind = (problem.confidence > 0).sum(1) < 3
        similarity = torch.where(blind[:, None, None], problem.unit[:, None, None] / 1.7 + 0j, similarity)
        centre = torch.where(blind, torch.view_as_complex(problem.center), centre)
        error = (variance - product.abs() ** 2 / power.clamp(min=1e-6)) / problem.unit[:, None, None] ** 2
        roll = torch.angle(similarity)
        cost = error + 1e-3 * roll**2 + 2e-5 * exemplar_energy
        # Too near is impossible: people closer than half a metre do not fit a frame.
        cost = torch.where(similarity.abs() > 2, torch.inf, cost)

        people = torch.arange(len(target))
        chosen = []
        for quarter in range(STARTS):  # towards, one side, away, the other side; each 90 degrees wide
            turn = (torch.arange(-2, 2) + 4 * quarter) % 16
            part = cost[:, turn].flatten(1)
            index = part.argmin(1)
            t, e = turn[index // cost.shape[2]], index % cost.shape[2]
            scale = similarity[people, t, e]
            pose = exemplar_pose[e].clone()
            roll_z = torch.stack(
                (torch.zeros_like(scale.real), torch.zeros_like(scale.real), scale.angle()), -1
            )
            ray = torch.view_as_real(centre)
            pose[:, 0] = ray_rotation(ray) @ rotvec_to_matrix(roll_z) @ facing[t] @ pose[:, 0]
            depth = 1 / scale.abs().clamp(min=1e-3)
            offset = torch.view_as_real(centre - scale * mean[people, t, e])
            chosen.append((pose, torch.cat((offset, depth.log()[:, None]), 1)))
        pose = torch.stack([c[0] for c in chosen], 1).flatten(0, 1)
        place = torch.stack([c[1] for c in chosen], 1).flatten(0, 1)
        return _Parameters(pose, torch.zeros(len(pose), self.body.num_betas), place)


class _Parameters(NamedTuple):
    pose: Tensor  # (H, 24, 3, 3)
    betas: Tensor  # (H, B)
    place: Tensor  # (H, 3): x/z, y/z and log z of the translation

    @classmethod
    def from_bodies(cls, bodies: Bodies) -> "_Parameters":
        pose, betas, translation = (torch.as_tensor(value) for value in bodies)
        depth = translation[:, 2:].clamp(min=2 * NEAREST)
        return cls(pose, betas, torch.cat((translation[:, :2] / depth, depth.log()), 1))

    @property
    def translation(self) -> Tensor:
        depth = self.place[:, 2:].exp()
        return torch.cat((self.place[:, :2] * depth, depth), 1)

    def moved(self, step: Tensor) -> "_Parameters":
        turn = rotvec_to_matrix(step[:, :72].unflatten(1, (24, 3)))
        betas = self.betas + step[:, 72:-3]
        return _Parameters(self.pose @ turn, betas, self.place + step[:, -3:])


class _Problem(NamedTuple):
    """Keypoints as viewing rays (x/z, y/z), one row a hypothesis."""

    target: Tensor  # (H, K, 2)
    confidence: Tensor  # (H, K), 0 where not used
    center: Tensor  # (H, 2) of the box
    unit: Tensor  # (H,) the box's longer side in the same units
    towards: "_Parameters | None" = None  # to which pose and betas are held
    hold: Tensor | None = None  # (H, 24) weights of the pose
    depth: Tensor | None = None  # (H,) logarithm of the distance that is held to

    @classmethod
    def from_pixels(
        cls, keypoints: Tensor, boxes: Tensor, legs: Tensor, camera: Camera, weights: FitWeights
    ) -> "_Problem":
        focal, principal = torch.tensor(camera.focal), torch.tensor(camera.principal_point)
        longer = (boxes[:, 2:] - boxes[:, :2]).amax(1)
        # Detectors put knees and ankles that the frame cuts off at its border: there they must be surer.
        pixels, size = keypoints[..., :2], torch.tensor(camera.size)
        at_border = torch.minimum(pixels, size - pixels).amin(-1) < 0.03 * longer[:, None]
        sure = keypoints[..., 2] - 0.1 * (at_border & legs)
        confidence = (sure / weights.full_confidence).clamp(max=1)
        confidence = torch.where(sure >= weights.min_confidence, confidence, 0.0)
        center = (boxes[:, :2] + boxes[:, 2:]) / 2
        return cls(
            (keypoints[..., :2] - principal) / focal,
            confidence,
            (center - principal) / focal,
            longer / focal.mean(),
        )

    def repeat(self, count: int) -> "_Problem":
        rows = torch.arange(len(self.target)).repeat_interleave(count)
        return _Problem(self.target[rows], self.confidence[rows], self.center[rows], self.unit[rows])

    @property
    def determined(self) -> Tensor:
        """(H,) whether the keypoints determine a distance."""
        return determine_distance(self.target, self.confidence > 0, self.unit)

    def clamp(self, parameters: _Parameters) -> _Parameters:
        """Shapes and distances within their bounds; the ray on which a body stands stays."""
        betas = parameters.betas.clamp(*BETA_BOUNDS)
        if betas.shape[1] > 10:
            betas = torch.cat((betas[:, :10], parameters.betas[:, 10:].clamp(*CHILD_BOUNDS)), 1)
        low, high = ((length / self.unit).clamp(*DISTANCES).log() for length in SEEN_LENGTHS)
        depth = parameters.place[:, 2].clamp(low, high)
        return parameters._replace(betas=betas, place=torch.cat((parameters.place[:, :2], depth[:, None]), 1))


class _State(NamedTuple):
    """Everything known about H hypotheses at one set of parameters."""

    parameters: _Parameters
    keypoints: KeypointState
    residual: Tensor  # (H, K, 2), units of the box
    rotvec: Tensor  # (H, 69)
    component: Tensor  # (H,) of the prior
    energy: Tensor  # (H,)


def _evaluate(
    model: KeypointRegressor,
    prior: PosePrior,
    weights: FitWeights,
    problem: _Problem,
    parameters: _Parameters,
) -> _State:
    keypoints = model(parameters.betas, parameters.pose)
    points = keypoints.keypoints + parameters.translation[:, None]
    rays = points[..., :2] / points[..., 2:].clamp(min=NEAREST)
    residual = (rays - problem.target) / problem.unit[:, None, None]
    square = residual.square().sum(-1)
    robust = square / (1 + square / weights.robust**2)
    rotvec = matrix_to_rotvec(parameters.pose[:, 1:]).flatten(1)
    prior_energy, component = prior.energy(rotvec)
    tilt = parameters.pose[:, 0, ::2, 1]
    energy = (
        (problem.confidence**2 * robust).sum(1)
        + weights.pose * prior_energy
        + weights.shape * _shape_from_usual(parameters, problem).square().sum(1)
        + weights.limits * prior.beyond_limits(rotvec).square().sum(1)
        + weights.upright * tilt.square().sum(1)
    )
    if problem.depth is not None:
        energy = energy + weights.depth * (parameters.place[:, 2] - problem.depth).square()
    if problem.towards is not None and problem.hold is not None:
        squared = _turn_from(problem.towards, parameters).square().sum(2)
        energy = energy + (problem.hold * squared).sum(1)
    # A body that reaches behind the camera is no solution.
    energy = torch.where(points[..., 2].amin(1) > NEAREST, energy, torch.inf)
    return _State(parameters, keypoints, residual, rotvec, component, energy)


def _normal_equations(
    model: KeypointRegressor, prior: PosePrior, weights: FitWeights, problem: _Problem, state: _State
) -> tuple[Tensor, Tensor]:
    """Half the gradient (H, P) and half the Gauss-Newton Hessian (H, P, P) of the energy; P = 72 + B + 3."""
    parameters, count, num_betas = state.parameters, *state.parameters.betas.shape
    translation = parameters.translation
    eye = torch.eye(3).to(translation)

    # Reprojection: points by pose, betas and place, then rays by points, with Geman-McClure's weights.
    depth = translation[:, 2:]
    place = torch.stack((eye[0] * depth, eye[1] * depth, translation), -1)  # (H, 3, 3)
    points = state.keypoints.keypoints + translation[:, None]
    by_point = torch.cat(
        (
            model.pose_jacobian(state.keypoints).flatten(3),
            model.shape_jacobian(state.keypoints),
            place[:, None].expand(-1, points.shape[1], 3, 3),
        ),
        -1,
    )
    z = points[..., 2, None, None].clamp(min=NEAREST)
    rays = points[..., :2, None] / z
    jacobian = (by_point[..., :2, :] - rays * by_point[..., 2:, :]) / (z * problem.unit[:, None, None, None])
    square = state.residual.square().sum(-1)
    weight = problem.confidence**2 / (1 + square / weights.robust**2) ** 2
    weighted = (jacobian * weight[..., None, None]).flatten(1, 2)
    hessian = weighted.mT @ jacobian.flatten(1, 2)
    gradient = (weighted.mT @ state.residual.flatten(1)[..., None])[..., 0]

    # Pose prior and joint limits act on rotation vectors, the step turns rotations on the right.
    by_turn = inverse_right_jacobian(state.rotvec.unflatten(1, (23, 3)))  # (H, 23, 3, 3)
    precision = 0.5 * weights.pose * prior.precisions[state.component]
    pull = (precision @ (state.rotvec - prior.means[state.component])[..., None])[..., 0]
    beyond = prior.beyond_limits(state.rotvec)
    pull = pull + weights.limits * beyond
    precision = precision + torch.diag_embed(weights.limits * (beyond != 0))
    precision = precision.view(count, 23, 3, 23, 3)
    precision = torch.einsum("hiab,hiajc,hjcd->hibjd", by_turn, precision, by_turn).reshape(count, 69, 69)
    gradient[:, 3:72] += (by_turn.mT @ pull.view(count, 23, 3, 1)).flatten(1)
    hessian[:, 3:72, 3:72] += precision

    betas = torch.arange(72, 72 + num_betas)
    gradient[:, betas] += weights.shape * _shape_from_usual(parameters, problem)
    hessian[:, betas, betas] += weights.shape

    if problem.depth is not None:
        gradient[:, -1] += weights.depth * (parameters.place[:, 2] - problem.depth)
        hessian[:, -1, -1] += weights.depth

    if problem.towards is not None and problem.hold is not None:
        turn = _turn_from(problem.towards, parameters)  # (H, 24, 3)
        by_turn = inverse_right_jacobian(turn)
        hold = problem.hold[..., None, None]
        gradient[:, :72] += (hold * (by_turn.mT @ turn[..., None])).flatten(1)
        blocks = hessian[:, :72, :72].unflatten(1, (24, 3)).unflatten(3, (24, 3))
        every = torch.arange(24)
        blocks[:, every, :, every] += (hold * (by_turn.mT @ by_turn)).transpose(0, 1)

    root = parameters.pose[:, 0]
    by_root = (-root @ skew(eye[1]))[:, ::2]  # of the up vector's x and z, (H, 2, 3)
    gradient[:, :3] += weights.upright * (by_root.mT @ root[:, ::2, 1, None])[..., 0]
    hessian[:, :3, :3] += weights.upright * by_root.mT @ by_root
    return gradient, hessian


def _shape_from_usual(parameters: _Parameters, problem: _Problem) -> Tensor:
    return parameters.betas - (0 if problem.towards is None else problem.towards.betas)


def _turn_from(start: _Parameters, parameters: _Parameters) -> Tensor:
    """(H, 24, 3) radians."""
    return matrix_to_rotvec(start.pose.mT @ parameters.pose)


def _minimise(
    model: KeypointRegressor,
    prior: PosePrior,
    weights: FitWeights,
    problem: _Problem,
    start: _Parameters,
    iterations: int,
) -> _State:
    """Levenberg-Marquardt, each hypothesis with its own damping; a step that raises the energy is undone."""
    state = _evaluate(model, prior, weights, problem, start)
    damping = torch.full_like(state.energy, 1e-2)
    for _ in range(iterations):
        gradient, hessian = _normal_equations(model, prior, weights, problem, state)
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        hessian = hessian + torch.diag_embed(damping[:, None] * diagonal + 1e-9)
        step = -torch.linalg.solve_ex(hessian, gradient)[0]
        trial = _evaluate(
            model, prior, weights, problem, problem.clamp(state.parameters.moved(step.nan_to_num()))
        )
        better = trial.energy < state.energy
        state = _where(better, trial, state)
        damping = torch.where(better, damping / 3, damping * 4).clamp(1e-6, 1e6)
    return state


def _rows(value, rows: Tensor):
    """Some rows of nested named tuples."""
    if value is None or isinstance(value, Tensor):
        return None if value is None else value[rows]
    return type(value)(*(_rows(each, rows) for each in value))


def _where(mask: Tensor, a, b):
    """Rows of `a` where the mask is set, else of `b`, through nested named tuples."""
    if isinstance(a, Tensor):
        return torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)
    return type(a)(*(_where(mask, x, y) for x, y in zip(a, b, strict=True)))

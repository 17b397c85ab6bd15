"""Bodies fitted to 2D keypoints in the camera of the full frame, all people of an image at once.

The energy is minimised by Levenberg-Marquardt with analytic derivatives, from several starts.
"""

from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fullframe.body import JOINT_SETS, BodyModel
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.fit.energy import FitWeights, Parameters, Problem, State, evaluate, normal_equations
from fullframe.fit.prior import PosePrior
from fullframe.geometry.camera import Camera
from fullframe.geometry.rotation import matrix_to_rotvec, ray_rotation, rotvec_to_matrix
from fullframe.models.lift_people import lift_people, lifted_share, limb_confidence
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
CERTAIN, CERTAIN_BY_CONFIDENCE = 3.9, 3.25
"""Errors are larger than the curvature of the energy says: by the first number less the second times the mean
confidence of the keypoints of the limbs (docs/benchmarks.md, Certainty)."""


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
        problem = Problem.from_pixels(target, xyxy, self.legs, camera, weights)
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
            count, starts = 1, Parameters.from_bodies(start)
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
            kept = evaluate(self.model, self.prior, weights, problem, problem.towards)
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

    def _uncertainty(self, weights: FitWeights, problem: Problem, state: State, confidence: Tensor) -> Tensor:
        """Standard deviations (N, 24, 3), see Fit.

        Over its weight `likelihood` the energy is a negative log likelihood, half its squares: the inverse of
        its Gauss-Newton Hessian is a covariance (Laplace's approximation).
        """
        _, hessian = normal_equations(self.model, self.prior, weights, problem, state)
        hessian = hessian + 1e-9 * torch.eye(hessian.shape[-1])
        jacobian = self.model.joint_jacobian(state.keypoints)
        jacobian = torch.nn.functional.pad(jacobian, (0, 3))  # the place moves all joints alike
        jacobian = (jacobian - jacobian[:, list(LIMB_JOINTS)].mean(1, keepdim=True)).flatten(1, 2)
        turned = torch.linalg.solve(hessian, jacobian.mT)
        variance = weights.likelihood * (jacobian * turned.mT).sum(2)
        factor = CERTAIN - CERTAIN_BY_CONFIDENCE * limb_confidence(confidence)[:, None]
        return (variance.clamp(min=0).sqrt() * factor).unflatten(1, (24, 3))

    def _complete(self, parameters: Parameters, problem: Problem) -> Parameters:
        """Joints that move no visible keypoint get the likeliest rotations, whatever the start had there."""
        moves = self.model.weights @ self.model.ancestors > 0.05  # (K, 24)
        seen = ((problem.confidence > 0)[..., None] & moves).any(1)[:, 1:].repeat_interleave(3, 1)
        body_pose = matrix_to_rotvec(parameters.pose[:, 1:]).flatten(1)
        completed = self.prior.complete(body_pose, seen).unflatten(1, (23, 3))
        pose = torch.cat((parameters.pose[:, :1], rotvec_to_matrix(completed)), 1)
        return parameters._replace(pose=pose)

    def _starts(self, problem: Problem) -> Parameters:
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
        return Parameters(pose, torch.zeros(len(pose), self.body.num_betas), place)


def _minimise(
    model: KeypointRegressor,
    prior: PosePrior,
    weights: FitWeights,
    problem: Problem,
    start: Parameters,
    iterations: int,
) -> State:
    """Levenberg-Marquardt, each hypothesis with its own damping; a step that raises the energy is undone."""
    state = evaluate(model, prior, weights, problem, start)
    damping = torch.full_like(state.energy, 1e-2)
    for _ in range(iterations):
        gradient, hessian = normal_equations(model, prior, weights, problem, state)
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        hessian = hessian + torch.diag_embed(damping[:, None] * diagonal + 1e-9)
        step = -torch.linalg.solve_ex(hessian, gradient)[0]
        trial = evaluate(
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

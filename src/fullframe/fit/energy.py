"""The energy of bodies seen as 2D keypoints, and its normal equations.

It is SMPLify's (Bogo et al., ECCV 2016), with residuals in units of each person's box so that it does not
depend on resolution: robust reprojection, a mixture prior on pose, joint limits, a prior on shape, and a weak
wish that people stand upright.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fullframe.body.keypoint_regressor import KeypointRegressor, KeypointState
from fullframe.fit.prior import PosePrior, inverse_right_jacobian
from fullframe.geometry.camera import Camera
from fullframe.geometry.rotation import matrix_to_rotvec, rotvec_to_matrix, skew
from fullframe.models.lift_people import LIFTER_MIN_CONFIDENCE, determine_distance
from fullframe.models.predict import Bodies

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


class Parameters(NamedTuple):
    pose: Tensor  # (H, 24, 3, 3)
    betas: Tensor  # (H, B)
    place: Tensor  # (H, 3): x/z, y/z and log z of the translation

    @classmethod
    def from_bodies(cls, bodies: Bodies) -> "Parameters":
        pose, betas, translation = (torch.as_tensor(value) for value in bodies)
        depth = translation[:, 2:].clamp(min=2 * NEAREST)
        return cls(pose, betas, torch.cat((translation[:, :2] / depth, depth.log()), 1))

    @property
    def translation(self) -> Tensor:
        depth = self.place[:, 2:].exp()
        return torch.cat((self.place[:, :2] * depth, depth), 1)

    @property
    def translation_by_place(self) -> Tensor:
        """Derivatives of the translation, (H, 3, 3)."""
        translation = self.translation
        eye, depth = torch.eye(3).to(translation), translation[:, 2:]
        return torch.stack((eye[0] * depth, eye[1] * depth, translation), -1)

    def moved(self, step: Tensor) -> "Parameters":
        turn = rotvec_to_matrix(step[:, :72].unflatten(1, (24, 3)))
        betas = self.betas + step[:, 72:-3]
        return Parameters(self.pose @ turn, betas, self.place + step[:, -3:])


class Problem(NamedTuple):
    """Keypoints as viewing rays (x/z, y/z), one row a hypothesis."""

    target: Tensor  # (H, K, 2)
    confidence: Tensor  # (H, K), 0 where not used
    center: Tensor  # (H, 2) of the box
    unit: Tensor  # (H,) the box's longer side in the same units
    towards: "Parameters | None" = None  # to which pose and betas are held
    hold: Tensor | None = None  # (H, 24) weights of the pose
    depth: Tensor | None = None  # (H,) logarithm of the distance that is held to
    usual: Tensor | None = None  # (H,) factor on pose prior, joint limits and upright, 1 without

    @classmethod
    def from_pixels(
        cls, keypoints: Tensor, boxes: Tensor, legs: Tensor, camera: Camera, weights: FitWeights
    ) -> "Problem":
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

    def repeat(self, count: int) -> "Problem":
        rows = torch.arange(len(self.target)).repeat_interleave(count)
        return Problem(self.target[rows], self.confidence[rows], self.center[rows], self.unit[rows])

    @property
    def determined(self) -> Tensor:
        """(H,) whether the keypoints determine a distance."""
        return determine_distance(self.target, self.confidence > 0, self.unit)

    def clamp(self, parameters: Parameters) -> Parameters:
        """Shapes and distances within their bounds; the ray on which a body stands stays."""
        betas = parameters.betas.clamp(*BETA_BOUNDS)
        if betas.shape[1] > 10:
            betas = torch.cat((betas[:, :10], parameters.betas[:, 10:].clamp(*CHILD_BOUNDS)), 1)
        low, high = ((length / self.unit).clamp(*DISTANCES).log() for length in SEEN_LENGTHS)
        depth = parameters.place[:, 2].clamp(low, high)
        return parameters._replace(betas=betas, place=torch.cat((parameters.place[:, :2], depth[:, None]), 1))


class State(NamedTuple):
    """Everything known about H hypotheses at one set of parameters."""

    parameters: Parameters
    keypoints: KeypointState
    residual: Tensor  # (H, K, 2), units of the box
    rotvec: Tensor  # (H, 69)
    component: Tensor  # (H,) of the prior
    energy: Tensor  # (H,)


def evaluate(
    model: KeypointRegressor,
    prior: PosePrior,
    weights: FitWeights,
    problem: Problem,
    parameters: Parameters,
) -> State:
    keypoints = model(parameters.betas, parameters.pose)
    points = keypoints.keypoints + parameters.translation[:, None]
    rays = points[..., :2] / points[..., 2:].clamp(min=NEAREST)
    residual = (rays - problem.target) / problem.unit[:, None, None]
    square = residual.square().sum(-1)
    robust = square / (1 + square / weights.robust**2)
    rotvec = matrix_to_rotvec(parameters.pose[:, 1:]).flatten(1)
    prior_energy, component = prior.energy(rotvec)
    tilt = parameters.pose[:, 0, ::2, 1]
    usual = (
        weights.pose * prior_energy
        + weights.limits * prior.beyond_limits(rotvec).square().sum(1)
        + weights.upright * tilt.square().sum(1)
    )
    energy = (
        (problem.confidence**2 * robust).sum(1)
        + (usual if problem.usual is None else problem.usual * usual)
        + weights.shape * _shape_from_usual(parameters, problem).square().sum(1)
    )
    if problem.depth is not None:
        energy = energy + weights.depth * (parameters.place[:, 2] - problem.depth).square()
    if problem.towards is not None and problem.hold is not None:
        squared = _turn_from(problem.towards, parameters).square().sum(2)
        energy = energy + (problem.hold * squared).sum(1)
    # A body that reaches behind the camera is no solution.
    energy = torch.where(points[..., 2].amin(1) > NEAREST, energy, torch.inf)
    return State(parameters, keypoints, residual, rotvec, component, energy)


def normal_equations(
    model: KeypointRegressor, prior: PosePrior, weights: FitWeights, problem: Problem, state: State
) -> tuple[Tensor, Tensor]:
    """Half the gradient (H, P) and half the Gauss-Newton Hessian (H, P, P) of the energy; P = 72 + B + 3."""
    parameters, count, num_betas = state.parameters, *state.parameters.betas.shape
    translation = parameters.translation
    eye = torch.eye(3).to(translation)

    # Reprojection: points by pose, betas and place, then rays by points, with Geman-McClure's weights.
    place = parameters.translation_by_place
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
    usual = torch.ones(count).to(translation) if problem.usual is None else problem.usual
    precision = 0.5 * weights.pose * prior.precisions[state.component]
    pull = (precision @ (state.rotvec - prior.means[state.component])[..., None])[..., 0]
    beyond = prior.beyond_limits(state.rotvec)
    pull = pull + weights.limits * beyond
    precision = precision + torch.diag_embed(weights.limits * (beyond != 0))
    precision = precision.view(count, 23, 3, 23, 3)
    precision = torch.einsum("hiab,hiajc,hjcd->hibjd", by_turn, precision, by_turn).reshape(count, 69, 69)
    gradient[:, 3:72] += usual[:, None] * (by_turn.mT @ pull.view(count, 23, 3, 1)).flatten(1)
    hessian[:, 3:72, 3:72] += usual[:, None, None] * precision

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
    upright = weights.upright * usual[:, None, None]
    gradient[:, :3] += (upright * (by_root.mT @ root[:, ::2, 1, None]))[..., 0]
    hessian[:, :3, :3] += upright * (by_root.mT @ by_root)
    return gradient, hessian


def _shape_from_usual(parameters: Parameters, problem: Problem) -> Tensor:
    return parameters.betas - (0 if problem.towards is None else problem.towards.betas)


def _turn_from(start: Parameters, parameters: Parameters) -> Tensor:
    """(H, 24, 3) radians."""
    return matrix_to_rotvec(start.pose.mT @ parameters.pose)

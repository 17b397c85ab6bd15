"""What couples the frames of a clip: accelerations of joints and pelvis, and feet that stand still.

Both are those in the world, where a camera that turns moves nobody. In the normal equations a frame meets
only the two before it and the two after, and the shape of the person.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, solveh_banded
from torch import Tensor

from fullframe.body import BodyModel
from fullframe.body.keypoint_regressor import KeypointRegressor, KeypointState
from fullframe.fit.energy import State
from fullframe.fit.prior import inverse_right_jacobian
from fullframe.geometry.rotation import matrix_to_rotvec
from fullframe.motion.skeleton import LEGS, sole_offsets
from fullframe.results.clip import Clip

TURNS, N = 72, 75
"""Unknowns of a frame: the turns of 24 joints, and with the place."""

USUAL_TURN = (14, 22, 22, 9, 16, 16, 7, 35, 35, 6, 50, 50, 10, 3, 3, 10, 26, 26, 19, 19, 40, 40, 40, 40)
"""rad/s²: root mean square angular acceleration of SMPL's joints about each axis, in CMU's motion capture."""
USUAL_PATH = 2.7
"""m/s²: the same of the pelvis along each axis."""


@dataclass(frozen=True)
class ClipWeights:
    """Weights of the coupling, beside those of FitWeights for each frame."""

    turn: float = 1e-4
    """Squared angular accelerations of the joints, in units of USUAL_TURN."""
    path: float = 1e-3
    """Squared acceleration of the pelvis, in units of USUAL_PATH."""
    stand: float = 0.1
    """Squared speed of feet that stand, (m/s)²; of heel and ball the one that moves less."""
    slip: float = 0.25
    """m/s at which the weight of a standing foot has fallen to a quarter (Geman-McClure)."""


@dataclass
class NormalEquations:
    """Half the gradient and the Gauss-Newton Hessian of T frames with N unknowns each, and of one shape.

    Attributes:
        gradient: (T, N).
        diagonal: (T, N, N) blocks of a frame with itself.
        next: (T - 1, N, N) blocks of a frame with the one before it.
        second_turns: (T - 2, TURNS) of the blocks of a frame with the one two before it: the turns' diagonal.
        second_place: (T - 2, 3, 3) of the same: the place.
        shape_gradient: (B,).
        shape: (B, B).
        by_shape: (T, N, B) blocks of a frame with the shape.
        free_shape: whether the shape is solved for; else it stays.
    """

    gradient: NDArray[np.float64]
    diagonal: NDArray[np.float64]
    next: NDArray[np.float64]
    second_turns: NDArray[np.float64]
    second_place: NDArray[np.float64]
    shape_gradient: NDArray[np.float64]
    shape: NDArray[np.float64]
    by_shape: NDArray[np.float64]
    free_shape: bool

    @classmethod
    def of_frames(cls, gradient: Tensor, hessian: Tensor, free_shape: bool) -> "NormalEquations":
        """Without coupling, from those of each frame, (T, TURNS + B + 3) and (T, TURNS + B + 3, same)."""
        count, columns = gradient.shape
        g, h = gradient.double().numpy(), hessian.double().numpy()
        own, shape = np.r_[0:TURNS, columns - 3 : columns], np.arange(TURNS, columns - 3)
        return cls(
            gradient=g[:, own],
            diagonal=h[:, own[:, None], own],
            next=np.zeros((count - 1, N, N)),
            second_turns=np.zeros((count - 2, TURNS)),
            second_place=np.zeros((count - 2, 3, 3)),
            shape_gradient=g[:, shape].sum(0),
            shape=h[:, shape[:, None], shape].sum(0),
            by_shape=h[:, own[:, None], shape],
            free_shape=free_shape,
        )

    def step(self, damping: float, fixed: int = 0) -> Tensor | None:
        """The damped step that they ask for, (T, TURNS + B + 3); None if the matrix is not positive definite.

        Args:
            damping: relative to the diagonal.
            fixed: frames at the beginning that stay.
        """
        count, every = len(self.gradient), np.arange(N)
        diagonal, right = self.diagonal.copy(), self.gradient[..., None].copy()
        if self.free_shape:
            right = np.concatenate((right, self.by_shape), axis=2)
        diagonal[:, every, every] *= 1 + damping
        diagonal[:, every, every] += 1e-9
        right[:fixed] = 0
        bands = self._bands(diagonal)
        bands[:, : fixed * N] = 0
        bands[0, : fixed * N] = 1
        try:
            solved = solveh_banded(
                bands, right.reshape(count * N, -1), overwrite_ab=True, lower=True
            ).reshape(right.shape)
            frames, shape = solved[..., 0], np.zeros(len(self.shape))
            if self.free_shape:  # by the Schur complement of the frames
                by_shape, shapes = right[..., 1:], solved[..., 1:]
                damped = self.shape + damping * np.diag(np.diag(self.shape))
                complement = damped - np.einsum("tnb,tnc->bc", by_shape, shapes)
                remaining = self.shape_gradient - np.einsum("tnb,tn->b", by_shape, frames)
                shape = np.linalg.solve(complement + 1e-9 * np.eye(len(complement)), remaining)
                frames = frames - shapes @ shape
        except (LinAlgError, ValueError):  # ValueError: not finite
            return None
        of_shape = np.broadcast_to(shape, (count, len(shape)))
        step = np.concatenate((frames[:, :TURNS], of_shape, frames[:, TURNS:]), axis=1)
        return -torch.from_numpy(step).float()

    def _bands(self, diagonal: NDArray[np.float64]) -> NDArray[np.float64]:
        """The lower bands of the frames' matrix as LAPACK stores them, (2 N + 3, T N)."""
        count = len(diagonal)
        # Entry (t, column + d, column) below the diagonal is bands[d, t, column].
        bands = np.zeros((2 * N + 3, count, N))
        row, column = np.tril_indices(N)
        bands[row - column, :, column] = diagonal[:, row, column].T
        row, column = np.indices((N, N)).reshape(2, -1)
        bands[N + row - column, :-1, column] = self.next[:, row, column].T
        bands[2 * N, :-2, :TURNS] = self.second_turns
        row, column = np.indices((3, 3)).reshape(2, -1)
        bands[2 * N + row - column, :-2, TURNS + column] = self.second_place[:, row, column].T
        return bands.reshape(2 * N + 3, count * N)


class Motion(NamedTuple):
    """What the T frames of a window have to do with each other at one set of parameters, in the world.

    Attributes:
        energy: of the coupling.
        turns: (T - 1, 24, 3) of each joint from each frame to the next, radians.
        turning: (T - 2, TURNS) angular accelerations, rad/s².
        speeding: (T - 2, 3) acceleration of the pelvis, m/s².
        pelvis_by_place: (T, 3, 3).
        slipping: (T - 1, 2, 2, 3) velocities of heels and balls, m/s.
        soles_by_frame: (T, 2, 2, 3, N) derivatives of heels and balls by the unknowns of their frame.
    """

    energy: float
    turns: Tensor
    turning: NDArray[np.float64]
    speeding: NDArray[np.float64]
    pelvis_by_place: NDArray[np.float64]
    slipping: NDArray[np.float64]
    soles_by_frame: NDArray[np.float64]


@dataclass
class Coupling:
    """The terms of the energy that couple the T frames of a window.

    Their derivatives leave the shape out, which moves feet by little, and in all frames alike.

    Attributes:
        weights: of the terms.
        seconds: (T - 1,) from each frame to the next.
        to_world: (T, 3, 3) from camera to world.
        standing: (T - 1, 2, 1) whether a foot stands in both frames.
        parts: (2, 2) joints that heels and balls move with.
        offsets: (2, 2, 3) from those joints to heels and balls at rest, metres.
        above: (2, 2, 24) 1 for the joints that move heels and balls.
    """

    weights: ClipWeights
    seconds: NDArray[np.float64]
    to_world: NDArray[np.float64]
    standing: NDArray[np.bool_]
    parts: Tensor
    offsets: Tensor
    above: Tensor

    @classmethod
    def of(
        cls,
        body: BodyModel,
        model: KeypointRegressor,
        clip: Clip,
        rows: NDArray[np.int64],
        weights: ClipWeights,
    ) -> "Coupling":
        """For rows of one person in consecutive frames, of one shape, at least three."""
        frames, stand = clip.frames[rows], clip.contacts[rows]
        seconds = np.diff(clip.times[frames])
        parts = torch.tensor([[ankle, foot] for _, _, ankle, foot in LEGS])
        return cls(
            weights,
            # Frames that nearly coincide would make velocities infinite.
            np.maximum(seconds, 0.1 * seconds.mean()),
            clip.camera_rotation[frames],
            (stand[1:] & stand[:-1])[..., None],
            parts,
            torch.from_numpy(sole_offsets(body, clip.betas[rows[0]]).astype(np.float32)),
            model.ancestors[parts],
        )

    def motion(self, state: State) -> Motion:
        """The motion of bodies, and what it costs."""
        pose, posed = state.parameters.pose.to(torch.float64, copy=True), state.keypoints
        pose[:, 0] = torch.from_numpy(self.to_world) @ pose[:, 0]
        turns = matrix_to_rotvec(pose[:-1].mT @ pose[1:])
        turning = self._accelerations(turns.flatten(1).numpy())

        translation = state.parameters.translation.double().numpy()
        pelvis = posed.joints[:, 0].double().numpy() + translation
        pelvis = (self.to_world @ pelvis[..., None])[..., 0]
        speeding = self._accelerations(np.diff(pelvis, axis=0))
        by_place = state.parameters.translation_by_place.double().numpy()

        soles, soles_by_frame = self._soles(posed, translation, by_place)
        slipping = np.diff(soles, axis=0) / self.seconds[:, None, None, None]
        weights, (square, stands) = self.weights, self._stands(slipping)
        energy = (self._turn_weights * np.square(turning)).sum()
        energy += self._path_weight * np.square(speeding).sum()
        energy += weights.stand * (square / (1 + square / weights.slip**2))[stands].sum()
        return Motion(energy, turns, turning, speeding, self.to_world @ by_place, slipping, soles_by_frame)

    def add(self, motion: Motion, equations: NormalEquations) -> None:
        """Add the normal equations of the coupling to those of the frames."""
        self._add_accelerations(motion, equations)
        self._add_feet(motion, equations)

    def _add_accelerations(self, motion: Motion, equations: NormalEquations) -> None:
        turn, path, count = self._turn_weights, self._path_weight, len(motion.turning)
        every, place = np.arange(TURNS), slice(TURNS, N)
        earlier, later = self._rates
        # A turn changes by the inverse right Jacobian times the turns of the later frame, and less its
        # transpose times those of the earlier one (Sola et al., "A micro Lie theory", 2018). The Hessian
        # takes it for the identity.
        pull = np.zeros((count + 1, TURNS))
        pull[1:] += turn * later * motion.turning
        pull[:-1] -= turn * earlier * motion.turning
        jacobian = inverse_right_jacobian(motion.turns).numpy()
        turned = pull.reshape(count + 1, 24, 3, 1)
        equations.gradient[1:, :TURNS] += (jacobian.swapaxes(2, 3) @ turned).reshape(count + 1, TURNS)
        equations.gradient[:-1, :TURNS] -= (jacobian @ turned).reshape(count + 1, TURNS)
        stencil = (earlier, -earlier - later, later)  # accelerations from three frames
        for i, by in enumerate(stencil):
            frames = slice(i, count + i)
            moved = motion.pelvis_by_place[frames]
            along = (moved.swapaxes(1, 2) @ motion.speeding[..., None])[..., 0]
            equations.gradient[frames, place] += path * by * along
            for k in range(i + 1):
                both = by * stencil[k]
                of_turns = turn * both
                others = motion.pelvis_by_place[k : count + k]
                of_place = path * both[..., None] * (moved.swapaxes(1, 2) @ others)
                if i - k == 2:
                    equations.second_turns += of_turns
                    equations.second_place += of_place
                else:
                    blocks = equations.diagonal if i == k else equations.next
                    blocks[k : count + k, every, every] += of_turns
                    blocks[k : count + k, place, place] += of_place

    def _add_feet(self, motion: Motion, equations: NormalEquations) -> None:
        square, stands = self._stands(motion.slipping)
        robust = self.weights.stand * stands / (1 + square / self.weights.slip**2) ** 2
        # (T - 1, 12) and (T - 1, 12, N), times the root of the weight.
        root = np.sqrt(robust)[..., None]
        slipping = (root * motion.slipping).reshape(len(root), -1)
        by_frame = motion.soles_by_frame.reshape(len(motion.soles_by_frame), -1, N)
        root = np.repeat(root.reshape(len(root), 4) / self.seconds[:, None], 3, axis=1)[..., None]
        first, second = root * by_frame[:-1], root * by_frame[1:]
        equations.gradient[:-1] -= (first * slipping[..., None]).sum(axis=1)
        equations.gradient[1:] += (second * slipping[..., None]).sum(axis=1)
        equations.diagonal[:-1] += first.swapaxes(1, 2) @ first
        equations.diagonal[1:] += second.swapaxes(1, 2) @ second
        equations.next -= second.swapaxes(1, 2) @ first

    @property
    def _turn_weights(self) -> NDArray[np.float64]:
        """(TURNS,) of squared angular accelerations, (rad/s²)²."""
        return np.repeat(self.weights.turn / np.square(np.array(USUAL_TURN, np.float64)), 3)

    @property
    def _path_weight(self) -> float:
        return self.weights.path / USUAL_PATH**2

    @property
    def _rates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(T - 2, 1) factors of the earlier and the later step in an acceleration, 1/s²."""
        before, after = self.seconds[:-1, None], self.seconds[1:, None]
        between = (before + after) / 2
        return 1 / (before * between), 1 / (after * between)

    def _accelerations(self, steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T - 2, D) from the steps between frames, (T - 1, D)."""
        earlier, later = self._rates
        return later * steps[1:] - earlier * steps[:-1]

    def _stands(self, slipping: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Squared speeds of heels and balls, and which of them stand, both (T - 1, 2, 2)."""
        square = np.square(slipping).sum(axis=-1)
        return square, self.standing & (square <= square.min(axis=2, keepdims=True))

    def _soles(
        self, posed: KeypointState, translation: NDArray[np.float64], by_place: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Heels and balls in the world, (T, 2, 2, 3) metres, and their derivatives (T, 2, 2, 3, N)."""
        from_joint = posed.rotations[:, self.parts] @ self.offsets[..., None]
        points = posed.joints[:, self.parts] + from_joint[..., 0]
        arms = points[..., None, :] - posed.joints[:, None, None]  # (T, 2, 2, 24, 3)
        axes = posed.rotations.mT[:, None, None]  # rows are the axes that a joint turns about
        derivative = torch.linalg.cross(axes, arms[..., None, :]) * self.above[..., None, None]
        by_turns = derivative.permute(0, 1, 2, 5, 3, 4).flatten(4).double().numpy()
        by_place = np.broadcast_to(by_place[:, None, None], (*by_turns.shape[:4], 3))
        to_world = self.to_world[:, None, None]
        soles = points.double().numpy() + translation[:, None, None]
        return (to_world @ soles[..., None])[..., 0], to_world @ np.concatenate((by_turns, by_place), axis=-1)

"""A person's motion throughout a clip, fitted to the keypoints of all frames as one problem.

Each frame has the energy of `fit.energy`, held to the smoothed pose; `fit.clip_energy` couples the frames.
The sum is minimised by Levenberg-Marquardt, with one shape for each person. Time is linear in the length of
the clip, and memory is that of a window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.fit.clip_energy import ClipWeights, Coupling, NormalEquations
from fullframe.fit.energy import Parameters, Problem, State, evaluate, normal_equations
from fullframe.fit.keypoint_fitter import KeypointFitter
from fullframe.io.progress import Progress, silent
from fullframe.models.predict import Bodies
from fullframe.motion.shape import Height, keep_in_view, with_height
from fullframe.results.clip import Clip
from fullframe.threads import single_thread

STAGE = "fitting motion"
ITERATIONS = 12
"""Levenberg-Marquardt steps at most."""
CONVERGED = 1e-4
"""Relative decrease of the energy below which a window is finished."""
WINDOW, OVERLAP = 256, 64
"""Frames of a window, and frames after it that are solved with it, and once more in the next one."""
FIXED = 2
"""Frames before a window that stay as the window before has them, so that the motion goes on smoothly."""
SHAPE_WINDOWS = 4
"""Windows of each person, at most, that its shape is found from."""


@single_thread()
@torch.no_grad()
def fit_clip(
    fitter: KeypointFitter,
    clip: Clip,
    pieces: Sequence[NDArray[np.int64]],
    height: Height | None = None,
    weights: ClipWeights | None = None,
    progress: Progress = silent,
) -> Clip:
    """The clip with poses, shapes and translations fitted to the keypoints of all frames.

    Args:
        fitter: for the body of the clip.
        clip: smoothed, with one shape per person, and with contacts.
        pieces: rows of one person in consecutive frames, each.
        height: that the people it names are to have; see `motion.shape.with_height`.
        weights: of the coupling.
        progress: called with the rows that are done.
    """
    weights = weights or ClipWeights()
    pieces = [rows for rows in pieces if len(rows) > 2]
    total, done = sum(map(len, pieces)), 0
    progress(STAGE, done, total)
    found = _with_fitted_shapes(fitter, clip, pieces, height, weights)
    for window in _windows(pieces):
        solved = _fit_window(fitter, clip, found, window, weights)
        kept = slice(window.fixed, window.fixed + window.length)
        found.pose[window.rows[kept]] = solved.pose[kept].numpy()
        found.translation[window.rows[kept]] = solved.translation[kept].numpy()
        done += window.length
        progress(STAGE, done, total)
    return found


class _Window(NamedTuple):
    """Rows of one person that are solved together.

    Attributes:
        rows: (T,) in consecutive frames.
        fixed: number of rows at its beginning that stay as they are.
        length: number of rows after those whose result is kept.
    """

    rows: NDArray[np.int64]
    fixed: int
    length: int


def _windows(pieces: Sequence[NDArray[np.int64]]) -> Iterator[_Window]:
    for rows in pieces:
        done = 0
        while done < len(rows):
            fixed = min(done, FIXED)
            left = len(rows) - done
            length = WINDOW if left > WINDOW + OVERLAP else left
            yield _Window(rows[done - fixed : done + length + OVERLAP], fixed, length)
            done += length


def _with_fitted_shapes(
    fitter: KeypointFitter,
    clip: Clip,
    pieces: Sequence[NDArray[np.int64]],
    height: Height | None,
    weights: ClipWeights,
) -> Clip:
    """The clip with the mean of the shapes that some windows of each person have by themselves.

    In these windows it has their poses already.
    """
    found = replace(clip, pose=clip.pose.copy(), betas=clip.betas.copy(), translation=clip.translation.copy())
    betas = clip.betas.copy()
    for track, rows in clip.tracks():
        windows = list(_windows([piece for piece in pieces if clip.track_ids[piece[0]] == track]))
        if not windows:
            continue
        chosen = np.unique(np.linspace(0, len(windows) - 1, SHAPE_WINDOWS).round().astype(int))
        shapes, lengths = [], []
        for window in (windows[number]._replace(fixed=0) for number in chosen):
            solved = _fit_window(fitter, clip, found, window, weights, free_shape=True)
            found.pose[window.rows] = solved.pose.numpy()
            found.betas[window.rows] = solved.betas.numpy()
            found.translation[window.rows] = solved.translation.numpy()
            shapes.append(solved.betas[0].numpy())
            lengths.append(len(window.rows))
        betas[rows] = np.average(shapes, axis=0, weights=lengths)
    betas = with_height(fitter.body, betas, clip.track_ids, height)
    translation = keep_in_view(fitter.body, found.pose, found.translation, found.betas, betas)
    return replace(found, betas=betas, translation=translation)


def _fit_window(
    fitter: KeypointFitter,
    clip: Clip,
    found: Clip,
    window: _Window,
    weights: ClipWeights,
    free_shape: bool = False,
) -> Parameters:
    """The motion in a window.

    Args:
        clip: as for `fit_clip`; the fit is held to its poses.
        found: where the fit starts.
        free_shape: the shape is fitted too.
    """
    rows = window.rows
    keypoints = clip.camera.undistort_keypoints(clip.keypoints[rows])
    boxes = clip.camera.undistort_boxes(clip.boxes[rows])
    target, xyxy = (torch.as_tensor(np.asarray(value, np.float32)) for value in (keypoints, boxes))
    problem = Problem.from_pixels(target, xyxy, fitter.legs, clip.camera, fitter.weights)
    towards, start = (
        Parameters.from_bodies(Bodies(each.pose[rows], each.betas[rows], each.translation[rows]))
        for each in (clip, found)
    )
    problem = problem._replace(
        # Keypoints that determine no body are not to move one either.
        confidence=torch.where(problem.determined[:, None], problem.confidence, 0.0),
        towards=towards,
        hold=torch.full((len(rows), 24), fitter.weights.start),
        depth=start.place[:, 2],
    )
    coupling = Coupling.of(fitter.body, fitter.model, found, rows, weights)
    return _minimise(fitter, problem, start, coupling, window.fixed, free_shape)


def _minimise(
    fitter: KeypointFitter,
    problem: Problem,
    start: Parameters,
    coupling: Coupling,
    fixed: int,
    free_shape: bool,
) -> Parameters:
    """Levenberg-Marquardt; a step that raises the energy is undone."""
    state = evaluate(fitter.model, fitter.prior, fitter.weights, problem, start)
    motion = coupling.motion(state)
    energy, damping = _total(state) + motion.energy, 1e-3
    for _ in range(ITERATIONS):
        frames = normal_equations(fitter.model, fitter.prior, fitter.weights, problem, state)
        equations = NormalEquations.of_frames(*frames, free_shape)
        coupling.add(motion, equations)
        step = equations.step(damping, fixed)
        if step is not None:
            moved = problem.clamp(state.parameters.moved(step))
            if not free_shape:  # a height that is given may be out of bounds
                moved = moved._replace(betas=start.betas)
            trial = evaluate(fitter.model, fitter.prior, fitter.weights, problem, moved)
            trial_motion = coupling.motion(trial)
            trial_energy = _total(trial) + trial_motion.energy
            if trial_energy < energy:
                converged = energy - trial_energy < CONVERGED * energy
                state, motion, energy, damping = trial, trial_motion, trial_energy, damping / 4
                if converged:
                    break
                continue
        damping *= 8
    return state.parameters


def _total(state: State) -> float:
    return float(state.energy.double().sum())

"""A person's motion throughout a clip, fitted to the keypoints of all frames as one problem.

Each frame has the energy of `fit.energy`, held to the smoothed pose; `fit.clip_energy` couples the frames.
The sum is minimised by Levenberg-Marquardt, with one shape for each person, in windows, so that time is
linear in the length of the clip.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullframe.fit.clip_energy import ClipWeights, Coupling, Motion, NormalEquations
from fullframe.fit.energy import NEAREST, Parameters, Problem, State, evaluate, normal_equations
from fullframe.fit.keypoint_fitter import KeypointFitter
from fullframe.io.progress import Progress, silent
from fullframe.models.predict import Bodies
from fullframe.motion.shape import Height, keep_in_view, with_height
from fullframe.results.clip import Clip
from fullframe.threads import single_thread

STAGE = "fitting motion"
ITERATIONS = 12
"""Levenberg-Marquardt steps at most."""
FIRST_DAMPING = 1e-3
"""Relative to the diagonal of the Hessian."""
CONVERGED = 1e-4
"""Relative decrease of the energy below which a window is finished."""
UNSEEN = 0.3
"""Confidence of the keypoints of a smoothed body, where none are detected that determine one."""
WINDOW, OVERLAP = 256, 64
"""Frames of a window, and frames after it that are solved with it, and once more in the next one."""
FIXED = 2
"""Frames before a window that stay as the window before has them, so that the motion goes on smoothly."""
SHAPE_WINDOWS = 4
"""Windows of each person, at most, that its shape is found from."""
WEIGHTS = ClipWeights()


@single_thread()
@torch.no_grad()
def fit_clip(
    fitter: KeypointFitter,
    clip: Clip,
    pieces: Sequence[NDArray[np.int64]],
    height: Height | None = None,
    progress: Progress = silent,
) -> Clip:
    """The clip with poses, shapes and translations fitted to the keypoints of all frames.

    Frames whose keypoints determine no body follow the others.

    Args:
        fitter: for the body of the clip.
        clip: smoothed, with one shape per person, and with contacts.
        pieces: rows of one person in consecutive frames, each.
        height: that the people it names are to have; see `motion.shape.with_height`.
        progress: called with the rows that are done.
    """
    windows: dict[int, list[_Window]] = {}
    for rows in pieces:
        if len(rows) > 2:
            windows.setdefault(int(clip.track_ids[rows[0]]), []).extend(_windows(rows))
    for_shape = {track: _spread(each) for track, each in windows.items()}
    everything = [*chain(*for_shape.values()), *chain(*windows.values())]
    total, done = sum(window.length for window in everything), 0
    progress(STAGE, done, total)

    found = replace(clip, pose=clip.pose.copy(), betas=clip.betas.copy(), translation=clip.translation.copy())
    shapes = clip.betas.copy()
    for track, chosen in for_shape.items():
        by_window = []
        for window in chosen:
            solved = _fit_window(fitter, clip, clip, window, free_shape=True)
            _write(solved, window, found)
            by_window.append(solved.betas[0].numpy())
            done += window.length
            progress(STAGE, done, total)
        lengths = [window.length for window in chosen]
        shapes[clip.track_ids == track] = np.average(by_window, axis=0, weights=lengths)
    shapes = with_height(fitter.body, shapes, clip.track_ids, height)
    clip, found = _with_shapes(fitter, clip, shapes), _with_shapes(fitter, found, shapes)
    for window in chain(*windows.values()):
        _write(_fit_window(fitter, clip, found, window), window, found)
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


def _windows(rows: NDArray[np.int64]) -> Iterator[_Window]:
    done = 0
    while done < len(rows):
        fixed = min(done, FIXED)
        left = len(rows) - done
        length = WINDOW if left > WINDOW + OVERLAP else left
        yield _Window(rows[done - fixed : done + length + OVERLAP], fixed, length)
        done += length


def _spread(windows: list[_Window]) -> list[_Window]:
    """At most SHAPE_WINDOWS of them, from first to last, without what they share with others."""
    chosen = np.unique(np.linspace(0, len(windows) - 1, SHAPE_WINDOWS).round().astype(int)).tolist()
    return [_Window(rows[fixed : fixed + n], 0, n) for rows, fixed, n in (windows[k] for k in chosen)]


def _write(solved: Parameters, window: _Window, found: Clip) -> None:
    """Writes what is kept of a window's solution."""
    kept = slice(window.fixed, window.fixed + window.length)
    rows = window.rows[kept]
    for name in ("pose", "betas", "translation"):
        getattr(found, name)[rows] = getattr(solved, name)[kept].numpy()


def _with_shapes(fitter: KeypointFitter, clip: Clip, betas: NDArray[np.float32]) -> Clip:
    """The clip with other betas, at the distances where bodies cover the same part of the image."""
    translation = keep_in_view(fitter.body, clip.pose, clip.translation, clip.betas, betas)
    return replace(clip, betas=betas.copy(), translation=translation)


def _fit_window(
    fitter: KeypointFitter, clip: Clip, start: Clip, window: _Window, free_shape: bool = False
) -> Parameters:
    """The motion in a window, near that of `clip`.

    Args:
        start: where the fit starts.
        free_shape: the shape is fitted too.
    """
    rows = window.rows
    keypoints = clip.camera.undistort_keypoints(clip.keypoints[rows])
    boxes = clip.camera.undistort_boxes(clip.boxes[rows])
    target, xyxy = (torch.as_tensor(np.asarray(value, np.float32)) for value in (keypoints, boxes))
    problem = Problem.from_pixels(target, xyxy, fitter.legs, clip.camera, fitter.weights)
    towards, begin = (
        Parameters.from_bodies(Bodies(each.pose[rows], each.betas[rows], each.translation[rows]))
        for each in (clip, start)
    )
    determined = problem.determined
    points = fitter.model(towards.betas, towards.pose).keypoints + towards.translation[:, None]
    problem = problem._replace(
        # Where keypoints determine no body, those of the smoothed one keep it where it is, a little.
        target=torch.where(
            determined[:, None, None], problem.target, points[..., :2] / points[..., 2:].clamp(min=NEAREST)
        ),
        confidence=torch.where(determined[:, None], problem.confidence, UNSEEN),
        usual=determined.float(),
        towards=towards,
        hold=torch.full((len(rows), 24), fitter.weights.start),
        depth=towards.place[:, 2],
    )
    coupling = Coupling.of(fitter.body, fitter.model, start, rows, WEIGHTS)
    return _minimise(fitter, problem, begin, coupling, window.fixed, free_shape)


def _minimise(
    fitter: KeypointFitter,
    problem: Problem,
    start: Parameters,
    coupling: Coupling,
    fixed: int,
    free_shape: bool,
) -> Parameters:
    """Levenberg-Marquardt; a step that raises the energy is undone."""
    terms = fitter.model, fitter.prior, fitter.weights
    state = evaluate(*terms, problem, start)
    motion = coupling.motion(state)
    # A hand at the lens makes a frame's energy infinite: the others count, and the frame follows them.
    counted = state.energy.isfinite()
    problem = problem._replace(confidence=torch.where(counted[:, None], problem.confidence, 0.0))
    energy, damping = _total(state, counted) + motion.energy, FIRST_DAMPING
    equations = _equations(fitter, problem, state, coupling, motion, free_shape)
    for _ in range(ITERATIONS):
        step = equations.step(damping, fixed)
        if step is not None:
            moved = state.parameters.moved(step)
            moved = moved._replace(betas=problem.clamp(moved).betas if free_shape else start.betas)
            trial = evaluate(*terms, problem, moved)
            trial_motion = coupling.motion(trial)
            trial_energy = _total(trial, counted) + trial_motion.energy
            if trial_energy < energy:
                converged = damping <= FIRST_DAMPING and energy - trial_energy < CONVERGED * energy
                state, motion, energy, damping = trial, trial_motion, trial_energy, damping / 4
                if converged:
                    break
                equations = _equations(fitter, problem, state, coupling, motion, free_shape)
                continue
        damping *= 8
    return state.parameters


def _equations(
    fitter: KeypointFitter,
    problem: Problem,
    state: State,
    coupling: Coupling,
    motion: Motion,
    free_shape: bool,
) -> NormalEquations:
    frames = normal_equations(fitter.model, fitter.prior, fitter.weights, problem, state)
    equations = NormalEquations.of_frames(*frames, free_shape)
    coupling.add(motion, equations)
    return equations


def _total(state: State, counted: Tensor) -> float:
    return float(state.energy[counted].double().sum())

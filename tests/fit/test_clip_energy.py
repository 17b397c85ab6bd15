from dataclasses import replace

import numpy as np
import pytest
import roma
import torch
from motion_clips import BETAS, person, rotations

from fullframe.body import load_body
from fullframe.fit import FitWeights, KeypointFitter
from fullframe.fit.clip_energy import ClipWeights, Coupling, NormalEquations
from fullframe.fit.energy import Parameters, Problem, evaluate, normal_equations

FRAMES = 6


@pytest.fixture(scope="module")
def window() -> tuple[KeypointFitter, Problem, Parameters, Coupling]:
    """A person who turns and walks while the camera turns too; the left foot stands, times are uneven."""
    fitter = KeypointFitter(load_body(num_betas=BETAS))
    fitter.model.double()
    fitter.prior.double()
    fitter.model.pose_dirs.zero_()  # with which derivatives are not exact
    rng = np.random.default_rng(0)
    times = np.array([0, 0.03, 0.07, 0.1, 0.13, 0.17])
    clip = person(times)
    clip.contacts[:, 0] = True
    clip.camera_rotation = rotations(0.2 * rng.normal(size=(FRAMES, 3)))
    coupling = Coupling.of(
        fitter.body, fitter.model, clip, np.arange(FRAMES), ClipWeights(3e-3, 1e-2, 0.02, slip=1.0)
    )
    coupling = replace(coupling, offsets=coupling.offsets.double())
    torch.manual_seed(0)
    options = {"dtype": torch.float64}
    pose = roma.rotvec_to_rotmat(0.1 * torch.randn(FRAMES, 24, 3, **options))
    pose[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0], **options)) @ pose[:, 0]
    place = torch.tensor([0.05, 0.02, 1.6], **options) + 0.003 * torch.randn(FRAMES, 3, **options)
    parameters = Parameters(pose, 0.5 * torch.randn(1, BETAS, **options).expand(FRAMES, -1), place)
    rays, confidence = 0.1 * torch.randn(FRAMES, 17, 2, **options), torch.rand(FRAMES, 17, **options)
    problem = Problem(rays, confidence, rays[:, 0], torch.full((FRAMES,), 0.3, **options))
    return fitter, problem, parameters, coupling


def state_of(fitter, problem, parameters):
    return evaluate(fitter.model, fitter.prior, FitWeights(), problem, parameters)


def equations_of(window, free_shape: bool) -> NormalEquations:
    fitter, problem, parameters, coupling = window
    state = state_of(fitter, problem, parameters)
    frames = normal_equations(fitter.model, fitter.prior, FitWeights(), problem, state)
    equations = NormalEquations.of_frames(*frames, free_shape)
    coupling.add(coupling.motion(state), equations)
    return equations


def test_gradient_of_the_coupling(window) -> None:
    fitter, problem, parameters, coupling = window
    state = state_of(fitter, problem, parameters)
    motion = coupling.motion(state)
    columns = 72 + BETAS + 3
    zero = torch.zeros(FRAMES, columns), torch.zeros(FRAMES, columns, columns)
    equations = NormalEquations.of_frames(*zero, free_shape=False)
    coupling.add(motion, equations)
    rng = np.random.default_rng(1)
    for _ in range(5):
        direction = rng.normal(size=(FRAMES, 75))
        step = np.zeros((FRAMES, columns))
        step[:, :72], step[:, -3:] = direction[:, :72], direction[:, 72:]
        ahead, behind = (
            coupling.motion(state_of(fitter, problem, parameters.moved(torch.from_numpy(size * step)))).energy
            for size in (1e-5, -1e-5)
        )
        assert (equations.gradient * direction).sum() == pytest.approx((ahead - behind) / 4e-5, rel=1e-3)


@pytest.mark.parametrize("free_shape", [False, True])
def test_a_step_solves_the_equations(window, free_shape: bool) -> None:
    """The bands and the Schur complement against the matrix as a whole."""
    equations = equations_of(window, free_shape)
    damping = 1e-2
    blocks = FRAMES * 75
    matrix = np.zeros((blocks + BETAS, blocks + BETAS))
    for t in range(FRAMES):
        here = slice(75 * t, 75 * t + 75)
        matrix[here, here] = equations.diagonal[t] + damping * np.diag(np.diag(equations.diagonal[t]))
        matrix[here, blocks:], matrix[blocks:, here] = equations.by_shape[t], equations.by_shape[t].T
        if t:
            before = slice(75 * t - 75, 75 * t)
            matrix[here, before], matrix[before, here] = equations.next[t - 1], equations.next[t - 1].T
        if t > 1:
            block = np.zeros((75, 75))
            block[:72, :72] = np.diag(equations.second_turns[t - 2])
            block[72:, 72:] = equations.second_place[t - 2]
            before = slice(75 * t - 150, 75 * t - 75)
            matrix[here, before], matrix[before, here] = block, block.T
    matrix[blocks:, blocks:] = equations.shape + damping * np.diag(np.diag(equations.shape))
    right = np.concatenate((equations.gradient.ravel(), equations.shape_gradient))
    size = blocks + BETAS if free_shape else blocks
    expected = np.zeros(blocks + BETAS)
    expected[:size] = -np.linalg.solve(matrix[:size, :size] + 1e-9 * np.eye(size), right[:size])
    step = equations.step(damping)
    assert step is not None
    scale = np.abs(expected).max()
    of_frames = torch.cat((step[:, :72], step[:, -3:]), 1).numpy().ravel()
    np.testing.assert_allclose(of_frames, expected[:blocks], atol=1e-4 * scale)
    np.testing.assert_allclose(step[0, 72:-3], expected[blocks:], atol=1e-4 * scale)


def test_fixed_frames_stay(window) -> None:
    equations = equations_of(window, free_shape=True)
    step = equations.step(1e-3, fixed=2)
    assert step is not None
    moved = torch.cat((step[:, :72], step[:, -3:]), 1).abs().amax(1)
    assert (moved[:2] == 0).all() and (moved[2:] > 1e-4).all()


def test_a_steady_motion_costs_nothing(window) -> None:
    """A constant turn and velocity of somebody in the air, also where frames are uneven."""
    fitter, problem, _, coupling = window
    times = np.concatenate(([0], np.cumsum(coupling.seconds)))
    about = rotations(np.array([0.0, 1.5, 0.0]) * times[:, None])
    pose = torch.eye(3, dtype=torch.float64).repeat(FRAMES, 24, 1, 1)
    pose[:, 0] = torch.from_numpy(coupling.to_world.swapaxes(1, 2) @ about)
    pelvis = fitter.model.joint_template[0].double().numpy()
    path = np.array([0.2, 0.1, 5.0]) + times[:, None] * np.array([1.0, -0.5, 0.3])
    translation = torch.from_numpy((coupling.to_world.swapaxes(1, 2) @ path[..., None])[..., 0] - pelvis)
    depth = translation[:, 2:]
    place = torch.cat((translation[:, :2] / depth, depth.log()), 1)
    steady = Parameters(pose, torch.zeros(FRAMES, BETAS, dtype=torch.float64), place)
    state = state_of(fitter, problem, steady)
    flying = replace(coupling, standing=np.zeros_like(coupling.standing))
    assert flying.motion(state).energy < 1e-9
    assert coupling.motion(state).energy > 1e-3

"""Cameras that turn before a panorama, with people who walk through it."""

import functools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fullframe.geometry.camera import Camera
from fullframe.recovery.camera_motion import (
    MOVES,
    CameraMotion,
    Turns,
    close_rotations,
    fit_rotation,
    unexplained_motion,
)

SIZE = (320, 240)
CAMERA = Camera.from_fov(60, SIZE)


def _texture(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """Blobs of many sizes."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for scale in (4, 8, 16, 32):
        noise = rng.normal(size=(height // scale + 2, width // scale + 2, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 35 * image, 0, 255).astype(np.uint8)


AROUND = _texture(0, 2200, 700)
PERSON = _texture(1, 60, 150)


@functools.cache
def rays_of(camera: Camera) -> NDArray[np.float64]:
    """Directions of all pixels, (H, W, 3)."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    flat = camera.undistort(np.stack((x, y), axis=-1))
    return np.concatenate(((flat - camera.principal_point) / camera.focal, np.ones((*x.shape, 1))), axis=-1)


def view(
    turn: NDArray[np.float64], frame: int, walker: float | None = None, camera: Camera = CAMERA
) -> NDArray[np.uint8]:
    """What a camera that is turned (camera to world) sees: a cylinder around it, and someone at x px."""
    rays = rays_of(camera) @ turn.T
    place = np.arctan2(rays[..., 0], rays[..., 2]) / (2 * np.pi) % 1 * AROUND.shape[1]
    height = (rays[..., 1] / np.hypot(rays[..., 0], rays[..., 2]) + 1) / 2 * AROUND.shape[0]
    image = cv2.remap(
        AROUND,
        place.astype(np.float32),
        height.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    if walker is not None:
        image[70:220, int(walker) : int(walker) + 60] = PERSON
    noise = np.random.default_rng(frame).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def turns_by(yaw: NDArray[np.floating], pitch: float = 0.0) -> NDArray[np.float64]:
    """Camera to world, (F, 3, 3); degrees."""
    angles = np.stack((np.asarray(yaw), pitch * np.sin(np.arange(len(yaw)) / 5)), axis=1)
    return Rotation.from_euler("yx", angles, degrees=True).as_matrix()


def seen(true: NDArray[np.float64], with_person: bool = True, boxed: bool = True) -> Turns:
    motion = CameraMotion(CAMERA)
    for frame, turn in enumerate(true):
        walker = 20 + 200 * frame / len(true) if with_person else None
        boxes = (
            np.array([[walker, 70, walker + 60, 220]]) if walker is not None and boxed else np.zeros((0, 4))
        )
        # As in videos, people are not detected in every frame.
        motion.update(view(turn, frame, walker), boxes if frame % 2 == 0 else None, False)
    return motion.turns()


def errors(found: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.degrees(Rotation.from_matrix(np.swapaxes(found, 1, 2) @ true[0].T @ true).magnitude())


@pytest.mark.parametrize("boxed", [True, False], ids=["masked", "not masked"])
def test_a_still_camera_turns_by_exactly_nothing(boxed: bool) -> None:
    turns = seen(turns_by(np.zeros(40)), boxed=boxed)
    assert (close_rotations(turns, np.zeros(40, int)) == np.eye(3)).all()
    assert unexplained_motion(turns) == 0


def test_trembling_is_no_turning() -> None:
    true = turns_by(0.2 * np.sin(np.arange(40)))
    assert (close_rotations(seen(true), np.zeros(40, int)) == np.eye(3)).all()


@pytest.mark.parametrize(
    "yaw",
    [np.linspace(0, 25, 50), 30 * np.sin(np.arange(90) / 12), -np.linspace(0, 70, 60)],
    ids=["slow", "back and forth", "fast"],
)
def test_pans(yaw: NDArray[np.float64]) -> None:
    true = turns_by(yaw, pitch=2)
    turns = seen(true)
    found = close_rotations(turns, np.zeros(len(true), int))
    assert errors(found, true).max() < 0.15
    assert unexplained_motion(turns) < MOVES / 2


def test_a_distorting_lens() -> None:
    lens = replace(CAMERA, distortion=(-0.25, 0.05, 0.0, 0.0))
    true = turns_by(np.linspace(0, 40, 24))
    frames = [view(turn, frame, camera=lens) for frame, turn in enumerate(true)]
    for camera, limits in ((lens, (0, 0.15)), (CAMERA, (0.5, 90))):
        motion = CameraMotion(camera)
        for image in frames:
            motion.update(image, np.zeros((0, 4)), False)
        error = errors(close_rotations(motion.turns(), np.zeros(24, int)), true).max()
        assert limits[0] <= error < limits[1]


def test_what_adds_up_all_around_is_closed() -> None:
    true = turns_by(np.linspace(0, 380, 200))
    turns = seen(true, with_person=False)
    assert len(turns.links) > turns.keyframes.max()  # an old keyframe was found again
    closed = close_rotations(turns, np.zeros(200, int))
    chain = turns.links[:, 1] > turns.links[:, 0]
    open_turns = replace(turns, links=turns.links[chain], link_rotations=turns.link_rotations[chain])
    opened = close_rotations(open_turns, np.zeros(200, int))
    assert errors(closed, true)[-1] < 0.1 and errors(closed, true).max() < 0.3
    assert errors(closed, true)[-1] <= errors(opened, true)[-1] + 1e-9


def test_averaging_distributes_what_has_added_up() -> None:
    """Eight steps of 45 degrees, each found 0.5 too large, and one link that closes the circle."""
    step = Rotation.from_rotvec([0, np.radians(45.5), 0]).as_matrix()
    links = np.array([[k, k + 1] for k in range(8)] + [[8, 0]])
    rotations = np.array([step] * 8 + [np.eye(3)])
    turns = Turns(np.arange(9), np.tile(np.eye(3), (9, 1, 1)), np.zeros(9), links, rotations)
    found = Rotation.from_matrix(close_rotations(turns, np.zeros(9, int))).as_euler("yxz", degrees=True)[:, 0]
    wrong = (-found - 45 * np.arange(9) + 180) % 360 - 180
    assert np.abs(wrong).max() < 1  # up to 4 before
    assert np.abs(np.diff(wrong)).max() < 0.5


def test_each_shot_begins_anew() -> None:
    true = turns_by(np.r_[np.linspace(0, 20, 30), np.zeros(30)])
    motion = CameraMotion(CAMERA)
    for frame, turn in enumerate(true):
        motion.update(view(turn, frame), np.zeros((0, 4)), frame == 30)
    found = close_rotations(motion.turns(), np.repeat([0, 1], 30))
    assert errors(found[:30], true[:30]).max() < 0.15
    assert (found[30:] == np.eye(3)).all()


def test_frames_without_texture() -> None:
    motion = CameraMotion(CAMERA)
    for _ in range(12):
        motion.update(np.full((SIZE[1], SIZE[0], 3), 90, np.uint8), None, False)
    assert (close_rotations(motion.turns(), np.zeros(12, int)) == np.eye(3)).all()


def test_dark_frames_in_a_pan() -> None:
    true = turns_by(np.linspace(0, 15, 40))
    motion = CameraMotion(CAMERA)
    for frame, turn in enumerate(true):
        image = view(turn, frame)
        motion.update(image * 0 if frame in (20, 21) else image, np.zeros((0, 4)), False)
    found = close_rotations(motion.turns(), np.zeros(40, int))
    # The camera is taken to stand still in the dark, and found again after it.
    assert errors(found, true)[-1] < 0.3


def test_a_camera_that_moves_is_not_explained_by_turning() -> None:
    """It goes past two walls, of which one is three times as near."""
    near, motion = _texture(2, 1200, 120), CameraMotion(CAMERA)
    for frame in range(40):
        image = AROUND[200 : 200 + SIZE[1], 2 * frame : 2 * frame + SIZE[0]].copy()
        image[120:] = near[:, 6 * frame : 6 * frame + SIZE[0]]
        motion.update(image, np.zeros((0, 4)), False)
    assert unexplained_motion(motion.turns()) > 2 * MOVES


def test_saved_parts_are_the_same() -> None:
    """As in a run that was interrupted: what `clear` removes is not needed to continue."""
    true = turns_by(np.linspace(0, 60, 60))
    whole, parted = CameraMotion(CAMERA), CameraMotion(CAMERA)
    parts = []
    for frame, turn in enumerate(true):
        for motion in (whole, parted):
            motion.update(view(turn, frame), np.zeros((0, 4)), False)
        if frame in (20, 59):
            parts.append(parted.turns())
            parted.clear()
    for name, value in vars(whole.turns()).items():
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), value)


def test_fit_rotation_of_rays_of_which_half_are_wrong() -> None:
    rng = np.random.default_rng(0)
    rays = rng.normal(size=(100, 3)) + np.array([0, 0, 3])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    true = Rotation.from_rotvec([0.1, -0.3, 0.05]).as_matrix()
    other = rays @ true.T
    other[:50] = rng.permutation(other[:50])
    found, agree = fit_rotation(rays, other, 0.01, rng)
    np.testing.assert_allclose(found, true, atol=1e-6)
    assert agree[50:].all() and agree[:50].sum() < 5

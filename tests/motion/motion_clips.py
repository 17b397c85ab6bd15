"""Clips of people whose motion is known."""

from dataclasses import replace

import numpy as np
import roma
import torch
from numpy.typing import NDArray

from fullframe.body import BodyModel, load_body
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.geometry.camera import Camera, project_points
from fullframe.motion.skeleton import skeletons
from fullframe.results.clip import Clip

BETAS = 10
BODY: BodyModel = load_body("open", num_betas=BETAS)
UPRIGHT = np.diag([1.0, -1.0, -1.0])
CAMERA = Camera.from_focal(800, (640, 480))
REGRESSOR = KeypointRegressor(BODY)


def rotations(vectors: NDArray) -> NDArray[np.float64]:
    return roma.rotvec_to_rotmat(torch.from_numpy(np.asarray(vectors, np.float64))).numpy()


def standing(frames: int) -> NDArray[np.float64]:
    """Poses (F, 24, 3, 3) of a person who stands upright and faces the camera."""
    pose = np.tile(np.eye(3), (frames, 24, 1, 1))
    pose[:, 0] = UPRIGHT
    return pose


def person(
    times: NDArray,
    track_id: int = 0,
    pose: NDArray | None = None,
    translation: NDArray | None = None,
    betas: NDArray | None = None,
    keep: NDArray | None = None,
) -> Clip:
    """One person in all frames, or in those of `keep`."""
    count = len(times)
    pose = standing(count) if pose is None else pose
    translation = np.tile([0.0, 0.2, 5.0], (count, 1)) if translation is None else translation
    betas = np.zeros((count, BETAS)) if betas is None else betas
    joints = skeletons(BODY, betas, pose, translation).joints
    pixels = np.array([project_points(points, CAMERA) for points in joints]).reshape(count, 24, 2)
    return Clip(
        times=times,
        frames=np.arange(count),
        track_ids=np.full(count, track_id),
        detected=np.ones(count, bool),
        boxes=np.concatenate((pixels.min(axis=1) - 10, pixels.max(axis=1) + 10), axis=1),
        scores=np.full(count, 0.9),
        keypoints=np.zeros((count, 17, 3)),
        pose=pose,
        betas=betas,
        translation=translation,
        camera=CAMERA,
        body="open",
        model="test",
    ).take(np.arange(count) if keep is None else keep)


def together(*clips: Clip) -> Clip:
    """The people of several clips of the same frames."""
    names = ("frames", "track_ids", "detected", "boxes", "scores", "keypoints", "pose", "betas",
             "translation", "contacts")  # fmt: skip
    arrays = {name: np.concatenate([getattr(clip, name) for clip in clips]) for name in names}
    order = np.lexsort((arrays["track_ids"], arrays["frames"]))
    first = clips[0]
    return Clip(times=first.times, camera=first.camera, body=first.body, model=first.model,
                **{name: array[order] for name, array in arrays.items()})  # fmt: skip


def walker(frames: int = 40, sideways: float = 0.0, depth: float = 4.0, stands: bool = False) -> Clip:
    """Somebody who turns by an eighth, unless they stand, and moves an arm, with exact keypoints."""
    times = np.arange(frames) / 30
    share = times / times[-1]
    vectors = np.zeros((frames, 24, 3))
    vectors[:, 0, 1] = 0 if stands else -np.pi / 4 * share
    vectors[:, 16, 2], vectors[:, 17, 2] = -1.2 + 1.5 * share, 1.2
    vectors[:, 18, 1] = -0.6
    pose = rotations(vectors)
    pose[:, 0] = UPRIGHT @ pose[:, 0]
    betas = np.tile(np.linspace(0.8, -0.4, BETAS), (frames, 1))
    place = np.array([sideways, 0.2, depth]) + share[:, None] * (0 if stands else np.array([0.1, 0.0, 0.1]))
    return seen(person(times, pose=pose, betas=betas, translation=place))


def seen(clip: Clip) -> Clip:
    """The clip with its own keypoints."""
    clip = replace(clip, keypoints=clip.keypoints.copy())
    with torch.inference_mode():
        points = REGRESSOR(torch.from_numpy(clip.betas), torch.from_numpy(clip.pose)).keypoints.numpy()
    points = points + clip.translation[:, None]
    pixels = project_points(points.reshape(-1, 3), clip.camera)
    clip.keypoints[..., :2], clip.keypoints[..., 2] = pixels.reshape(-1, 17, 2), 0.9
    return clip


def wrong(truth: Clip, seed: int = 0) -> Clip:
    """The clip as a network might see it: wrong poses and distances, slowly varying."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, (1, 24, 3)) + 2 * np.pi * np.arange(len(truth))[:, None, None] / 25
    turn = rotations(0.08 * np.sin(phase))
    away = np.exp(0.05 * np.sin(phase[:, 0, :1]))
    return replace(truth, pose=truth.pose @ turn, translation=truth.translation * away)

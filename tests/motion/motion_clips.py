"""Clips of people whose motion is known."""

import numpy as np
import roma
import torch
from numpy.typing import NDArray

from fullframe.body import BodyModel, load_body
from fullframe.geometry.camera import Camera, project_points
from fullframe.motion.skeleton import skeletons
from fullframe.results.clip import Clip

BETAS = 10
BODY: BodyModel = load_body("open", num_betas=BETAS)
UPRIGHT = np.diag([1.0, -1.0, -1.0])
CAMERA = Camera.from_focal(800, (640, 480))


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

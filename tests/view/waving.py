"""Clips for tests of the viewer: people who wave, before a camera that looks down on level ground."""

import numpy as np
import roma
import torch

from fullframe.body import BodyModel
from fullframe.geometry.camera import Camera
from fullframe.results.clip import Clip

SIZE = (320, 240)


def tilted(degrees: float) -> np.ndarray:
    """World (y up) to a camera that looks along -z of it and down by an angle."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) @ np.diag([1.0, -1, -1])


def waving_clip(body: BodyModel, people: int = 2, frames: int = 10, video: str = "") -> Clip:
    """People side by side on the ground, 5 m away, facing the camera; they lift their left arms with time.

    The camera is 1.5 m above the ground and looks down by 10 degrees.
    """
    to_camera, above = tilted(10), np.array([0.0, 1.5, 0.0])
    rotvec = np.zeros((frames, people, 24, 3), np.float32)
    rotvec[:, :, 16, 2] = np.linspace(-1, 1, frames)[:, None]
    pose = roma.rotvec_to_rotmat(torch.from_numpy(rotvec)).numpy().reshape(-1, 24, 3, 3)
    pose[:, 0] = to_camera
    betas = np.tile(np.linspace(-1, 1, people * body.num_betas).reshape(people, -1), (frames, 1))
    betas = betas.astype(np.float32)
    with torch.inference_mode():
        rest = body(torch.from_numpy(betas), torch.eye(3).expand(len(betas), 24, 3, 3))
    pelvis = rest.joints[:, 0].numpy()
    place = np.zeros((frames, people, 3))
    place[..., 0] = np.arange(people) - (people - 1) / 2
    place[..., 2] = -5
    world = place.reshape(-1, 3)
    world[:, 1] = pelvis[:, 1] - rest.vertices[..., 1].min(dim=1).values.numpy()
    up = to_camera @ [0, 1, 0]
    rows = frames * people
    return Clip(
        times=np.arange(frames) / 10,
        frames=np.repeat(np.arange(frames), people),
        track_ids=np.tile(np.arange(people), frames),
        detected=np.ones(rows),
        boxes=np.zeros((rows, 4)),
        scores=np.ones(rows),
        keypoints=np.zeros((rows, 17, 3)),
        pose=pose,
        betas=betas,
        translation=(world - above) @ to_camera.T - pelvis,
        ground=np.array([*up, up @ to_camera @ above]),
        camera=Camera.from_diagonal(SIZE),
        body=body.name,
        model="test",
        video=video,
    )

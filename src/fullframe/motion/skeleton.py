"""Joints and soles of the people of a clip, without their meshes."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel, forward_kinematics
from fullframe.results.clip import Clip

LEGS = ((1, 4, 7, 10), (2, 5, 8, 11))
"""Hip, knee, ankle and foot of the left and the right leg."""


def blocks(count: int) -> Iterator[slice]:
    """All of so many rows, some at a time: posing bodies takes many times the memory of the result."""
    for start in range(0, count, 2048):
        yield slice(start, start + 2048)


class Skeletons(NamedTuple):
    """Where N bodies have their joints.

    Attributes:
        rest: (N, 24, 3) metres, of the shaped bodies at rest.
        rotations: (N, 24, 3, 3) global.
        joints: (N, 24, 3) metres, camera frame.
    """

    rest: NDArray[np.float64]
    rotations: NDArray[np.float64]
    joints: NDArray[np.float64]


def skeletons(
    body: BodyModel, betas: NDArray, pose: NDArray, translation: NDArray | None = None
) -> Skeletons:
    """The skeletons of bodies of betas (N, B), pose (N, 24, 3, 3) and translation (N, 3), metres.

    For many bodies call it with `blocks` of them.
    """
    with torch.inference_mode():
        rest = body.rest_joints(torch.from_numpy(np.asarray(betas, np.float32))).double()
        rotations, joints = forward_kinematics(rest, torch.from_numpy(np.asarray(pose, np.float64)))
    moved = 0.0 if translation is None else np.asarray(translation, np.float64)[:, None]
    return Skeletons(rest.numpy(), rotations.numpy(), joints.numpy() + moved)


def joint_positions(body: BodyModel, clip: Clip) -> NDArray[np.float64]:
    """The joints of all rows, (N, 24, 3) metres in the camera frame."""
    found: NDArray[np.float64] = np.empty((len(clip), 24, 3))
    for some in blocks(len(clip)):
        found[some] = skeletons(body, clip.betas[some], clip.pose[some], clip.translation[some]).joints
    return found


def middles(body: BodyModel, clip: Clip) -> NDArray[np.float64]:
    """The mean of the joints of each row, (N, 3) metres in the camera frame."""
    found: NDArray[np.float64] = np.empty((len(clip), 3))
    for some in blocks(len(clip)):
        posed = skeletons(body, clip.betas[some], clip.pose[some], clip.translation[some])
        found[some] = posed.joints.mean(axis=1)
    return found


def soles(body: BodyModel, clip: Clip) -> NDArray[np.float64]:
    """Heel and ball of both feet, (N, 2, 2, 3) metres in the camera frame: left and right, heel first.

    Each is a point of the sole that moves with its joint: the heel with the ankle, the ball with the foot.
    """
    points: NDArray[np.float64] = np.zeros((len(clip), 2, 2, 3))
    for _, rows in clip.tracks():
        offsets = sole_offsets(body, clip.betas[rows[0]])
        for block in blocks(len(rows)):
            some = rows[block]
            posed = skeletons(body, clip.betas[some], clip.pose[some], clip.translation[some])
            for side, (_, _, ankle, foot) in enumerate(LEGS):
                for k, joint in enumerate((ankle, foot)):
                    turned = posed.rotations[:, joint] @ offsets[side, k]
                    points[some, side, k] = posed.joints[:, joint] + turned
    return points


def sole_offsets(body: BodyModel, betas: NDArray[np.float32]) -> NDArray[np.float64]:
    """From ankle to heel and from foot to ball at rest, (2, 2, 3) metres."""
    with torch.inference_mode():
        shape, pose = torch.from_numpy(betas[None]), torch.eye(3).expand(1, 24, 3, 3)
        vertices = body(shape, pose).vertices[0].double().numpy()
        rest = body.rest_joints(shape)[0].double().numpy()
    offsets = np.zeros((2, 2, 3))
    part = body.data.weights.argmax(axis=1)
    for side, (_, _, ankle, foot) in enumerate(LEGS):
        points = vertices[(part == ankle) | (part == foot)]
        # At rest the body stands on level ground, y up, and its feet point to +z.
        low = points[points[:, 1] < points[:, 1].min() + 0.02]
        back, front = low[:, 2].min(), low[:, 2].max()
        length = front - back
        heel = low[low[:, 2] < back + 0.3 * length].mean(axis=0)
        ball = low[(low[:, 2] > front - 0.5 * length) & (low[:, 2] < front - 0.2 * length)].mean(axis=0)
        bottom = low[:, 1].min()
        heel[1] = ball[1] = bottom
        offsets[side] = heel - rest[ankle], ball - rest[foot]
    return offsets

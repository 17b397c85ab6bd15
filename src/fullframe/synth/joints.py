"""Exact joints of synthetic people, one at a time and fast."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body.body_model import load_body
from fullframe.body.joint_sets import JOINT_SETS, PARENTS
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.compiled import compiled

NUM_BETAS = 11
"""The open body's ten shape directions and the one from adult to child."""

JOINTS = ("smpl24", "coco17", "lsp14")
"""Joint sets that synthetic samples are labelled with."""

_PARENTS = np.array(PARENTS)


class PosedBody(NamedTuple):
    """A posed body before translation.

    Attributes:
        rotations: (24, 3, 3) float32 of each joint relative to its parent.
        joints: (24, 3) float32 metres.
        transforms: (24, 3, 4) float32 from the shaped body at rest to where each joint takes it.
        rest_pelvis: (3,) float32, which the root's rotation leaves in its place.
    """

    rotations: NDArray[np.float32]
    joints: NDArray[np.float32]
    transforms: NDArray[np.float32]
    rest_pelvis: NDArray[np.float32]


class OpenBodyPoser:
    """The open body for posing one person at a time."""

    def __init__(self) -> None:
        body = load_body("open", num_betas=NUM_BETAS)
        shapes = torch.cat((torch.zeros(1, NUM_BETAS), torch.eye(NUM_BETAS)))
        rest = body.rest_joints(shapes).numpy()
        self._rest, self._rest_dirs = rest[0], np.ascontiguousarray((rest[1:] - rest[0]).transpose(1, 2, 0))
        models = [KeypointRegressor(body, name) for name in JOINTS[1:]]
        self._splits = np.cumsum([len(JOINT_SETS[name]) for name in JOINTS[1:-1]])
        self._weights = np.concatenate([m.weights.numpy() for m in models])
        self._moments = np.concatenate([m.template.numpy().reshape(-1) for m in models])
        dirs = [torch.cat((m.shape_dirs.flatten(0, 2).T, m.pose_dirs)).numpy() for m in models]
        self._dirs = np.ascontiguousarray(np.concatenate(dirs, axis=1))

    def pose(self, betas: NDArray[np.float32], theta: NDArray[np.float64]) -> PosedBody:
        """Poses the body: betas (11,), axis-angle (24, 3)."""
        rest = self._rest + self._rest_dirs @ betas
        rotations = _rotations(theta)
        joints, transforms = _kinematics(rest, rotations, _PARENTS)
        return PosedBody(rotations, joints, transforms, rest[0])

    def keypoints(self, betas: NDArray[np.float32], posed: PosedBody) -> dict[str, NDArray[np.float32]]:
        """Joint set to joints (K, 3), metres, before translation."""
        # As body.keypoint_regressor.KeypointRegressor, with the transforms that rendering needs anyway.
        feature = np.concatenate((betas, (posed.rotations[1:] - np.eye(3, dtype=np.float32)).reshape(-1)))
        moments = (self._moments + feature @ self._dirs).reshape(-1, 72)
        turn, shift = posed.transforms[..., :3], posed.transforms[..., 3]
        points = moments @ turn.transpose(0, 2, 1).reshape(72, 3) + self._weights @ shift
        parts = np.split(points.astype(np.float32), self._splits)
        return {"smpl24": posed.joints, **dict(zip(JOINTS[1:], parts, strict=True))}


@compiled
def _rotations(theta):
    """Rodrigues' formula, (24, 3) to (24, 3, 3)."""
    out = np.zeros((len(theta), 3, 3), np.float32)
    for j in range(len(theta)):
        x, y, z = theta[j, 0], theta[j, 1], theta[j, 2]
        angle = np.sqrt(x * x + y * y + z * z)
        s = 1.0 if angle < 1e-8 else np.sin(angle) / angle
        c = 0.5 if angle < 1e-4 else (1 - np.cos(angle)) / (angle * angle)
        d = 1 - c * angle * angle
        out[j, 0, 0], out[j, 1, 1], out[j, 2, 2] = d + c * x * x, d + c * y * y, d + c * z * z
        out[j, 0, 1], out[j, 1, 0] = c * x * y - s * z, c * x * y + s * z
        out[j, 0, 2], out[j, 2, 0] = c * x * z + s * y, c * x * z - s * y
        out[j, 1, 2], out[j, 2, 1] = c * y * z - s * x, c * y * z + s * x
    return out


@compiled
def _kinematics(rest, rotations, parents):
    """Rest joints (24, 3) and local rotations to joints and transforms of rest positions."""
    count = len(parents)
    turned = np.zeros((count, 3, 3), np.float32)
    joints = np.zeros((count, 3), np.float32)
    transforms = np.zeros((count, 3, 4), np.float32)
    for j in range(count):
        p = parents[j]
        for a in range(3):
            joints[j, a] = rest[j, a] if p < 0 else joints[p, a]
            for b in range(3):
                if p < 0:
                    turned[j, a, b] = rotations[j, a, b]
                else:
                    joints[j, a] += turned[p, a, b] * (rest[j, b] - rest[p, b])
                    for c in range(3):
                        turned[j, a, b] += turned[p, a, c] * rotations[j, c, b]
        for a in range(3):
            offset = joints[j, a]
            for b in range(3):
                transforms[j, a, b] = turned[j, a, b]
                offset -= turned[j, a, b] * rest[j, b]
            transforms[j, a, 3] = offset
    return joints, transforms

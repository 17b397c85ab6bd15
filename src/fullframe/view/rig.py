"""Geometry of bodies that are skinned in the browser: the rig, sent once, and bone poses per frame."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullframe.body.body_model import BodyModel, forward_kinematics
from fullframe.export.skin import four_joints
from fullframe.geometry.rotation import matrix_to_quaternion


class RestBody(NamedTuple):
    """A body in its T-pose, y up, metres: vertices (V, 3), joints (24, 3), and bone weights (V, 24).

    No vertex has more than four weights, the limit of graphics cards.
    """

    vertices: NDArray[np.float32]
    joints: NDArray[np.float32]
    weights: NDArray[np.float32]


class BonePoses(NamedTuple):
    """Poses of the 24 bones of N people, in the camera frame.

    Bone k moves a vertex v of the T-pose to R_k (v - rest joint_k) + position_k.

    Attributes:
        wxyz: (N, 24, 4) unit quaternions of R, real part first.
        positions: (N, 24, 3) metres; they are the posed joints.
    """

    wxyz: NDArray[np.float64]
    positions: NDArray[np.float64]


def rig(body: BodyModel, betas: NDArray[np.float32]) -> RestBody:
    """The body of one shape, betas (B,), ready for skinning without pose blend shapes."""
    with torch.inference_mode():
        shape, pose = torch.from_numpy(betas)[None], torch.eye(3).expand(1, 24, 3, 3)
        vertices, joints = body(shape, pose)
    skin = four_joints(body)
    weights = np.zeros((body.num_vertices, 24), np.float32)
    np.add.at(weights, (np.arange(body.num_vertices)[:, None], skin.joints), skin.weights)
    return RestBody(vertices[0].numpy(), joints[0].numpy(), weights)


def bone_poses(body: BodyModel, betas: Tensor, pose: Tensor, translation: Tensor) -> BonePoses:
    """The bones of N people.

    Args:
        betas: (N, B).
        pose: (N, 24, 3, 3) local rotations, the root's in the camera frame.
        translation: (N, 3) metres.
    """
    with torch.inference_mode():
        rotations, joints = forward_kinematics(body.rest_joints(betas), pose)
        xyzw = matrix_to_quaternion(rotations)
        wxyz = torch.cat((xyzw[..., 3:], xyzw[..., :3]), -1)
        return BonePoses(wxyz.double().numpy(), (joints + translation[:, None]).double().numpy())


def quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rotation matrix (3, 3) as w, x, y, z."""
    xyzw = matrix_to_quaternion(torch.from_numpy(np.ascontiguousarray(rotation))).numpy()
    return np.roll(xyzw, 1)

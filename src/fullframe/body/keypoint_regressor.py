"""The body seen only through a joint set: exact keypoints and their derivatives, without vertices.

A regressed keypoint is linear in the skinned vertices, and a skinned vertex is linear in the joints'
transforms. Summing over vertices first leaves, for keypoint k and joint j, one weight m and one moment M
(linear in shape and pose blend shapes), so that a body of 6,700 vertices costs as much as one of K x 24
points.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fullframe.body.body_model import BodyModel, forward_kinematics, pose_feature
from fullframe.body.joint_sets import PARENTS


class KeypointState(NamedTuple):
    """Keypoints of N bodies and what is needed to differentiate them.

    Attributes:
        keypoints: (N, K, 3) body frame before translation, metres.
        rotations: (N, 24, 3, 3) rotation of each joint in the camera frame.
        joints: (N, 24, 3) joint positions before translation.
        parts: (N, K, 24, 3) share of each joint in each keypoint; they sum to the keypoints.
    """

    keypoints: Tensor
    rotations: Tensor
    joints: Tensor
    parts: Tensor


class KeypointRegressor(nn.Module):
    """Keypoints of `joint_set` as a function of shape and pose; equals body.regress(body(...).vertices).

    Raises:
        BodyFileError: the body has no regressor for the joint set.
    """

    weights: Tensor  # (K, 24)
    template: Tensor  # (K, 24, 3) moments
    shape_dirs: Tensor  # (K, 24, 3, B)
    pose_dirs: Tensor  # (207, K * 24 * 3)
    joint_template: Tensor  # (24, 3)
    joint_dirs: Tensor  # (24, 3, B)
    ancestors: Tensor  # (24, 24), 1 where the column's joint is the row's or an ancestor of it

    def __init__(self, body: BodyModel, joint_set: str = "coco17") -> None:
        super().__init__()
        data = body.data
        matrix = body.regressor(joint_set).cpu().numpy()
        used = np.flatnonzero((matrix != 0).any(axis=0))
        shares = matrix[:, used, None] * data.weights[used].astype(np.float64)  # (K, V, 24)
        shape_dirs = data.shape_dirs[..., : body.num_betas]
        pose_dirs = np.einsum("kvj,vcp->pkjc", shares, data.pose_dirs[used], optimize=True)
        constants = {
            "weights": shares.sum(1),
            "template": np.einsum("kvj,vc->kjc", shares, data.template[used]),
            "shape_dirs": np.einsum("kvj,vcb->kjcb", shares, shape_dirs[used], optimize=True),
            "pose_dirs": pose_dirs.reshape(207, -1),
        }
        for name, array in constants.items():
            self.register_buffer(name, torch.from_numpy(array.astype(np.float32)), persistent=False)
        # Rest joints are linear in shape: what each beta adds is the difference to the mean body.
        shapes = torch.eye(body.num_betas + 1, body.num_betas).to(body.regressor(joint_set))
        *shaped, mean = body.rest_joints(shapes).float()
        self.register_buffer("joint_template", mean, persistent=False)
        self.register_buffer("joint_dirs", torch.stack(shaped, -1) - mean[..., None], persistent=False)
        ancestors = torch.eye(24)
        for joint in range(1, 24):
            ancestors[joint] += ancestors[PARENTS[joint]]
        self.register_buffer("ancestors", ancestors, persistent=False)

    def forward(self, betas: Tensor, pose: Tensor) -> KeypointState:
        """Keypoints for betas (N, B) and local rotations (N, 24, 3, 3)."""
        rest = self.joint_template + torch.einsum("jcb,nb->njc", self.joint_dirs, betas)
        rotations, joints = forward_kinematics(rest, pose)
        moments = self.template + torch.einsum("kjcb,nb->nkjc", self.shape_dirs, betas)
        moments = moments + (pose_feature(pose) @ self.pose_dirs).view_as(moments)
        weights = self.weights[..., None]
        parts = (rotations[:, None] @ (moments - weights * rest[:, None])[..., None])[..., 0]
        parts = parts + weights * joints[:, None]
        return KeypointState(parts.sum(2), rotations, joints, parts)

    def pose_jacobian(self, state: KeypointState) -> Tensor:
        """Derivatives by a small rotation vector on the right of each local rotation: (N, K, 3, 24, 3).

        Turning joint i about its axes e moves everything below it by (W_i e) x (p - J_i). Pose blend shapes
        are held still, which is enough for Gauss-Newton.
        """
        below = torch.einsum("nkjc,ji->nkic", state.parts, self.ancestors)
        weight_below = self.weights @ self.ancestors
        arms = below - weight_below[..., None] * state.joints[:, None]  # (N, K, 24, 3)
        axes = state.rotations.transpose(-1, -2)[:, None]  # rows are the turning axes
        derivative = torch.linalg.cross(axes, arms[..., None, :].expand(*arms.shape[:3], 3, 3))
        return derivative.permute(0, 1, 4, 2, 3)

    def shape_jacobian(self, state: KeypointState) -> Tensor:
        """Derivatives by the betas, (N, K, 3, B): exact, since keypoints are linear in shape."""
        local = self.shape_dirs - self.weights[..., None, None] * self.joint_dirs
        turned = torch.einsum("njcd,kjdb->nkcb", state.rotations, local)
        return turned + torch.einsum("kj,njcb->nkcb", self.weights, self._joints_by_shape(state))

    def joint_jacobian(self, state: KeypointState) -> Tensor:
        """Derivatives of SMPL's joints by rotations, as in pose_jacobian, and betas: (N, 24, 3, 72 + B)."""
        arms = state.joints[:, :, None] - state.joints[:, None]  # (N, 24, 24, 3)
        axes = state.rotations.transpose(-1, -2)[:, None]
        derivative = torch.linalg.cross(axes, arms[..., None, :].expand(*arms.shape[:3], 3, 3))
        derivative = derivative * self.ancestors[..., None, None]
        by_pose = derivative.permute(0, 1, 4, 2, 3).flatten(3)
        return torch.cat((by_pose, self._joints_by_shape(state)), -1)

    def _joints_by_shape(self, state: KeypointState) -> Tensor:
        """Derivatives of SMPL's joints by the betas: (N, 24, 3, B)."""
        rest = self.joint_dirs
        joints = [torch.zeros_like(state.joints[:, 0, :, None]) + rest[0]]
        for joint in range(1, 24):
            parent = PARENTS[joint]
            joints.append(joints[parent] + state.rotations[:, parent] @ (rest[joint] - rest[parent]))
        return torch.stack(joints, 1)

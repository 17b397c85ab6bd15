"""The body seen only through a joint set: exact keypoints and their derivatives, without vertices.

A regressed keypoint is linear in the skinned vertices, and a skinned vertex is linear in the joints' transforms.
Summing over vertices first leaves, for keypoint k and joint j, one weight m and one moment M (linear in shape and
pose blend shapes), so that a body of 6,700 vertices costs as much as one of K x 24 points.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..body import BodyModel


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


class KeypointModel(nn.Module):
    """Keypoints of `joint_set` as a function of shape and pose; equals body.regress(body(...).vertices)."""

    def __init__(self, body: BodyModel, joint_set: str = "coco17") -> None:
        super().__init__()
        regressor = body.regressor(joint_set)
        shares = regressor[:, :, None] * body.weights  # (K, V, 24)
        self.parents = body.parents
        self.num_betas = body.num_betas
        self.register_buffer("weights", shares.sum(1))
        self.register_buffer("template", torch.einsum("kvj,vc->kjc", shares, body.template))
        self.register_buffer("shapedirs", torch.einsum("kvj,vcb->kjcb", shares, body.shapedirs))
        posedirs = body.posedirs.unflatten(1, (-1, 3))
        self.register_buffer("posedirs", torch.einsum("kvj,pvc->pkjc", shares, posedirs).flatten(1))
        self.register_buffer("joint_template", body.joint_template)
        self.register_buffer("joint_shapedirs", body.joint_shapedirs)
        ancestors = torch.eye(24)
        for joint in range(1, 24):
            ancestors[joint] += ancestors[self.parents[joint]]
        self.register_buffer("ancestors", ancestors)  # [joint, ancestor or itself]

    def forward(self, betas: Tensor, pose: Tensor) -> KeypointState:
        """Keypoints for betas (N, B) and local rotations (N, 24, 3, 3)."""
        rest = self.joint_template + torch.einsum("jcb,nb->njc", self.joint_shapedirs, betas)
        rotations, joints = self._chain(pose, rest)
        moments = self.template + torch.einsum("kjcb,nb->nkjc", self.shapedirs, betas)
        feature = (pose[:, 1:] - torch.eye(3, dtype=pose.dtype, device=pose.device)).flatten(1)
        moments = moments + (feature @ self.posedirs).view_as(moments)
        return self._assemble(rotations, joints, rest, moments)

    def _chain(self, pose: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        rotations, joints = [pose[:, 0]], [rest[:, 0]]
        for joint in range(1, 24):
            parent = self.parents[joint]
            offset = (rest[:, joint] - rest[:, parent])[..., None]
            joints.append(joints[parent] + (rotations[parent] @ offset)[..., 0])
            rotations.append(rotations[parent] @ pose[:, joint])
        return torch.stack(rotations, 1), torch.stack(joints, 1)

    def _assemble(self, rotations: Tensor, joints: Tensor, rest: Tensor, moments: Tensor) -> KeypointState:
        weights = self.weights[..., None]
        local = moments - weights * rest[:, None]
        parts = (rotations[:, None] @ local[..., None])[..., 0] + weights * joints[:, None]
        return KeypointState(parts.sum(2), rotations, joints, parts)

    def pose_jacobian(self, state: KeypointState) -> Tensor:
        """Derivatives by a small rotation vector on the right of each local rotation: (N, K, 3, 24, 3).

        Turning joint i about its axes e moves everything below it by (W_i e) x (p - J_i). Pose blend shapes are
        held still, which is enough for Gauss-Newton.
        """
        below = torch.einsum("nkjc,ji->nkic", state.parts, self.ancestors)
        weight_below = self.weights @ self.ancestors
        arms = below - weight_below[..., None] * state.joints[:, None]  # (N, K, 24, 3)
        axes = state.rotations.transpose(-1, -2)[:, None]  # rows are the turning axes
        derivative = torch.linalg.cross(axes, arms[..., None, :].expand(*arms.shape[:3], 3, 3))
        return derivative.permute(0, 1, 4, 2, 3)

    def shape_jacobian(self, state: KeypointState) -> Tensor:
        """Derivatives by the betas, (N, K, 3, B): exact, since keypoints are linear in shape."""
        rest = self.joint_shapedirs
        joints = [torch.zeros_like(state.joints[:, 0, :, None]) + rest[0]]
        for joint in range(1, 24):
            parent = self.parents[joint]
            joints.append(joints[parent] + state.rotations[:, parent] @ (rest[joint] - rest[parent]))
        moved = torch.stack(joints, 1)  # (N, 24, 3, B)
        local = self.shapedirs - self.weights[..., None, None] * rest
        turned = torch.einsum("njcd,kjdb->nkcb", state.rotations, local)
        return turned + torch.einsum("kj,njcb->nkcb", self.weights, moved)

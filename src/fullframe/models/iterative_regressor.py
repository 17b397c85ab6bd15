"""The iterative regressor of HMR (Kanazawa et al., CVPR 2018), as SPIN and CLIFF use it."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from fullframe.assets import POSE_PRIOR
from fullframe.geometry.rotation import matrix_to_rot6d, rotvec_to_matrix

JOINTS = 24
ITERATIONS = 3
WIDTH = 1024
"""Of the hidden layers in HMR, SPIN and CLIFF."""
ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU}


class IterativeRegressor(nn.Module):
    """Pose, shape and camera from an input vector, by three passes that each add to the current estimate.

    Every pass sees the input and the estimate so far; the first estimate is the mean person. Dropout apart,
    the layers are linear by default, as in SPIN's and CLIFF's code.

    Args:
        inputs: width of the input vector.
        num_betas: number of shape coefficients.
        width: of both hidden layers.
        act: "none" (SPIN, CLIFF), or "relu" after each hidden layer (HMR of 2018).
        dropout: probability of dropout after each hidden layer.

    Raises:
        ValueError: for an unknown act.
    """

    init_pose: Tensor
    init_shape: Tensor
    init_cam: Tensor

    def __init__(
        self,
        inputs: int,
        num_betas: int = 10,
        width: int = WIDTH,
        act: str = "none",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if act not in ACTIVATIONS:
            raise ValueError(f"unknown regressor_act {act!r}; known: {', '.join(ACTIVATIONS)}")
        pose, camera = 6 * JOINTS, 3
        self.fc1 = nn.Linear(inputs + pose + num_betas + camera, width)
        self.fc2 = nn.Linear(width, width)
        self.act, self.dropout = ACTIVATIONS[act](), nn.Dropout(dropout)
        self.decpose = nn.Linear(width, pose)
        self.decshape = nn.Linear(width, num_betas)
        self.deccam = nn.Linear(width, camera)
        for head in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(head.weight, gain=0.01)  # starts close to the mean person
        self.register_buffer("init_pose", mean_pose6d())
        self.register_buffer("init_shape", torch.zeros(num_betas))
        self.register_buffer("init_cam", torch.tensor([0.9, 0.0, 0.0]))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One estimate per crop.

        Args:
            inputs: (N, inputs).

        Returns:
            pose (N, 144) as 24 6D rotations, betas (N, num_betas), weak camera (N, 3) = s, tx, ty.
        """
        pose, betas, camera = (
            x.expand(inputs.shape[0], -1) for x in (self.init_pose, self.init_shape, self.init_cam)
        )
        for _ in range(ITERATIONS):
            x = self.dropout(self.act(self.fc1(torch.cat((inputs, pose, betas, camera), dim=1))))
            x = self.dropout(self.act(self.fc2(x)))
            pose, betas, camera = pose + self.decpose(x), betas + self.decshape(x), camera + self.deccam(x)
        return pose, betas, camera


def mean_pose6d() -> Tensor:
    """The mean pose of the motion data behind the pose prior, upright and facing the camera: (144,) 6D."""
    with np.load(POSE_PRIOR, allow_pickle=False) as prior:
        rotvec = torch.from_numpy(prior["mean_pose"].astype(np.float32)).clone()
    rotvec[0] = torch.tensor([math.pi, 0.0, 0.0])  # the body's y is up, the camera's is down
    return matrix_to_rot6d(rotvec_to_matrix(rotvec)).flatten()

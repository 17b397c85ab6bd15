"""What is known about people before looking: likely poses, joint limits, and poses to start from."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fullframe.assets import POSE_PRIOR
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.geometry.rotation import skew


class PosePrior(nn.Module):
    """A Gaussian mixture over the 69 numbers of a body pose, as in SMPLify (Bogo et al., ECCV 2016).

    Learned from CMU and DeepMimic motion capture by tools/build_pose_prior.py; it holds no SMPL data.

    Attributes:
        means, precisions, log_weights: (C, 69), (C, 69, 69), (C,) of the mixture.
        low, high: (69,) joint limits on axis-angle components, radians.
        exemplars: (E, 24, 3) axis-angle, diverse poses and their mirror images; their roots carry gravity
            (y up) and face +z.
    """

    means: Tensor
    precisions: Tensor
    log_weights: Tensor
    low: Tensor
    high: Tensor
    exemplars: Tensor

    def __init__(self, path: Path = POSE_PRIOR) -> None:
        super().__init__()
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}
        for name in ("means", "precisions", "low", "high", "exemplars"):
            self.register_buffer(name, arrays[name])
        mirrored = self.exemplars[:, JOINT_SETS["smpl24"].flip_permutation] * torch.tensor([1.0, -1.0, -1.0])
        self.exemplars = torch.cat((self.exemplars, mirrored))
        log_det = torch.linalg.slogdet(self.precisions.double()).logabsdet.float()
        self.register_buffer("log_weights", arrays["weights"].log() + 0.5 * (log_det - log_det.max()))

    def energy(self, body_pose: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and nearest component of body poses (N, 69): min over c of half the squared Mahalanobis
        distance minus the log weight (SMPLify, eq. 4). Returns (N,) and (N,)."""
        distance = body_pose[:, None] - self.means
        half = 0.5 * torch.einsum("nci,cij,ncj->nc", distance, self.precisions, distance)
        energy, component = (half - self.log_weights).min(1)
        return energy - (-self.log_weights).min(), component

    def complete(self, body_pose: Tensor, seen: Tensor) -> Tensor:
        """Body poses (N, 69) with the likeliest values where `seen` (N, 69) is False, given the others.

        For each component the conditional mean; of these the one of lowest energy.
        """
        distance = (body_pose[:, None] - self.means) * seen[:, None]
        pull = (self.precisions @ distance[..., None])[..., 0]
        hidden = ~seen[:, None]
        # What is seen becomes rows and columns of the identity, so that one solver serves everyone.
        system = torch.where(hidden[..., None] & hidden[..., None, :], self.precisions, 0.0)
        system = system + torch.diag_embed(seen.to(system.dtype))[:, None]
        change = torch.linalg.solve(system, torch.where(hidden, -pull, 0.0))
        completed = torch.where(hidden, self.means + change, body_pose[:, None])
        energy = self.energy(completed.flatten(0, 1))[0].view(completed.shape[:2])
        return completed[torch.arange(len(completed)), energy.argmin(1)]

    def beyond_limits(self, body_pose: Tensor) -> Tensor:
        """By how much each component of (N, 69) leaves the joint limits, signed, radians."""
        return (body_pose - self.high).clamp(min=0) + (body_pose - self.low).clamp(max=0)


def inverse_right_jacobian(rotvec: Tensor) -> Tensor:
    """How a rotation vector changes when its rotation is turned by a small vector on the right.

    log(exp(v) exp(d)) = v + J d: J = I + [v]/2 + (1/a^2 - (1 + cos a) / (2 a sin a)) [v]^2 with a = |v|
    (Sola et al., A micro Lie theory, 2018, eq. 144).

    Args:
        rotvec: (..., 3), shorter than pi.

    Returns:
        (..., 3, 3).
    """
    angle = rotvec.norm(dim=-1).clamp(1e-3, 3.1)[..., None, None]
    cross = skew(rotvec)
    factor = 1 / angle**2 - (1 + angle.cos()) / (2 * angle * angle.sin())
    return torch.eye(3, dtype=rotvec.dtype, device=rotvec.device) + cross / 2 + factor * cross @ cross

"""ImpHMR's terms for what it predicts from other directions (Cho et al., CVPR 2023).

For one random direction phi per person: where 3D labels are known, joints, pose, shape and silhouette are
compared with the truth rotated by -phi; else pose and shape with those predicted from phi = 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fullframe.body.body_model import BodyModel
from fullframe.data.batch import Batch
from fullframe.losses.objective import LossWeights, Model, Objective
from fullframe.losses.terms import Term, betas_loss, joint_loss, pose_loss
from fullframe.models.imphmr.imphmr import SILHOUETTE
from fullframe.models.imphmr.silhouettes import Silhouettes
from fullframe.models.imphmr.volume import FIELD_HALF_SIZE_M, rotate_root, rotation_y

NOVEL_VIEW_TERMS = (
    "imagined_joints",
    "imagined_pose",
    "imagined_betas",
    "silhouette",
    "consistent_pose",
    "consistent_betas",
)
"""Absent where the network has no novel view."""


@dataclass(frozen=True)
class ImpHMRLossWeights:
    """Weight of each term beside those of LossWeights; ours, since ImpHMR's are not published.

    Attributes:
        imagined_joints, imagined_pose, imagined_betas, silhouette: of the terms with labels.
        consistent_pose, consistent_betas: of the terms without.
        warmup: samples over which all of these grow from 0; 0 for none.
    """

    imagined_joints: float = 2.5
    imagined_pose: float = 0.5
    imagined_betas: float = 0.0005
    silhouette: float = 0.1
    consistent_pose: float = 0.5
    consistent_betas: float = 0.0005
    warmup: int = 50_000


class ImpHMRObjective(Objective):
    """The loss of an ImpHMROutput.

    Args:
        body, weights, error: see Objective.
        novel_view: weights of the terms about other directions.
    """

    def __init__(
        self,
        body: BodyModel,
        weights: LossWeights | None = None,
        error: str = "squared",
        novel_view: ImpHMRLossWeights | None = None,
    ) -> None:
        super().__init__(body, weights, error)
        self.novel_view = novel_view or ImpHMRLossWeights()
        self.silhouettes = Silhouettes(body, SILHOUETTE, FIELD_HALF_SIZE_M)

    def forward(
        self,
        model: Model,
        output: Any,
        batch: Batch,
        all_reduce_mean: Callable[[Tensor], Tensor] = lambda share: share,
        samples: float = math.inf,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As Objective's."""
        total, means = super().forward(model, output, batch, all_reduce_mean, samples)
        view = output.novel_view
        if view is not None and view.silhouette is not None and "silhouette" not in means:
            # Distributed training waits for a gradient of every parameter.
            total = total + 0 * view.silhouette.sum()
        return total, means

    def term_weights(self, samples: float) -> dict[str, float]:
        warmup = self.novel_view.warmup
        factor = min(1, samples / warmup) if warmup else 1
        return super().term_weights(samples) | {
            name: factor * getattr(self.novel_view, name) for name in NOVEL_VIEW_TERMS
        }

    def terms(self, model: Model, output: Any, batch: Batch) -> dict[str, Term]:
        terms = super().terms(model, output, batch)
        view = output.novel_view
        if view is None:
            return terms
        wanted = {name for name in NOVEL_VIEW_TERMS if getattr(self.novel_view, name)}
        phi = view.phi.float()
        pose, betas, _ = (x.float() for x in view.prediction)
        truth, known = rotate_root(batch.pose, phi), batch.has_pose
        if "imagined_joints" in wanted:
            labels = {
                name: torch.cat((label[..., :3] @ rotation_y(phi), label[..., 3:]), dim=-1)
                for name, label in batch.joints.items()
            }
            unlabelled = Term(0 * betas.sum(1), torch.zeros_like(betas[:, 0]))
            joints = self.predict_joints(betas, pose, labels)
            terms["imagined_joints"] = joint_loss(joints, labels, self.error) if labels else unlabelled
        if "imagined_pose" in wanted:
            terms["imagined_pose"] = pose_loss(pose, truth, known)
        if "imagined_betas" in wanted:
            terms["imagined_betas"] = betas_loss(betas, batch.betas, batch.has_betas)
        if "silhouette" in wanted and view.silhouette is not None:
            label = self.silhouettes(batch.betas, truth)
            terms["silhouette"] = silhouette_loss(view.silhouette.float(), label, known * batch.has_betas)
        # The paper compares two random views; here one of them is that from 0, which is computed anyway.
        if "consistent_pose" in wanted:
            canonical = rotate_root(output.prediction.pose, phi)
            terms["consistent_pose"] = pose_loss(pose, canonical, 1 - known)
        if "consistent_betas" in wanted:
            terms["consistent_betas"] = betas_loss(betas, output.prediction.betas, 1 - batch.has_betas)
        return terms


def silhouette_loss(logits: Tensor, label: Tensor, known: Tensor) -> Term:
    """Binary cross-entropy of silhouettes (N, H, W) for those `known` (N,); our choice of form."""
    errors = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
    return Term(errors.mean((1, 2)), known)

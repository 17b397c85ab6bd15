"""The objective of training: SCALE x the weighted sum of the terms (terms.py); the weights are SPIN's.

CLIFF's change, the 2D term in the full frame, is in the model's `project`: here all networks are the same.
A model whose output has more to learn from subclasses Objective, see models.imphmr.losses.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fullframe.body.body_model import BodyModel, forward_kinematics
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.data.batch import Batch
from fullframe.losses.terms import (
    ERRORS,
    Term,
    betas_loss,
    camera_loss,
    heatmap_loss,
    joint_loss,
    keypoint_loss,
    pose_loss,
)

SCALE = 60.0
"""Of the weighted sum, as in SPIN: with Adam it matters to gradient clipping only."""


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term; the defaults are SPIN's, and ours for heatmaps. A term of weight 0 is left out."""

    keypoints: float = 5.0
    joints: float = 5.0
    pose: float = 1.0
    betas: float = 0.001
    camera: float = 1.0
    heatmaps: float = 0.2


class Model(Protocol):
    """What an objective needs of a network: models.CropRegressor has it."""

    def project(self, points: Tensor, prediction: Any, bbox_info: Tensor) -> Tensor: ...


class Objective(nn.Module):
    """The loss of a network's output for a batch.

    Args:
        body: whose pose and betas the network predicts.
        weights: of the terms.
        error: key of ERRORS, for 2D keypoints and 3D joints.

    Raises:
        ValueError: for an unknown error, or if all weights but that of heatmaps are 0.
    """

    def __init__(self, body: BodyModel, weights: LossWeights | None = None, error: str = "squared") -> None:
        super().__init__()
        if error not in ERRORS:
            raise ValueError(f"unknown kind of loss {error!r}; known: {', '.join(ERRORS)}")
        self.weights = weights or LossWeights()
        if not any(weight for name, weight in asdict(self.weights).items() if name != "heatmaps"):
            raise ValueError("every loss weight is 0: there is nothing to learn")
        self.error = error
        self.body = body
        self._regressors = nn.ModuleDict()

    def forward(
        self,
        model: Model,
        output: Any,
        batch: Batch,
        all_reduce_mean: Callable[[Tensor], Tensor] = lambda share: share,
        samples: float = math.inf,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch.

        Args:
            model: its `project` gives the camera of the 2D term.
            output: of the model's `forward_train` for the batch; heatmaps may be None.
            all_reduce_mean: the mean of a tensor over processes, if several share a batch: a term's mean is
                over those of the whole batch who have the label.
            samples: seen so far, for weights that grow.

        Returns:
            the loss, and each term's mean by the name of its weight, without gradient.
        """
        prediction = type(output.prediction)(*(x.float() for x in output.prediction))
        terms = self.terms(model, output._replace(prediction=prediction), batch)
        weights = self.term_weights(samples)
        shares = all_reduce_mean(torch.stack([term.mask.mean() for term in terms.values()]))
        means = {name: term.mean(share) for (name, term), share in zip(terms.items(), shares, strict=True)}
        total = SCALE * torch.stack([weights[name] * mean for name, mean in means.items()]).sum()
        return total, {name: mean.detach() for name, mean in means.items()}

    def term_weights(self, samples: float) -> dict[str, float]:
        """The weight of each term after so many samples."""
        return asdict(self.weights)

    def terms(self, model: Model, output: Any, batch: Batch) -> dict[str, Term]:
        """The terms whose weight is not 0; the prediction is float32."""
        pose, betas, weak_camera = output.prediction
        wanted = {name for name, weight in asdict(self.weights).items() if weight}
        terms: dict[str, Term] = {}
        sets = dict.fromkeys([
            *(batch.keypoints if "keypoints" in wanted else ()),
            *(batch.joints if "joints" in wanted else ()),
        ])  # fmt: skip
        joints = self.predict_joints(betas, pose, sets)
        zeros = 0 * betas.sum(1)  # a batch without labels has a loss of 0 with a gradient of 0
        if "keypoints" in wanted:
            seen = {s: model.project(joints[s], output.prediction, batch.bbox_info) for s in batch.keypoints}
            unlabelled = Term(zeros, torch.ones_like(zeros))
            terms["keypoints"] = keypoint_loss(seen, batch.keypoints, self.error) if seen else unlabelled
        if "joints" in wanted:
            unlabelled = Term(zeros, torch.zeros_like(zeros))
            terms["joints"] = joint_loss(joints, batch.joints, self.error) if batch.joints else unlabelled
        if "pose" in wanted:
            terms["pose"] = pose_loss(pose, batch.pose, batch.has_pose)
        if "betas" in wanted:
            terms["betas"] = betas_loss(betas, batch.betas, batch.has_betas)
        if "camera" in wanted:
            terms["camera"] = camera_loss(weak_camera)
        if "heatmaps" in wanted and output.heatmaps is not None:
            terms["heatmaps"] = heatmap_loss(output.heatmaps.float(), batch.keypoints)
        return terms

    def predict_joints(self, betas: Tensor, pose: Tensor, sets: Iterable[str]) -> dict[str, Tensor]:
        """Joints of bodies before translation, without their vertices.

        Args:
            betas: (N, B).
            pose: (N, 24, 3, 3).
            sets: keys of JOINT_SETS.

        Returns:
            joint set to (N, K, 3) metres in the camera frame.

        Raises:
            BodyFileError: the body has no regressor for a set.
        """
        joints = {}
        for joint_set in sets:
            if joint_set == "smpl24":
                joints[joint_set] = forward_kinematics(self.body.rest_joints(betas), pose)[1]
                continue
            if joint_set not in self._regressors:
                self._regressors[joint_set] = KeypointRegressor(self.body, joint_set).to(betas.device)
            joints[joint_set] = self._regressors[joint_set](betas, pose).keypoints
        return joints

"""What the networks are trained with, one function a term; the forms and weights are SPIN's.

SPIN (Kolotouros et al., "Learning to Reconstruct 3D Human Pose and Shape via Model-fitting in the Loop",
ICCV 2019) is the recipe that CLIFF (Li et al., ECCV 2022) builds on. CLIFF's change, the 2D term in the full
frame, is in `CLIFF.project`: here both networks are the same.

ImpHMR (Cho et al., CVPR 2023) adds terms for what it imagines from a direction phi: where 3D labels are
known, joints, pose, shape and silhouette against the truth turned by -phi; else consistency with another
view.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.body.model import BodyModel, forward_kinematics
from fullframe.data.batch import Batch
from fullframe.models.base import CropRegressor, Prediction
from fullframe.models.heatmap_pool import HEATMAP_SETS, cell_centres
from fullframe.models.imphmr.model import SILHOUETTE, NovelViewPrediction
from fullframe.models.imphmr.silhouettes import Silhouettes
from fullframe.models.imphmr.volume import HALF, rotate_root, turn

SMOOTH = 0.1
"""Where smooth_l1 turns from a parabola into a line: halves of the crop's height in 2D, metres in 3D."""

ERRORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": lambda a, b: (a - b).square(),
    "l1": lambda a, b: (a - b).abs(),
    "smooth_l1": lambda a, b: functional.smooth_l1_loss(a, b, reduction="none", beta=SMOOTH),
}

SCALE = 60.0
"""Of the weighted sum, as in SPIN: with Adam it matters to gradient clipping only."""


class Term(NamedTuple):
    """One loss of N people.

    Attributes:
        values: (N,) of each.
        counted: (N,) 1 for those over whom the mean is taken, else 0.
    """

    values: Tensor
    counted: Tensor

    def mean(self, share: Tensor | None = None) -> Tensor:
        """Over those who are counted; 0 without a gradient if nobody is.

        Args:
            share: the counted part of the people, where they are spread over processes: the mean of these
                results over processes is then the mean over everyone. Without it, of the people here.
        """
        share = self.counted.mean() if share is None else share
        return (self.values * self.counted).mean() / torch.where(share > 0, share, 1)


@dataclass(frozen=True)
class LossWeights:
    """Of each term; the defaults are SPIN's, and ours for heatmaps and for what is imagined: ImpHMR's are not
    known."""

    keypoints: float = 5.0
    joints: float = 5.0
    pose: float = 1.0
    betas: float = 0.001
    vertices: float = 0.0
    camera: float = 1.0
    heatmaps: float = 0.2
    imagined_joints: float = 2.5
    imagined_pose: float = 0.5
    imagined_betas: float = 0.0005
    silhouette: float = 0.1
    consistent_pose: float = 0.5
    consistent_betas: float = 0.0005


IMAGINATION = (
    "imagined_joints",
    "imagined_pose",
    "imagined_betas",
    "silhouette",
    "consistent_pose",
    "consistent_betas",
)
"""The terms of what is imagined; without imagination they are absent."""


def keypoint_term(
    predicted: Mapping[str, Tensor], labels: Mapping[str, Tensor], kind: str = "squared"
) -> Term:
    """2D keypoints: mean of confidence x error over a person's x and y; the mean counts everyone.

    A person's mean is over the joint sets in which they have any confidence, and there over every joint: a
    hidden joint leaves the others' share as it is. With one joint set for all this is SPIN's mean over all
    entries.

    Args:
        predicted: joint set to (N, K, 2) in halves of the crop's height, as from CLIFF.project. Both axes
            have the same unit, so that in a crop of 4:3, too, an error weighs the same along x and y.
        labels: joint set to (N, K, 3): the same and confidence.
        kind: key of ERRORS.
    """
    sums, entries = [], []
    for joint_set, label in labels.items():
        confidence = label[..., 2]
        errors = ERRORS[kind](predicted[joint_set], label[..., :2])
        sums.append((confidence[..., None] * errors).sum((1, 2)))
        entries.append((confidence > 0).any(1) * errors[0].numel())
    values = torch.stack(sums).sum(0) / torch.stack(entries).sum(0).clamp(min=1)
    return Term(values, torch.ones_like(values))


def joint_term(predicted: Mapping[str, Tensor], labels: Mapping[str, Tensor], kind: str = "squared") -> Term:
    """3D joints relative to the middle of the hips: mean of validity x error over a person's coordinates.

    Joint sets are joined as in `keypoint_term`. A joint set counts where both of its hips are known, and a
    person with any such set.

    Args:
        predicted: joint set to (N, K, 3) metres in the camera frame, up to a translation.
        labels: joint set to (N, K, 4): the same and validity.
        kind: key of ERRORS.
    """
    sums, entries = [], []
    for joint_set, label in labels.items():
        hips = [JOINT_SETS[joint_set].names.index(name) for name in ("left_hip", "right_hip")]
        pair = predicted[joint_set], label[..., :3]
        rooted = [points - points[:, hips].mean(1, keepdim=True) for points in pair]
        known = (label[:, hips, 3] > 0).all(1)
        validity = label[..., 3] * known[:, None]
        errors = ERRORS[kind](*rooted)
        sums.append((validity[..., None] * errors).sum((1, 2)))
        entries.append(known * errors[0].numel())
    total = torch.stack(entries).sum(0)
    return Term(torch.stack(sums).sum(0) / total.clamp(min=1), (total > 0).to(label))


def pose_term(predicted: Tensor, label: Tensor, known: Tensor) -> Term:
    """Mean squared difference of rotation matrices, the root's included: in CLIFF it is the point.

    Args:
        predicted, label: (N, 24, 3, 3).
        known: (N,) 1 or 0.
    """
    return Term((predicted - label).square().mean((1, 2, 3)), known)


def betas_term(predicted: Tensor, label: Tensor, known: Tensor) -> Term:
    """Mean squared difference of shape coefficients (N, B), for those `known` (N,)."""
    return Term((predicted - label).square().mean(1), known)


def vertex_term(predicted: Tensor, label: Tensor, known: Tensor) -> Term:
    """Mean absolute difference of the coordinates of vertices (N, V, 3), for those `known` (N,)."""
    return Term((predicted - label).abs().mean((1, 2)), known)


def camera_term(weak_camera: Tensor) -> Term:
    """exp(-10 s)^2 of weak cameras (N, 3): keeps the scale s positive.

    Below s = 0 it goes on along its tangent, or one crop could outweigh all others by orders of magnitude.
    """
    scale = weak_camera[:, 0]
    values = (-20 * scale.clamp(min=0)).exp() + 20 * (-scale).clamp(min=0)
    return Term(values, torch.ones_like(values))


def heatmap_term(heatmaps: Tensor, labels: Mapping[str, Tensor]) -> Term:
    """Cross-entropy of heatmaps and labelled places, spread by one cell: mean over a person's known joints.

    Joints outside of the crop are looked for at its border.

    Args:
        heatmaps: (N, NUM_HEATMAPS, H, W) logits, see models.joints.
        labels: joint set to (N, K, 3), as for `keypoint_term`.
    """
    height, width = heatmaps.shape[2:]
    y, x = cell_centres(height, width, heatmaps)
    sums, known = heatmaps.new_zeros(len(heatmaps)), heatmaps.new_zeros(len(heatmaps))
    maps = heatmaps.split([len(JOINT_SETS[name]) for name in HEATMAP_SETS], dim=1)
    for name, some in zip(HEATMAP_SETS, maps, strict=True):
        if name not in labels:
            continue
        label = labels[name]
        place = torch.minimum(label[..., :2].abs(), torch.stack((x[-1], y[-1]))).copysign(label[..., :2])
        # Distances in cells, whose sides are 2 / height.
        away = [(centres - place[..., i, None]) * height / 2 for i, centres in enumerate((x, y))]
        across, down = ((-d.square() / 2).softmax(dim=2) for d in away)
        target = down[..., :, None] * across[..., None, :]
        errors = -(target.flatten(2) * some.flatten(2).log_softmax(dim=2)).sum(2)
        seen = (label[..., 2] > 0).to(errors)
        sums, known = sums + (seen * errors).sum(1), known + seen.sum(1)
    return Term(sums / known.clamp(min=1), (known > 0).to(sums))


def silhouette_term(logits: Tensor, label: Tensor, known: Tensor) -> Term:
    """Binary cross-entropy of silhouettes (N, H, W) for those `known` (N,); ImpHMR's is not known."""
    errors = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
    return Term(errors.mean((1, 2)), known)


class Losses(nn.Module):
    """All terms together: SCALE x their weighted sum. A term of weight 0 is not computed.

    Args:
        body: whose pose and betas the network predicts.
        weights: of the terms.
        kind: key of ERRORS, for 2D keypoints and 3D joints.

    Raises:
        ValueError: for an unknown kind, or if all weights are 0.
    """

    def __init__(self, body: BodyModel, weights: LossWeights | None = None, kind: str = "squared") -> None:
        super().__init__()
        if kind not in ERRORS:
            raise ValueError(f"unknown kind of loss {kind!r}; known: {', '.join(ERRORS)}")
        self.weights = weights or LossWeights()
        beside = (*IMAGINATION, "heatmaps")
        if not any(weight for name, weight in asdict(self.weights).items() if name not in beside):
            raise ValueError("every loss weight is 0: there is nothing to learn")
        self.kind = kind
        self.body = body
        self.regressed = nn.ModuleDict()
        self.silhouettes = Silhouettes(body, SILHOUETTE, HALF)

    def forward(
        self,
        model: CropRegressor,
        prediction: Prediction,
        batch: Batch,
        all_reduce_mean: Callable[[Tensor], Tensor] = lambda share: share,
        *,
        heatmaps: Tensor | None = None,
        imagined: NovelViewPrediction | None = None,
        imagination: float = 1.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch.

        Args:
            model: its `project` gives the camera of the 2D term.
            prediction: of the model for the batch.
            all_reduce_mean: the mean over processes of what each gives, if several share a batch: a term's
                mean is over those of the whole batch who have the label.
            heatmaps: of the model for the batch, if it has any.
            imagined: what the model says about the same people seen from elsewhere, if it does.
            imagination: factor on the weights of the terms about it.

        Returns:
            the loss, and each term's mean by the name of its weight, without gradient.
        """
        weights = {name: weight for name, weight in asdict(self.weights).items() if weight}
        pose, betas, weak_camera = (x.float() for x in prediction)
        prediction = Prediction(pose, betas, weak_camera)
        terms: dict[str, Term] = {}
        sets = {
            *(batch.keypoints if "keypoints" in weights else ()),
            *(batch.joints if "joints" in weights else ()),
        }
        joints = self.predict_joints(betas, pose, sets)
        nothing = 0 * betas.sum(1)
        if "keypoints" in weights:
            seen = {s: model.project(joints[s], prediction, batch.bbox_info) for s in batch.keypoints}
            everyone = Term(nothing, torch.ones_like(nothing))
            terms["keypoints"] = keypoint_term(seen, batch.keypoints, self.kind) if seen else everyone
        if "joints" in weights:
            nobody = Term(nothing, torch.zeros_like(nothing))
            terms["joints"] = joint_term(joints, batch.joints, self.kind) if batch.joints else nobody
        if "pose" in weights:
            terms["pose"] = pose_term(pose, batch.pose, batch.has_pose)
        if "betas" in weights:
            terms["betas"] = betas_term(betas, batch.betas, batch.has_betas)
        if "vertices" in weights:
            with torch.no_grad():
                truth = self.body(batch.betas, batch.pose).vertices
            known = batch.has_pose * batch.has_betas
            terms["vertices"] = vertex_term(self.body(betas, pose).vertices, truth, known)
        if "camera" in weights:
            terms["camera"] = camera_term(weak_camera)
        if heatmaps is not None and "heatmaps" in weights:
            terms["heatmaps"] = heatmap_term(heatmaps.float(), batch.keypoints)
        if imagined is not None:
            terms |= self.imagination_terms(imagined, prediction, batch, weights)
            weights = {n: w * (imagination if n in IMAGINATION else 1) for n, w in weights.items()}

        shares = all_reduce_mean(torch.stack([term.counted.mean() for term in terms.values()]))
        means = {name: term.mean(share) for (name, term), share in zip(terms.items(), shares, strict=True)}
        total = SCALE * torch.stack([weights[name] * mean for name, mean in means.items()]).sum()
        if imagined is not None and imagined.silhouette is not None and "silhouette" not in terms:
            # Several processes wait for the gradient of every weight.
            total = total + 0 * imagined.silhouette.sum()
        return total, {name: mean.detach() for name, mean in means.items()}

    def imagination_terms(
        self, imagined: NovelViewPrediction, prediction: Prediction, batch: Batch, wanted: Collection[str]
    ) -> dict[str, Term]:
        """ImpHMR's terms for one direction of each person.

        Where pose or shape have no label, the view from phi is held to the one from 0, with a gradient to
        both: of the paper's two random views ours is one, since the other is computed anyway.

        Args:
            imagined: of the model for the batch.
            prediction: of the model for the batch, from phi = 0.
            wanted: names of terms.
        """
        phi = imagined.phi.float()
        pose, betas, _ = (x.float() for x in imagined.prediction)
        truth, known = rotate_root(batch.pose, phi), batch.has_pose
        terms: dict[str, Term] = {}
        if "imagined_joints" in wanted:
            labels = {
                name: torch.cat((label[..., :3] @ turn(phi), label[..., 3:]), dim=-1)
                for name, label in batch.joints.items()
            }
            nobody = Term(0 * betas.sum(1), torch.zeros_like(betas[:, 0]))
            joints = self.predict_joints(betas, pose, labels)
            terms["imagined_joints"] = joint_term(joints, labels, self.kind) if labels else nobody
        if "imagined_pose" in wanted:
            terms["imagined_pose"] = pose_term(pose, truth, known)
        if "imagined_betas" in wanted:
            terms["imagined_betas"] = betas_term(betas, batch.betas, batch.has_betas)
        if "silhouette" in wanted and imagined.silhouette is not None:
            label = self.silhouettes(batch.betas, truth)
            terms["silhouette"] = silhouette_term(imagined.silhouette.float(), label, known * batch.has_betas)
        if "consistent_pose" in wanted:
            terms["consistent_pose"] = pose_term(pose, rotate_root(prediction.pose, phi), 1 - known)
        if "consistent_betas" in wanted:
            terms["consistent_betas"] = betas_term(betas, prediction.betas, 1 - batch.has_betas)
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
            if joint_set not in self.regressed:
                self.regressed[joint_set] = KeypointRegressor(self.body, joint_set).to(betas.device)
            joints[joint_set] = self.regressed[joint_set](betas, pose).keypoints
        return joints

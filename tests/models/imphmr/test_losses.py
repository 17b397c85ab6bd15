import math
from dataclasses import replace

import pytest
import torch
from losses_fixtures import body, labelled, model, people

from fullframe.losses.objective import LossWeights
from fullframe.models.crop_regressor import Prediction
from fullframe.models.imphmr.imphmr import ImpHMROutput, NovelViewPrediction
from fullframe.models.imphmr.losses import (
    NOVEL_VIEW_TERMS,
    ImpHMRLossWeights,
    ImpHMRObjective,
    silhouette_loss,
)
from fullframe.models.imphmr.volume import rotate_root

__all__ = ["body", "model"]


ONLY_NOVEL_VIEW = dict.fromkeys(("keypoints", "joints", "pose", "betas"), 0.0)


def seen_from(truth, phi, body):
    """The true prediction for these people from the directions phi."""
    turned = Prediction(rotate_root(truth.pose, phi), truth.betas, torch.zeros_like(truth.weak_camera))
    picture = ImpHMRObjective(body).silhouettes(turned.betas, turned.pose)
    return NovelViewPrediction(phi, turned, 40 * picture - 20)


def test_the_truth_from_another_direction_has_no_loss(body, model):
    batch, truth = labelled(body, model)
    phi = torch.tensor([0.0, 0.5, -2.0, 3.0])
    objective = ImpHMRObjective(body, LossWeights(**ONLY_NOVEL_VIEW, camera=1e-9))
    total, terms = objective(model, ImpHMROutput(truth, novel_view=seen_from(truth, phi, body)), batch)
    assert set(terms) == {"camera", *NOVEL_VIEW_TERMS} and total.item() < 1e-4, terms
    # As seen from 0 it is wrong everywhere else, in all but shape; nothing has to be consistent here.
    _, terms = objective(
        model, ImpHMROutput(truth, novel_view=seen_from(truth, 0 * phi, body)._replace(phi=phi)), batch
    )
    assert min(terms[f"imagined_{name}"] for name in ("joints", "pose")) > 0.01
    assert terms["silhouette"] > 0.1 and terms["imagined_betas"] < 1e-9
    assert terms["consistent_pose"] == terms["consistent_betas"] == 0


def test_people_without_3d_labels_have_to_be_consistent(body, model):
    batch, truth = labelled(body, model)
    phi = torch.tensor([0.0, 0.5, -2.0, 3.0])
    known, of_shape = torch.tensor([1.0, 1, 0, 0]), torch.tensor([1.0, 0, 1, 0])
    batch = replace(batch, has_pose=known, has_betas=of_shape, pose=batch.pose * known[:, None, None, None])
    objective = ImpHMRObjective(body, LossWeights(**ONLY_NOVEL_VIEW, camera=1e-9))
    _, terms = objective(model, ImpHMROutput(truth, novel_view=seen_from(truth, phi, body)), batch)
    assert terms["consistent_pose"] < 1e-9 and terms["consistent_betas"] < 1e-9
    others, _ = people(body, seed=1)
    wrong = seen_from(others, phi, body)
    prediction = Prediction(*(x.clone().requires_grad_() for x in truth))
    total, terms = objective(model, ImpHMROutput(prediction, novel_view=wrong), batch)
    difference = (rotate_root(others.pose, phi) - rotate_root(truth.pose, phi)).square().mean((1, 2, 3))
    assert terms["consistent_pose"].item() == pytest.approx(difference[2:].mean().item(), rel=1e-4)
    shapes = (others.betas - truth.betas).square().mean(1)
    assert terms["consistent_betas"].item() == pytest.approx(shapes[[1, 3]].mean().item(), rel=1e-4)
    assert terms["imagined_betas"].item() == pytest.approx(shapes[[0, 2]].mean().item(), rel=1e-4)
    # A silhouette needs both.
    label = objective.silhouettes(batch.betas[:1], rotate_root(batch.pose, phi)[:1])
    alone = silhouette_loss(wrong.silhouette[:1], label, torch.ones(1)).mean()
    assert terms["silhouette"].item() == pytest.approx(alone.item(), rel=1e-4)
    total.backward()
    assert prediction.pose.grad[2:].abs().sum() > 0  # a gradient to both views
    assert torch.equal(prediction.pose.grad[:2], torch.zeros(2, 24, 3, 3))  # here the label decides


def test_novel_view_terms_grow_and_can_be_left_out(body, model):
    batch, truth = labelled(body, model)
    others, _ = people(body, seed=1)
    imagined = seen_from(others, torch.ones(4), body)
    imagined = imagined._replace(silhouette=imagined.silhouette.requires_grad_())
    objective = ImpHMRObjective(body, LossWeights(camera=0.0), novel_view=ImpHMRLossWeights(warmup=1000))
    output = ImpHMROutput(truth, novel_view=imagined)
    whole, half, none = (objective(model, output, batch, samples=x)[0] for x in (1000, 500, 0))
    assert half.item() == pytest.approx(whole.item() / 2, rel=1e-3) and none.item() < 1e-3
    assert "imagined_pose" not in objective(model, ImpHMROutput(truth), batch)[1]
    without = ImpHMRObjective(body, novel_view=ImpHMRLossWeights(silhouette=0))
    total, terms = without(model, output, batch)
    total.backward()
    assert "silhouette" not in terms
    assert torch.equal(imagined.silhouette.grad, torch.zeros(4, 64, 64))  # there, for distributed training


def test_silhouettes_by_hand():
    logits = torch.tensor([[[0.0, 100.0]], [[-100.0, 100.0]]])
    label = torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]]])
    term = silhouette_loss(logits, label, torch.tensor([1.0, 0.0]))
    assert term.values.tolist() == pytest.approx([math.log(2) / 2, 0])
    assert term.mean().item() == pytest.approx(math.log(2) / 2)

from dataclasses import replace

import pytest
import roma
import torch
from losses_fixtures import body, labelled, model, people

from fullframe.losses.objective import SCALE, LossWeights, Objective
from fullframe.losses.terms import ERRORS
from fullframe.models import create_model
from fullframe.models.crop_regressor import Prediction, TrainOutput

__all__ = ["body", "model"]


def test_nobody_labelled_is_zero_with_a_zero_gradient(body, model):
    batch, truth = labelled(body, model)
    nothing = torch.zeros(len(batch))
    batch = replace(
        batch,
        keypoints={s: x * 0 for s, x in batch.keypoints.items()},
        joints={s: x * 0 for s, x in batch.joints.items()},
        has_pose=nothing,
        has_betas=nothing,
    )
    objective = Objective(body, LossWeights(camera=0.0))
    for empty in (batch, replace(batch, keypoints={}, joints={})):
        prediction = Prediction(*(x.clone().requires_grad_() for x in truth))
        total, terms = objective(model, TrainOutput(prediction), empty)
        total.backward()
        assert total.item() == 0 and set(terms) == {"keypoints", "joints", "pose", "betas"}
        for x in prediction:
            assert x.grad is None or torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("name", ["cliff", "hmr", "ray"])
@pytest.mark.parametrize("kind", ERRORS)
def test_the_truth_has_no_loss(body, name, kind):
    model = create_model(name, encoder="resnet18", crop=(64, 48), num_betas=11)
    batch, truth = labelled(body, model, sets=("coco17", "smpl24", "lsp14"))
    total, terms = Objective(body, LossWeights(camera=0.0), kind)(model, TrainOutput(truth), batch)
    assert total.item() < 1e-3, terms  # 0.1 um, through rounding at a distance of 7 m


def test_the_total_is_the_weighted_sum(body, model):
    batch, _ = labelled(body, model)
    wrong, _ = people(body, seed=1)
    total, terms = Objective(body, LossWeights())(model, TrainOutput(wrong), batch)
    weights = {"keypoints": 5, "joints": 5, "pose": 1, "betas": 0.001, "camera": 1}
    assert list(terms) == list(weights)
    assert total.item() == pytest.approx(60 * sum(w * terms[n].item() for n, w in weights.items()), rel=1e-5)
    assert SCALE == 60
    alone, terms = Objective(body, LossWeights(0, 0, 2.0, 0, 0))(model, TrainOutput(wrong), batch)
    assert list(terms) == ["pose"] and alone.item() == pytest.approx(120 * terms["pose"].item())
    assert terms["pose"].item() == pytest.approx((wrong.pose - batch.pose).square().mean().item(), rel=1e-5)


def test_the_2d_term_uses_the_models_camera(body):
    """The labels of the full frame are no truth for HMR's camera of the crop, and the other way round."""
    full, crop = (
        create_model("cliff", encoder="resnet18", crop=(64, 48), num_betas=11, full_frame_loss=switch)
        for switch in (True, False)
    )
    weights = LossWeights(1, 0, 0, 0, 0)
    for one, other in ((full, crop), (crop, full)):
        batch, truth = labelled(body, one)
        assert Objective(body, weights)(one, TrainOutput(truth), batch)[0].item() < 1e-6
        assert Objective(body, weights)(other, TrainOutput(truth), batch)[0].item() > 1e-2


def test_joints_are_those_of_the_vertices(body):
    truth, _ = people(body)
    out = body(truth.betas, truth.pose)
    found = Objective(body).predict_joints(truth.betas, truth.pose, ("smpl24", "coco17", "lsp14"))
    torch.testing.assert_close(found["smpl24"], out.joints)
    for name in ("coco17", "lsp14"):
        torch.testing.assert_close(found[name], body.regress(out.vertices, name), atol=1e-5, rtol=1e-4)


def test_bodies_are_found_by_descent(body, model):
    """From mean bodies to the true ones, through rotations in 6D as a network states them."""
    batch, truth = labelled(body, model, number=3)
    pose6d = torch.eye(3)[:, :2].expand(3, 24, 3, 2).clone()
    pose6d[:, 0, 1:] *= -1
    free = [pose6d, torch.zeros(3, 11), torch.tensor([[0.9, 0.0, 0.0]]).repeat(3, 1)]
    optimizer = torch.optim.Adam([x.requires_grad_() for x in free], lr=0.05)
    objective = Objective(body, LossWeights(betas=0.1))
    history = []
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 300)
        prediction = Prediction(roma.special_gramschmidt(free[0]), free[1], free[2])
        total, _ = objective(model, TrainOutput(prediction), batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert history[-1] < 2e-3 * history[0]
    assert (prediction.pose - truth.pose).abs().max() < 0.08
    torch.testing.assert_close(prediction.weak_camera, truth.weak_camera, atol=0.01, rtol=0)
    error = (body(*prediction[1::-1]).joints - body(*truth[1::-1]).joints).norm(dim=-1)
    assert error.max() < 0.01


def test_bad_settings(body):
    with pytest.raises(ValueError, match=r"unknown kind of loss 'huber'; known: squared, l1, smooth_l1"):
        Objective(body, error="huber")
    with pytest.raises(ValueError, match="nothing to learn"):
        Objective(body, LossWeights(0, 0, 0, 0, 0))

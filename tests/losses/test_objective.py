import math
from dataclasses import replace

import pytest
import roma
import torch

from fullframe.body import JOINT_SETS, load_body
from fullframe.data.batch import Batch
from fullframe.losses.objective import (
    ERRORS,
    IMAGINATION,
    SCALE,
    Losses,
    LossWeights,
    Term,
    betas_term,
    camera_term,
    heatmap_term,
    joint_term,
    keypoint_term,
    pose_term,
    silhouette_term,
    vertex_term,
)
from fullframe.models import create_model
from fullframe.models.base import Prediction
from fullframe.models.heatmap_pool import HEATMAP_SETS, NUM_HEATMAPS, places
from fullframe.models.imphmr.model import NovelViewPrediction
from fullframe.models.imphmr.volume import rotate_root


@pytest.fixture(scope="module")
def body():
    return load_body(num_betas=11)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("cliff", encoder="resnet18", crop=(64, 48), num_betas=11)


def people(body, number=4, seed=0):
    """True bodies of some people, and where their crops sit."""
    torch.manual_seed(seed)
    pose = roma.rotvec_to_rotmat(0.3 * torch.randn(number, 24, 3))
    pose[:, 0] = roma.rotvec_to_rotmat(torch.tensor([math.pi, 0.0, 0.0]) + 0.3 * torch.randn(number, 3))
    betas = torch.randn(number, body.num_betas)
    weak_camera = torch.tensor([0.85, 0.02, 0.15]).expand(number, 3).clone()
    bbox_info = torch.cat((0.3 * torch.randn(number, 2), 0.2 + 0.3 * torch.rand(number, 1)), 1)
    return Prediction(pose, betas, weak_camera), bbox_info


def labelled(body, model, sets=("coco17", "smpl24"), number=4, seed=0):
    """A batch and the prediction that is right for it."""
    truth, bbox_info = people(body, number, seed)
    joints = Losses(body).predict_joints(truth.betas, truth.pose, sets)
    ones = torch.ones(number)
    batch = Batch(
        crops=torch.zeros(number, 64, 48, 3, dtype=torch.uint8),
        bbox_info=bbox_info,
        keypoints={
            s: torch.cat((model.project(x, truth, bbox_info), torch.ones_like(x[..., :1])), -1)
            for s, x in joints.items()
        },
        joints={s: torch.cat((x + 7, torch.ones_like(x[..., :1])), -1) for s, x in joints.items()},
        pose=truth.pose,
        has_pose=ones,
        betas=truth.betas,
        has_betas=ones,
        source=torch.zeros(number, dtype=torch.int64),
    )
    return batch, truth


def test_keypoints_by_hand():
    label = torch.zeros(2, 14, 3)
    label[0, 0] = torch.tensor([0.5, -0.5, 1.0])
    label[0, 1] = torch.tensor([0.0, 0.2, 0.25])
    predicted = {"lsp14": torch.zeros(2, 14, 2)}
    # Person 0: (0.25 + 0.25) + 0.25 * 0.04, over 14 x 2 entries; person 1 has no label.
    term = keypoint_term(predicted, {"lsp14": label})
    assert term.values.tolist() == pytest.approx([0.51 / 28, 0])
    assert term.mean().item() == pytest.approx(0.51 / 56)  # everyone counts
    assert keypoint_term(predicted, {"lsp14": label}, "l1").values[0].item() == pytest.approx(1.05 / 28)
    # 0.1 ends the parabola d^2 / 0.2; beyond it is d - 0.05.
    smooth = keypoint_term(predicted, {"lsp14": label}, "smooth_l1").values[0].item()
    assert smooth == pytest.approx((0.45 + 0.45 + 0.25 * 0.15) / 28)


def test_a_persons_keypoints_do_not_depend_on_the_sets_of_others():
    torch.manual_seed(0)
    lsp, coco = torch.rand(2, 14, 3), torch.rand(2, 17, 3)
    lsp[1], coco[0] = 0, 0
    predicted = {"lsp14": torch.rand(2, 14, 2), "coco17": torch.rand(2, 17, 2)}
    both = keypoint_term(predicted, {"lsp14": lsp, "coco17": coco}).values
    for row, (name, label) in enumerate((("lsp14", lsp), ("coco17", coco))):
        alone = keypoint_term({name: predicted[name][row, None]}, {name: label[row, None]}).values
        assert both[row].item() == pytest.approx(alone.item())


def test_joints_by_hand():
    names = JOINT_SETS["smpl24"].names
    left, right, wrist = (names.index(n) for n in ("left_hip", "right_hip", "left_wrist"))
    label = torch.zeros(3, 24, 4)
    label[..., 3] = 1
    label[0, :, :3] = 5.0  # far away: only what is relative to the hips matters
    label[0, wrist, 0] += 0.3
    label[1, left, 3] = 0  # without both hips there is no origin
    label[2, :, 3] = 0
    term = joint_term({"smpl24": torch.zeros(3, 24, 3)}, {"smpl24": label})
    assert term.values.tolist() == pytest.approx([0.09 / 72, 0, 0], rel=1e-4)
    assert term.counted.tolist() == [1, 0, 0]
    assert term.mean().item() == pytest.approx(0.09 / 72, rel=1e-4)
    # A hip that is 0.2 off shifts the origin by 0.1: every other joint errs by that.
    label[0, wrist, 0] -= 0.3
    label[0, right, 1] += 0.2
    one_hip = joint_term({"smpl24": torch.zeros(3, 24, 3)}, {"smpl24": label}).mean().item()
    assert one_hip == pytest.approx((23 * 0.01 + 0.01) / 72, rel=1e-4)


def test_parameter_terms_by_hand():
    eye = torch.eye(3).expand(2, 24, 3, 3)
    turned = eye.clone()
    turned[0, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # the root counts
    pose = pose_term(eye, turned, torch.tensor([1.0, 1.0]))
    assert pose.values.tolist() == pytest.approx([8 / 216, 0])
    assert pose.mean().item() == pytest.approx(4 / 216)
    betas = betas_term(torch.zeros(2, 10), torch.full((2, 10), 2.0), torch.tensor([1.0, 0.0]))
    assert betas.mean().item() == 4
    vertices = vertex_term(torch.zeros(2, 5, 3), torch.full((2, 5, 3), -0.5), torch.tensor([0.0, 1.0]))
    assert vertices.mean().item() == 0.5
    camera = camera_term(torch.tensor([[0.1, 3.0, 4.0], [0.0, 0.0, 0.0]]))
    assert camera.mean().item() == pytest.approx((math.exp(-2) + 1) / 2)


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
    losses = Losses(body, LossWeights(vertices=1.0, camera=0.0))
    for empty in (batch, replace(batch, keypoints={}, joints={})):
        prediction = Prediction(*(x.clone().requires_grad_() for x in truth))
        total, terms = losses(model, prediction, empty)
        total.backward()
        assert total.item() == 0 and set(terms) == {"keypoints", "joints", "pose", "betas", "vertices"}
        for x in prediction:
            assert x.grad is None or torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("name", ["cliff", "hmr", "ray"])
@pytest.mark.parametrize("kind", ERRORS)
def test_the_truth_has_no_loss(body, name, kind):
    model = create_model(name, encoder="resnet18", crop=(64, 48), num_betas=11)
    batch, truth = labelled(body, model, sets=("coco17", "smpl24", "lsp14"))
    total, terms = Losses(body, LossWeights(vertices=1.0, camera=0.0), kind)(model, truth, batch)
    assert total.item() < 1e-3, terms  # 0.1 um, through rounding at a distance of 7 m


def test_the_total_is_the_weighted_sum(body, model):
    batch, _ = labelled(body, model)
    wrong, _ = people(body, seed=1)
    total, terms = Losses(body, LossWeights(vertices=0.5))(model, wrong, batch)
    weights = {"keypoints": 5, "joints": 5, "pose": 1, "betas": 0.001, "vertices": 0.5, "camera": 1}
    assert list(terms) == list(weights)
    assert total.item() == pytest.approx(60 * sum(w * terms[n].item() for n, w in weights.items()), rel=1e-5)
    assert SCALE == 60
    alone, terms = Losses(body, LossWeights(0, 0, 2.0, 0, 0, 0))(model, wrong, batch)
    assert list(terms) == ["pose"] and alone.item() == pytest.approx(120 * terms["pose"].item())
    assert terms["pose"].item() == pytest.approx((wrong.pose - batch.pose).square().mean().item(), rel=1e-5)


def test_the_2d_term_uses_the_models_camera(body):
    """The labels of the full frame are no truth for HMR's camera of the crop, and the other way round."""
    full, crop = (
        create_model("cliff", encoder="resnet18", crop=(64, 48), num_betas=11, full_frame_loss=switch)
        for switch in (True, False)
    )
    weights = LossWeights(1, 0, 0, 0, 0, 0)
    for one, other in ((full, crop), (crop, full)):
        batch, truth = labelled(body, one)
        assert Losses(body, weights)(one, truth, batch)[0].item() < 1e-6
        assert Losses(body, weights)(other, truth, batch)[0].item() > 1e-2


def test_joints_are_those_of_the_vertices(body):
    truth, _ = people(body)
    out = body(truth.betas, truth.pose)
    found = Losses(body).predict_joints(truth.betas, truth.pose, ("smpl24", "coco17", "lsp14"))
    torch.testing.assert_close(found["smpl24"], out.joints)
    for name in ("coco17", "lsp14"):
        torch.testing.assert_close(found[name], body.regress(out.vertices, name), atol=1e-5, rtol=1e-4)


def test_shares_of_processes_make_the_joint_mean():
    torch.manual_seed(0)
    values, counted = torch.rand(6), torch.tensor([1.0, 1, 1, 0, 0, 0])
    together = Term(values, counted).mean()
    halves = [Term(values[half], counted[half]) for half in (slice(3), slice(3, 6))]
    share = torch.stack([half.counted.mean() for half in halves]).mean()
    apart = torch.stack([half.mean(share) for half in halves]).mean()
    assert apart.item() == pytest.approx(together.item())


@pytest.mark.parametrize("kind", ["squared", "smooth_l1"])
def test_gradients(kind):
    torch.manual_seed(0)
    two, three = torch.rand(2, 14, 3).double(), torch.rand(2, 14, 4).double().round(decimals=1)
    known = torch.tensor([1.0, 0.0]).double()

    def terms(points, joints, pose, betas, weak_camera):
        return (
            keypoint_term({"lsp14": points}, {"lsp14": two}, kind).mean(),
            joint_term({"lsp14": joints}, {"lsp14": three}, kind).mean(),
            pose_term(pose, torch.zeros_like(pose), known).mean(),
            betas_term(betas, torch.zeros_like(betas), known).mean(),
            camera_term(weak_camera).mean(),
        )

    shapes = ((2, 14, 2), (2, 14, 3), (2, 24, 3, 3), (2, 10), (2, 3))
    inputs = [torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(terms, inputs)


def test_bodies_are_found_by_going_down(body, model):
    """From mean bodies to the true ones, through rotations in 6D as a network states them."""
    batch, truth = labelled(body, model, number=3)
    pose6d = torch.eye(3)[:, :2].expand(3, 24, 3, 2).clone()
    pose6d[:, 0, 1:] *= -1
    free = [pose6d, torch.zeros(3, 11), torch.tensor([[0.9, 0.0, 0.0]]).repeat(3, 1)]
    optimizer = torch.optim.Adam([x.requires_grad_() for x in free], lr=0.05)
    losses = Losses(body, LossWeights(betas=0.1))
    history = []
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 300)
        prediction = Prediction(roma.special_gramschmidt(free[0]), free[1], free[2])
        total, _ = losses(model, prediction, batch)
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
        Losses(body, kind="huber")
    with pytest.raises(ValueError, match="nothing to learn"):
        Losses(body, LossWeights(0, 0, 0, 0, 0, 0))


def test_negative_scales_are_led_back_without_exploding():
    scale = torch.tensor([[-3.0, 0, 0], [-1e-6, 0, 0], [1e-6, 0, 0]], requires_grad=True)
    term = camera_term(scale)
    assert term.values.tolist() == pytest.approx([61, 1, 1], rel=1e-4)
    term.values.sum().backward()
    assert scale.grad[:, 0].tolist() == pytest.approx([-20, -20, -20], rel=1e-3)


ONLY_IMAGINATION = dict.fromkeys(("keypoints", "joints", "pose", "betas"), 0.0)


def seen_from(truth, phi, body):
    """What a network that imagines without a fault says of these people from the directions phi."""
    turned = Prediction(rotate_root(truth.pose, phi), truth.betas, torch.zeros_like(truth.weak_camera))
    picture = Losses(body).silhouettes(turned.betas, turned.pose)
    return NovelViewPrediction(phi, turned, 40 * picture - 20)


def test_the_truth_from_another_direction_has_no_loss(body, model):
    batch, truth = labelled(body, model)
    phi = torch.tensor([0.0, 0.5, -2.0, 3.0])
    losses = Losses(body, LossWeights(**ONLY_IMAGINATION, camera=1e-9))
    total, terms = losses(model, truth, batch, imagined=seen_from(truth, phi, body))
    assert set(terms) == {"camera", *IMAGINATION} and total.item() < 1e-4, terms
    # As seen from 0 it is wrong everywhere else, in all but shape; nothing has to be consistent here.
    _, terms = losses(model, truth, batch, imagined=seen_from(truth, 0 * phi, body)._replace(phi=phi))
    assert min(terms[f"imagined_{name}"] for name in ("joints", "pose")) > 0.01
    assert terms["silhouette"] > 0.1 and terms["imagined_betas"] < 1e-9
    assert terms["consistent_pose"] == terms["consistent_betas"] == 0


def test_people_without_3d_labels_have_to_be_consistent(body, model):
    batch, truth = labelled(body, model)
    phi = torch.tensor([0.0, 0.5, -2.0, 3.0])
    known, of_shape = torch.tensor([1.0, 1, 0, 0]), torch.tensor([1.0, 0, 1, 0])
    batch = replace(batch, has_pose=known, has_betas=of_shape, pose=batch.pose * known[:, None, None, None])
    losses = Losses(body, LossWeights(**ONLY_IMAGINATION, camera=1e-9))
    _, terms = losses(model, truth, batch, imagined=seen_from(truth, phi, body))
    assert terms["consistent_pose"] < 1e-9 and terms["consistent_betas"] < 1e-9
    others, _ = people(body, seed=1)
    wrong = seen_from(others, phi, body)
    prediction = Prediction(*(x.clone().requires_grad_() for x in truth))
    total, terms = losses(model, prediction, batch, imagined=wrong)
    difference = (rotate_root(others.pose, phi) - rotate_root(truth.pose, phi)).square().mean((1, 2, 3))
    assert terms["consistent_pose"].item() == pytest.approx(difference[2:].mean().item(), rel=1e-4)
    shapes = (others.betas - truth.betas).square().mean(1)
    assert terms["consistent_betas"].item() == pytest.approx(shapes[[1, 3]].mean().item(), rel=1e-4)
    assert terms["imagined_betas"].item() == pytest.approx(shapes[[0, 2]].mean().item(), rel=1e-4)
    # A silhouette needs both.
    label = losses.silhouettes(batch.betas[:1], rotate_root(batch.pose, phi)[:1])
    alone = silhouette_term(wrong.silhouette[:1], label, torch.ones(1)).mean()
    assert terms["silhouette"].item() == pytest.approx(alone.item(), rel=1e-4)
    total.backward()
    assert prediction.pose.grad[2:].abs().sum() > 0  # both views give way
    assert torch.equal(prediction.pose.grad[:2], torch.zeros(2, 24, 3, 3))  # here the label decides


def test_imagination_grows_and_can_be_left_out(body, model):
    batch, truth = labelled(body, model)
    others, _ = people(body, seed=1)
    imagined = seen_from(others, torch.ones(4), body)
    imagined = imagined._replace(silhouette=imagined.silhouette.requires_grad_())
    losses = Losses(body, LossWeights(camera=0.0))
    whole, half, none = (
        losses(model, truth, batch, imagined=imagined, imagination=x)[0] for x in (1, 0.5, 0)
    )
    assert half.item() == pytest.approx(whole.item() / 2, rel=1e-3) and none.item() < 1e-3
    assert "imagined_pose" not in losses(model, truth, batch)[1]
    total, terms = Losses(body, LossWeights(silhouette=0))(model, truth, batch, imagined=imagined)
    total.backward()
    assert "silhouette" not in terms
    assert torch.equal(imagined.silhouette.grad, torch.zeros(4, 64, 64))  # there, for several processes


def test_silhouettes_by_hand():
    logits = torch.tensor([[[0.0, 100.0]], [[-100.0, 100.0]]])
    label = torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]]])
    term = silhouette_term(logits, label, torch.tensor([1.0, 0.0]))
    assert term.values.tolist() == pytest.approx([math.log(2) / 2, 0])
    assert term.mean().item() == pytest.approx(math.log(2) / 2)


def heatmaps_at(labels, height=32, width=24):
    """Logits of heatmaps that are spread by one cell about the labelled places."""
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    every = torch.cat([labels[name] for name in HEATMAP_SETS], dim=1)
    x, y = every[..., 0] * height / 2 + width / 2, (every[..., 1] + 1) * height / 2
    away = (rows[:, None] - y[..., None, None]) ** 2 + (columns - x[..., None, None]) ** 2
    return -away / 2


def test_heatmaps_are_best_at_the_labels():
    torch.manual_seed(0)
    labels = {name: torch.rand(2, len(JOINT_SETS[name]), 3) - 0.5 for name in HEATMAP_SETS}
    for label in labels.values():
        label[..., 2] = 1
    right = heatmaps_at(labels)
    term = heatmap_term(right, labels)
    # The entropy of a Gaussian in the plane with a deviation of one cell.
    torch.testing.assert_close(term.values, torch.full((2,), 1 + math.log(2 * math.pi)), atol=0.02, rtol=0)
    for wrong in (right.roll(1, 2), right.roll(1, 3), 0.7 * right, 1.5 * right):
        assert (heatmap_term(wrong, labels).values > term.values + 0.05).all()
    uniform = heatmap_term(torch.zeros_like(right), labels)
    torch.testing.assert_close(uniform.values, torch.full((2,), math.log(32 * 24)))


def test_heatmaps_learn_from_known_joints_only():
    """Descent leads to the labels; joints outside go to the border, unknown ones nowhere."""
    label = torch.tensor([[[0.2, 0.5, 1.0], [5.0, -0.3, 1.0], [0.1, 0.1, 0.0]]])
    labels = {"coco17": torch.cat((label, torch.zeros(1, 14, 3)), dim=1)}
    heatmaps = torch.zeros(1, NUM_HEATMAPS, 16, 12, requires_grad=True)
    optimizer = torch.optim.Adam([heatmaps], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        heatmap_term(heatmaps, labels).values.sum().backward()
        assert not heatmaps.grad[0, 2:].any()
        optimizer.step()
    found = places(heatmaps.detach())[0]
    torch.testing.assert_close(found[0, :2], label[0, 0, :2], atol=0.02, rtol=0)
    assert found[1, 0] > 0.6 and abs(found[1, 1] + 0.3) < 0.03
    assert not heatmaps[0, 2:].any()
    nobody = heatmap_term(heatmaps, {"coco17": torch.zeros(1, 17, 3)})
    assert nobody.counted.item() == 0 and nobody.mean() == 0

import math

import pytest
import torch

from fullframe.body.joint_sets import HEATMAP_SETS, JOINT_SETS
from fullframe.geometry.heatmap import soft_argmax
from fullframe.losses.terms import (
    Term,
    betas_loss,
    camera_loss,
    heatmap_loss,
    joint_loss,
    keypoint_loss,
    pose_loss,
)
from fullframe.models.heatmap_pool import NUM_HEATMAPS


def test_keypoints_by_hand():
    label = torch.zeros(2, 14, 3)
    label[0, 0] = torch.tensor([0.5, -0.5, 1.0])
    label[0, 1] = torch.tensor([0.0, 0.2, 0.25])
    predicted = {"lsp14": torch.zeros(2, 14, 2)}
    # Person 0: (0.25 + 0.25) + 0.25 * 0.04, over 14 x 2 entries; person 1 has no label.
    term = keypoint_loss(predicted, {"lsp14": label})
    assert term.values.tolist() == pytest.approx([0.51 / 28, 0])
    assert term.mean().item() == pytest.approx(0.51 / 56)  # the mean is over everyone
    assert keypoint_loss(predicted, {"lsp14": label}, "l1").values[0].item() == pytest.approx(1.05 / 28)
    # 0.1 ends the parabola d^2 / 0.2; beyond it is d - 0.05.
    smooth = keypoint_loss(predicted, {"lsp14": label}, "smooth_l1").values[0].item()
    assert smooth == pytest.approx((0.45 + 0.45 + 0.25 * 0.15) / 28)


def test_a_persons_keypoints_do_not_depend_on_the_sets_of_others():
    torch.manual_seed(0)
    lsp, coco = torch.rand(2, 14, 3), torch.rand(2, 17, 3)
    lsp[1], coco[0] = 0, 0
    predicted = {"lsp14": torch.rand(2, 14, 2), "coco17": torch.rand(2, 17, 2)}
    both = keypoint_loss(predicted, {"lsp14": lsp, "coco17": coco}).values
    for row, (name, label) in enumerate((("lsp14", lsp), ("coco17", coco))):
        alone = keypoint_loss({name: predicted[name][row, None]}, {name: label[row, None]}).values
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
    term = joint_loss({"smpl24": torch.zeros(3, 24, 3)}, {"smpl24": label})
    assert term.values.tolist() == pytest.approx([0.09 / 72, 0, 0], rel=1e-4)
    assert term.mask.tolist() == [1, 0, 0]
    assert term.mean().item() == pytest.approx(0.09 / 72, rel=1e-4)
    # A hip that is 0.2 off shifts the origin by 0.1: every other joint errs by that.
    label[0, wrist, 0] -= 0.3
    label[0, right, 1] += 0.2
    one_hip = joint_loss({"smpl24": torch.zeros(3, 24, 3)}, {"smpl24": label}).mean().item()
    assert one_hip == pytest.approx((23 * 0.01 + 0.01) / 72, rel=1e-4)


def test_parameter_terms_by_hand():
    eye = torch.eye(3).expand(2, 24, 3, 3)
    turned = eye.clone()
    turned[0, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # the root counts
    pose = pose_loss(eye, turned, torch.tensor([1.0, 1.0]))
    assert pose.values.tolist() == pytest.approx([8 / 216, 0])
    assert pose.mean().item() == pytest.approx(4 / 216)
    betas = betas_loss(torch.zeros(2, 10), torch.full((2, 10), 2.0), torch.tensor([1.0, 0.0]))
    assert betas.mean().item() == 4
    camera = camera_loss(torch.tensor([[0.1, 3.0, 4.0], [0.0, 0.0, 0.0]]))
    assert camera.mean().item() == pytest.approx((math.exp(-2) + 1) / 2)


def test_shares_of_processes_make_the_joint_mean():
    torch.manual_seed(0)
    values, mask = torch.rand(6), torch.tensor([1.0, 1, 1, 0, 0, 0])
    together = Term(values, mask).mean()
    halves = [Term(values[half], mask[half]) for half in (slice(3), slice(3, 6))]
    share = torch.stack([half.mask.mean() for half in halves]).mean()
    apart = torch.stack([half.mean(share) for half in halves]).mean()
    assert apart.item() == pytest.approx(together.item())


@pytest.mark.parametrize("kind", ["squared", "smooth_l1"])
def test_gradients(kind):
    torch.manual_seed(0)
    two, three = torch.rand(2, 14, 3).double(), torch.rand(2, 14, 4).double().round(decimals=1)
    known = torch.tensor([1.0, 0.0]).double()

    def terms(points, joints, pose, betas, weak_camera):
        return (
            keypoint_loss({"lsp14": points}, {"lsp14": two}, kind).mean(),
            joint_loss({"lsp14": joints}, {"lsp14": three}, kind).mean(),
            pose_loss(pose, torch.zeros_like(pose), known).mean(),
            betas_loss(betas, torch.zeros_like(betas), known).mean(),
            camera_loss(weak_camera).mean(),
        )

    shapes = ((2, 14, 2), (2, 14, 3), (2, 24, 3, 3), (2, 10), (2, 3))
    inputs = [torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(terms, inputs)


def test_negative_scales_recover_without_exploding():
    scale = torch.tensor([[-3.0, 0, 0], [-1e-6, 0, 0], [1e-6, 0, 0]], requires_grad=True)
    term = camera_loss(scale)
    assert term.values.tolist() == pytest.approx([61, 1, 1], rel=1e-4)
    term.values.sum().backward()
    assert scale.grad[:, 0].tolist() == pytest.approx([-20, -20, -20], rel=1e-3)


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
    term = heatmap_loss(right, labels)
    # The entropy of a Gaussian in the plane with a deviation of one cell.
    torch.testing.assert_close(term.values, torch.full((2,), 1 + math.log(2 * math.pi)), atol=0.02, rtol=0)
    for wrong in (right.roll(1, 2), right.roll(1, 3), 0.7 * right, 1.5 * right):
        assert (heatmap_loss(wrong, labels).values > term.values + 0.05).all()
    uniform = heatmap_loss(torch.zeros_like(right), labels)
    torch.testing.assert_close(uniform.values, torch.full((2,), math.log(32 * 24)))


def test_heatmaps_learn_from_known_joints_only():
    """Descent leads to the labels; joints outside go to the border, unknown ones nowhere."""
    label = torch.tensor([[[0.2, 0.5, 1.0], [5.0, -0.3, 1.0], [0.1, 0.1, 0.0]]])
    labels = {"coco17": torch.cat((label, torch.zeros(1, 14, 3)), dim=1)}
    heatmaps = torch.zeros(1, NUM_HEATMAPS, 16, 12, requires_grad=True)
    optimizer = torch.optim.Adam([heatmaps], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        heatmap_loss(heatmaps, labels).values.sum().backward()
        assert not heatmaps.grad[0, 2:].any()
        optimizer.step()
    found = soft_argmax(heatmaps.detach())[0]
    torch.testing.assert_close(found[0, :2], label[0, 0, :2], atol=0.02, rtol=0)
    assert found[1, 0] > 0.6 and abs(found[1, 1] + 0.3) < 0.03
    assert not heatmaps[0, 2:].any()
    nobody = heatmap_loss(heatmaps, {"coco17": torch.zeros(1, 17, 3)})
    assert nobody.mask.item() == 0 and nobody.mean() == 0

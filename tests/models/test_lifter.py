"""The lifter: frames, missing keypoints, features, and that it can learn."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fullframe.geometry.camera import bbox_info_translation
from fullframe.geometry.rotation import ray_rotation
from fullframe.models.lifter import (
    LifterNetwork,
    RayEstimate,
    own_frame,
    place_of,
    to_camera,
    translation_in,
)

SIZE = 0.6
"""Of the crops, over the focal length."""


def lifter(**options: int) -> LifterNetwork:
    torch.manual_seed(0)
    net = LifterNetwork(width=64, blocks=2, **options)
    for parameter in net.outputs.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net.eval()


def people(count: int = 6) -> tuple[Tensor, Tensor]:
    """Keypoints and bbox_info."""
    generator = torch.Generator().manual_seed(3)
    keypoints = torch.rand((count, 17, 3), generator=generator) * torch.tensor([0.8, 1.6, 0.6])
    keypoints += torch.tensor([-0.4, -0.8, 0.4])
    bbox_info = torch.randn((count, 3), generator=generator) * torch.tensor([0.3, 0.2, 0.0])
    return keypoints, bbox_info + torch.tensor([0.0, 0.0, SIZE])


def seen_from(rays: Tensor, center: Tensor, size: float, confidence: Tensor) -> Tensor:
    """Rays (N, 17, 2) as keypoints of crops."""
    return torch.cat((2 * (rays - center[:, None]) / size, confidence[..., None]), 2)


def test_a_person_looks_the_same_wherever_in_the_image_they_stand():
    keypoints, _ = people(1)
    keypoints[..., :2] -= keypoints[..., :2].mean(1, keepdim=True)
    confidence = keypoints[..., 2]
    here = torch.zeros(1, 2)
    rays = keypoints[..., :2] * SIZE / 2
    there = torch.tensor([[0.5, -0.3]])
    turned = torch.nn.functional.pad(rays, (0, 1), value=1.0) @ ray_rotation(there).mT
    turned = turned[..., :2] / turned[..., 2:]
    size = 0.9  # another box

    def frame(rays: Tensor, center: Tensor, size: float):
        bbox_info = torch.cat((center, torch.tensor([[size]])), 1)
        return own_frame(seen_from(rays, center, size, confidence), bbox_info)

    first, second = frame(rays, here, SIZE), frame(turned, there + 0.02, size)
    assert_close(second.points, first.points, atol=0.1, rtol=0)
    assert_close(second.spread, first.spread, rtol=0.02, atol=0)
    # In the image plane alone the same person is larger and skewed.
    apart = (turned - turned.mean(1, keepdim=True)) / first.spread - first.points
    assert apart.abs().max() > 3 * (second.points - first.points).abs().max()


def test_own_frame_centres_and_scales_sure_keypoints():
    keypoints, bbox_info = people()
    keypoints[:, 3] = torch.tensor([9.0, 9.0, 0.0])  # missing: wherever it is said to be
    frame = own_frame(keypoints, bbox_info)
    weight = (keypoints[..., 2] / 0.5).clamp(max=1).square()[..., None]
    mean = (weight * frame.points).sum(1) / weight.sum(1)
    spread = ((weight * frame.points.square()).sum((1, 2)) / weight.sum((1, 2))).sqrt()
    assert_close(mean, torch.zeros_like(mean), atol=0.06, rtol=0)
    assert_close(spread, torch.ones_like(spread), atol=0.02, rtol=0)


def test_cliffs_translation_from_the_weak_camera_is_the_estimates():
    keypoints, bbox_info = people()
    frame = own_frame(keypoints, bbox_info)
    translation = torch.tensor([0.2, -0.3, 4.0]).expand(len(keypoints), 3)
    place = place_of(frame, translation)
    assert_close(translation_in(frame, place), translation)
    pose = torch.eye(3).expand(len(keypoints), 24, 3, 3)
    estimate = RayEstimate(pose, torch.zeros(len(keypoints), 11), place, torch.zeros(len(keypoints), 24))
    found = to_camera(estimate, frame, bbox_info)
    full = bbox_info_translation(found.weak_camera, bbox_info)
    assert_close(full, (frame.rotation @ translation[..., None])[..., 0], atol=1e-4, rtol=1e-4)
    assert_close(found.pose[:, 0], frame.rotation)


def test_places_of_missing_keypoints_do_not_matter():
    net, (keypoints, bbox_info) = lifter(), people()
    keypoints[:, 4:9, 2] = 0
    moved = keypoints.clone()
    moved[:, 4:9, :2] = 7
    for ours, theirs in zip(net(keypoints, bbox_info)[0], net(moved, bbox_info)[0], strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("confidence", [0.0, 0.001])
def test_people_without_keypoints_get_a_body_in_their_box(confidence: float):
    net, (keypoints, bbox_info) = lifter(), people()
    keypoints[..., 2] = confidence
    prediction, log_variance = net(keypoints, bbox_info)
    assert all(values.isfinite().all() for values in (*prediction, log_variance))
    place = bbox_info_translation(prediction.weak_camera, bbox_info)
    seen = place[:, :2] / place[:, 2:] - bbox_info[:, :2]
    assert (seen.abs() < SIZE).all() and (place[:, 2] > 0).all()


def test_image_features_change_nothing_before_training():
    plain, seeing = lifter(), lifter(features=5)
    seeing.load_state_dict(plain.state_dict() | {"features.weight": seeing.features.weight.data})
    keypoints, bbox_info = people()
    features = torch.randn(len(keypoints), 5)
    prediction = seeing(keypoints, bbox_info, features)[0]
    for ours, theirs in zip(prediction, plain(keypoints, bbox_info)[0], strict=True):
        assert_close(ours, theirs)
    prediction.pose.square().sum().backward()
    prediction = seeing(keypoints, bbox_info, features)[0]
    (prediction.pose[:, 1] * torch.randn(3, 3)).sum().backward()
    assert seeing.features.weight.grad.abs().max() > 0


def test_certainty_does_not_change_the_prediction():
    net, (keypoints, bbox_info) = lifter(), people()
    net(keypoints, bbox_info)[1].sum().backward()
    assert net.inputs.weight.grad is None and net.uncertainty.weight.grad is not None


def test_it_overfits_to_a_few_people():
    torch.manual_seed(0)
    net, (keypoints, bbox_info) = LifterNetwork(width=128, blocks=2), people(16)
    generator = torch.Generator().manual_seed(1)
    # Relative to the ray, as it is predicted: any turn of the camera would do.
    wanted = torch.linalg.qr(torch.randn((16, 24, 3, 3), generator=generator))[0]
    wanted = wanted * torch.linalg.det(wanted)[..., None, None]
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    errors = []
    for _ in range(150):
        loss = (net(keypoints, bbox_info)[0].pose - wanted).square().sum((2, 3)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.02 * errors[0]

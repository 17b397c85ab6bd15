import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.geometry.box import PersonBox
from fullframe.geometry.camera import Camera
from fullframe.geometry.camera import project as project_full
from fullframe.models import Prediction, box_to_bbox_info, create_model

CAMERA = Camera.from_diagonal((1920, 1080))
BOX = PersonBox(np.array([[1400.0, 500.0]]), np.array([600.0]))


def predicted(s, tx, ty):
    return Prediction(
        torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10), torch.tensor([[s, tx, ty]]).double()
    )


@pytest.fixture(scope="module")
def cliff():
    return create_model("cliff", encoder="resnet18", crop=(224, 224)).eval()


@pytest.fixture(scope="module")
def hmr():
    return create_model("hmr", encoder="resnet18", crop=(224, 224)).eval()


def test_location_golden():
    expected = torch.tensor([[0.199736, -0.018158, 0.272367]])
    torch.testing.assert_close(box_to_bbox_info(BOX, CAMERA), expected, atol=5e-7, rtol=0)


@given(st.floats(0.1, 10))
@settings(max_examples=20)
def test_location_does_not_depend_on_the_resolution(k):
    (fx, fy), (px, py) = CAMERA.focal, CAMERA.principal_point
    larger = Camera((k * fx, k * fy), (k * px, k * py), (1920, 1080), "intrinsics")
    torch.testing.assert_close(
        box_to_bbox_info(PersonBox(k * BOX.center, k * BOX.size), larger), box_to_bbox_info(BOX, CAMERA)
    )


@pytest.mark.parametrize(
    ("norm", "expected"),
    [("plain", (0.199736, -0.018158, 0.272367)), ("h36m", (0.559261, -0.050842, 0.539456))],
)
def test_regressor_sees_the_location_in_the_norm_of_the_model(norm, expected):
    net = create_model("cliff", encoder="resnet18", crop=(32, 32), bbox_norm=norm).eval()
    seen = []
    net.regressor.register_forward_hook(lambda module, args, result: seen.append(args[0][:, -3:]))
    net(torch.zeros(1, 3, 32, 32), box_to_bbox_info(BOX, CAMERA))
    torch.testing.assert_close(seen[0], torch.tensor([expected]), atol=2e-6, rtol=0)
    with pytest.raises(ValueError, match="unknown bbox_norm 'h37m'; known: plain, h36m"):
        create_model("cliff", encoder="resnet18", bbox_norm="h37m")


def test_full_frame_golden(cliff, hmr):
    expected = torch.tensor([[1.679630, -0.248148, 8.158915]]).double()
    for net in (cliff, hmr):  # at inference HMR is placed in the same way
        translation = net.to_full_frame(predicted(0.9, 0.05, -0.1), box_to_bbox_info(BOX, CAMERA).double())
        torch.testing.assert_close(translation, expected, atol=2e-6, rtol=0)


def test_projection_golden(cliff):
    point = torch.tensor([[[0.2, -0.4, 0.1]]]).double()
    result = cliff.project(point, predicted(0.9, 0.05, -0.1), box_to_bbox_info(BOX, CAMERA).double())
    torch.testing.assert_close(result[0, 0], torch.tensor([0.204517, -0.442937]).double(), atol=2e-6, rtol=0)


numbers = st.floats(-0.4, 0.4)


@given(numbers, numbers, st.floats(0.05, 1.5), st.floats(0.3, 1.5), numbers, numbers)
@settings(max_examples=40)
def test_projection_is_that_of_the_full_image(cliff, lx, ly, lb, s, tx, ty):
    """Through the translation in metres, the full image's pixels, and back into the crop."""
    focal = 1500.0
    center, size = torch.tensor([[lx, ly]]).double() * focal, lb * focal
    box = PersonBox(center.numpy() + np.array([960, 540]), np.array([size]))
    camera = Camera.from_focal(focal, (1920, 1080))
    points = torch.randn(1, 5, 3, dtype=torch.float64) * 0.3
    prediction, bbox_info = predicted(s, tx, ty), torch.tensor([[lx, ly, lb]]).double()
    pixels = project_full(
        points + cliff.to_full_frame(prediction, bbox_info)[:, None],
        focal,
        torch.tensor(camera.principal_point),
    )
    expected = (pixels - torch.from_numpy(box.center)) / (size / 2)
    torch.testing.assert_close(cliff.project(points, prediction, bbox_info), expected, atol=1e-5, rtol=1e-4)


@given(st.floats(50, 900), st.floats(0.3, 1.5), numbers, numbers)
@settings(max_examples=40)
def test_hmr_and_cliff_project_alike_only_if_centred_with_hmrs_focal_length(cliff, hmr, b, s, tx, ty):
    """f = 5000 b / r: for b = 600 px and r = 224 px that is 13392.857 px."""
    points = torch.tensor([[[0.2, -0.4, 0.1], [-0.3, 0.5, -0.2], [0.1, 0.9, 0.3]]]).double()
    prediction, focal = predicted(s, tx, ty), 5000 * b / 224
    crop = hmr.project(points, prediction, torch.zeros(1, 3).double())
    for center_x, f, same in ((0.0, focal, True), (300.0, focal, False), (0.0, focal / 3, False)):
        bbox_info = torch.tensor([[center_x, 0.0, b]]).double() / f
        full = cliff.project(points, prediction, bbox_info)
        gap = float((full - crop).abs().max())
        assert gap < 1e-7 if same else gap > 1e-5, (center_x, f, gap)


def test_hmrs_projection_ignores_the_location_and_gradients_flow(cliff, hmr):
    points = torch.randn(1, 4, 3, dtype=torch.float64) * 0.3
    bbox_info = torch.tensor([[0.2, -0.1, 0.3]]).double()
    weak_camera = torch.tensor([[0.9, 0.05, -0.1]], dtype=torch.float64, requires_grad=True)

    def project(net, camera, where):
        return net.project(points, Prediction(torch.empty(0), torch.empty(0), camera), where)

    assert torch.equal(project(hmr, weak_camera, bbox_info), project(hmr, weak_camera, bbox_info * 2))
    for net in (cliff, hmr):
        assert torch.autograd.gradcheck(
            lambda camera, net=net: project(net, camera, bbox_info), (weak_camera,)
        )


def test_prepare(cliff):
    crops = np.zeros((2, 224, 224, 3), np.uint8)
    crops[1, 5, 7] = (255, 0, 51)
    ready = cliff.prepare(crops)
    assert ready.shape == (2, 3, 224, 224) and ready.dtype == torch.float32
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(ready[1, :, 5, 7], (np.array([1, 0, 0.2]) - mean) / std, rtol=1e-5)
    lite = create_model("cliff", encoder="tf_efficientnet_lite0", crop=(224, 224))
    np.testing.assert_allclose(lite.prepare(crops)[1, :, 5, 7], [1, -1, -0.6], atol=1e-6)
    for wrong in (crops[:, :100], crops.astype(np.float32), crops[0], crops[..., :1]):
        with pytest.raises(ValueError, match=r"expected uint8 \(N, 224, 224, 3\)"):
            cliff.prepare(wrong)


def test_switches_are_those_of_the_ablation():
    full = create_model("cliff", encoder="resnet18")
    assert (full.bbox_info_input, full.full_frame_loss) == (True, True)
    hmr = create_model("hmr", encoder="resnet18")
    assert (hmr.bbox_info_input, hmr.full_frame_loss) == (False, False)
    neither = create_model("cliff", encoder="resnet18", bbox_info_input=False, full_frame_loss=False)
    assert {n: p.shape for n, p in neither.named_parameters()} == {
        n: p.shape for n, p in hmr.named_parameters()
    }
    hmr.load_state_dict(neither.state_dict())
    crops, bbox_info = torch.randn(1, 3, 64, 48), torch.tensor([[0.3, 0.1, 0.2]])
    with torch.no_grad():
        results = zip(hmr.eval()(crops, bbox_info), neither.eval()(crops, bbox_info), strict=True)
        assert all(torch.equal(a, b) for a, b in results)


def test_number_of_betas():
    net = create_model("cliff", encoder="resnet18", num_betas=4).eval()
    assert net(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3)).betas.shape == (1, 4)


@pytest.mark.parametrize("name", ["cliff", "hmr"])
def test_a_scale_of_zero_keeps_the_projection_finite(name, request):
    net = request.getfixturevalue(name)
    weak_camera = torch.tensor([[0.0, 0.1, 0.2], [-4.0, 0.1, 0.2], [0.1, 0.1, 0.2]], requires_grad=True)
    prediction = Prediction(torch.eye(3).expand(3, 24, 3, 3), torch.zeros(3, 10), weak_camera)
    seen = net.project(torch.randn(3, 5, 3), prediction, torch.tensor([[0.3, -0.1, 0.6]]).expand(3, 3))
    assert seen.abs().max() < 10
    seen.sum().backward()
    assert weak_camera.grad.isfinite().all()

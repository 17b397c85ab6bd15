"""One test over every model and every encoder."""

import pytest
import torch

from fullframe.models import ENCODERS, MODELS, create_model, load_model, save_checkpoint

CROP = (64, 96)


PAIRS = [("cliff", encoder) for encoder in ENCODERS if encoder != "hrnet_w48"] + [
    (name, "resnet18") for name in MODELS if name != "cliff"
]
"""Models see of their encoder the number of features alone. The largest is in test_released_cliff.py."""


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def model(request):
    """In evaluation mode, with weights that let differences in the input show, as training would."""
    name, encoder = request.param
    torch.manual_seed(0)
    net = create_model(name, encoder=encoder, crop=CROP).eval()
    for name, parameter in net.named_parameters():
        if name.startswith("regressor.dec") and parameter.ndim == 2:
            torch.nn.init.xavier_uniform_(parameter)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # timm starts some at 0, which blocks gradients
            torch.nn.init.ones_(module.weight)
    return net


@pytest.fixture(scope="module")
def inputs(model):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (3, *CROP, 3), generator=generator, dtype=torch.uint8)
    return model.prepare(pixels), torch.tensor([[0.3, -0.1, 0.4], [0.0, 0.0, 0.2], [-0.4, 0.2, 0.1]])


@pytest.fixture(scope="module")
def prediction(model, inputs):
    with torch.no_grad():
        return model(*inputs)


def test_shapes_and_rotations(model, prediction):
    assert prediction.pose.shape == (3, 24, 3, 3)
    assert prediction.betas.shape == (3, model.num_betas) == (3, 10)
    assert prediction.weak_camera.shape == (3, 3)
    assert all(x.isfinite().all() for x in prediction)
    identity = torch.eye(3).expand(3, 24, 3, 3)
    torch.testing.assert_close(prediction.pose @ prediction.pose.mT, identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(prediction.pose), torch.ones(3, 24), atol=1e-5, rtol=0)


def test_people_of_a_batch_do_not_influence_each_other(model, inputs, prediction):
    crops, bbox_info = inputs
    with torch.no_grad():
        for i in range(3):
            alone = model(crops[i : i + 1], bbox_info[i : i + 1])
            for one, batch in zip(alone, prediction, strict=True):
                torch.testing.assert_close(one[0], batch[i], atol=2e-4, rtol=1e-4)
    assert (prediction.betas[0] - prediction.betas[1]).abs().max() > 1e-3  # they do look at their crops


def test_location_is_seen_if_it_is_an_input(model, inputs, prediction):
    crops, bbox_info = inputs
    with torch.no_grad():
        elsewhere = model(crops, bbox_info + 0.2)
    change = max(float((a - b).abs().max()) for a, b in zip(elsewhere, prediction, strict=True))
    assert change > 1e-3 if model.bbox_info_input else change == 0
    assert model.bbox_info_input == (model.name in ("cliff", "ray"))


@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_other_crop_sizes(model, size):
    with torch.no_grad():
        result = model(torch.zeros(1, 3, *size), torch.zeros(1, 3))
    assert result.pose.shape == (1, 24, 3, 3) and result.pose.isfinite().all()


def test_gradients_reach_every_parameter(model, inputs):
    generator = torch.Generator().manual_seed(2)
    result, heatmaps, *views = model.forward_train(*inputs)
    outputs = [*result, *([] if heatmaps is None else [heatmaps])]
    for imagined in views:
        outputs += [*imagined.prediction, imagined.silhouette]
    sum((x * torch.randn(x.shape, generator=generator)).sum() for x in outputs).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    model.zero_grad()


def test_save_and_load_is_bit_exact(model, inputs, prediction, tmp_path):
    path = tmp_path / "weights.safetensors"
    card = save_checkpoint(
        model, path, body="open", data="none", licence="CC0-1.0", metrics={"PA-MPJPE mm": 1.5}
    )
    loaded, loaded_card = load_model(path, body="open")
    path.unlink()  # pytest keeps its folders
    assert type(loaded) is type(model) and not loaded.training
    assert loaded.options == model.options
    assert loaded_card.metrics == card.metrics == {"PA-MPJPE mm": 1.5}
    state = loaded.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        again = loaded(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(again, prediction, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_double_precision_agrees(name):
    torch.manual_seed(0)
    net = create_model(name, encoder="resnet18", crop=(64, 48)).eval()
    crops, bbox_info = torch.randn(2, 3, 64, 48), torch.rand(2, 3) * 0.3
    with torch.no_grad():
        single = net(crops, bbox_info)
        double = net.double()(crops.double(), bbox_info.double())
    for a, b in zip(double, single, strict=True):
        assert a.dtype == torch.float64
        torch.testing.assert_close(a.float(), b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_training_step_learns(name):
    """A few steps of descent on one batch, in training mode: the loss falls."""
    torch.manual_seed(0)
    options = {"field_size": 8} if name == "imphmr" else {}  # a tenth of the time
    net = create_model(name, encoder="resnet18", crop=(32, 32), **options)
    net.regressor.dropout.p = 0.0
    crops, bbox_info = torch.randn(4, 3, 32, 32), torch.randn(4, 3) * 0.1
    optimizer = torch.optim.Adam(net.parameters(), 4e-4)
    losses = []
    for _ in range(10):
        result = net(crops, bbox_info)
        loss = (result.betas - torch.arange(4.0)[:, None]).square().mean() + (
            result.pose[:, 1:] - torch.eye(3)
        ).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="known: hmr, cliff, ray, imphmr"):
        create_model("clif")
    with pytest.raises(ValueError, match="unknown encoder 'resnet51'; known: resnet50"):
        create_model("cliff", encoder="resnet51")
    with pytest.raises(TypeError, match="bbox_info_input"):
        create_model("hmr", bbox_info_input=True)

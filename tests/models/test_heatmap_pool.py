import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.models import create_model, load_model, save_checkpoint
from fullframe.models.heatmap_pool import NUM_HEATMAPS, HeatmapPool, cell_centres, places


@settings(deadline=None, max_examples=30)
@given(row=st.integers(0, 31), column=st.integers(0, 23))
def test_a_sharp_heatmap_says_where_its_cell_is(row, column):
    heatmaps = torch.zeros(1, 1, 32, 24)
    heatmaps[..., row, column] = 100
    x, y, spread = places(heatmaps)[0, 0].tolist()
    # Pixel 0 begins at -1 along the height, and at -3/4 along the width.
    assert x == pytest.approx(-0.75 + (column + 0.5) * 1.5 / 24, abs=1e-5)
    assert y == pytest.approx(-1 + (row + 0.5) * 2 / 32, abs=1e-5)
    assert spread < 2e-3


def test_the_spread_is_the_standard_deviation():
    y, x = cell_centres(64, 48, torch.zeros(1))
    away = ((x[None] - 0.1) ** 2 + (y[:, None] + 0.2) ** 2) / 0.15**2
    found = places(-away[None, None] / 2)[0, 0]
    torch.testing.assert_close(found, torch.tensor([0.1, -0.2, 0.15]), atol=1e-3, rtol=0)


def test_places_of_nothing_in_particular():
    found = places(torch.zeros(2, 3, 8, 6))
    torch.testing.assert_close(found[..., :2], torch.zeros(2, 3, 2))
    assert (found[..., 2] > 0.4).all()


def test_cells_are_kept_apart():
    pool = HeatmapPool((8, 6, 4))
    plain = [torch.zeros(1, 8, 4, 3), torch.zeros(1, 6, 8, 6), torch.zeros(1, 4, 16, 12)]
    spot = [plain[0].clone(), *plain[1:]]
    spot[0][:, :, 0, -1] = 1  # upper right
    with torch.inference_mode():
        cells = [pool(maps)[0][:, : -3 * NUM_HEATMAPS].reshape(-1, 4, 3) for maps in (plain, spot)]
    change = (cells[1] - cells[0]).abs().sum(0)
    assert change[0, 2] > 0 and change.count_nonzero() == 1


@pytest.mark.parametrize("name", ["hmr", "cliff", "ray", "imphmr"])
def test_every_model_learns_with_it_and_is_kept(name, tmp_path):
    torch.manual_seed(0)
    net = create_model(name, encoder="resnet18", crop=(64, 64), pool="joints", regressor_act="relu")
    crops, bbox_info = torch.randn(2, 3, 64, 64), torch.tensor([[0.1, 0.2, 0.3], [0.0, 0.0, 0.5]])
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # timm starts some at 0, which blocks gradients
            torch.nn.init.ones_(module.weight)
    output = net.forward_train(crops, bbox_info)
    outputs = [*output.prediction, output.heatmaps]
    if name == "imphmr":
        outputs += [*output.novel_view.prediction, output.novel_view.silhouette]
    sum((x * torch.randn_like(x)).sum() for x in outputs).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    net.eval()
    save_checkpoint(net, tmp_path / "a.safetensors", body="open", data="none", licence="CC0-1.0", metrics={})
    again = load_model(tmp_path / "a.safetensors").network
    with torch.inference_mode():
        assert torch.equal(net(crops, bbox_info).pose, again(crops, bbox_info).pose)

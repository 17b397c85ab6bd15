import pytest
import torch

from fullframe.models import create_model, load_model, save_checkpoint
from fullframe.models.heatmap_pool import NUM_HEATMAPS, HeatmapPool


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
    net = create_model(name, encoder="resnet18", crop=(64, 64), pool="heatmaps", regressor_act="relu")
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

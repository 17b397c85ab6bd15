"""tools/narrow_regressor.py: units that are never active can go without a trace."""

from itertools import repeat
from types import SimpleNamespace

import narrow_regressor
import pytest
import torch
from narrow_regressor import narrowed
from torch.testing import assert_close

from fullframe.models import create_model

WIDTH, SILENT = 24, 5
SOURCE = {
    "encoder": "movenet_multipose",
    "crop": (64, 48),
    "regressor_width": WIDTH,
    "regressor_act": "relu",
    "regressor_dropout": 0.0,
    "pool": "heatmaps",
}


@pytest.fixture
def people(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(256, (4, 64, 48, 3), generator=generator, dtype=torch.uint8)
    batch = SimpleNamespace(crops=crops, bbox_info=torch.rand((4, 3), generator=generator))
    monkeypatch.setattr(narrow_regressor, "loader", lambda mixture, size: repeat(batch))
    return batch


@pytest.fixture
def cliff():
    torch.manual_seed(0)
    network = create_model("ray", **SOURCE).eval()
    with torch.no_grad():
        for layer in (network.regressor.fc1, network.regressor.fc2):
            layer.bias[:SILENT] = -1e6
        network.regressor.decpose.weight.mul_(30)  # away from the mean person
    return network


def test_silent_units_can_go(cliff, people):
    network = narrowed(cliff, None, WIDTH - SILENT, 50, hmr=False)
    assert network.name == "ray" and network.regressor.fc2.weight.shape == (WIDTH - SILENT, WIDTH - SILENT)
    inputs = cliff.prepare(people.crops), people.bbox_info
    assert_close(network(*inputs), cliff(*inputs))


def test_hmr_has_the_mean_bounding_box_info(cliff, people):
    network = narrowed(cliff, None, WIDTH, 50, hmr=True)
    mean = people.bbox_info.mean(0).expand(4, 3)
    crops = cliff.prepare(people.crops)
    features, _ = cliff.encoder(crops)
    expected = super(type(cliff), cliff).regress(features, mean)  # HMR's root is not relative to the ray
    assert_close(network(crops, people.bbox_info), expected)

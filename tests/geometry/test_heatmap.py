import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.geometry.heatmap import cell_centres, soft_argmax


@settings(max_examples=30)
@given(row=st.integers(0, 31), column=st.integers(0, 23))
def test_a_sharp_heatmap_gives_the_place_of_its_cell(row, column):
    heatmaps = torch.zeros(1, 1, 32, 24)
    heatmaps[..., row, column] = 100
    x, y, spread = soft_argmax(heatmaps)[0, 0].tolist()
    # Pixel 0 begins at -1 along the height, and at -3/4 along the width.
    assert x == pytest.approx(-0.75 + (column + 0.5) * 1.5 / 24, abs=1e-5)
    assert y == pytest.approx(-1 + (row + 0.5) * 2 / 32, abs=1e-5)
    assert spread < 2e-3


def test_the_spread_is_the_standard_deviation():
    y, x = cell_centres(64, 48, torch.zeros(1))
    away = ((x[None] - 0.1) ** 2 + (y[:, None] + 0.2) ** 2) / 0.15**2
    found = soft_argmax(-away[None, None] / 2)[0, 0]
    torch.testing.assert_close(found, torch.tensor([0.1, -0.2, 0.15]), atol=1e-3, rtol=0)


def test_a_uniform_heatmap_has_its_mean_in_the_centre():
    found = soft_argmax(torch.zeros(2, 3, 8, 6))
    torch.testing.assert_close(found[..., :2], torch.zeros(2, 3, 2))
    assert (found[..., 2] > 0.4).all()

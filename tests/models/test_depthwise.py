import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.models import depthwise


@settings(deadline=None, max_examples=25)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.sampled_from([(5, 5), (3, 5), (7, 7)]),
    stride=st.sampled_from([(1, 1), (2, 2), (2, 1)]),
    channels=st.integers(1, 9),
    seed=st.integers(0, 100),
)
def test_value_and_gradient_are_torchs(size, kernel, stride, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = [
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((2, channels, *size), (channels, 1, *kernel), (channels,))
    ]
    padding = (kernel[0] // 2, kernel[1] // 2)
    results = []
    for quick in (True, False):
        given_tensors = [tensor.clone().requires_grad_() for tensor in tensors]
        if quick:
            output = depthwise.conv2d(*given_tensors, stride, padding)
        else:
            output = F.conv2d(*given_tensors, stride, padding, 1, channels)
        output.square().sum().backward()
        results.append([output.detach(), *(tensor.grad for tensor in given_tensors)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("groups", "side", "dtype", "grad", "expected"),
    [
        (8, 5, torch.float32, True, True),
        (8, 3, torch.float32, True, False),  # torch is quick enough
        (4, 5, torch.float32, True, False),  # not depthwise
        (8, 5, torch.bfloat16, True, False),
        (8, 5, torch.float32, False, False),  # its forward pass is torch's anyway
    ],
)
def test_what_it_is_for(groups, side, dtype, grad, expected):
    x, weight = torch.zeros(1, 8, 6, 6, dtype=dtype), torch.zeros(8, 8 // groups, side, side, dtype=dtype)
    with torch.set_grad_enabled(grad):
        assert depthwise.suits(x, weight, groups) == expected

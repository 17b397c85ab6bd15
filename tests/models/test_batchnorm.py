import copy
import functools

import pytest
import torch
from torch import nn

from fullframe.models.batchnorm import freeze_batchnorm, fuse_conv_bn
from fullframe.models.encoder import ENCODERS, Encoder


@pytest.fixture(scope="module", params=ENCODERS)
def name(request):
    return request.param


def trained(name):
    """An encoder whose statistics are not those it began with."""
    return copy.deepcopy(_trained(name))


@functools.lru_cache(maxsize=1)
def _trained(name):
    encoder = Encoder(name, (64, 64))
    encoder.train()
    with torch.no_grad():
        encoder(torch.randn(4, 3, 64, 64))
    return encoder


# Without HRNet: its layers are those of ResNet, and it is by far the largest.
@pytest.mark.parametrize("name", [name for name in ENCODERS if not name.startswith("hrnet")])
def test_the_function_is_that_of_evaluation_and_its_gradients_too(name):
    plain = trained(name).eval().double()
    frozen = copy.deepcopy(plain).train()
    freeze_batchnorm(frozen.net)
    crops = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    statistics = {key: value.clone() for key, value in frozen.named_buffers()}
    outputs = [encoder(crops)[0] for encoder in (plain, frozen)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().mean().backward()
    for (key, expected), (_, got) in zip(plain.named_parameters(), frozen.named_parameters(), strict=True):
        scale = expected.grad.abs().max().clamp(min=1e-12)
        assert (expected.grad - got.grad).abs().max() < 1e-6 * scale, key
    assert list(frozen.state_dict()) == list(plain.state_dict())
    for key, value in frozen.named_buffers():
        assert torch.equal(value, statistics[key]), key


def test_folded_it_is_the_same_function(name):
    encoder = trained(name).eval().double()
    crops = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = encoder(crops)[0]
        fuse_conv_bn(encoder.net)
        torch.testing.assert_close(encoder(crops)[0], expected)


def test_a_copy_is_independent():
    frozen = trained("resnet18")
    freeze_batchnorm(frozen.net)
    crops = torch.rand(2, 3, 64, 64)
    twin = copy.deepcopy(frozen)
    before = twin(crops)[0]
    with torch.no_grad():
        for parameter in frozen.parameters():
            parameter.mul_(2)
    assert torch.equal(twin(crops)[0], before)


def test_other_nets_are_refused():
    for change in (freeze_batchnorm, fuse_conv_bn):
        with pytest.raises(ValueError, match="follow"):
            change(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)))

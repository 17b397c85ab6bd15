import contextlib
import itertools

import pytest
import tiny
import torch
from tiny import batches, tiny_encoder  # noqa: F401

from fullframe.models import create_model, load_model, save_checkpoint
from fullframe.train.config import ConfigError
from fullframe.train.distillation import distil
from fullframe.train.loop import fit

SMALL = {
    "encoder": "tiny",
    "crop": (48, 36),
    "num_betas": 11,
    "regressor_width": 32,
    "regressor_dropout": 0.0,
}
FIELD = {"field_size": 8, "field_samples": 4, "field_width": 16}
CONFIG = tiny.configure(
    network__model="imphmr",
    **{f"network__{key}": value for key, value in (SMALL | FIELD).items()},
    network__pretrained=False,
    network__bbox_info_input=False,
    network__full_frame_loss=False,
    batch_size=16,
    workers=0,
    threads=1,
)


@pytest.fixture
def start(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "hmr.safetensors"
    save_checkpoint(create_model("hmr", **SMALL), path, body="open", data="d", licence="l", metrics={})
    return path


@pytest.mark.parametrize("gate", [False, True])
def test_a_field_learns_to_render_the_features(start, gate):
    teacher = load_model(start).network
    torch.manual_seed(1)
    net = create_model("imphmr", **SMALL, **FIELD, feature_gate=gate)
    net.start_from(teacher)
    held = {name: x.clone() for name, x in net.state_dict().items() if name.startswith("regressor.fc2")}
    crops = itertools.cycle(list(itertools.islice(batches(CONFIG)(0, 0, 1), 2)))
    first = distil(net, teacher, crops, 32, contextlib.nullcontext)
    last = distil(net, teacher, crops, 1600, contextlib.nullcontext)
    assert last < 0.5 * first
    with torch.no_grad():
        drawn = next(crops)
        inputs = net.assemble_input(net.encoder(net.prepare(drawn.crops))[0], drawn.bbox_info)
        seen = net.render_features(inputs) @ net.regressor.fc1.weight[:, net.map_columns].mT
        wanted = inputs @ teacher.regressor.fc1.weight[:, : teacher.input_width].mT
    assert (seen - wanted).square().mean() < 0.5 * (wanted - wanted.mean(0)).square().mean()
    for name, before in held.items():
        assert torch.equal(net.state_dict()[name], before)


def test_a_run_starts_from_hmr(start, tmp_path):
    config = tiny.configure(
        CONFIG,
        out=str(tmp_path / "run"),
        network__init_checkpoint=str(start),
        network__freeze_encoder=True,
        network__feature_gate=True,
        distillation=32,
        samples=16,
        optim__learning_rate=1e-9,
        optim__warmup=0,
    )
    path = fit(config, tiny.body_of(config), batches(config), ("sticks",))
    net, teacher = load_model(path).network, load_model(start).network
    drawn = next(batches(config)(0, 0, 1))
    crops = teacher.prepare(drawn.crops)
    with torch.no_grad():
        expected, found = teacher(crops, drawn.bbox_info).pose, net(crops, drawn.bbox_info).pose
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)  # stored in half precision


def test_what_a_run_cannot_start_from(start, tmp_path):
    with pytest.raises(ConfigError, match="distillation needs the model imphmr, and network.init_checkpoint"):
        tiny.configure(CONFIG, distillation=100)
    with pytest.raises(ConfigError, match="freeze_encoder needs a trained encoder"):
        tiny.configure(CONFIG, network__freeze_encoder=True)
    for changes, message in (
        ({"network__bbox_info_input": True}, "its bbox_info_input is False, not True"),
        ({"network__regressor_width": 64}, "its regressor_width is 32, not 64"),
    ):
        config = tiny.configure(
            CONFIG, out=str(tmp_path / "run"), network__init_checkpoint=str(start), **changes
        )
        with pytest.raises(ConfigError, match=message):
            fit(config, tiny.body_of(config), batches(config), ("sticks",))

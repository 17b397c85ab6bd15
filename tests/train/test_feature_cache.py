import itertools
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import StickPeople, batches

from fullframe.io.atomic import WorkError
from fullframe.models import CLIFF, create_model, load_model
from fullframe.models.checkpoint import save_checkpoint
from fullframe.train import feature_cache as kept
from fullframe.train.config import ConfigError, TrainConfig
from fullframe.train.feature_cache import FeatureCache
from fullframe.train.loop import fit

OPTIONS = {"encoder": "resnet18", "crop": (64, 48), "num_betas": 11, "pool": "heatmaps"}
CONFIG = TrainConfig("", **OPTIONS, pretrained=False, batch_size=4, workers=0, threads=1, warmup=0)


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SHARD_BATCHES", 3)


@pytest.fixture(scope="module")
def network() -> CLIFF:
    torch.manual_seed(0)
    return create_model("cliff", **OPTIONS).eval()


@pytest.fixture
def people(network: CLIFF, tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "maps", network, batches(CONFIG), 4, 20, {})


@torch.inference_mode()
def test_packed_crops_stand_for_crops(network, people):
    drawn = next(batches(CONFIG)(0, 0, 1))
    packed = network.encoder.precompute(network.prepare(drawn.crops))
    assert packed.dtype == torch.float16 and network.prepare(packed) is packed
    features, heatmaps = network.encoder(packed)
    expected, _ = network.encoder(network.prepare(drawn.crops))
    assert heatmaps is None
    torch.testing.assert_close(features, expected, atol=5e-3, rtol=5e-3)
    prediction = network(network.prepare(packed), drawn.bbox_info)
    torch.testing.assert_close(
        prediction.pose, network(network.prepare(drawn.crops), drawn.bbox_info).pose, atol=5e-3, rtol=0
    )


def whom(drawn) -> list[float]:
    """Numbers that tell people apart."""
    return drawn.bbox_info[:, 0].tolist()


def test_everyone_comes_once_and_then_again_in_another_order(people):
    drawn = [whom(batch) for batch in itertools.islice(people.batches(3, 4, 0, 0, 1), 10)]
    rounds = [list(itertools.chain(*part)) for part in (drawn[:5], drawn[5:])]
    assert len(set(rounds[0])) == 20
    assert sorted(rounds[0]) == sorted(rounds[1]) and rounds[0] != rounds[1]
    other = list(itertools.chain(*map(whom, itertools.islice(people.batches(4, 4, 0, 0, 1), 5))))
    assert sorted(other) == sorted(rounds[0]) and other != rounds[0]


def test_processes_share_and_runs_go_on(people):
    alone = list(itertools.islice(people.batches(3, 4, 0, 0, 1), 8))
    pair = [list(itertools.islice(people.batches(3, 2, 12, rank, 2), 5)) for rank in (0, 1)]
    for step, together in enumerate(zip(*pair, strict=True)):
        assert sorted(itertools.chain(*map(whom, together))) == sorted(whom(alone[3 + step]))


def test_files_are_made_once(network, people, tmp_path, monkeypatch):
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "maps").iterdir()}
    (tmp_path / "maps/0001.pt").unlink()
    again = FeatureCache(tmp_path / "maps", network, batches(CONFIG), 4, 20, {})
    made = {p.name for p, time in files.items() if p.stat().st_mtime_ns != time}
    assert made == {"0001.npy", "0001.pt"}
    one, other = (next(x.batches(0, 20, 0, 0, 1)) for x in (people, again))
    assert torch.equal(one.crops, other.crops) and torch.equal(one.pose, other.pose)
    stranger = create_model("cliff", **OPTIONS)
    with pytest.raises(WorkError, match="encoder"):
        FeatureCache(tmp_path / "maps", stranger, batches(CONFIG), 4, 20, {})


@pytest.fixture
def trained(network: CLIFF, tmp_path: Path) -> Path:
    file = tmp_path / "net.safetensors"
    save_checkpoint(network, file, body="open", data="d", licence="l", metrics={}, dtype="fp16")
    return file


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal, whereas who runs in the background may be told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_maps_are_made_ends_at_once(trained, tmp_path, ctrl_c):
    config = replace(CONFIG, encoder_checkpoint=str(trained), out=str(tmp_path / "run"),
                     kept=24, kept_folder=str(tmp_path / "maps"), samples=16)  # fmt: skip

    def interrupting(start, rank, world):
        for n, batch in enumerate(batches(config, StickPeople())(start, rank, world)):
            if start + 4 * n == 16:  # in the second file
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    with pytest.raises(KeyboardInterrupt):
        fit(config, interrupting, ("sticks",))
    assert {file.name for file in (tmp_path / "maps").iterdir()} == {"made_by.json", "0000.npy", "0000.pt"}
    assert fit(config, batches(config, StickPeople()), ("sticks",)) is not None


@pytest.mark.parametrize("model", ["hmr", "imphmr"])
def test_a_run_behind_a_kept_encoder(model, trained, tmp_path):
    config = replace(
        CONFIG, model=model, encoder_checkpoint=str(trained), out=str(tmp_path / "run"),
        kept=32, kept_folder=str(tmp_path / "maps"), samples=160, learning_rate=1e-3, regressor_dropout=0.0,
        log_every=16, picture_every=16, field_size=8, field_samples=4, field_width=8,
    )  # fmt: skip
    fit(replace(config, samples=80), batches(config, StickPeople()), ("sticks",))
    path = fit(config, batches(config, StickPeople()), ("sticks",))
    assert path is not None
    lines = (tmp_path / "run/losses.csv").read_text().splitlines()
    losses = [float(line.split(",")[lines[0].split(",").index("loss")]) for line in lines[1:]]
    assert losses[-1] < 0.8 * losses[0], losses
    after = load_model(path).network.encoder.state_dict()
    for name, before in load_model(trained).network.encoder.state_dict().items():
        assert torch.equal(after[name], before) != name.startswith("joints.cells."), name


def test_without_a_trained_encoder_nothing_is_kept(tmp_path):
    from fullframe.train.config import make_config

    with pytest.raises(ConfigError, match="kept needs a trained encoder"):
        make_config({"out": "x", "kept": 100, "pool": "heatmaps"}, "test")
    with pytest.raises(ConfigError, match='pool = "heatmaps"'):
        make_config({"out": "x", "kept": 100, "init": "a"}, "test")
    torch.manual_seed(0)
    other = create_model("cliff", encoder="resnet18", crop=(64, 48), num_betas=11)
    save_checkpoint(other, tmp_path / "o.safetensors", body="open", data="d", licence="l", metrics={})
    wrong = replace(
        CONFIG, encoder_checkpoint=str(tmp_path / "o.safetensors"), out=str(tmp_path / "run"), kept=8
    )
    with pytest.raises(ConfigError, match="another encoder or pool"):
        fit(wrong, batches(wrong), ("sticks",))

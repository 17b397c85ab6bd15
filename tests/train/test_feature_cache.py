import itertools
import signal
from pathlib import Path

import pytest
import tiny
import torch
from tiny import StickPeople, batches

from fullframe.io.workdir import WorkError
from fullframe.models import CLIFF, create_model, load_model
from fullframe.models.checkpoint import save_checkpoint
from fullframe.train import feature_cache
from fullframe.train.config import ConfigError
from fullframe.train.feature_cache import FeatureCache
from fullframe.train.loop import fit

OPTIONS = {"encoder": "resnet18", "crop": (64, 48), "num_betas": 11, "pool": "heatmaps"}
CONFIG = tiny.configure(
    **{f"network__{key}": value for key, value in OPTIONS.items()},
    network__pretrained=False,
    batch_size=4,
    workers=0,
    threads=1,
    optim__warmup=0,
)


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "SHARD_BATCHES", 3)


@pytest.fixture(scope="module")
def network() -> CLIFF:
    torch.manual_seed(0)
    return create_model("cliff", **OPTIONS).eval()


@pytest.fixture
def people(network: CLIFF, tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features", network, batches(CONFIG), 4, 20, {})


@torch.inference_mode()
def test_precomputed_crops_replace_crops(network, people):
    drawn = next(batches(CONFIG)(0, 0, 1))
    precomputed = network.encoder.precompute(network.prepare(drawn.crops))
    assert precomputed.dtype == torch.float16 and network.prepare(precomputed) is precomputed
    features, heatmaps = network.encoder(precomputed)
    expected, _ = network.encoder(network.prepare(drawn.crops))
    assert heatmaps is None
    torch.testing.assert_close(features, expected, atol=5e-3, rtol=5e-3)
    prediction = network(network.prepare(precomputed), drawn.bbox_info)
    torch.testing.assert_close(
        prediction.pose, network(network.prepare(drawn.crops), drawn.bbox_info).pose, atol=5e-3, rtol=0
    )


@torch.inference_mode()
def test_of_a_frozen_encoder_the_features_are_kept(network, tmp_path):
    drawn = next(batches(CONFIG)(0, 0, 1))
    crops = network.prepare(drawn.crops)
    expected, width = network.encoder(crops)[0], network.encoder.precompute(crops).shape[1]
    network.encoder.requires_grad_(False)
    try:
        kept = network.encoder.precompute(crops)
        assert kept.dtype == torch.float16 and kept.shape == expected.shape and kept.shape[1] < width
        features, heatmaps = network.encoder(network.prepare(kept))
        assert heatmaps is None
        torch.testing.assert_close(features, expected, atol=5e-3, rtol=5e-3)
        FeatureCache(tmp_path / "features", network, batches(CONFIG), 4, 12, {})
    finally:
        network.encoder.requires_grad_(True)
    with pytest.raises(WorkError):  # the same encoder, but its cells would be trained
        FeatureCache(tmp_path / "features", network, batches(CONFIG), 4, 12, {})


def identities(drawn) -> list[float]:
    """Numbers that identify people."""
    return drawn.bbox_info[:, 0].tolist()


def test_each_epoch_has_everyone_once_in_another_order(people):
    drawn = [identities(batch) for batch in itertools.islice(people.batches(3, 4, 0, 0, 1), 10)]
    rounds = [list(itertools.chain(*part)) for part in (drawn[:5], drawn[5:])]
    assert len(set(rounds[0])) == 20
    assert sorted(rounds[0]) == sorted(rounds[1]) and rounds[0] != rounds[1]
    other = list(itertools.chain(*map(identities, itertools.islice(people.batches(4, 4, 0, 0, 1), 5))))
    assert sorted(other) == sorted(rounds[0]) and other != rounds[0]


def test_processes_share_the_people_and_runs_resume(people):
    alone = list(itertools.islice(people.batches(3, 4, 0, 0, 1), 8))
    pair = [list(itertools.islice(people.batches(3, 2, 12, rank, 2), 5)) for rank in (0, 1)]
    for step, together in enumerate(zip(*pair, strict=True)):
        assert sorted(itertools.chain(*map(identities, together))) == sorted(identities(alone[3 + step]))


def test_shards_are_computed_once(network, people, tmp_path):
    shards = [tmp_path / f"features/{start:09d}/features.npy" for start in (0, 12)]
    before = [file.stat().st_mtime_ns for file in shards]
    (tmp_path / "features/000000012/labels.pt").unlink()
    again = FeatureCache(tmp_path / "features", network, batches(CONFIG), 4, 20, {})
    assert [file.stat().st_mtime_ns == time for file, time in zip(shards, before, strict=True)] == [
        True,
        False,
    ]
    one, other = (next(x.batches(0, 20, 0, 0, 1)) for x in (people, again))
    assert torch.equal(one.crops, other.crops) and torch.equal(one.pose, other.pose)
    stranger = create_model("cliff", **OPTIONS)
    with pytest.raises(WorkError, match="encoder"):
        FeatureCache(tmp_path / "features", stranger, batches(CONFIG), 4, 20, {})


@pytest.fixture
def trained(network: CLIFF, tmp_path: Path) -> Path:
    file = tmp_path / "net.safetensors"
    save_checkpoint(network, file, body="open", data="d", licence="l", metrics={}, dtype="fp16")
    return file


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal; processes in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_features_are_computed_ends_at_once(trained, tmp_path, ctrl_c):
    config = tiny.configure(
        CONFIG,
        network__encoder_checkpoint=str(trained),
        out=str(tmp_path / "run"),
        cache__features=24,
        cache__features_folder=str(tmp_path / "features"),
        samples=16,
    )

    def interrupting(start, rank, world):
        for n, batch in enumerate(batches(config, StickPeople())(start, rank, world)):
            if start + 4 * n == 16:  # in the second file
                signal.raise_signal(signal.SIGINT)
            yield batch

    with pytest.raises(KeyboardInterrupt):
        fit(config, tiny.body_of(config), interrupting, ("sticks",))
    shards = {path.name for path in (tmp_path / "features").iterdir() if path.is_dir()}
    assert shards == {"000000000"}
    assert fit(config, tiny.body_of(config), batches(config, StickPeople()), ("sticks",)) is not None


@pytest.mark.parametrize("model", ["hmr", "imphmr"])
@pytest.mark.slow
def test_a_run_on_cached_features(model, trained, tmp_path):
    config = tiny.configure(
        CONFIG,
        network__model=model,
        network__encoder_checkpoint=str(trained),
        out=str(tmp_path / "run"),
        cache__features=32,
        cache__features_folder=str(tmp_path / "features"),
        samples=160,
        optim__learning_rate=1e-3,
        network__regressor_dropout=0.0,
        log_every=16,
        preview_every=16,
        network__field_size=8,
        network__field_samples=4,
        network__field_width=8,
    )
    fit(tiny.configure(config, samples=80), tiny.body_of(config), batches(config, StickPeople()), ("sticks",))
    path = fit(config, tiny.body_of(config), batches(config, StickPeople()), ("sticks",))
    assert path is not None
    lines = (tmp_path / "run/losses.csv").read_text().splitlines()
    losses = [float(line.split(",")[lines[0].split(",").index("loss")]) for line in lines[1:]]
    assert losses[-1] < 0.8 * losses[0], losses
    after = load_model(path).network.encoder.state_dict()
    for name, before in load_model(trained).network.encoder.state_dict().items():
        assert torch.equal(after[name], before) != name.startswith("joints.cells."), name


def test_cached_features_need_a_trained_encoder(tmp_path):
    with pytest.raises(ConfigError, match="cache.features needs a trained encoder"):
        tiny.configure(cache__features=100, network__pool="heatmaps")
    with pytest.raises(ConfigError, match='cache.features needs network.pool = "heatmaps"'):
        tiny.configure(cache__features=100, network__init_checkpoint="a")
    torch.manual_seed(0)
    other = create_model("cliff", encoder="resnet18", crop=(64, 48), num_betas=11)
    save_checkpoint(other, tmp_path / "o.safetensors", body="open", data="d", licence="l", metrics={})
    wrong = tiny.configure(
        CONFIG,
        network__encoder_checkpoint=str(tmp_path / "o.safetensors"),
        out=str(tmp_path / "run"),
        cache__features=8,
    )
    with pytest.raises(ConfigError, match="another encoder or pool"):
        fit(wrong, tiny.body_of(wrong), batches(wrong), ("sticks",))

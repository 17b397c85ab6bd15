import csv
import errno
import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
import torch

from fullframe.body import load_body
from fullframe.data.mixture import DataError
from fullframe.io.workdir import FolderLock, WorkError
from fullframe.losses.objective import SCALE
from fullframe.models import CropRegressor, load_model
from fullframe.models.imphmr.losses import NOVEL_VIEW_TERMS
from fullframe.train import checkpoints, loop, pretraining
from fullframe.train.build import build_network, build_optimizer, learning_rate
from fullframe.train.config import ConfigError, read_config, write_config
from fullframe.train.interrupt import TrainError
from fullframe.train.loop import fit
from fullframe.train.state import STATE, load_state
from fullframe.train.validation import Validation

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

CONFIG = tiny.configure(
    out="run",
    network__encoder="tiny",
    network__crop=(48, 36),
    network__pretrained=False,
    samples=64,
    batch_size=8,
    optim__learning_rate=1e-3,
    optim__warmup=0,
    optim__ema=0.9,
    workers=0,
    log_every=8,
    preview_every=0,
    validate_every=0,
)


@pytest.fixture
def config(tmp_path):
    return tiny.configure(CONFIG, out=str(tmp_path / "run"))


@pytest.fixture(scope="module")
def people():
    return tiny.StickPeople()


def train(config, people, **options):
    return fit(config, tiny.body_of(config), tiny.batches(config, people), ("sticks",), **options)


def rows(config, name="losses.csv"):
    return tiny.table(Path(config.out) / name)


def losses(config):
    return [(row["samples"], row["loss"], row["gradient"], row["learning_rate"]) for row in rows(config)]


def weights(config):
    return load_model(Path(config.out) / "cliff.safetensors").network.state_dict()


def same(a, b):
    """Up to what another process may round differently: memory can be aligned differently there."""
    return a.keys() == b.keys() and all(torch.allclose(a[key], b[key], atol=1e-5, rtol=1e-3) for key in a)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, people):
    config = tiny.configure(CONFIG, out=str(tmp_path_factory.mktemp("whole")))
    train(config, people)
    return losses(config), weights(config)


def test_learning_rate():
    config = tiny.configure(samples=1000, batch_size=10, optim__warmup=100, optim__learning_rate=2.0)
    assert learning_rate(config, 0) == pytest.approx(0.2)
    assert learning_rate(config, 500) == pytest.approx(1.0)
    assert learning_rate(config, 1000) == 0
    steps = tiny.configure(config, optim__schedule="step", optim__warmup=0)
    assert [learning_rate(steps, n) for n in (0, 499, 500, 999)] == pytest.approx([2, 2, 0.2, 0.2])


@pytest.mark.slow
def test_a_run_learns_and_writes_all_files(config, people):
    config = tiny.configure(
        config,
        samples=1200,
        batch_size=16,
        log_every=160,
        preview_every=600,
        validate_every=600,
        loss__error="l1",
        augment__half_body=0.0,
        light_checkpoint=True,
    )
    body = load_body(num_betas=11)
    path = train(config, people, validate=Validation(body, {"sticks": people}, 8, config.network.crop))
    found, folder = rows(config), Path(config.out)
    assert found[-1]["loss"] < 0.6 * found[0]["loss"]
    assert [row["samples"] for row in found][-1] == 1200 and len(found) == 8
    assert found[0].keys() >= {"keypoints", "joints", "pose", "betas", "camera", "samples_per_second"}
    checked = rows(config, "validation.csv")
    assert [row["samples"] for row in checked] == [608, 1200]
    assert checked[1]["sticks_mpjpe_mm"] > 0
    model = load_model(path, body="open")
    assert model.card.metrics == pytest.approx(
        {k: v for k, v in checked[1].items() if k != "samples"}, rel=1e-4
    )
    assert "1,200 from sticks" in model.card.data
    assert read_config(folder / "config.toml") == config
    known = json.loads((folder / "provenance.json").read_text())
    assert known["seen"] == {"sticks": 1200} and known["fullframe"]
    assert len(list((folder / "tensorboard").iterdir())) == 1
    picture = cv2.imread(str(folder / "previews/000000608.jpg"))
    assert picture.shape == (2 * 48, 8 * 36, 3)


def test_ctrl_c_saves_and_the_resumed_run_is_the_same(config, people, uninterrupted, caplog):
    def interrupting(start, rank, world):
        for n, batch in enumerate(tiny.batches(config, people)(start, rank, world)):
            if start + 8 * n == 32:
                signal.raise_signal(signal.SIGINT)
            yield batch

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tiny.body_of(config), interrupting, ("sticks",))
    assert signal.getsignal(signal.SIGINT) is before
    assert [row[0] for row in losses(config)] == [8, 16, 24, 32, 40]
    train(config, people)
    assert "after 40 people" in caplog.text.replace("\n", " ")
    assert losses(config) == uninterrupted[0]
    assert same(weights(config), uninterrupted[1])
    train(config, people)  # nothing remains to be done
    assert losses(config) == uninterrupted[0]


@pytest.mark.slow
def test_killed_at_any_moment(config, people, uninterrupted):
    config = tiny.configure(config, checkpoint_minutes=0.0, workers=1)
    fork = multiprocessing.get_context("fork")  # a new interpreter would take seconds to import torch
    rng, table = random.Random(0), Path(config.out) / "losses.csv"
    for least in range(1, 8, 2):
        process = fork.Process(target=train, args=(config, people))
        process.start()
        deadline = time.monotonic() + 60
        while not (table.exists() and len(table.read_text().splitlines()) > least):
            assert process.is_alive() and time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
    assert not (Path(config.out) / "cliff.safetensors").exists()
    train(config, people)
    assert losses(config) == uninterrupted[0]
    assert same(weights(config), uninterrupted[1])


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(config, people, uninterrupted, caplog):
    train(tiny.configure(config, checkpoint_minutes=0.0), people)
    folder = Path(config.out)
    (folder / STATE).write_bytes((folder / STATE).read_bytes()[:-1000])
    (folder / "cliff.safetensors").unlink()
    train(config, people)
    assert "state.pt is damaged" in caplog.text.replace("\n", " ")
    assert losses(config) == uninterrupted[0]
    assert same(weights(config), uninterrupted[1])
    for name in (STATE, "state.previous.pt"):
        (folder / name).write_bytes(b"")
    with pytest.raises(WorkError, match="damaged"):
        train(config, people)


def test_a_full_disk_is_reported_and_survived(config, people, uninterrupted, monkeypatch, caplog):
    save, calls = checkpoints.save_state, []

    def full_at_first(folder, packed):
        calls.append(packed["samples"])
        if len(calls) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(folder, packed)

    monkeypatch.setattr(checkpoints, "save_state", full_at_first)
    train(tiny.configure(config, checkpoint_minutes=0.0), people)
    assert calls[:4] == [8, 16, 24, 32]
    messages = caplog.text.replace("\n", " ")
    assert messages.count("no checkpoint could be written to") == 3 and "No space left on device" in messages
    assert losses(config) == uninterrupted[0]
    assert json.loads((Path(config.out) / "provenance.json").read_text())["seen"] == {"sticks": 64}


def test_unreadable_data_end_with_a_checkpoint(config, people, uninterrupted):
    def until_it_breaks(start, rank, world):
        yield from itertools.islice(tiny.batches(config, people)(start, rank, world), 3)
        raise DataError("too many")

    with pytest.raises(DataError, match="too many"):
        fit(config, tiny.body_of(config), until_it_breaks, ("sticks",))
    assert load_state(Path(config.out))["samples"] == 24
    train(config, people)
    assert losses(config) == uninterrupted[0]


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_a_broken_batch_is_written(config, people, precision):
    def broken(start, rank, world):
        for n, batch in enumerate(tiny.batches(config, people)(start, rank, world)):
            if n == 3:
                batch.keypoints["coco17"][2, 5, 0] = np.nan
            yield batch

    with pytest.raises(
        TrainError, match=r"not finite after 24 people.*broken_000000024_0\.npz.*learning_rate"
    ):
        fit(tiny.configure(config, precision=precision), tiny.body_of(config), broken, ("sticks",))
    with np.load(Path(config.out) / "broken_000000024_0.npz", allow_pickle=False) as kept:
        assert np.isnan(kept["keypoints_coco17"][2, 5, 0])
        assert kept["crops"].shape == (8, 48, 36, 3) and kept["predicted_pose"].shape == (8, 24, 3, 3)


def test_mixed_precision_reaches_the_network(config, people, monkeypatch):
    seen = set()
    learn = CropRegressor.forward_train

    def look(self, *inputs):
        learned = learn(self, *inputs)
        seen.add(self.regressor.fc1(torch.zeros(1, self.regressor.fc1.in_features)).dtype)
        return learned

    monkeypatch.setattr(CropRegressor, "forward_train", look)
    train(tiny.configure(config, samples=8, precision="bf16-mixed"), people)
    assert seen == {torch.bfloat16}


def test_another_network_is_refused(config, people):
    train(tiny.configure(config, samples=8), people)
    with pytest.raises(ConfigError, match=r"another network: its network.model is cliff, not ray; choose"):
        train(tiny.configure(config, network__model="ray"), people)
    with pytest.raises(ConfigError, match="its network.frozen_stages is 0, not 1"):
        train(tiny.configure(config, network__freeze_batchnorm=True, network__frozen_stages=1), people)


def test_a_changed_setting_is_reported(config, people, caplog):
    train(tiny.configure(config, samples=8), people)
    train(tiny.configure(config, samples=16, optim__learning_rate=1e-4), people)
    messages = caplog.text.replace("\n", " ")
    assert "optim.learning_rate was 0.001, is 0.0001" in messages and "samples was 8, is 16" in messages
    assert [row["samples"] for row in rows(config)] == [8, 16]


def test_columns_that_are_new_are_empty_before(config, people):
    train(tiny.configure(config, samples=8, loss__weights__camera=0.0), people)
    train(tiny.configure(config, samples=16), people)
    with (Path(config.out) / "losses.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first["camera"] == "" and float(second["camera"]) > 0
    assert float(second["learning_rate"]) < 1e-3 and float(first["gradient"]) > 1


def test_a_run_stops_after_its_minutes(config, people, caplog):
    path = train(tiny.configure(config, minutes=1e-9), people)
    assert path.exists() and [row["samples"] for row in rows(config)] == [8]
    assert "stopped after 8 of 64 people; run the same command to resume" in caplog.text


@pytest.mark.parametrize("last", [0, 3])
@pytest.mark.slow
def test_a_data_worker_that_dies_is_reported(config, people, last):
    def ending_one(start, rank, world):
        for n, batch in enumerate(
            tiny.batches(tiny.configure(config, workers=1), people)(start, rank, world)
        ):
            if n == last:
                for child in multiprocessing.active_children():
                    child.kill()
            yield batch

    with pytest.raises(TrainError, match=r"a data-loader worker died.*run the same command to resume"):
        fit(config, tiny.body_of(config), ending_one, ("sticks",))


@pytest.mark.slow
def test_nothing_is_raised_after_a_data_worker_died(config, people):
    """The connection to a worker can break before the system says that it has ended."""

    def broken(start, rank, world):
        batches = tiny.batches(tiny.configure(config, workers=1), people)(start, rank, world)
        yield next(batches)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        for child in multiprocessing.active_children():
            child.kill()
        raise ConnectionResetError

    try:
        with pytest.raises(TrainError, match="a data-loader worker died"):
            fit(config, tiny.body_of(config), broken, ("sticks",))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    subprocess.run(["true"], check=True)


def test_the_folder_is_a_file(config, people, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"out: .*file cannot be made a folder: File exists"):
        train(tiny.configure(config, out=str(tmp_path / "file")), people)


@pytest.mark.slow
def test_two_runs_in_one_folder(config, people, monkeypatch):
    monkeypatch.setattr(loop, "_WAIT_S", 0.0)
    Path(config.out).mkdir()
    lock = FolderLock(Path(config.out))
    with pytest.raises(
        WorkError, match=rf"run is in use by another fullframe command \(process {os.getpid()}"
    ):
        fit(config, load_body(num_betas=11), people, ("synth",))
    lock.release()
    assert not list(Path(config.out).glob("*.pt"))


def test_start_from_a_trained_network(config, people, tmp_path):
    first = train(tiny.configure(config, samples=8), people)
    begun = tiny.configure(
        config,
        samples=8,
        network__init_checkpoint=str(first),
        out=str(tmp_path / "second"),
        optim__learning_rate=1e-12,
    )
    second = train(begun, people)
    a, b = load_model(first).network.state_dict(), load_model(second).network.state_dict()
    learned = [key for key in a if "running" not in key and "tracked" not in key]
    assert all(torch.allclose(a[key], b[key], atol=1e-3) for key in learned)
    # Small crops first, larger ones later.
    larger = load_model(
        train(tiny.configure(begun, network__crop=(64, 48), out=str(tmp_path / "larger")), people)
    ).network
    assert larger.crop == (64, 48)
    assert all(torch.allclose(a[key], larger.state_dict()[key], atol=1e-3) for key in learned)
    with pytest.raises(
        ConfigError, match=r"network.init_checkpoint: .*safetensors .* its bbox_info_input is True, not False"
    ):
        train(tiny.configure(begun, network__bbox_info_input=False, out=str(tmp_path / "other")), people)


JOINTS = {
    "network__pool": "heatmaps",
    "network__regressor_act": "relu",
    "network__regressor_dropout": 0.1,
    "lifting": 16,
}


@pytest.mark.slow
def test_the_regressor_is_pretrained_once_and_frozen_stages_stay(config, people, monkeypatch):
    monkeypatch.setattr(pretraining, "PASSES", 2)
    config = tiny.configure(
        config, **JOINTS, network__freeze_batchnorm=True, network__frozen_stages=2, optim__head_lr_scale=2.0
    )
    begun = build_network(config)
    rates = [(group["lr"], group["lr_scale"]) for group in build_optimizer(config.optim, begun).param_groups]
    assert rates == [(1e-3, 1.0), (1e-3, 1.0), (1e-3, 2.0), (1e-3, 2.0)]
    calls = []
    pretrain = pretraining.pretrain_regressor
    monkeypatch.setattr(loop, "pretrain_regressor", lambda *given: calls.append(pretrain(*given)))
    train(tiny.configure(config, samples=8), people)
    last = Path(train(tiny.configure(config, samples=16), people))
    assert len(calls) == 1
    assert [row["samples"] for row in rows(config)] == [8, 16] and rows(config)[-1]["heatmaps"] > 0
    ended, begun = load_model(last).network.state_dict(), begun.state_dict()
    changed = [key for key in begun if not torch.allclose(begun[key], ended[key], atol=2e-3, rtol=1e-2)]
    assert "encoder.net.conv1.weight" not in changed and not any("layer1" in key for key in changed)
    assert {"encoder.joints.heatmaps.0.bias", "regressor.fc1.weight"} <= {
        key for key in begun if not torch.equal(begun[key], ended[key].to(begun[key]))
    }


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Runs in two processes, which import torch once for all of them."""
    folder = tmp_path_factory.mktemp("two")
    runs = {
        "plain": {"samples": 40},
        "heatmaps": {"samples": 16, **JOINTS},
        "imphmr": {"samples": 16, "loss__novel_view__silhouette": 0.0, **IMPHMR},
    }
    configs = {name: tiny.configure(CONFIG, out=str(folder / name), **runs[name]) for name in runs}
    for name, config in configs.items():
        write_config(config, folder / f"{name}.toml")
    files = [str(folder / f"{name}.toml") for name in runs]
    subprocess.run([*TORCHRUN, tiny.__file__, *files], check=True, timeout=300)
    return configs


@pytest.mark.slow
def test_two_processes_with_heatmaps(two_processes):
    """Each weight has a gradient; all processes start from the regressor of the first."""
    found = losses(two_processes["heatmaps"])
    assert len(found) == 2 and np.isfinite(found).all()


@pytest.mark.slow
def test_two_processes_train_as_one(config, people, two_processes, monkeypatch):
    """Every loss, gradient norm and weight; people without 3D labels are spread unevenly."""
    both = two_processes["plain"]
    config = tiny.configure(config, samples=both.samples)
    monkeypatch.setattr(loop, "build_network", tiny.build_still)
    train(config, people)
    assert len(losses(config)) == 5
    np.testing.assert_allclose(losses(both), losses(config), rtol=2e-4)
    alone, together = weights(config), weights(both)
    assert all(torch.allclose(alone[key].float(), together[key].float(), atol=2e-3) for key in alone)
    assert json.loads((Path(both.out) / "provenance.json").read_text())["seen"] == {"sticks": 40}


IMPHMR = {
    "network__model": "imphmr",
    "network__field_size": 8,
    "network__field_samples": 4,
    "network__field_width": 16,
    "loss__novel_view__warmup": 16,
}


@pytest.mark.slow
def test_imphmr_trains_in_the_same_loop(config, people):
    """Half of the people have 3D labels; terms about other directions are recorded, and a run resumes."""
    config = tiny.configure(config, samples=32, **IMPHMR)
    path = train(tiny.configure(config, samples=16), people)
    train(config, people)
    found = rows(config)
    assert [row["samples"] for row in found] == [8, 16, 24, 32]
    for name in ("imagined_joints", "imagined_pose", "silhouette", "consistent_pose"):
        assert all(row[name] > 0 for row in found)
    # The terms of novel views are weighted in full from the 16th person on.
    for row, grown in zip(found, (0, 0.5, 1, 1), strict=True):
        weights = {
            key: value
            for key, value in (asdict(config.loss.weights) | asdict(config.loss.novel_view)).items()
            if key in row
        }
        counted = sum(
            row[key] * weight * (grown if key in NOVEL_VIEW_TERMS else 1) for key, weight in weights.items()
        )
        assert row["loss"] == pytest.approx(SCALE * counted, rel=1e-3)
    assert load_model(path).network.options["field_width"] == 16
    with pytest.raises(ConfigError, match="its network.field_size is 8, not 16"):
        train(tiny.configure(config, network__field_size=16), people)
    train(tiny.configure(config, samples=40, loss__novel_view__imagined_pose=2.0), people)


@pytest.mark.slow
def test_imphmr_in_two_processes(two_processes):
    """Every weight gets its gradient through the wrapped network, also without silhouettes."""
    assert [row["samples"] for row in rows(two_processes["imphmr"])] == [8, 16]

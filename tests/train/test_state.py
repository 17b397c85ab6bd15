import copy
import errno
import os
import re

import pytest
import tiny
import torch

from fullframe.io.workdir import WorkError
from fullframe.models import create_model
from fullframe.train.build import build_optimizer
from fullframe.train.config import ConfigError
from fullframe.train.state import STATE, State, factor, load_state, product, save_state

PREVIOUS = "state.previous.pt"
CONFIG = tiny.configure(
    network__encoder="tiny", network__crop=(64, 48), network__pretrained=False, network__regressor_width=64
)


def make_state(steps=2, seed=0, **options):
    torch.manual_seed(seed)
    model = create_model("cliff", **CONFIG.network.model_options | options)
    state = State(
        model, copy.deepcopy(model), build_optimizer(CONFIG.optim, model), 64 * steps, {"synth": 64 * steps}
    )
    for _ in range(steps):
        pose, betas, _ = model(torch.randn(2, 3, 64, 48), torch.rand(2, 3))
        (pose.square().sum() + betas.sum()).backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
    return state


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def moments(state, name):
    return [state.optimizer.state[p][name] for g in state.optimizer.param_groups for p in g["params"]]


def test_the_whole_state_is_restored(tmp_path):
    state, other = make_state(), make_state(steps=0, seed=1)
    save_state(tmp_path, state.pack(CONFIG))
    packed = load_state(tmp_path)
    assert packed["config"]["network.model"] == "cliff"
    other.unpack(packed)
    assert same(state.model.state_dict(), other.model.state_dict())
    assert same(state.average.state_dict(), other.average.state_dict())
    for name in ("step", "exp_avg", "exp_avg_sq"):
        for a, b in zip(moments(state, name), moments(other, name), strict=True):
            assert torch.equal(a, b)
    assert (other.samples, other.seen) == (128, {"synth": 128})


def test_rates_and_decay_are_those_of_the_configuration():
    state = make_state()
    model = create_model("cliff", **CONFIG.network.model_options)
    changed = tiny.configure(CONFIG, optim__head_lr_scale=7.0, optim__weight_decay=0.3)
    other = State(model, copy.deepcopy(model), build_optimizer(changed.optim, model))
    other.unpack(state.pack(CONFIG))
    assert {group["lr_scale"] for group in other.optimizer.param_groups} == {1.0, 7.0}
    assert {group["weight_decay"] for group in other.optimizer.param_groups} == {0.0, 0.3}
    assert moments(other, "step") == moments(state, "step")


def test_the_light_state_is_small_and_near(tmp_path):
    wide = {"regressor_width": 1024}  # as networks are, most of whose weights are in matrices
    state, other = make_state(**wide), make_state(steps=0, seed=1, **wide)
    heavy = save_state(tmp_path, state.pack(CONFIG)).stat().st_size
    light = save_state(tmp_path, state.pack(tiny.configure(CONFIG, light_checkpoint=True))).stat().st_size
    assert light < 0.13 * heavy
    other.unpack(load_state(tmp_path))
    kept, averaged = other.model.state_dict(), state.average.state_dict()
    assert all(torch.allclose(kept[k], averaged[k], rtol=1e-3, atol=1e-7) for k in kept)
    assert same(kept, other.average.state_dict())
    for a, b in zip(moments(state, "exp_avg_sq"), moments(other, "exp_avg_sq"), strict=True):
        assert b.sum().item() == pytest.approx(a.sum().item(), rel=1e-3)
        assert b.shape == a.shape and (b >= 0).all()
    assert not any(m.any() for m in moments(other, "exp_avg"))
    assert moments(state, "step") == moments(other, "step")
    model = other.model  # from which training continues
    model(torch.randn(2, 3, 64, 48), torch.rand(2, 3)).betas.sum().backward()
    other.optimizer.step()


def test_matrices_of_rank_one_are_restored_from_their_means():
    rows, columns = torch.rand(5, 1) + 0.1, torch.rand(1, 12) + 0.1
    torch.testing.assert_close(product(*factor((rows * columns).view(5, 3, 2, 2))), rows * columns)
    vector = torch.rand(7)
    torch.testing.assert_close(product(*factor(vector)).flatten(), vector)
    assert not product(*factor(torch.zeros(3, 4))).any()


@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: c[:99] + b"!" + c[100:]]
)
def test_a_damaged_file_falls_back_to_the_one_before(tmp_path, damage, caplog):
    save_state(tmp_path, {"format": 1, "samples": 1})
    path = save_state(tmp_path, {"format": 1, "samples": 2})
    path.write_bytes(damage(path.read_bytes()))
    assert load_state(tmp_path)["samples"] == 1
    assert f"{path} is damaged" in caplog.text
    (tmp_path / PREVIOUS).write_bytes(b"nothing")
    with pytest.raises(WorkError, match=r"state\.pt, .*previous\.pt: damaged; remove them"):
        load_state(tmp_path)


def test_killed_between_the_two_names(tmp_path):
    save_state(tmp_path, {"format": 1, "samples": 1}).rename(tmp_path / PREVIOUS)
    assert load_state(tmp_path)["samples"] == 1
    assert load_state(tmp_path / "empty") is None


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    save_state(tmp_path, {"format": 1, "samples": 1})
    before = (tmp_path / STATE).read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(tmp_path, {"format": 1, "samples": 2})
    assert (tmp_path / STATE).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [STATE]


def test_temporary_files_of_killed_runs_are_removed(tmp_path):
    left = tmp_path / ".state.12ab34cd.pt"
    left.write_bytes(b"half")
    save_state(tmp_path, {"format": 1})
    assert {path.name for path in tmp_path.iterdir()} == {STATE}


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_nothing_is_executed(tmp_path, capsys, caplog):
    save_state(tmp_path, {"format": 1, "evil": Evil()})
    with pytest.raises(WorkError, match="remove them"):
        load_state(tmp_path)
    assert "nothing was run" in caplog.text and not capsys.readouterr().out


def test_another_version_is_refused(tmp_path, caplog):
    save_state(tmp_path, {"format": 0})
    with pytest.raises(WorkError, match="remove them"):
        load_state(tmp_path)
    assert "another version" in caplog.text


FIRST = object()
"""The first key of a dictionary."""


def first(values):
    return next(iter(values.values()))


def changed(packed, *keys, value=None):
    """A copy with one value replaced, or left out if None."""
    packed = copy.deepcopy(packed)
    inner = packed
    for key in keys[:-1]:
        inner = inner[key]
    last = next(iter(inner)) if keys[-1] is FIRST else keys[-1]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return packed


# What is done to a good state, and what is said about it.
HOSTILE = {
    "a list": (lambda p: [p], "not the state of a run"),
    "text": (lambda p: "state", "not the state of a run"),
    "empty": (lambda p: {}, "not the state of a run"),
    "no model": (lambda p: changed(p, "model"), "model is not made of named tensors"),
    "no average": (lambda p: changed(p, "average"), "it lacks average"),
    "no samples": (lambda p: changed(p, "samples"), "it lacks samples"),
    "negative samples": (lambda p: changed(p, "samples", value=-5), "number of people is -5"),
    "samples of 400 digits": (lambda p: changed(p, "samples", value=10**400), "number of people is 1000"),
    "samples as text": (lambda p: changed(p, "samples", value="7"), "number of people is 7"),
    "seen as a list": (lambda p: changed(p, "seen", value=[1]), "not dictionaries"),
    "another shape": (lambda p: changed(p, "model", FIRST, value=torch.zeros(3, 5)), r"is \[3, 5\], not"),
    "whole numbers": (
        lambda p: changed(p, "average", FIRST, value=first(p["average"]).long()), "of type torch.int64"
    ),
    "a tensor less": (lambda p: changed(p, "average", FIRST), "other tensors"),
    "NaN": (
        lambda p: changed(p, "model", FIRST, value=first(p["model"]) * float("nan")), "is not finite"
    ),
    "optimizer as a list": (lambda p: changed(p, "optimizer", value=[]), "optimizer is of other parameters"),
    "other groups": (
        lambda p: changed(p, "optimizer", "param_groups", value=[]), "optimizer is of other parameters"
    ),
    "moments of another shape": (
        lambda p: changed(p, "optimizer", "state", 0, "exp_avg", value=torch.zeros(2)), r"exp_avg is \[2\]"
    ),
    "numbers for moments": (
        lambda p: changed(p, "optimizer", "state", 0, "exp_avg", value=7), "not made of named tensors"
    ),
    "repeated numbers": (
        lambda p: changed(p, "model", FIRST, value=torch.zeros(1).expand(10**9)), "not a plain tensor"
    ),
    "no numbers": (
        lambda p: changed(p, "model", FIRST, value=torch.zeros(10**9, device="meta")), "not a plain tensor"
    ),
    "a tuple as key": (lambda p: p | {"a": {((1,), 2): 1}}, "neither text nor numbers"),
    "code": (lambda p: p | {"evil": Evil()}, "nothing was run"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_states_fall_back_to_the_one_before(tmp_path, kind, caplog):
    state = make_state()
    good = state.pack(CONFIG)
    change, message = HOSTILE[kind]
    save_state(tmp_path, good)
    save_state(tmp_path, change(good))
    found = load_state(tmp_path, lambda packed: state.check(packed, CONFIG))
    assert found["samples"] == 128 and same(found["model"], state.model.state_dict())
    assert re.search(f"state.pt cannot be used: .*{message}", caplog.text), caplog.text


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: changed(p, "moments", value=[]), "moments are of other parameters"),
        (
            lambda p: changed(p, "moments", 0, value=(torch.zeros(()), torch.zeros(2), torch.zeros(3))),
            r"is \[2\]",
        ),
        (lambda p: changed(p, "moments"), "moments are of other parameters"),
    ],
)
def test_hostile_light_states(change, message):
    state = make_state()
    light = tiny.configure(CONFIG, light_checkpoint=True)
    state.check(state.pack(light), light)
    with pytest.raises(ValueError, match=message):
        state.check(change(state.pack(light)), light)


def test_a_run_of_another_network_is_named_and_not_taken_for_damaged(tmp_path):
    state = make_state()
    save_state(tmp_path, state.pack(CONFIG))
    other = tiny.configure(CONFIG, network__num_betas=5)
    packed = load_state(tmp_path, lambda packed: state.check(packed, other))
    with pytest.raises(ConfigError, match="its network.num_betas is 11, not 5"):
        state.restore(packed, other, tmp_path)

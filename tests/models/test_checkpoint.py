import hashlib
import json
import os
import pickle

import pytest
import safetensors.torch
import torch

from fullframe.models import CheckpointError, create_model, load_model, save_checkpoint
from fullframe.models.checkpoint import find_weights

FACTS = {"body": "open", "data": "synthetic", "licence": "CC0-1.0", "metrics": {"PA-MPJPE mm": 50.0}}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model(
        "cliff", encoder="tf_efficientnet_lite0", crop=(64, 48), bbox_norm="h36m", num_betas=6
    )


@pytest.fixture
def path(model, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_checkpoint(model, path, **FACTS)
    return path


def edit_card(path, **changes):
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**card, **changes}))


def replace_weights(path, tensors):
    """Other tensors under a card that vouches for them."""
    content = safetensors.torch.save(tensors)
    path.write_bytes(content)
    edit_card(path, sha256=hashlib.sha256(content).hexdigest())


def test_a_card_rebuilds_the_model(model, path):
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["model"] == "cliff" and card["body"] == "open" and card["licence"] == "CC0-1.0"
    assert card["normalisation"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert card["options"]["crop"] == [64, 48] and card["options"]["bbox_norm"] == "h36m"
    assert (
        card["metrics"] == {"PA-MPJPE mm": 50.0} and card["data"] == "synthetic" and card["dtype"] == "fp32"
    )
    loaded, card = load_model(path)
    assert loaded.options == model.options and card.body == "open"
    assert sorted(os.listdir(path.parent)) == ["weights.json", "weights.safetensors"]


def test_fp16_halves_the_file_and_keeps_vectors_exact(model, path):
    half = path.with_name("half.safetensors")
    assert save_checkpoint(model, half, dtype="fp16", **FACTS).dtype == "fp16"
    assert half.stat().st_size < 0.52 * path.stat().st_size
    stored = safetensors.torch.load_file(half)
    loaded = load_model(half).network.state_dict()
    for name, tensor in model.state_dict().items():
        assert loaded[name].dtype == tensor.dtype
        if tensor.ndim > 1:
            assert stored[name].dtype == torch.float16
            torch.testing.assert_close(loaded[name], tensor, atol=1e-7, rtol=1e-3)
        else:
            assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "weights.pt"}, r"weights\.pt: .*ends in \.safetensors"),
        ({"dtype": "bf16"}, "unknown dtype 'bf16'; known: fp32, fp16"),
        ({"licence": ""}, "needs body, data and licence"),
    ],
)
def test_what_cannot_be_saved(model, tmp_path, options, message):
    options = {**FACTS, "path": "weights.safetensors", **options}
    with pytest.raises(ValueError, match=message):
        save_checkpoint(model, tmp_path / options.pop("path"), **options)
    assert not os.listdir(tmp_path)


def test_broken_weights_are_not_saved(tmp_path):
    net = create_model("hmr", encoder="tf_efficientnet_lite0")
    with torch.no_grad():
        net.regressor.fc1.weight[0, 0] = 1e6  # beyond fp16
    save_checkpoint(net, tmp_path / "a.safetensors", **FACTS)
    with pytest.raises(ValueError, match=r"not finite in fp16: regressor\.fc1\.weight"):
        save_checkpoint(net, tmp_path / "b.safetensors", dtype="fp16", **FACTS)


def test_missing_files(path):
    card, weights = path.with_suffix(".json"), path.read_bytes()
    path.unlink()
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is missing: copy"):
        load_model(path)
    path.write_bytes(weights)
    card.unlink()
    with pytest.raises(CheckpointError, match=r"weights\.json is missing: copy the card"):
        load_model(path)


@pytest.mark.parametrize("length", [0, 4, 1000, -1])
def test_truncated_weights(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is not the file .*truncated.*copy both"):
        load_model(path)


def test_flipped_bit(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(path)


def test_card_of_another_training(model, path):
    other = path.with_name("other.safetensors")
    with torch.no_grad():
        model.regressor.fc1.bias[0] += 1
        save_checkpoint(model, other, **FACTS)
        model.regressor.fc1.bias[0] -= 1
    other.with_suffix(".json").replace(path.with_suffix(".json"))
    with pytest.raises(CheckpointError, match="another training"):
        load_model(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"model": "cliff"}'])
def test_broken_card(path, text):
    path.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError, match=r"weights\.json is not a"):
        load_model(path)


def test_card_with_an_unknown_key(path):
    edit_card(path, colour="blue")
    with pytest.raises(CheckpointError, match="unknown are colour"):
        load_model(path)


def test_another_body(path):
    with pytest.raises(CheckpointError, match="predicts the body 'open', not 'smpl-neutral'"):
        load_model(path, body="smpl-neutral")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "imphmr"},
        {"options": {"wings": 2}},
        {"options": {"encoder": "vit"}},
        {"options": {"crop": [64]}},
    ],
)
def test_another_architecture(path, changes):
    edit_card(path, **changes)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors needs a model that .*update"):
        load_model(path)


# What is changed in a good card, and what the message says about it.
IMPOSSIBLE = [
    ({"model": ""}, "model must be text that is not empty"),
    ({"model": ["cliff"]}, "model must be text"),
    ({"body": None}, "body must be text"),
    ({"licence": 5}, "licence must be text"),
    ({"fullframe": ""}, "fullframe must be text"),
    ({"options": []}, "options must be an object"),
    ({"options": None}, "options must be an object"),
    ({"metrics": 5}, "metrics must be an object"),
    ({"normalisation": "x"}, "normalisation must be an object"),
    ({"options": {"crop": [100_000, 100_000]}}, "option crop must be finite and at most 2048"),
    ({"options": {"crop": [0, 48]}}, "option crop must be made of positive whole numbers"),
    ({"options": {"crop": [-64, 48]}}, "option crop must be made of positive whole numbers"),
    ({"options": {"crop": ["a", "b"]}}, "option crop must be made of positive whole numbers"),
    ({"options": {"crop": {"a": 1}}}, "option crop must be text, a number or a list"),
    ({"options": {"crop": [[64], [48]]}}, "option crop must be text, a number or a list"),
    ({"options": {"crop": [float("nan"), 48]}}, "option crop must be finite"),
    ({"options": {"crop": "large"}}, "option crop must be made of positive whole numbers"),
    ({"options": {"num_betas": 10**9}}, "option num_betas must be finite and at most 300"),
    ({"options": {"num_betas": 0}}, "option num_betas must be made of positive whole numbers"),
    ({"options": {"encoder": ["a"]}}, "needs a model"),
    ({"options": {"encoder": 5}}, "needs a model"),
    ({"options": {"bbox_norm": 5}}, "needs a model"),
    ({"options": {"hidden": 10**12}}, "option hidden must be finite and at most"),
]


@pytest.mark.parametrize("changes, message", IMPOSSIBLE)
def test_impossible_values_in_a_card(path, changes, message):
    edit_card(path, **changes)
    with pytest.raises(CheckpointError, match=rf"weights\.(json|safetensors).*{message}"):
        load_model(path)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"model": ' + '{"a":' * 10**5, " " * (2 << 20)])
def test_nested_and_huge_cards(path, text):
    path.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError, match=r"weights\.json is not a JSON card"):
        load_model(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_that_are_not_finite_are_named(path, value, dtype):
    tensors = safetensors.torch.load_file(path)
    tensors["regressor.fc2.weight"] = tensors["regressor.fc2.weight"].to(dtype)
    tensors["regressor.fc2.weight"][3, 4] = value
    replace_weights(path, tensors)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors .*not finite: regressor\.fc2\.weight;"):
        load_model(path)


@pytest.mark.parametrize("part", ["encoder", "regressor", ""])
def test_weights_that_are_all_zero(path, part):
    tensors = safetensors.torch.load_file(path)
    for name in tensors:
        if name.startswith(part):
            tensors[name] = torch.zeros_like(tensors[name])
    replace_weights(path, tensors)
    with pytest.raises(CheckpointError, match=rf"all zero: {part or 'encoder, regressor'};"):
        load_model(path)


def test_weights_of_another_type_of_number(path):
    tensors = safetensors.torch.load_file(path)
    tensors["regressor.fc2.bias"] = tensors["regressor.fc2.bias"].to(torch.int64)
    replace_weights(path, tensors)
    with pytest.raises(CheckpointError, match="of another type of number: regressor.fc2.bias torch.int64;"):
        load_model(path)


def test_a_huge_file_is_not_read(path):
    with path.open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is too large for the model cliff"):
        load_model(path)


def test_other_colours(path):
    edit_card(path, normalisation={"mean": [0.4] * 3, "std": [0.5] * 3})
    with pytest.raises(CheckpointError, match="trained on colours"):
        load_model(path)


def test_tensors_that_do_not_fit_are_named(path):
    tensors = safetensors.torch.load_file(path)
    tensors["extra"] = torch.zeros(1)
    tensors["regressor.fc2.bias"] = torch.zeros(3)
    del tensors["regressor.init_pose"]
    replace_weights(path, tensors)
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    assert "missing: regressor.init_pose;" in str(error.value)
    assert "unexpected: extra;" in str(error.value)
    assert "of another shape: regressor.fc2.bias [3] for [1024];" in str(error.value)


def test_weights_of_another_encoder(path):
    edit_card(path, options={"encoder": "resnet18", "num_betas": 6})
    with pytest.raises(CheckpointError, match=r"does not fit.*missing: encoder\.net.* and \d+ more"):
        load_model(path)


def test_a_pickle_is_refused_and_not_run(path, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "hacked"),)

    content = pickle.dumps(Hostile())
    path.write_bytes(content)
    edit_card(path, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_model(path)
    assert not (tmp_path / "hacked").exists()


def test_an_interrupted_save_leaves_the_old_checkpoint(model, path, monkeypatch):
    before = path.read_bytes()

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(model, path, **FACTS)
    assert path.read_bytes() == before and len(os.listdir(path.parent)) == 2
    load_model(path)


@pytest.fixture(scope="module")
def beside_cliff_lite():
    """An HMR behind the encoder of cliff-lite."""
    cliff, card = load_model("cliff-lite")
    torch.manual_seed(0)
    options = {key: card.options[key] for key in ("encoder", "crop", "num_betas", "pool")}
    hmr = create_model("hmr", **options, regressor_width=16)
    hmr.encoder.load_state_dict(cliff.encoder.state_dict())
    return hmr


def test_an_encoder_that_ships_is_not_stored_again(beside_cliff_lite, tmp_path):
    path = tmp_path / "hmr.safetensors"
    card = save_checkpoint(beside_cliff_lite, path, **FACTS, dtype="fp16", encoder_of="cliff-lite")
    assert card.encoder_of == "cliff-lite" and path.stat().st_size < 200_000
    assert all(name.startswith("regressor.") for name in safetensors.torch.load_file(path))
    loaded = load_model(path).network.state_dict()
    for name, tensor in beside_cliff_lite.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, atol=1e-7, rtol=1e-3)
        assert not name.startswith("encoder.") or torch.equal(loaded[name], tensor)


def test_a_shared_encoder_is_exactly_that_of_the_other_model(beside_cliff_lite, model, tmp_path):
    path = tmp_path / "hmr.safetensors"
    with pytest.raises(ValueError, match="the model's encoder is not that of cliff-lite"):
        save_checkpoint(model, path, **FACTS, encoder_of="cliff-lite")
    with pytest.raises(CheckpointError, match="no model net ships"):
        save_checkpoint(model, path, **FACTS, encoder_of="net")
    save_checkpoint(beside_cliff_lite, path, **FACTS, encoder_of="cliff-lite")
    edit_card(path, encoder_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="belongs to the encoder of another cliff-lite"):
        load_model(path)
    for name in ("../cliff-lite", "absent"):
        edit_card(path, encoder_of=name)
        with pytest.raises(CheckpointError, match="ships with this fullframe"):
            load_model(path)
    edit_card(path, encoder_of=7)
    with pytest.raises(CheckpointError, match="encoder_of must be text"):
        load_model(path)
    edit_card(path, encoder_of="")
    with pytest.raises(CheckpointError, match="missing: encoder"):
        load_model(path)


@pytest.mark.parametrize("name", ["hmr-lite", "imphmr-lite"])
def test_small_networks_ship_beside_cliff_lite(name):
    network, card = load_model(name)
    assert card.model == network.name == name.removesuffix("-lite") and card.encoder_of == "cliff-lite"
    assert find_weights(name).stat().st_size < 4e6
    encoder = load_model("cliff-lite").network.encoder.state_dict()
    assert all(torch.equal(network.encoder.state_dict()[key], tensor) for key, tensor in encoder.items())

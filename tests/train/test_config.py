from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.data.augment import Augmentation
from fullframe.models import MODELS, create_model
from fullframe.train.config import (
    ConfigError,
    LossConfig,
    NetworkConfig,
    OptimConfig,
    SourceConfig,
    TrainConfig,
    make_config,
    read_config,
    write_config,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(
        'samples = 640\n[network]\nmodel = "hmr"\ncrop = [64, 48]\n[optim]\nlearning_rate = 3e-4\n'
        '[data.sports]\nformat = "lspet"\npath = "LSPET"\n'
    )
    return path


def test_file_and_settings(file):
    config = read_config(file)
    assert (config.out, config.samples, config.network.model) == ("runs/small", 640, "hmr")
    assert config.network.crop == (64, 48) and config.optim.learning_rate == 3e-4
    assert config.data == {"sports": SourceConfig(format="lspet", path="LSPET")}
    settings = (
        "samples=320 out=elsewhere network.crop=[32,32] optim.learning_rate=1 precision=32 "
        "network.pretrained=false data.sports.weight=0.5 data.coco.path=COCO loss.weights.pose=3"
    )
    changed = read_config(file, settings.split())
    assert changed == replace(
        config,
        samples=320,
        out="elsewhere",
        network=replace(config.network, crop=(32, 32), pretrained=False),
        optim=replace(config.optim, learning_rate=1.0),
        data={"sports": replace(config.data["sports"], weight=0.5), "coco": SourceConfig(path="COCO")},
        loss=replace(config.loss, weights=replace(config.loss.weights, pose=3.0)),
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("learning_rate=1", r"small\.toml.*unknown key 'learning_rate'; did you mean 'optim.learning_rate'"),
        ("optim.learningrate=1", "unknown key 'optim.learningrate'; did you mean 'optim.learning_rate'"),
        ("data.sports.file=x", "unknown key 'data.sports.file'"),
        ("samples.x=1", "unknown key 'samples.x'"),
        ("zzz=1", "unknown key 'zzz'; known: out, samples"),
        ("optim=1", "optim is a section of keys, not 1"),
        ("network.model=clif", "network.model must be one of .*, not 'clif'; did you mean 'cliff'"),
        ("network.encoder=resnet51", "encoder must be one of .*did you mean 'resnet50'"),
        ("samples=1.5", "samples must be a whole number, not 1.5"),
        ("samples=true", "samples must be a whole number, not True"),
        ("samples=-1", "samples must be positive, not -1"),
        ("optim.learning_rate=0", "learning_rate must be positive"),
        ("optim.learning_rate=nan", "learning_rate must be positive"),
        ("network.pretrained=1", "network.pretrained must be true or false, not 1"),
        ("synth.weight=-0.1", "synth.weight must not be negative"),
        ("network.crop=224", r"network.crop must be \[height, width\] in px, not 224"),
        ("network.crop=[224, 0]", "crop must be at least 32 px"),
        ("optim.ema=1", "ema must be below 1"),
        ("batch_size=1000000000", "batch_size must be at most 65,536, not 1000000000"),
        ("network.crop=[1000000, 1000000]", "crop must be at most 2,048, not 1000000"),
        ("network.num_betas=100000", "num_betas must be at most 300"),
        ("workers=100000", "workers must be at most 256"),
        ("loss.weights.pose=1e30", "weights.pose must be at most 1,000,000.0, not 1e\\+30"),
        (f"seed=1{400 * '0'}", "seed must be at most 1,000,000,000,000,000"),
        (f"optim.learning_rate=1{400 * '0'}", "optim.learning_rate must be at most 1,000"),
        (f"network.crop=[224, 1{400 * '0'}]", "network.crop must be at most 1,000"),
        (f"samples=1{5000 * '0'}", "samples must be a whole number, not '10{98}...$"),
        ("network.field_size=12", "field_size must be one of 8, 16, 32, 64, not 12"),
        ("network.field_samples=0", "field_samples must be positive"),
        ("network.field_width=60", "field_width must be a multiple of 8"),
        ("network.pool=grid", "pool must be one of .*, not 'grid'"),
        ("network.regressor_dropout=1", "regressor_dropout must be below 1"),
        ("network.frozen_stages=6", "frozen_stages must be at most 5"),
        ("network.frozen_stages=2", "frozen_stages needs freeze_batchnorm = true"),
        ("optim.head_lr_scale=0", "head_lr_scale must be positive"),
        ("lifting=1000", "lifting needs network.pool"),
        ("cache.features=1000", "cache.features needs network.pool"),
        ("network.view_range=181", "view_range must be at most 180 degrees"),
        ("precision=8", "precision must be one of 32, bf16-mixed, 16-mixed, not '8'"),
        ("augment.flip=2", "augment.flip must lie between 0 and 1"),
        ("loss.error=l2", "loss.error must be one of squared, l1, smooth_l1"),
        ("loss.weights.keypoints=a", "loss.weights.keypoints must be a number, not 'a'"),
        ("loss.weights.keypoints=-1", "loss.weights.keypoints must not be negative"),
        ("samples", "'samples': settings have the form key=value"),
    ],
)
def test_what_is_wrong_is_named(file, setting, message):
    with pytest.raises(ConfigError, match=message):
        read_config(file, [setting])


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: no such file"):
        read_config(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("model = \n")
    with pytest.raises(ConfigError, match=r"bad\.toml: not readable as TOML.*line 1"):
        read_config(tmp_path / "bad.toml")
    with pytest.raises(ConfigError, match="the key 'out' is missing"):
        make_config({}, "here")


@given(
    out=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1),
    samples=st.integers(1, 10**12),
    rate=st.floats(1e-12, 1e3),
    flip=st.floats(0, 1),
    switch=st.booleans(),
)
@settings(max_examples=25)
def test_what_is_written_is_read(tmp_path_factory, out, samples, rate, flip, switch):
    config = TrainConfig(
        out,
        samples,
        network=NetworkConfig(bbox_info_input=switch),
        data={"a name": SourceConfig(path=out)},
        augment=Augmentation(flip=flip),
        optim=OptimConfig(learning_rate=rate),
    )
    path = tmp_path_factory.mktemp("config") / "config.toml"
    write_config(config, path)
    assert read_config(path) == config


@pytest.mark.parametrize("model", list(MODELS))
def test_networks_are_built_from_it(model):
    config = NetworkConfig(model, encoder="resnet18", crop=(64, 48))
    options = create_model(model, **config.model_options).options
    assert options["crop"] == (64, 48) and options["num_betas"] == 11


@pytest.mark.parametrize("section", [TrainConfig, NetworkConfig, SourceConfig, OptimConfig, LossConfig])
def test_every_key_is_explained(section):
    words = {word.strip(",:.`") for word in section.__doc__.split()}
    assert {f.name for f in fields(section)} - words == set()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_examples_are_valid(path):
    assert read_config(path).out == f"runs/{path.stem}"

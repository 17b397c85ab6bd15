from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.data.augment import Augmentation
from fullframe.losses.objective import LossWeights
from fullframe.models import MODELS, create_model
from fullframe.models.imphmr.losses import ImpHMRLossWeights
from fullframe.train.config import ConfigError, TrainConfig, make_config, read_config, write_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text('model = "hmr"\ncrop = [64, 48]\nsamples = 640\nlearning_rate = 3e-4\n')
    return path


def test_file_and_settings(file):
    config = read_config(file)
    assert config == TrainConfig("runs/small", "hmr", crop=(64, 48), samples=640, learning_rate=3e-4)
    told = "samples=320 out=elsewhere crop=[32,32] learning_rate=1 precision=32 pretrained=false"
    changed = read_config(file, told.split())
    assert changed == TrainConfig(
        "elsewhere", "hmr", crop=(32, 32), samples=320, learning_rate=1.0, pretrained=False
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("learningrate=1", r"small\.toml.*unknown key 'learningrate'; did you mean 'learning_rate'"),
        ("zzz=1", r"unknown key 'zzz'; known: out, model"),
        ("model=clif", r"model must be one of hmr, cliff, ray, imphmr, not 'clif'; did you mean 'cliff'"),
        ("encoder=resnet51", "encoder must be one of .*did you mean 'resnet50'"),
        ("samples=1.5", "samples must be a whole number, not 1.5"),
        ("samples=true", "samples must be a whole number, not True"),
        ("samples=-1", "samples must be positive, not -1"),
        ("learning_rate=0", "learning_rate must be positive"),
        ("learning_rate=nan", "learning_rate must be positive"),
        ("pretrained=1", "pretrained must be true or false, not 1"),
        ("synth=-0.1", "synth must be not negative"),
        ("crop=224", r"crop must be \[height, width\] in px, not 224"),
        ("crop=[224, 0]", "crop must be positive"),
        ("ema=1", "ema must be below 1"),
        ("field_size=12", "field_size must be one of 8, 16, 32, 64, not 12"),
        ("field_samples=0", "field_samples must be positive"),
        ("field_width=60", "field_width must be a multiple of 8"),
        ("pool=grid", "pool must be one of mean, joints, not 'grid'"),
        ("regressor_dropout=1", "regressor_dropout must be below 1"),
        ("frozen_stages=6", "frozen_stages must be at most 5"),
        ("frozen_stages=2", "frozen_stages needs frozen_statistics = true"),
        ("head_lr_scale=0", "head_lr_scale must be positive"),
        ("lifting=1000", 'lifting needs pool = "heatmaps", synth above 0'),
        ("view_range=181", "view_range must be at most 180 degrees"),
        ("precision=8", "precision must be one of 32, bf16-mixed, 16-mixed, not '8'"),
        ("augment_flip=2", "augment_flip must lie between 0 and 1"),
        ("loss=l2", "loss must be one of squared, l1, smooth_l1"),
        ("keypoints_weight=a", "keypoints_weight must be a number, not 'a'"),
        ("devices=3", "batch_size 64 cannot be shared by 3 processes"),
        ("batch_size=1", "at least 2 per process"),
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
    (tmp_path / "table.toml").write_text("[model]\nencoder = 3\n")
    with pytest.raises(ConfigError, match="model must be text"):
        read_config(tmp_path / "table.toml")
    with pytest.raises(ConfigError, match="the key 'out' is missing"):
        make_config({}, "here")


@given(
    out=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1),
    samples=st.integers(1, 10**12),
    rate=st.floats(1e-12, 1e3),
    flip=st.floats(0, 1),
    switch=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, out, samples, rate, flip, switch):
    config = TrainConfig(
        out=out, samples=samples, learning_rate=rate, augment_flip=flip, bbox_info_input=switch
    )
    path = tmp_path_factory.mktemp("config") / "config.toml"
    write_config(config, path)
    assert read_config(path) == config


def test_parts_take_every_key():
    config = TrainConfig("x", augment_blur=0.7, camera_weight=0.5)
    assert config.augmentation == Augmentation(blur=0.7)
    assert config.loss_weights == LossWeights(camera=0.5)
    assert {f"augment_{f.name}" for f in fields(Augmentation)} <= asdict(config).keys()


@pytest.mark.parametrize("model", list(MODELS))
def test_networks_are_built_from_it(model):
    config = TrainConfig("x", model, encoder="resnet18", crop=(64, 48))
    options = create_model(model, **config.model_options).options
    assert options["crop"] == (64, 48) and options["num_betas"] == 11


def test_every_key_is_explained():
    text = TrainConfig.__doc__
    weights = {f"{f.name}_weight" for f in (*fields(LossWeights), *fields(ImpHMRLossWeights))}
    words = {word.strip(",:.`") for word in text.split()} | weights
    names = {f.name for f in fields(TrainConfig) if not f.name.startswith("augment_")}
    assert names - words == set()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_examples_are_valid(path):
    assert read_config(path).out == f"runs/{path.stem}"

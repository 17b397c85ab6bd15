from dataclasses import replace

import cv2
import numpy as np
import pytest
from synthetic_smpl import synthetic_smpl

from fullframe.data.formats.spin_npz import write_spin_npz
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera
from fullframe.train import sources
from fullframe.train.config import ConfigError, TrainConfig
from fullframe.train.sources import open_mixture, open_sources, open_validation


@pytest.fixture
def told(monkeypatch):
    """What was opened, in place of real data."""
    opened = []

    def source(name):
        def open_one(config, split):
            opened.append((name, split))
            return [None] * 5

        return open_one

    monkeypatch.setattr(sources, "SOURCES", {name: source(name) for name in sources.SOURCES})
    return opened


def test_only_sources_with_a_share_are_opened(told):
    config = TrainConfig("x", synth=0.75, coco=0.25, seed=5)
    mixture = open_mixture(config)
    assert told == [("synth", "train"), ("coco", "train")]
    assert mixture.names == ("synth", "coco") and mixture.shares.tolist() == [0.75, 0.25]
    assert (mixture.crop, mixture.seed, mixture.num_betas) == (config.crop, 5, 11)
    assert mixture.augmentation == config.augmentation
    validation = open_validation(config)
    assert told[2:] == [("synth", "val"), ("coco", "val")] and validation.people == 500
    assert open_validation(TrainConfig("x", validation_people=0)) is None


def test_no_source_and_no_folder():
    with pytest.raises(ConfigError, match="set one of synth, lspet, coco, labels above 0"):
        open_mixture(TrainConfig("x", synth=0.0))
    with pytest.raises(ConfigError, match=r"lspet = 0.5 needs lspet_root"):
        open_mixture(TrainConfig("x", synth=0.0, lspet=0.5))
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        open_mixture(TrainConfig("x", synth=0.0, coco=0.5, coco_root="/nowhere"))


def test_labels_of_photos_are_learned_from_and_not_measured_with(tmp_path):
    image = tmp_path / "1.jpg"
    cv2.imwrite(str(image), np.zeros((40, 30, 3), np.uint8))
    sample = Sample(image, Camera.from_diagonal((30, 40)), np.array([5.0, 5, 25, 35], np.float32))
    sample.keypoints["lsp14"] = np.ones((14, 3), np.float32)
    sample.pose, sample.betas = np.eye(3, dtype=np.float32)[None].repeat(24, 0), np.zeros(11, np.float32)
    sample.body = "open"
    write_spin_npz(tmp_path / "labels.npz", [sample], tmp_path)
    config = TrainConfig(
        "x", synth=0, labels=1, labels_root=str(tmp_path), labels_file=str(tmp_path / "labels.npz")
    )
    found = open_mixture(config).sources[0]
    assert len(found) == 1 and set(found[0].keypoints) == {"lsp14"} and found[0].pose.shape == (24, 3, 3)
    assert open_validation(config).sources == {}
    with pytest.raises(ConfigError, match=r"missing\.npz is no file; fullframe annotate makes one"):
        open_mixture(replace(config, labels_file=str(tmp_path / "missing.npz")))


def test_every_source_has_a_share_in_the_configuration():
    assert all(isinstance(getattr(TrainConfig("x"), name), float) for name in sources.SOURCES)


def test_a_stock_is_drawn_once_and_used_again(tmp_path, monkeypatch):
    from fullframe.synth import cache as stock

    drawn = []

    class Here:
        """Draws in this process."""

        def __init__(self, processes, context, initializer, arguments):
            initializer(*arguments)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def map(self, function, folders, numbers):
            for folder, number in zip(folders, numbers, strict=False):
                drawn.append(number)
                yield function(folder, number)

    monkeypatch.setattr(stock, "SHARD", 3)
    monkeypatch.setattr(stock, "ProcessPoolExecutor", Here)
    config = TrainConfig("x", crop=(64, 48), stock=5, stock_folder=str(tmp_path))
    first, again = (open_mixture(config).sources[0] for _ in range(2))
    assert drawn == [0, 1] and len(first) == len(again) == 5
    assert (first[4].image == again[4].image).all()
    with pytest.raises(ValueError, match="other settings"):
        open_mixture(TrainConfig("x", crop=(64, 48), stock=9, stock_folder=str(tmp_path), synth_seed=2))


def test_shapes_of_another_body_are_not_learned(tmp_path):
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **synthetic_smpl())
    smpl = TrainConfig("x", body="smpl", body_path=str(tmp_path / "SMPL_NEUTRAL.npz"), num_betas=10)
    for config, known in ((TrainConfig("x"), True), (smpl, False)):
        example = open_mixture(config)[0].example
        assert example.pose is not None and (example.betas is not None) == known


def test_poses_of_photos_reach_the_synthetic_people_of_training(tmp_path):
    labels = tmp_path / "labels.npz"
    np.savez(labels, pose=np.full((3, 72), 0.1))
    config = TrainConfig("x", synth_poses=str(labels))
    plain, with_photos = (open_sources(c)[0]["synth"].scenes.poses.theta for c in (TrainConfig("x"), config))
    assert len(with_photos) == len(plain) + 3
    assert len(sources.SOURCES["synth"](config, "val").scenes.poses.theta) < len(plain)
    with pytest.raises(ValueError, match=r"absent\.npz cannot be read: No such file"):
        open_sources(replace(config, synth_poses=str(tmp_path / "absent.npz")))

import cv2
import numpy as np
import pytest
import tiny
from synthetic_smpl import synthetic_smpl

from fullframe.data.formats.spin_npz import write_spin_npz
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera
from fullframe.train import sources
from fullframe.train.config import ConfigError
from fullframe.train.sources import open_mixture, open_synth, open_validation


@pytest.fixture
def opened_sources(monkeypatch):
    """What was opened, in place of real data."""
    opened = []

    def source(name):
        def open_one(config, split):
            opened.append((name, split))
            return [None] * 5

        return open_one

    monkeypatch.setattr(sources, "FORMATS", {name: source(name) for name in sources.FORMATS})
    monkeypatch.setattr(sources, "open_synth", lambda config, split, progress: source("synth")(config, split))
    return opened


def test_only_sources_with_a_weight_are_opened(opened_sources):
    config = tiny.configure(
        synth__weight=0.75, data__photos={"format": "coco", "path": "somewhere", "weight": 0.25}, seed=5
    )
    mixture = open_mixture(config, tiny.body_of(config))
    assert opened_sources == [("synth", "train"), ("coco", "train")]
    assert mixture.names == ("synth", "photos") and mixture.weights.tolist() == [0.75, 0.25]
    assert (mixture.crop, mixture.seed, mixture.num_betas) == (config.network.crop, 5, 11)
    assert mixture.augmentation == config.augment
    validation = open_validation(config, tiny.body_of(config))
    assert opened_sources[2:] == [("synth", "val"), ("coco", "val")] and validation.people == 500
    assert open_validation(tiny.configure(validation_people=0), tiny.body_of(config)) is None


def opened(config):
    return open_mixture(config, tiny.body_of(config))


def test_no_source_and_no_folder():
    with pytest.raises(ConfigError, match="no source of data has a weight"):
        opened(tiny.configure(synth__weight=0.0))
    with pytest.raises(ConfigError, match="data.lspet.path is missing"):
        opened(tiny.configure(synth__weight=0.0, data__lspet__weight=0.5))
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        opened(tiny.configure(synth__weight=0.0, data__coco__weight=0.5, data__coco__path="/nowhere"))


def test_labels_of_photos_are_for_training_not_for_validation(tmp_path):
    image = tmp_path / "1.jpg"
    cv2.imwrite(str(image), np.zeros((40, 30, 3), np.uint8))
    sample = Sample(image, Camera.from_diagonal((30, 40)), np.array([5.0, 5, 25, 35], np.float32))
    sample.keypoints["lsp14"] = np.ones((14, 3), np.float32)
    sample.pose, sample.betas = np.eye(3, dtype=np.float32)[None].repeat(24, 0), np.zeros(11, np.float32)
    sample.body = "open"
    write_spin_npz(tmp_path / "labels.npz", [sample], tmp_path)
    config = tiny.configure(
        synth__weight=0,
        data__labels__format="annotate",
        data__labels__path=str(tmp_path),
        data__labels__labels=str(tmp_path / "labels.npz"),
    )
    found = opened(config).sources[0]
    assert len(found) == 1 and set(found[0].keypoints) == {"lsp14"} and found[0].pose.shape == (24, 3, 3)
    assert open_validation(config, tiny.body_of(config)).sources == {}
    with pytest.raises(ConfigError, match=r"data\.labels: labels: no such file as .*missing\.npz"):
        opened(tiny.configure(config, data__labels__labels=str(tmp_path / "missing.npz")))


def test_every_format_is_imported_and_names_what_is_missing(tmp_path):
    for name in sources.FORMATS:
        source = {"format": name, "path": str(tmp_path), "labels": str(tmp_path)}
        with pytest.raises((FileNotFoundError, ValueError)):
            opened(tiny.configure(synth__weight=0.0, data__some=source))
    with pytest.raises(ConfigError, match="data.some.format must be one of lspet, coco"):
        opened(tiny.configure(synth__weight=0.0, data__some={"path": str(tmp_path)}))


def test_a_cache_is_rendered_once_and_used_again(tmp_path, monkeypatch):
    from fullframe.synth import cache

    drawn = []

    class Here:
        """Draws in this process."""

        def __init__(self, processes, context, initializer, arguments):
            initializer(*arguments)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def map(self, function, shards, starts):
            for shard, start in zip(shards, starts, strict=False):
                drawn.append(start)
                yield function(shard, start)

    monkeypatch.setattr(cache, "SHARD", 3)
    monkeypatch.setattr(cache, "ProcessPoolExecutor", Here)
    config = tiny.configure(network__crop=(64, 48), cache__people=5, cache__people_folder=str(tmp_path))
    first, again = (opened(config).sources[0] for _ in range(2))
    assert drawn == [0, 3] and len(first) == len(again) == 5
    assert (first[4].image == again[4].image).all()
    with pytest.raises(ValueError, match="other settings"):
        opened(
            tiny.configure(
                network__crop=(64, 48), cache__people=9, cache__people_folder=str(tmp_path), synth__seed=2
            )
        )


def test_shapes_of_another_body_are_left_out(tmp_path):
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **synthetic_smpl())
    smpl = tiny.configure(
        network__body="smpl", network__body_path=str(tmp_path / "SMPL_NEUTRAL.npz"), network__num_betas=10
    )
    for config, known in ((tiny.configure(), True), (smpl, False)):
        example = opened(config)[0].example
        assert example.pose is not None and (example.betas is not None) == known


def test_poses_of_photos_reach_the_synthetic_people_of_training(tmp_path):
    labels = tmp_path / "labels.npz"
    np.savez(labels, pose=np.full((3, 72), 0.1))
    config = tiny.configure(synth__poses=str(labels))
    plain, with_photos = (open_synth(c, "train").scenes.poses.theta for c in (tiny.configure(), config))
    assert len(with_photos) == len(plain) + 3
    assert len(open_synth(config, "val").scenes.poses.theta) < len(plain)
    with pytest.raises(ValueError, match=r"absent\.npz cannot be read: No such file"):
        open_synth(tiny.configure(config, synth__poses=str(tmp_path / "absent.npz")), "train")

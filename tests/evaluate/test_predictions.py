from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from fullframe.data.sample import Sample
from fullframe.evaluate import predictions as module
from fullframe.evaluate.predictions import PredictionError, Predictions, load_predictor, predict
from fullframe.geometry.box import PersonBox, crop_image
from fullframe.io.image import ImageError
from fullframe.io.workdir import WorkError
from fullframe.models import predict_people


class Counted(Sequence[Sample]):
    """Samples that record which were read; some of them fail."""

    def __init__(self, samples, fails=()):
        self.samples, self.fails, self.asked = samples, set(fails), []

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        self.asked.append(index)
        if index in self.fails:
            raise ImageError(f"photo{index}.jpg: no such file")
        return self.samples[index]


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(module, "SHARD", 8)
    monkeypatch.setattr(module, "BATCH", 4)


@pytest.fixture(scope="module")
def recoverer(checkpoint):
    return load_predictor(checkpoint)


@pytest.fixture(scope="module")
def samples(make_people):
    return make_people(19, image=True)


def same(a: Predictions, b: Predictions) -> bool:
    for name in (f.name for f in fields(a)):
        x, y = getattr(a, name), getattr(b, name)
        if name in ("keypoints", "joints"):
            assert x.keys() == y.keys()
            for key in x:
                np.testing.assert_array_equal(x[key], y[key])
        else:
            np.testing.assert_array_equal(x, y)
    return True


def test_arrays_hold_everything(perfect, make_people):
    predictions = perfect(make_people(5))
    assert same(Predictions.from_arrays(predictions.to_arrays()), predictions)


def test_unknown_truth_is_nan_or_zero(perfect, make_people):
    samples = make_people(3)
    predictions = perfect(samples)
    assert predictions.has_body.all()
    bare = replace(samples[1], pose=None, betas=None, translation=None, keypoints={}, joints={})
    mixed = Predictions.of(
        [samples[0], bare, samples[2]],
        module.Bodies(predictions.pose, predictions.betas, predictions.translation),
    )
    np.testing.assert_array_equal(mixed.has_body, [True, False, True])
    np.testing.assert_array_equal(mixed.keypoints["coco17"][1], 0)
    np.testing.assert_array_equal(mixed.joints["smpl24"][2], samples[2].joints["smpl24"])
    found = module.Bodies(predictions.pose[:1], predictions.betas[:1], predictions.translation[:1])
    alone = Predictions.of([bare], found)
    assert not alone.has_body.any()
    joined = Predictions.joined([perfect(samples[:1]), alone, perfect(samples[2:])])
    np.testing.assert_array_equal(joined.has_body, [True, False, True])
    np.testing.assert_array_equal(joined.keypoints["coco17"], mixed.keypoints["coco17"])


def test_off_axis_angle_by_hand(perfect, make_people):
    predictions = perfect(make_people(1))
    # 300 px beside the principal point at a focal length of 300 px: 45 degrees.
    predictions.boxes[0] = [350, 60, 450, 100]
    np.testing.assert_allclose(predictions.off_axis, [45])


def test_predictions_are_those_of_the_network(recoverer, samples, tmp_path):
    """The same bodies as `predict_people` gives for each photo with the same boxes."""
    found = predict(recoverer, samples, tmp_path, {})
    for i, sample in enumerate(samples):
        one = predict_people(recoverer.network, sample.image, sample.box[None], sample.camera, enlarge=1.2)
        np.testing.assert_allclose(found.pose[i], one.pose[0], atol=1e-5)
        np.testing.assert_allclose(found.betas[i], one.betas[0], atol=1e-5)
        np.testing.assert_allclose(found.translation[i], one.translation[0], rtol=1e-5)
    assert np.ptp(found.pose, axis=0).max() > 1e-3
    assert np.ptp(found.translation, axis=0).min() > 1e-1


def test_a_window_shows_the_same_person(recoverer, samples, tmp_path):
    """A part of the image, or a reduced copy of it, changes nothing but the resolution."""
    whole = predict(recoverer, samples[:4], tmp_path / "a", {})
    padded = [
        replace(s, image=np.pad(s.image, ((20, 0), (30, 0), (0, 0))), window=(-30.0, -20.0, 1.0))
        for s in samples[:4]
    ]
    found = predict(recoverer, padded, tmp_path / "b", {})
    np.testing.assert_allclose(found.pose, whole.pose, atol=1e-5)
    np.testing.assert_allclose(found.translation, whole.translation, rtol=1e-4)


@pytest.mark.parametrize("window", [(0.0, 0.0, 1.0), (-30.0, 12.0, 2.0)])
def test_crops_are_cut_as_the_network_wants_them(checkpoint, samples, window):
    sample = replace(samples[0], window=window, box=np.float32([20, 30, 90, 140]))
    recoverer = load_predictor(checkpoint)
    ours = module._Inputs([sample], recoverer, 1.2)[0]
    recoverer.network.crop_method = "cliff"
    theirs = module._Inputs([sample], recoverer, 1.2)[0]
    np.testing.assert_array_equal(ours.bbox_info, theirs.bbox_info)
    x, y, scale = window
    center, size = (np.float64([[55, 85]]) - (x, y)) / scale, np.float64([110 * 1.2]) / scale
    (expected,) = crop_image(sample.image, PersonBox(center, size), (64, 48), "cliff")
    np.testing.assert_array_equal(theirs.crop, expected)
    assert not np.array_equal(ours.crop, theirs.crop)


def test_a_killed_run_resumes(recoverer, samples, tmp_path, small_shards):
    expected = predict(recoverer, samples, tmp_path / "whole", {"model": "a"})
    broken = Counted(samples, fails=[17])
    with pytest.raises(
        PredictionError, match=r"photo17.jpg: no such file; fix .* finished predictions are kept"
    ):
        predict(recoverer, broken, tmp_path / "broken", {"model": "a"})
    # Two shards of 8 are there; the third, of 3 people, is not.
    shards = sorted(path.name for path in (tmp_path / "broken").glob("0*"))
    assert shards == ["000000000", "000000008"]
    mended, done = Counted(samples), []
    found = predict(
        recoverer,
        mended,
        tmp_path / "broken",
        {"model": "a"},
        progress=lambda stage, *counts: done.append(counts),
    )
    assert mended.asked == [16, 17, 18]
    assert done == [(16, 19), (19, 19)]
    assert same(found, expected)
    (tmp_path / "broken/000000008/arrays.npz").write_bytes(b"PK")
    again = Counted(samples)
    assert same(predict(recoverer, again, tmp_path / "broken", {"model": "a"}), expected)
    assert again.asked == list(range(8, 16))


def test_workers_change_nothing(recoverer, samples, tmp_path, small_shards):
    alone = predict(recoverer, samples, tmp_path / "a", {}, workers=0)
    assert same(predict(recoverer, samples, tmp_path / "b", {}, workers=1), alone)


def test_predictions_of_something_else_are_not_used(recoverer, samples, tmp_path):
    predict(recoverer, samples[:4], tmp_path, {"model": "a", "benchmark": "x"})
    with pytest.raises(WorkError, match=r"model: a, now b\).* or remove"):
        predict(recoverer, samples[:4], tmp_path, {"model": "b", "benchmark": "x"})
    with pytest.raises(WorkError, match="people: 4, now 5"):
        predict(recoverer, samples[:5], tmp_path, {"model": "a", "benchmark": "x"})


def test_a_folder_with_other_files_is_left_alone(recoverer, samples, tmp_path):
    np.savez(tmp_path / "mine.npz", a=1)
    with pytest.raises(WorkError, match="choose another output"):
        predict(recoverer, samples[:4], tmp_path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["mine.npz"]


def test_the_network_is_put_into_evaluation_mode(recoverer, samples, tmp_path):
    recoverer.network.train()
    found = predict(recoverer, samples[:4], tmp_path / "a", {})
    assert not recoverer.network.training
    assert same(predict(recoverer, samples[:4], tmp_path / "b", {}), found)
    assert torch.is_grad_enabled()

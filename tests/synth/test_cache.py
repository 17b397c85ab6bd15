import shutil

import numpy as np
import pytest

from fullframe.synth import cache
from fullframe.synth.cache import CachedPeople, build_cache
from fullframe.synth.synthetic_people import SyntheticPeople

SETTINGS = {"split": "train", "seed": 3, "height": 64}


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "SHARD", 4)
        # In this process, so that SHARD holds.
        patch.setattr(cache, "ProcessPoolExecutor", _Here)
        yield


@pytest.fixture(scope="module")
def built(small_shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    build_cache(folder, 7, SETTINGS)
    return folder


@pytest.fixture
def folder(built, tmp_path):
    """A copy of the cache."""
    return shutil.copytree(built, tmp_path, dirs_exist_ok=True)


class _Here:
    def __init__(self, processes, context, initializer, arguments):
        initializer(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    map = staticmethod(map)


def test_cached_people_are_those_rendered(folder):
    stored, drawn = CachedPeople(folder), SyntheticPeople(**SETTINGS)
    assert len(stored) == 8
    for index in (0, 5):
        kept, new = stored[index], drawn[index]
        assert kept.camera.size == new.camera.size
        assert kept.camera.focal == pytest.approx(new.camera.focal)
        for name in ("box", "pose", "betas", "translation"):
            np.testing.assert_array_equal(getattr(kept, name), getattr(new, name))
        for name in new.keypoints:
            np.testing.assert_allclose(kept.keypoints[name], new.keypoints[name], atol=1e-3)
            np.testing.assert_allclose(kept.joints[name], new.joints[name], atol=1e-6)
        np.testing.assert_allclose(kept.window, new.window, rtol=1e-6)
        assert np.abs(kept.image.astype(int) - new.image).mean() < 6


def test_missing_people_are_rendered_again(folder):
    first, second = (folder / f"{start:09d}/labels.npy" for start in (0, 4))
    before, content = first.stat().st_mtime_ns, second.read_bytes()
    shutil.rmtree(second.parent)
    with pytest.raises(FileNotFoundError, match="holds 4 synthetic people, not 7"):
        CachedPeople(folder, 7)
    people = []
    build_cache(folder, 7, SETTINGS, progress=lambda stage, done, total: people.append(done))
    assert people == [4, 8]
    assert second.read_bytes() == content and first.stat().st_mtime_ns == before


def test_other_settings_are_refused(folder):
    with pytest.raises(ValueError, match="other settings"):
        build_cache(folder, 7, SETTINGS | {"seed": 4})


def test_bad_numbers(folder):
    with pytest.raises(IndexError):
        CachedPeople(folder)[8]
    with pytest.raises(FileNotFoundError, match="holds 0"):
        CachedPeople(folder / "nothing")

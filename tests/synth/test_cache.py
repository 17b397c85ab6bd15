import numpy as np
import pytest

from fullframe.synth import cache as stock
from fullframe.synth.cache import CachedPeople, fill, is_full
from fullframe.synth.people import SyntheticPeople

SETTINGS = {"split": "train", "seed": 3, "height": 64}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(stock, "SHARD", 4)
    # In this process, so that SHARD holds.
    monkeypatch.setattr(stock, "ProcessPoolExecutor", _Here)
    fill(tmp_path, 7, SETTINGS)
    return tmp_path


class _Here:
    def __init__(self, processes, context, initializer, arguments):
        initializer(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    map = staticmethod(map)


def test_stored_people_are_those_drawn(folder):
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


def test_what_is_missing_is_made_again(folder):
    before = (folder / "0000.npy").stat().st_mtime_ns
    content = (folder / "0001.npy").read_bytes()
    (folder / "0001.npy").unlink()
    with pytest.raises(FileNotFoundError, match="holds 4 synthetic people, not 7"):
        CachedPeople(folder, 7)
    people = []
    assert not is_full(folder, 7)
    fill(folder, 7, SETTINGS, progress=people.append)
    assert people[0] == 4 and people[-1] == 8 and is_full(folder, 7)
    assert (folder / "0001.npy").read_bytes() == content
    assert (folder / "0000.npy").stat().st_mtime_ns == before


def test_other_settings_are_refused(folder):
    with pytest.raises(ValueError, match="other settings"):
        fill(folder, 7, SETTINGS | {"seed": 4})


def test_bad_numbers(folder):
    with pytest.raises(IndexError):
        CachedPeople(folder)[8]
    with pytest.raises(FileNotFoundError, match="holds 0"):
        CachedPeople(folder / "nothing")

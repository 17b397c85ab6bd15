import numpy as np
import pytest
from waving import waving_clip

from fullframe.body import load_body
from fullframe.results.clip import clip_of
from fullframe.view.results import find_results, load_clip

BODY = load_body()


@pytest.fixture
def people():
    return waving_clip(BODY).people(3, BODY)


def test_a_clip_and_a_photo(tmp_path, people):
    clip = waving_clip(BODY)
    clip.save(tmp_path / "b.npz")
    people.save(tmp_path / "a.npz")
    np.savez(tmp_path / "other.npz", poses=np.zeros((4, 72)), trans=np.zeros((4, 3)))
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    (tmp_path / "a.json").write_text("{}")
    assert [file.name for file in find_results(tmp_path)] == ["a.npz", "b.npz"]
    np.testing.assert_array_equal(load_clip(tmp_path / "b.npz").pose, clip.pose)
    photo = load_clip(tmp_path / "a.npz")
    assert photo.num_frames == 1 and len(photo) == len(people)
    np.testing.assert_array_equal(photo.translation, people.translation)
    assert not np.isfinite(photo.ground).any()


def test_people_in_any_order(people):
    people.track_ids = people.track_ids[::-1].copy()
    clip = clip_of(people)
    assert clip.track_ids.tolist() == [0, 1]
    np.testing.assert_array_equal(clip.betas, people.betas[::-1])


def test_nobody(people):
    assert len(clip_of(people[:0])) == 0


def test_what_is_no_result_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_results(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"{tmp_path}.*no .npz"):
        find_results(tmp_path)
    (tmp_path / "x.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"x\.npz"):
        load_clip(tmp_path / "x.npz")

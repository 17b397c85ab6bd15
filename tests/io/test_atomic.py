import pytest

from fullframe.io.atomic import atomic_path


def test_a_file_appears_whole_and_keeps_its_suffix(tmp_path):
    with atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path and temporary.suffix == ".json"
        assert not (tmp_path / "a.json").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(OSError), atomic_path(tmp_path / "no" / "a.txt") as temporary:
        temporary.write_text("x")

import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fullframe.io.image import PHOTO_SUFFIXES
from fullframe.recovery.inputs import VIDEO_SUFFIXES, find_inputs, is_video, left_out_summary, parse_height

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "files.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of two photos, one of them without a suffix, and files of other kinds."""
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "a.jfif", format="JPEG")
    shutil.copy(folder / "a.jfif", folder / "b")
    for name in ("notes.txt", "c.nef", ".DS_Store", "Thumbs.db"):
        (folder / name).write_text("hello")
    return folder


def test_a_folder_names_what_it_leaves_out_and_why(folder: Path) -> None:
    inputs = find_inputs([str(folder)])
    assert [Path(name).name for name in inputs.names] == ["a.jfif", "b"]
    assert left_out_summary(inputs.left_out) == (
        "3 files left out: c.nef (a raw file of a camera: convert it to JPEG or TIFF), "
        "more (a folder: name it too), notes.txt (not a photo or video)"
    )


def test_a_pattern_leaves_out_other_files(folder: Path) -> None:
    inputs = find_inputs([str(folder / "*")])
    assert [Path(name).name for name in inputs.names] == ["a.jfif", "b"]
    assert {Path(name).name for name in inputs.left_out} == {"c.nef", "notes.txt"}


def test_a_file_that_is_named_is_an_input_whatever_it_is(folder: Path) -> None:
    name = str(folder / "notes.txt")
    assert find_inputs([name]).names == [name] and not is_video(name)


def test_a_long_list_is_cut() -> None:
    said = left_out_summary({f"{number}.txt": "text" for number in range(30)})
    assert said.startswith("30 files left out: 0.txt (text), 1.txt (text)") and said.endswith(", and 10 more")


def test_only_others_in_a_folder(folder: Path) -> None:
    for name in ("a.jfif", "b"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"in: 3 files left out: c.nef \(a raw file"):
        find_inputs([str(folder)])


def test_odd_names_are_checked_without_an_error(folder: Path) -> None:
    os.symlink(folder / "loop.jpg", folder / "loop.jpg")
    odd = [str(folder / "loop.jpg"), "~nobody.jpg", "x" * 5000 + ".jpg", "\udce9.jpg"]
    assert find_inputs(odd).names == odd
    assert not any(map(is_video, odd))


def test_an_error_while_looking_at_a_file_does_not_escape(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("no such decoder")

    monkeypatch.setattr("fullframe.video.reader.VideoReader", broken)
    assert not is_video(str(folder / "notes.txt"))


@pytest.mark.parametrize(("kind", "suffixes"), [("photos", PHOTO_SUFFIXES), ("videos", VIDEO_SUFFIXES)])
def test_the_documentation_lists_all_suffixes(kind: str, suffixes: frozenset[str]) -> None:
    (row,) = (line for line in PAGE.read_text().splitlines() if line.startswith(f"| {kind} |"))
    assert sorted(re.findall(r"`(\.\w+)`", row.split("|")[2])) == sorted(suffixes)


def test_heights():
    assert parse_height("1.75") == 1.75
    assert parse_height("0:1.75,1:1.62") == {0: 1.75, 1: 1.62}
    for text in ("tall", "1,75", "0:1.75,0:1.6", "0:", "a:1.7", ""):
        with pytest.raises(ValueError, match="--height takes metres"):
            parse_height(text)
    with pytest.raises(ValueError, match=r"17\.5 m is no person's.*did you mean 1\.75"):
        parse_height("17.5")

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_fixtures import picture

from fullframe.video.frames import FrameFiles, FrameReader, find_frames
from fullframe.video.reader import VideoError


def write_frames(folder: Path, names: list[str]) -> list[str]:
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(picture(index)).save(folder / name)
    return [str(folder / name) for name in names]


def test_numbered_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = write_frames(tmp_path / "walk", ["f_1.png", "f_2.png", "f_10.png"])
    other = write_frames(tmp_path / "photos", ["beach.png", "img7.png"])
    (clip,) = find_frames([names[2], *other, names[0], names[1]], fps=10)
    assert clip == FrameFiles(str(tmp_path / "walk"), tuple(names), 10)
    reader = FrameReader(clip)
    frames = list(reader)
    assert reader.num_frames == 3 and reader.size == (96, 64) and reader.fps == 10 and not reader.has_audio
    assert [frame.time for frame in frames] == [0, 0.1, 0.2]
    np.testing.assert_array_equal(frames[2].image, picture(2))


def test_two_sequences_in_a_folder_are_two_clips(tmp_path: Path) -> None:
    photos = write_frames(tmp_path, ["a1.png", "a2.png", "b1.png", "b2.png"])
    assert [clip.name for clip in find_frames(photos, 30)] == [
        str(tmp_path / "a.png"),
        str(tmp_path / "b.png"),
    ]


def test_a_broken_frame_is_skipped_and_leaves_its_time(tmp_path: Path) -> None:
    photos = write_frames(tmp_path, ["1.png", "2.png", "3.png"])
    Path(photos[1]).write_text("no image")
    reader = FrameReader(find_frames(photos, 10)[0])
    assert [frame.time for frame in reader] == [0, 0.2] and reader.skipped == 1


def test_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    photos = write_frames(tmp_path, ["1.png", "2.png"])
    Image.new("RGB", (50, 50)).save(photos[1])
    with pytest.raises(VideoError, match="frame 1 is 50 x 50 px, the first 96 x 64: these are not frames"):
        list(FrameReader(find_frames(photos, 10)[0]))


def test_nothing_can_be_read(tmp_path: Path) -> None:
    photos = [str(tmp_path / "1.png"), str(tmp_path / "2.png")]
    with pytest.raises(VideoError, match="not a single frame"):
        FrameReader(find_frames(photos, 10)[0])


def test_an_animated_image(tmp_path: Path) -> None:
    images = [Image.fromarray(picture(4 * index)) for index in range(5)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    (clip,) = find_frames([str(tmp_path / "a.gif")], 5)
    reader = FrameReader(clip)
    frames = list(reader)
    assert len(frames) == reader.num_frames == 5 and frames[4].time == 0.8
    assert np.abs(frames[3].image.astype(int) - picture(12)).mean() < 8

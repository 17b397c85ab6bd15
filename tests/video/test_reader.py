import io
import os
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from video_fixtures import picture

from fullframe.video.reader import LONGEST, VideoError, VideoReader, turn_upright


def read(path: Path) -> tuple[list[Any], VideoReader]:
    with VideoReader(path) as reader:
        return list(reader), reader


def set_display_matrix(path: Path, rows: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Overwrite the matrix of the first track: x' = a x + c y, y' = b x + d y for rows (a, b), (c, d)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", content[start : start + 36])[8] == 1 << 30
    (a, b), (c, d) = rows
    one = 1 << 16
    content[start : start + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def test_frames_come_with_index_time_and_colours(make_video: Any) -> None:
    frames, reader = read(make_video(frames=12, fps=25))
    assert [f.index for f in frames] == list(range(12))
    np.testing.assert_allclose([f.time for f in frames], np.arange(12) / 25, atol=1e-4)
    assert reader.size == (96, 64) and reader.fps == 25 and reader.num_frames == 12 and reader.skipped == 0
    assert not reader.has_audio
    assert all(f.image.shape == (64, 96, 3) and f.image.dtype == np.uint8 for f in frames)
    image = frames[0].image.astype(int)
    assert np.abs(image[40, 24] - (220, 30, 40)).max() < 40 and np.abs(image[2, 4] - 240).max() < 20


# The name says how the camera was held; the matrix is what phones write then.
@pytest.mark.parametrize(
    ("rows", "turned"),
    [
        (((1, 0), (0, 1)), lambda image: image),
        (((0, 1), (-1, 0)), lambda image: np.rot90(image, -1)),  # a phone held upright
        (((-1, 0), (0, -1)), lambda image: np.rot90(image, 2)),
        (((0, -1), (1, 0)), np.rot90),
        (((-1, 0), (0, 1)), lambda image: image[:, ::-1]),  # mirrored, as selfie cameras do
        (((0, -1), (-1, 0)), lambda image: np.rot90(image, -1)[:, ::-1][::-1, ::-1]),
    ],
)
def test_rotation_tags_turn_frames_upright(make_video: Any, rows: Any, turned: Any) -> None:
    path = make_video(frames=2)
    expected = turned(read(path)[0][0].image)
    set_display_matrix(path, rows)
    frames, reader = read(path)
    height, width = expected.shape[:2]
    assert reader.size == (width, height) == reader.original_size
    np.testing.assert_array_equal(frames[1].image.shape, expected.shape)
    np.testing.assert_array_equal(frames[0].image, expected)


@settings(max_examples=20)
@given(
    st.booleans(), st.sampled_from([-1, 1]), st.sampled_from([-1, 1]), st.integers(1, 5), st.integers(1, 5)
)
def test_every_pixel_goes_where_the_matrix_says(swap: bool, p: int, q: int, width: int, height: int) -> None:
    matrix = np.array([[0, p], [q, 0]] if swap else [[p, 0], [0, q]])
    image = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2) @ matrix.T
    x, y = (points - points.min(axis=0)).T
    upright = turn_upright(image, matrix)
    np.testing.assert_array_equal(upright[y, x], image.reshape(-1, 3))


def test_variable_frame_rate_keeps_its_times(make_video: Any) -> None:
    times = [0, 0.04, 0.05, 0.3, 0.31, 1.0, 1.5, 1.55]
    frames, _ = read(make_video(frames=8, times=times))
    np.testing.assert_allclose([f.time for f in frames], times, atol=1e-3)


def test_times_count_from_the_first_frame_and_ascend(make_video: Any) -> None:
    path = make_video("a.ts", frames=10, fps=10, times=[5 + i / 10 for i in range(10)])
    frames, reader = read(path)
    assert reader.start >= 5 and frames[0].time == 0
    assert (np.diff([f.time for f in frames]) > 0).all()


def test_pixels_become_square(make_video: Any) -> None:
    frames, reader = read(make_video(frames=2, aspect=Fraction(4, 3)))
    assert reader.size == (128, 64) and frames[0].image.shape == (64, 128, 3)


@pytest.mark.parametrize("size", [(95, 63), (1, 1), (2, 90), (16, 16)])
def test_odd_and_tiny_sizes(make_video: Any, size: tuple[int, int]) -> None:
    codec, name = ("png", "a.mov") if min(size) < 16 else ("libx264", "a.mp4")
    images = lambda index: np.full((size[1], size[0], 3), 10 * index, np.uint8)  # noqa: E731
    if codec == "png":
        path = make_video(name, frames=3, size=size, codec=codec, images=images)
    else:
        path = make_video(name, frames=3, size=size, images=images)
    frames, reader = read(path)
    assert reader.size == size and [f.image.shape[:2] for f in frames] == [size[::-1]] * 3


@pytest.mark.parametrize("fps", [1, 23.976, 240])
def test_slow_and_fast(make_video: Any, fps: float) -> None:
    frames, reader = read(make_video(frames=6, fps=fps))
    assert reader.fps == pytest.approx(fps, rel=1e-3)
    np.testing.assert_allclose([f.time for f in frames], np.arange(6) / fps, atol=1e-3)


def test_8k_is_read_smaller(make_video: Any) -> None:
    image = np.zeros((4320, 7680, 3), np.uint8)
    path = make_video(
        frames=1, size=(7680, 4320), options={"preset": "ultrafast"}, images=lambda index: image
    )
    frames, reader = read(path)
    assert reader.original_size == (7680, 4320) and reader.size == (LONGEST, 2304)
    assert frames[0].image.shape == (2304, LONGEST, 3)


def test_broken_frames_are_skipped_and_counted(make_video: Any) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (20, 64, 96, 3), dtype=np.uint8)
    # Every frame is complete in itself, so that one broken packet spoils one frame.
    path = make_video("a.avi", frames=20, codec="mjpeg", options={"threads": "1"}, images=lambda i: noise[i])
    content = bytearray(path.read_bytes())
    chunks = [i for i in range(len(content)) if content[i : i + 4] == b"00dc"][:20]
    for chunk in chunks[8:11]:
        size = struct.unpack("<I", content[chunk + 4 : chunk + 8])[0]
        content[chunk + 8 : chunk + 8 + size] = bytes(size)
    path.write_bytes(content)
    frames, reader = read(path)
    assert len(frames) == 17 and reader.skipped == 3
    assert [f.index for f in frames] == list(range(17))
    # Those after the gap keep their own times.
    np.testing.assert_allclose([f.time for f in frames[8:]], np.arange(11, 20) / 25, atol=1e-3)


def test_messages_of_ffmpeg_do_not_reach_python(make_video: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A thread of a decoder would wait for the GIL, and Python, which has it, for the thread."""
    path = make_video()
    path.write_bytes(path.read_bytes()[:1000])
    av.logging.set_level(av.logging.ERROR)  # as old torchvision does
    with pytest.raises(VideoError):
        VideoReader(path)
    assert av.logging.get_level() is None
    assert not [record for record in caplog.records if record.name.startswith("libav")]


def test_a_truncated_file_gives_what_is_left(make_video: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 64, 96, 3), dtype=np.uint8)
    options = {"movflags": "faststart"}
    path = make_video(frames=30, container_options=options, images=lambda i: noise[i])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    frames, reader = read(path)
    assert 5 < len(frames) < 25 and reader.num_frames == 30


def test_a_file_without_its_index_is_refused(make_video: Any) -> None:
    path = make_video(frames=30)  # the index comes last
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"walk\.mp4.*cut off"):
        VideoReader(path)


def test_what_is_no_video_is_refused(make_video: Any, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream: Any = out.add_stream("aac", rate=48_000)
        stream.codec_context.layout = "mono"
        block = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        block.sample_rate = 48_000
        out.mux(stream.encode(block))
        out.mux(stream.encode(None))
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "nothing.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    reasons = {
        "sound.mp4": "no video in this file",
        "text.mp4": "not a video",
        "nothing.mp4": "file is empty",
        "folder.mp4": "a folder",
        "missing.mp4": "no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(VideoError, match=f"{name}.*{reason}"):
            VideoReader(tmp_path / name)


def test_a_video_without_frames_is_refused(make_video: Any) -> None:
    path = make_video("a.avi", frames=3, codec="mjpeg")
    content = bytearray(path.read_bytes())
    for i in range(len(content)):
        if content[i : i + 4] == b"00dc":
            size = struct.unpack("<I", content[i + 4 : i + 8])[0]
            content[i + 8 : i + 8 + min(size, len(content))] = bytes(min(size, len(content) - i - 8))
            content[i + 4 : i + 8] = struct.pack("<I", size)
    path.write_bytes(content)
    with pytest.raises(VideoError, match="not a single frame"):
        VideoReader(path)


def test_a_name_with_a_colon_is_a_file(make_video: Any) -> None:
    assert len(read(make_video("take:2.mp4", frames=3))[0]) == 3


def test_an_unreachable_address_is_reported() -> None:
    with pytest.raises(VideoError, match=r"http://127\.0\.0\.1:9/x.*cannot be opened"):
        VideoReader("http://127.0.0.1:9/x")


def test_side_data_unknown_to_pyav_does_not_stop_a_video(tmp_path: Path) -> None:
    """Compact cameras write EXIF tags into each frame of Motion JPEG."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    with av.open(str(tmp_path / "a.avi"), "w") as out:
        stream = out.add_stream("mjpeg", rate=15)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for index in range(5):
            buffer = io.BytesIO()
            Image.fromarray(picture(index)).save(buffer, "JPEG", exif=exif, quality=95)
            packet = av.Packet(buffer.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 15)
            out.mux(packet)
    with VideoReader(tmp_path / "a.avi") as reader:
        frames = list(reader)
    assert len(frames) == 5 and reader.size == (64, 96)
    assert np.abs(frames[2].image.astype(int) - np.rot90(picture(2), -1)).mean() < 12


def test_a_name_that_is_not_utf8(make_video: Any) -> None:
    video = make_video(sound="aac")
    odd = video.with_name(os.fsdecode(b"caf\xe9.mp4"))
    try:
        video.rename(odd)
    except OSError:
        pytest.skip("this file system takes only names of UTF-8")
    with VideoReader(odd) as reader:
        assert len(list(reader)) == 12 and reader.has_audio


# Text files that make FFmpeg open other files, by content.
PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile '{other}'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
    "hls of a file address": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{other}\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize("name", ["list.mp4", "list.avi", "list.m3u8", "list.txt"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_open_no_other_files(make_video, tmp_path, kind, name):
    other = make_video("other.mp4")
    path = tmp_path / name
    for target in (other, other.name):
        path.write_text(PLAYLISTS[kind].format(other=target))
        with pytest.raises(VideoError, match=f"{name}: not a video"):
            VideoReader(path)


@pytest.mark.parametrize("address", ["file://{}", "concat://{}", "subfile:,,start,0,end,9,,:{}", "data://{}"])
def test_addresses_are_of_streams_only(make_video, address):
    with pytest.raises(VideoError):
        VideoReader(address.format(make_video("other.mp4")))

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from fullframe.video.reader import VideoReader
from fullframe.video.writer import VideoWriter


def gradient(width: int, height: int, index: int = 0) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(30, 220, width), np.linspace(30, 220, height))
    return np.stack((x, y, np.full_like(x, 60 + 10 * index)), axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size", [(96, 64), (97, 64), (96, 65), (33, 17), (1, 1)])
def test_sizes_colours_and_codec(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, size, 25) as writer:
        for index in range(5):
            writer.write(gradient(*size, index), index / 25)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert context.name == "h264" and context.pix_fmt == "yuv420p"
        assert int(context.colorspace) == 1 and int(context.color_range) == 1  # BT.709, limited
    with VideoReader(path) as reader:
        frames = list(reader)
    width, height = size
    assert reader.size == (width + width % 2, height + height % 2) and len(frames) == 5
    for frame in frames:
        found = frame.image[:height, :width].astype(int)
        assert np.abs(found - gradient(*size, frame.index)).mean() < 6


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0, 0.033, 0.05, 0.4, 0.41, 2.0, 2.5]
    with VideoWriter(tmp_path / "a.mp4", (32, 32), 30) as writer:
        for index, time in enumerate(times):
            writer.write(gradient(32, 32, index), time)
    with VideoReader(tmp_path / "a.mp4") as reader:
        np.testing.assert_allclose([f.time for f in reader], times, atol=1e-4)


def copy(source: Path, target: Path, frames: int | None = None) -> None:
    with VideoReader(source) as reader, VideoWriter(target, reader.size, reader.fps, reader) as writer:
        for frame in reader:
            if frames is not None and frame.index == frames:
                break
            writer.write(frame.image, frame.time)


def sound_of(path: Path) -> tuple[str, np.ndarray, float]:
    """Codec, samples of the first channel, and the rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        parts = [f.to_ndarray() for f in container.decode(audio=0)]
        rate = stream.codec_context.sample_rate
        return stream.codec_context.name, np.concatenate([p[0] for p in parts]), rate


def tone(samples: np.ndarray, rate: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()])


def test_sound_is_copied_as_it_is(make_video: Any, tmp_path: Path) -> None:
    source = make_video(frames=50, sound="aac")
    copy(source, tmp_path / "copy.mp4")

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(p) for p in container.demux(audio=0) if p.size]

    before, after = packets(source), packets(tmp_path / "copy.mp4")
    assert len(after) >= len(before) - 2 and after == before[: len(after)]
    codec, samples, rate = sound_of(tmp_path / "copy.mp4")
    assert codec == "aac" and tone(samples, rate) == pytest.approx(440, abs=2)
    assert len(samples) / rate == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "pcm_s16le"), ("b.mkv", "libopus")])
def test_other_sound_is_encoded_as_aac(make_video: Any, tmp_path: Path, name: str, codec: str) -> None:
    copy(make_video(name, frames=50, sound=codec), tmp_path / "copy.mp4")
    found, samples, rate = sound_of(tmp_path / "copy.mp4")
    assert found == "aac" and tone(samples, rate) == pytest.approx(440, abs=2)
    assert len(samples) / rate == pytest.approx(2, abs=0.1)


def test_sound_of_an_unknown_codec_is_left_out(make_video: Any, tmp_path: Path) -> None:
    """Such as the spatial sound of iPhones."""
    source = make_video(frames=10, sound="aac")
    source.write_bytes(source.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"xsds"))
    with VideoReader(source) as reader:
        assert not reader.has_audio
    copy(source, tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert not container.streams.audio and sum(1 for _ in container.decode(video=0)) == 10


def test_sound_ends_with_the_pictures(make_video: Any, tmp_path: Path) -> None:
    copy(make_video(frames=50, sound="aac"), tmp_path / "copy.mp4", frames=25)
    _, samples, rate = sound_of(tmp_path / "copy.mp4")
    assert len(samples) / rate == pytest.approx(1, abs=0.1)


def test_sound_stays_with_pictures_that_begin_late(make_video: Any, tmp_path: Path) -> None:
    source = make_video("a.mkv", frames=25, times=[1 + i / 25 for i in range(25)], sound="aac", fps=12.5)
    copy(source, tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "copy.mp4")) as container:
        first = next(p for p in container.demux(audio=0) if p.size)
        assert abs(float(first.pts * first.time_base)) < 0.15
    _, samples, rate = sound_of(tmp_path / "copy.mp4")
    assert len(samples) / rate == pytest.approx(1, abs=0.15)  # two seconds of sound, of which one was before


def test_an_exception_leaves_a_playable_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", (32, 32), 30) as writer:
        for index in range(7):
            writer.write(gradient(32, 32, index), index / 30)
        raise RuntimeError("the power went out")
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert len(list(reader)) == 7


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (32, 32), 30):
        pass
    assert not list(tmp_path.iterdir())


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError), VideoWriter(tmp_path / "none/a.mp4", (32, 32), 30) as writer:
        writer.write(gradient(32, 32), 0)

"""Writing videos that play everywhere: H.264 in mp4, with the sound of another video."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from fullframe.video.reader import VideoReader, address, options, sound_of

# Times are kept to 11 microseconds; common frame rates are whole numbers of this unit.
_UNIT = Fraction(1, 90_000)
# Codecs that mp4 players support; other sound is encoded as AAC.
_SOUND_OF_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
_AAC_RATES = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000)


class VideoWriter:
    """Writes frames with their times to an .mp4 that is playable once closed, also after an exception.

    Odd sizes are padded by one row or column, as H.264 in 4:2:0 requires even ones. The sound ends with the
    last frame, or where it is damaged.

    Args:
        path: ending in .mp4.
        size: (width, height) px.
        fps: approximate frames per second; the times of the frames decide.
        audio_from: the video whose sound is copied, or encoded as AAC if mp4 does not support its codec.

    Raises:
        OSError: if the file cannot be written.
    """

    def __init__(
        self, path: str | Path, size: tuple[int, int], fps: float, audio_from: VideoReader | None = None
    ) -> None:
        self.path = Path(path)
        self.size = size
        self._seconds_each = 1 / fps
        self._last = -1
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        stream: Any = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = (side + side % 2 for side in size)
        stream.pix_fmt = "yuv420p"
        # Less lookahead than by default: its frames take most of the memory.
        stream.options = {"preset": "veryfast", "crf": "20", "rc-lookahead": "5"}
        context = stream.codec_context
        context.time_base = _UNIT
        context.gop_size = max(1, min(250, round(2 * fps)))  # a key frame every two seconds
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._stream = stream
        self._sound = _Sound(audio_from, self._container) if audio_from and audio_from.has_audio else None

    def write(self, image: NDArray[np.uint8] | av.VideoFrame, time: float) -> None:
        """Add a frame.

        Args:
            image: (H, W, 3) uint8 RGB, or the result of `to_yuv`.
            time: seconds from the first frame, ascending.
        """
        frame = image if isinstance(image, av.VideoFrame) else to_yuv(image)
        self._last = max(round(time / _UNIT), self._last + 1)
        frame.pts, frame.time_base = self._last, _UNIT
        self._container.mux(self._stream.encode(frame))
        self._write_sound()

    def _write_sound(self) -> None:
        """Write the sound until the end of the last frame."""
        if self._sound is not None and self._last >= 0:
            self._sound.until(float(self._last * _UNIT) + self._seconds_each)

    def close(self) -> None:
        """Finish the file; without any frame, remove it."""
        if self._stream is None:
            return
        stream, self._stream = self._stream, None
        try:
            if self._last >= 0:
                self._container.mux(stream.encode(None))
                if self._sound is not None:
                    self._sound.end()
        finally:
            if self._sound is not None:
                self._sound.close()
            self._container.close()
            if self._last < 0:
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def to_yuv(image: NDArray[np.uint8]) -> av.VideoFrame:
    """RGB pixels (H, W, 3) for the encoder: 4:2:0 by ITU-R BT.709, of even sizes."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), "rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)


class _Sound:
    """Copies or encodes the sound of a video into another one."""

    def __init__(self, video: VideoReader, out: Any) -> None:
        self._out = out
        self._start = video.start
        self._container: Any = av.open(address(video.source), options=options(video.source))
        source = sound_of(self._container)
        self._source = source
        self._copied = source.codec_context.name in _SOUND_OF_MP4
        if self._copied:
            self._stream = out.add_stream_from_template(source)
        else:
            rate = min(_AAC_RATES, key=lambda r: abs(r - (source.codec_context.sample_rate or 48_000)))
            self._stream = out.add_stream("aac", rate=rate)
            layout = "mono" if source.codec_context.channels == 1 else "stereo"
            self._stream.codec_context.layout = layout
            self._resampler = av.AudioResampler("fltp", layout, rate)
        self._pieces = self._copy() if self._copied else self._encode()
        self._next = next(self._pieces, None)

    def until(self, time: float) -> None:
        """Write the sound before `time`, seconds from the first frame."""
        while self._next is not None and self._next[0] < time:
            self._out.mux(self._next[1])
            self._next = next(self._pieces, None)

    def end(self) -> None:
        if not self._copied:
            self._out.mux(self._stream.encode(None))

    def close(self) -> None:
        self._container.close()

    def _packets(self) -> Any:
        packets = self._container.demux(self._source)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):
                return
            if packet is None:
                return
            yield packet

    def _copy(self) -> Any:
        """(time, packet) of the sound from the first frame on."""
        for packet in self._packets():
            if packet.pts is None or packet.dts is None or packet.is_corrupt:
                continue
            time = float(packet.pts * packet.time_base) - self._start
            # Priming samples of the encoder are up to a few hundredths of a second earlier.
            if time < -0.1:
                continue
            shift = round(self._start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = self._stream
            yield time, packet

    def _encode(self) -> Any:
        """(time, packets) likewise, as AAC."""
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                if frame.time is None or frame.time < self._start:
                    continue
                time = frame.time - self._start
                frame.pts, frame.time_base = round(time * frame.sample_rate), Fraction(1, frame.sample_rate)
                yield time, [p for part in self._resampler.resample(frame) for p in self._stream.encode(part)]

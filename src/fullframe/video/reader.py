"""Reading videos: upright RGB frames with their times."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import av
import cv2
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from fullframe.io.npz import NotRegularFileError, require_regular_file

LONGEST = 4096
"""px. Larger frames are reduced to this side: the limit of H.264 players, and to save memory."""

# From this height on, players take colours that are not labelled for those of high definition.
_HD = 720
_OPEN_SECONDS, _READ_SECONDS = 10, 20
# Cameras are shown live: half a second to detect the format. Over UDP, frames would be damaged.
_STREAM_OPTIONS = {"rtsp_transport": "tcp", "analyzeduration": "500000", "fflags": "nobuffer"}
# Playlists and scripts (concat, hls, dash, sdp, avisynth ...) would open other files and addresses, whatever
# the name of the file. These are containers that hold their video themselves.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpeg,mpegts,mpegvideo,h264,hevc,vvc,obu,av1,ivf,m4v,vc1,"
    "mjpeg,mxf,ogg,rm,wtv,dv,gif,apng,nut,yuv4mpegpipe,gxf,swf,dhav,h263,h261,mp3,wav,aac,flac"
)
_FILE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
# Without "file": a stream cannot name files of this computer.
_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto,rtmp,rtmps,rtmpt,srt,mmsh,mmst"


class VideoError(ValueError):
    """A video that cannot be read; the message names it and says why."""


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        index: 0, 1, ... among the frames that could be read.
        time: seconds from the first frame; ascending.
        image: (H, W, 3) uint8 RGB, upright, with square pixels.
    """

    index: int
    time: float
    image: NDArray[np.uint8]


class VideoReader:
    """Iterates over the frames of a video file or stream, once.

    Frames are rotated and mirrored by the display matrix of the file, stretched to square pixels, and reduced
    if a side is longer than LONGEST. Broken frames are skipped and counted, also at the end of a truncated
    file. All frames get the size of the first.

    Args:
        source: path, or address (rtsp://, http://, ...).

    Attributes:
        size: (width, height) px of the frames.
        original_size: their size before reduction to LONGEST.
        fps: mean frames per second according to the file; 30 if unknown.
        num_frames: number of frames according to the file; None if unknown.
        has_audio: whether there is an audio stream that can be decoded.
        start: presentation time of the first frame in the file, s.
        skipped: broken frames so far.

    Raises:
        VideoError: if the file is missing, damaged, has no video or not a single good frame.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        self.skipped = 0
        # Old torchvision has FFmpeg's errors handed to Python, for which a thread of a decoder needs the GIL.
        # Where Python frees that decoder meanwhile, it has the GIL and waits for the thread, without end.
        av.logging.set_level(None)
        try:
            remote = "://" in self.source
            if not remote:
                require_regular_file(self.source)
            self._container = av.open(
                address(self.source),
                options=options(self.source),
                timeout=(_OPEN_SECONDS, _READ_SECONDS) if remote else None,
            )
        except FileNotFoundError as error:
            raise VideoError(f"{source}: no such file") from error
        except (OSError, ValueError, av.FFmpegError) as error:
            raise VideoError(f"{source}: {_why_not_opened(self.source, error)}") from error
        try:
            self._stream = _video_stream(self._container, self.source)
            self._frames = self._decode()
            first = next(self._frames, None)
            if first is None:
                raise VideoError(f"{source}: not a single frame of this video can be decoded")
        except BaseException:
            self._container.close()
            raise
        self._first: av.VideoFrame = first
        stream = self._stream
        self.start = first.time or 0.0
        self.has_audio = sound_of(self._container) is not None
        rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        self.fps = next((float(rate) for rate in rates if rate and 0 < rate <= 1000), 30.0)
        self.num_frames = stream.frames or _frames_of(self._container, stream, self.fps)
        self._matrix = _display_matrix(first)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        width, height = max(1, round(first.width * (aspect if aspect > 0 else 1))), first.height
        scale = min(1.0, LONGEST / max(width, height))
        self._coded_size = max(1, round(width * scale)), max(1, round(height * scale))
        turned = _swaps_axes(self._matrix)
        self.original_size = (height, width) if turned else (width, height)
        self.size = self._coded_size[::-1] if turned else self._coded_size

    def __iter__(self) -> Iterator[Frame]:
        frame: av.VideoFrame | None = self._first
        index, last = 0, -1.0
        while frame is not None:
            time = frame.time - self.start if frame.time is not None else -1.0
            if time <= last:  # missing, or a jump back
                time = last + 1 / self.fps
            time = last = max(time, 0.0)
            yield Frame(index, time, self._upright(frame))
            index += 1
            frame = next(self._frames, None)

    def _upright(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        width, height = self._coded_size
        unlabelled = int(frame.colorspace) == 2
        matrix = Colorspace.ITU709 if frame.height >= _HD else Colorspace.ITU601
        rgb = frame.reformat(
            width, height, "rgb24", src_colorspace=matrix if unlabelled else None, interpolation="AREA"
        )
        pixels: Any = rgb.to_ndarray()
        return turn_upright(pixels, self._matrix)

    def _decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):  # the file was cut off, or the connection
                packet = None
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.skipped += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.skipped += 1
                else:
                    yield frame

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def turn_upright(image: NDArray[np.uint8], matrix: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The image in its display orientation.

    Args:
        image: (H, W, 3) as coded.
        matrix: (2, 2) of -1, 0 and 1: a pixel (x, y) is shown at matrix @ (x, y), up to a shift.
    """
    if _swaps_axes(matrix):
        image, matrix = cv2.transpose(image), matrix[:, ::-1]
    across, down = matrix[0, 0] < 0, matrix[1, 1] < 0
    if across or down:
        image = cv2.flip(image, -1 if across and down else int(across))
    return np.ascontiguousarray(image)


def _swaps_axes(matrix: NDArray[np.int64]) -> bool:
    return bool(matrix[0, 1])


def _display_matrix(frame: av.VideoFrame) -> NDArray[np.int64]:
    """The quarter turn and mirroring nearest to the frame's display matrix, see `turn_upright`."""
    try:
        side_data: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # there is side data that PyAV does not know, as the EXIF tags of Motion JPEG
        turns = round(frame.rotation / 90) % 4  # counterclockwise
        return np.linalg.matrix_power(np.array([[0, 1], [-1, 0]], np.int64), turns)
    if side_data is None:
        return np.eye(2, dtype=np.int64)
    # Rows (a, b, u), (c, d, v), (x, y, w): x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12, 6.2.2).
    matrix = np.frombuffer(bytes(side_data), np.int32).reshape(3, 3)[:2, :2].T.astype(np.int64)
    size = np.abs(matrix)
    turned = size[0, 1] + size[1, 0] > size[0, 0] + size[1, 1]
    keep = np.eye(2, dtype=bool)[::-1] if turned else np.eye(2, dtype=bool)
    return np.where(keep, np.where(matrix < 0, -1, 1), 0)


def address(source: str) -> str | BinaryIO:
    """A path or address for FFmpeg, or the open file where FFmpeg cannot take its name."""
    if "://" in source:
        return source
    try:
        source.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8
        return open(source, "rb")
    # With "file:", a path with a colon is not parsed as an address.
    return f"file:{source}"


def options(source: str) -> dict[str, str]:
    """Options for FFmpeg to open `address(source)`, and nothing that is named in it."""
    return {**_STREAM_OPTIONS, "protocol_whitelist": _PROTOCOLS} if "://" in source else _FILE_OPTIONS


def _why_not_opened(source: str, error: Exception) -> str:
    if "://" in source:
        return f"cannot be opened: {error}; check the address, and that the camera is on"
    path = Path(source)
    if path.is_file() and os.stat(path).st_size == 0:
        return "the file is empty"
    if path.is_dir():
        return "this is a folder"
    if isinstance(error, NotRegularFileError):
        return str(error).removeprefix(f"{source}: ")
    if isinstance(error, PermissionError):
        return "no permission to read this file"
    return "not a video that can be read: another format, a playlist, or cut off before its index was written"


def _video_stream(container: Any, source: str) -> Any:
    """The first video stream, without cover images of audio files."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise VideoError(f"{source}: there is no video in this file")
    if streams[0].codec_context is None:
        raise VideoError(f"{source}: the video's codec is unknown here; convert it to H.264")
    streams[0].thread_type = "AUTO"
    # Decoding is never the slowest part, and each thread holds frames of its own.
    streams[0].codec_context.thread_count = 2
    return streams[0]


def sound_of(container: Any) -> Any:
    """The first stream of sound whose codec is known; None if there is none."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def _frames_of(container: Any, stream: Any, fps: float) -> int | None:
    if stream.duration:
        return round(stream.duration * stream.time_base * fps) or None
    return round(container.duration / av.time_base * fps) or None if container.duration else None

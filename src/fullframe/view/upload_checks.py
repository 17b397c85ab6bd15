"""Checks of untrusted uploads: size, and type by content."""

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from PIL import Image

MAX_BYTES = 200_000_000
MAX_PIXELS = 50_000_000
MAX_SECONDS = 30
"""Limits of one upload, one photo and one clip."""

PHOTOS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names of the accepted photo formats."""

LIMITS = (
    f"Photos (JPEG, PNG, WebP, TIFF, BMP, GIF) of up to {MAX_PIXELS // 1_000_000} megapixels, or clips "
    f"(MP4, MOV, WebM, MKV, AVI) of up to {MAX_SECONDS} seconds; at most {MAX_BYTES // 1_000_000} MB."
)


@dataclass(frozen=True)
class UploadLimits:
    """Of one upload: its bytes, the pixels of a photo or frame, and the seconds of a clip."""

    bytes: int = MAX_BYTES
    pixels: int = MAX_PIXELS
    seconds: float = MAX_SECONDS


def _of_page() -> UploadLimits:
    return UploadLimits(MAX_BYTES, MAX_PIXELS, MAX_SECONDS)


class UploadError(ValueError):
    """A rejected upload; the message is for the visitor of the page."""


class TooLargeError(UploadError):
    """It exceeds a limit."""


class UnknownFormatError(UploadError):
    """It is not a photo or clip."""


def check_upload(source: bytes | Path, limits: UploadLimits | None = None) -> str:
    """Check the content alone; name and type as sent by the browser are not trusted.

    Args:
        source: the content, or a file with it.
        limits: that it has to keep; None for those of the page.

    Returns:
        The suffix for the file: ".jpg", ".mp4" and so on.

    Raises:
        UploadError: if it is too large or too long, or not a photo or clip.
    """
    limits = limits or _of_page()
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if not size:
        raise UploadError("The file is empty.")
    if size > limits.bytes:
        raise TooLargeError(too_large(size, limits))
    with _opened(source) as file:
        container = _container(file.read(12))
    if container is None:
        return _check_photo(source, limits)
    _check_clip(source, container, limits)
    return {"mov": ".mp4", "matroska": ".mkv", "avi": ".avi"}[container]


def too_large(size: int, limits: UploadLimits | None = None) -> str:
    return f"The file has {size / 1e6:.0f} MB; the limit is {(limits or _of_page()).bytes / 1e6:.0f} MB."


def _opened(source: bytes | Path) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _container(content: bytes) -> str | None:
    """FFmpeg's name of the video container, by its first bytes.

    Only these three: FFmpeg supports many more, among them playlists that refer to other files and addresses.
    """
    if content[4:8] == b"ftyp" and content[8:12] not in (b"avif", b"heic", b"heix", b"mif1"):
        return "mov"
    if content[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip"):  # old QuickTime, without ftyp
        return "mov"
    if content[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if content[:4] == b"RIFF" and content[8:12] == b"AVI ":
        return "avi"
    return None


def _check_photo(source: bytes | Path, limits: UploadLimits) -> str:
    try:
        with _opened(source) as file, Image.open(file, formats=PHOTOS) as image:
            width, height = image.size
            suffix = f".{(image.format or '').lower()}"
    except Image.DecompressionBombError as error:
        raise TooLargeError(
            f"The photo has too many pixels; the limit is {limits.pixels / 1e6:.0f} megapixels."
        ) from error
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise UnknownFormatError("This is not a photo or clip that can be read.") from error
    if width * height > limits.pixels:
        raise TooLargeError(
            f"The photo has {width * height / 1e6:.0f} megapixels; "
            f"the limit is {limits.pixels / 1e6:.0f} megapixels."
        )
    return suffix


def _check_clip(source: bytes | Path, container: str, limits: UploadLimits) -> None:
    try:
        with _opened(source) as content, av.open(content, "r", format=container) as file:
            if not file.streams.video:
                raise UploadError("This file has no video stream, only sound.")
            stream = file.streams.video[0]
            seconds, pixels = _seconds(file, stream), stream.width * stream.height
    except UploadError:
        raise
    except Exception as error:  # FFmpeg's, and ValueError of PyAV
        raise UploadError("The clip is damaged, incomplete, or of an unsupported format.") from error
    if pixels > limits.pixels:
        raise TooLargeError(
            f"The frames have {pixels / 1e6:.0f} megapixels; the limit is {limits.pixels / 1e6:.0f}."
        )
    if seconds > limits.seconds + 0.5:
        raise TooLargeError(
            f"The clip is {seconds:.0f} s long; the limit is {limits.seconds:g} s: cut out a part."
        )


def _seconds(file: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Duration of a clip: as stated in the file, else until its last packet."""
    base = stream.time_base or Fraction(1, 1000)
    if stream.duration:
        return float(stream.duration * base)
    if file.duration:
        return file.duration / av.time_base
    times = [packet.pts for packet in file.demux(stream) if packet.pts is not None]
    return float((max(times) - min(times)) * base) if times else 0.0

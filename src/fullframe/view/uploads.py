"""Checks of untrusted uploads: size, and type by content."""

import io
from fractions import Fraction

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


class UploadError(ValueError):
    """A rejected upload; the message is for the visitor of the page."""


def check_upload(content: bytes) -> str:
    """Check the content alone; name and type as sent by the browser are not trusted.

    Returns:
        The suffix for the file: ".jpg", ".mp4" and so on.

    Raises:
        UploadError: if it is too large or too long, or not a photo or clip.
    """
    if not content:
        raise UploadError("The file is empty.")
    if len(content) > MAX_BYTES:
        raise UploadError(too_large(len(content)))
    container = _container(content)
    if container is None:
        return _check_photo(content)
    _check_clip(content, container)
    return {"mov": ".mp4", "matroska": ".mkv", "avi": ".avi"}[container]


def too_large(size: int) -> str:
    return f"The file has {size / 1e6:.0f} MB; the limit is {MAX_BYTES // 1_000_000} MB."


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


def _check_photo(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content), formats=PHOTOS) as image:
            width, height = image.size
            suffix = f".{(image.format or '').lower()}"
    except Image.DecompressionBombError as error:
        raise UploadError(
            f"The photo has too many pixels; the limit is {MAX_PIXELS // 1_000_000} megapixels."
        ) from error
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise UploadError("This is not a photo or clip that can be read.") from error
    if width * height > MAX_PIXELS:
        raise UploadError(
            f"The photo has {width * height / 1e6:.0f} megapixels; "
            f"the limit is {MAX_PIXELS // 1_000_000} megapixels."
        )
    return suffix


def _check_clip(content: bytes, container: str) -> None:
    try:
        with av.open(io.BytesIO(content), "r", format=container) as file:
            if not file.streams.video:
                raise UploadError("This file has no video stream, only sound.")
            stream = file.streams.video[0]
            seconds = _seconds(file, stream)
    except UploadError:
        raise
    except Exception as error:  # FFmpeg's, and ValueError of PyAV
        raise UploadError("The clip is damaged, incomplete, or of an unsupported format.") from error
    if seconds > MAX_SECONDS + 0.5:
        raise UploadError(f"The clip is {seconds:.0f} s long; the limit is {MAX_SECONDS} s: cut out a part.")


def _seconds(file: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Duration of a clip: as stated in the file, else until its last packet."""
    base = stream.time_base or Fraction(1, 1000)
    if stream.duration:
        return float(stream.duration * base)
    if file.duration:
        return file.duration / av.time_base
    times = [packet.pts for packet in file.demux(stream) if packet.pts is not None]
    return float((max(times) - min(times)) * base) if times else 0.0

"""Reading photos: upright, RGB, 8 bit, with the camera of their EXIF tags."""

import io
import threading
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, ImageSequence, UnidentifiedImageError

from fullframe.geometry.camera import Camera, ExifError
from fullframe.io.atomic import atomic_path
from fullframe.io.npz import NotRegularFileError, require_regular_file

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".hif"}
    | {".gif", ".bmp", ".dib", ".tif", ".tiff", ".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pnm"}
    | {".tga"}
)
RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw"}
)
"""Suffixes of photos, and of the raw files of cameras, whose previews are no substitute for the photo."""

_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_WARNINGS = threading.Lock()  # their filters are those of all threads
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class ImageError(ValueError):
    """A file that cannot be read as a photo; the message names it and says why."""


@dataclass(frozen=True)
class Photo:
    """An upright photo.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        orientation: the EXIF orientation that was undone; 1 for none.
        exif_camera: camera by the EXIF focal length, None without one.
        path: of the file, "" for pixels from elsewhere.
        exif_problem: why the EXIF focal length is not used; "" if it is, or there is none.
    """

    pixels: NDArray[np.uint8]
    orientation: int
    exif_camera: Camera | None
    path: str = ""
    exif_problem: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px."""
        height, width = self.pixels.shape[:2]
        return width, height

    @property
    def camera(self) -> Camera:
        """The best guess without a calibration: by EXIF, else CLIFF's from the diagonal of the image."""
        return self.exif_camera or Camera.from_diagonal(self.size)


def read_photo(source: str | Path | bytes) -> Photo:
    """Read a photo and turn it upright by its EXIF orientation.

    Grey, palette, CMYK, 16-bit and transparent images become 8-bit RGB (transparency over white). Values of
    more than 8 bits are stretched by the bits that are used, as 12 of 16; of a narrow range in them, as of
    thermal cameras, the range is. Of an animated image the first frame of more than one colour is taken.

    Args:
        source: path, or the content of a file.

    Raises:
        ImageError: if the file is missing, empty, truncated, not an image, or too large.
    """
    if not isinstance(source, bytes):
        source = Path(source)
    name = f"photo of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    try:
        _require_content(source, name)
        with _open(_file(source)) as image:
            content = _first_content(image)
            path = "" if isinstance(source, bytes) else name
            return _upright(image, content, _deep_colors(source, image), path)
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except UnidentifiedImageError as error:
        why = "not an image that can be read"
        if is_heif(source) and find_spec("pillow_heif") is None:
            why = "HEIC needs pillow-heif: pip install 'fullframe[heic]', or convert the photo to JPEG"
        raise ImageError(f"{name}: {why}") from error
    except ImageError:
        raise
    except NotRegularFileError as error:
        raise ImageError(str(error)) from error
    # Pillow raises many kinds of error for damaged files (SyntaxError, struct.error, EOFError among them).
    except Exception as error:
        raise ImageError(f"{name}: damaged or unreadable image: {error or type(error).__name__}") from error


def photo_from_pil(image: Image.Image) -> Photo:
    """A photo from an image of Pillow, converted as by `read_photo`.

    Raises:
        ImageError: if it has no pixels, or its file is damaged.
    """
    if 0 in image.size:
        raise ImageError(f"image of Pillow: {image.width} x {image.height} px have no content")
    try:
        return _upright(image, _first_content(image), None, "")
    except Exception as error:  # as in `read_photo`
        raise ImageError(f"image of Pillow: {error or type(error).__name__}") from error


def _require_content(source: Path | bytes, name: str) -> None:
    if isinstance(source, Path):
        if source.suffix.lower() in RAW_SUFFIXES:
            raise ImageError(f"{name}: a raw file of a camera: convert it to JPEG or TIFF")
        require_regular_file(source)
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise ImageError(f"{name}: the file is empty")


def _file(source: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _upright(image: Image.Image, content: Image.Image, deep: Image.Image | None, path: str) -> Photo:
    """The photo of an image with the pixels of `content`, or of `deep` if there is one."""
    exif = image.getexif()
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    upright = ImageOps.exif_transpose(content)
    camera, problem = None, ""
    try:
        camera = Camera.from_exif({**exif, **exif.get_ifd(ExifTags.IFD.Exif)}, upright.size)
    except ExifError as error:
        problem = str(error)
    if deep is not None:
        deep.getexif()[ExifTags.Base.Orientation] = orientation
        upright = ImageOps.exif_transpose(deep)
    pixels = np.array(_to_rgb(upright))
    return Photo(pixels, orientation if orientation in range(1, 9) else 1, camera, path, problem)


def is_photo(path: str | Path) -> bool:
    """Whether a file's contents are those of a photo, whatever its name."""
    try:
        with _open(path, _FORMATS):
            return True
    except Exception:  # as in `read_photo`
        return is_heif(path)


def is_animated(path: str | Path) -> bool:
    """Whether a file is an image of several frames that are shown one after the other."""
    try:
        with _open(path, _ANIMATED) as image:
            return getattr(image, "n_frames", 1) > 1
    except Exception:  # as in `read_photo`
        return False


def is_heif(source: str | Path | bytes) -> bool:
    """Whether a file, or its content, is a HEIF image (HEIC) by its first bytes: ISO/IEC 23008-12, 10."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS


def _open(file: str | Path | io.BytesIO, formats: tuple[str, ...] | None = None) -> Image.Image:
    _register_heif()
    if formats is not None:
        Image.init()
        formats = tuple(name for name in formats if name in Image.OPEN)
    # Large photos of phones are welcome; Pillow still refuses those above 179 megapixels.
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=formats)


@cache
def _register_heif() -> None:
    """Let Pillow read HEIC if pillow-heif is installed."""
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()


def _first_content(image: Image.Image) -> Image.Image:
    """The image; of an animation, the first frame of more than one colour, or else the first."""
    image.load()
    if image.format not in _ANIMATED or not getattr(image, "is_animated", False):
        return image
    for frame in ImageSequence.Iterator(image):
        if any(low < high for low, high in _extrema(_to_rgb(frame))):
            return frame.copy()
    image.seek(0)
    return image


def _extrema(image: Image.Image) -> tuple[tuple[int, int], ...]:
    extrema: Any = image.getextrema()
    return extrema


def _deep_colors(source: Path | bytes, image: Image.Image) -> Image.Image | None:
    """A colour image of 16 bits a channel, of which Pillow keeps the upper 8; None for others."""
    if image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA"):
        return None
    with Image.open(_file(source)) as unread:  # `tile` is empty once an image is loaded
        if not any(";16" in str(tile) for tile in unread.tile):
            return None
    content = source if isinstance(source, bytes) else source.read_bytes()
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        return None
    if values.shape[2] == 4:  # over white, as by `_to_rgb`
        alpha = values[..., 3:] / max(values[..., 3].max(), 1)
        values = values[..., :3] * alpha + (1 - alpha) * _white(values[..., :3])
    return Image.fromarray(_stretched(values[..., ::-1].astype(np.float64)))


def _white(values: NDArray[Any]) -> int:
    """The largest number of the bits that are used, at least 8."""
    return int(2 ** max(8, int(values.max()).bit_length()) - 1)


def _stretched(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Whole numbers up to 65535 as 8 bits: by the bits used, or by their range where it is narrow."""
    low, high = 0.0, float(_white(values))
    darkest, lightest = np.percentile(values, (0.1, 99.9))
    if values.max() > 255 and 0 < lightest - darkest < high / 4:
        low, high = darkest, lightest
    return ((values - low) / (high - low) * 255).round().clip(0, 255).astype(np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        if image.mode != "F" and values.min() >= 0 and values.max() <= 65535:
            return Image.fromarray(_stretched(values)).convert("RGB")
        # Wider and float ones have no fixed white, so their own range is used.
        low, high = values.min(), values.max()
        scaled = (values - low) / max(high - low, 1e-12) * 255
        return Image.fromarray(scaled.round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def write_jpeg(path: Path, pixels: NDArray[np.uint8], quality: int = 92) -> None:
    """Write (H, W, 3) RGB pixels, whole or not at all.

    Raises:
        OSError: if it cannot be written.
        ValueError: if it is too large for a JPEG file (65,500 px a side).
    """
    # Not cv2.imwrite, which on Windows fails for paths that are not ASCII.
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    good, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ValueError(
            f"{path}: an image of {pixels.shape[1]} x {pixels.shape[0]} px cannot be a JPEG file"
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(jpeg)

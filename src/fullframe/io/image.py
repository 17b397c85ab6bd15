"""Reading photos: upright, RGB, 8 bit, with the camera of their EXIF tags."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fullframe.geometry.camera import Camera
from fullframe.io.atomic import atomic_path


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
    """

    pixels: NDArray[np.uint8]
    orientation: int
    exif_camera: Camera | None
    path: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px."""
        height, width = self.pixels.shape[:2]
        return width, height


def read_photo(path: str | Path) -> Photo:
    """Read a photo and turn it upright by its EXIF orientation.

    Grey, palette, CMYK, 16-bit and transparent images become 8-bit RGB (transparency over white); of an
    animated image the first frame is taken.

    Raises:
        ImageError: if the file is missing, empty, truncated, not an image, or too large.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty")
        with warnings.catch_warnings(), Image.open(path) as image:
            # Large photos of phones are welcome; Pillow still refuses those above 179 megapixels.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image.load()
            exif = image.getexif()
            orientation = exif.get(ExifTags.Base.Orientation, 1)
            upright = ImageOps.exif_transpose(image)
            camera = Camera.from_exif({**exif, **exif.get_ifd(ExifTags.IFD.Exif)}, upright.size)
            pixels = np.array(_to_rgb(upright))
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image that can be read") from error
    except ImageError:
        raise
    # Pillow raises many kinds of error for damaged files (SyntaxError, struct.error, EOFError among them).
    except Exception as error:
        raise ImageError(f"{path}: damaged or unreadable image: {error or type(error).__name__}") from error
    return Photo(pixels, orientation if orientation in range(1, 9) else 1, camera, str(path))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        # 16-bit files use 0 ... 65535; wider and float ones have no fixed white, so their own range is used.
        integer = image.mode != "F" and values.min() >= 0 and values.max() <= 65535
        low, high = (0, 65535) if integer else (values.min(), values.max())
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

"""The pinhole camera of the full frame, and the way from a crop's weak camera into it (CLIFF, ECCV 2022).

Camera frame: x right, y down, z forward (OpenCV), metres. Pixels are those of the full image;
(0, 0) is the centre of the top left one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

HMR_FOCAL = 5000.0
"""Focal length in crop pixels that HMR assumes (Kanazawa et al., CVPR 2018; SPIN)."""

MAX_SIDE, MAX_PIXELS = 10**6, 1e9
"""Pixels that the sides of an image, and focal length and principal point, have at most in a file."""

BBOX_NORMS = ("plain", "h36m")

# EXIF tags (Exif 2.32) in the main and the Exif directory.
_FOCAL_LENGTH, _FOCAL_35MM = 0x920A, 0xA405
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_PLANE_X_RESOLUTION, _PLANE_UNIT = 0xA20E, 0xA210
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
# Width by height of what cameras and phones take: 1:1, 7:6, 5:4, 4:3, 3:2, 16:10, 16:9, 2:1, to 65:24.
_SENSOR_SHAPES = (
    *(1, 7 / 6, 5 / 4, 4 / 3, 3 / 2, 16 / 10, 16 / 9, 2, 18.5 / 9, 19 / 9, 19.5 / 9, 20 / 9, 21 / 9),
    65 / 24,
)


class ExifError(ValueError):
    """EXIF tags with a focal length that cannot be the photo's; the message says why, without its name."""


@dataclass(frozen=True)
class Camera:
    """Intrinsics of the full image.

    Attributes:
        focal: (fx, fy) px.
        principal_point: (x, y) absolute px.
        size: (width, height) of the image in px.
        source: how the focal length was found: "intrinsics", "focal", "fov", "exif" or "diagonal".
    """

    focal: tuple[float, float]
    principal_point: tuple[float, float]
    size: tuple[int, int]
    source: str

    def __post_init__(self) -> None:
        width, height = self.size
        if width < 1 or height < 1:
            raise ValueError(f"image size must be positive, got {width} x {height}")
        if not all(math.isfinite(f) and f > 0 for f in self.focal):
            raise ValueError(f"focal length must be positive and finite, got {self.focal} px")
        if not all(math.isfinite(p) for p in self.principal_point):
            raise ValueError(f"principal point must be finite, got {self.principal_point} px")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Camera":
        """The inverse of `to_dict`, also after a round trip through JSON.

        Raises:
            ValueError: if a value is missing, or is impossible.
        """
        try:
            focal, principal_point = (
                (float(v[0]), float(v[1])) for v in (values["focal"], values["principal_point"])
            )
            width, height = (int(v) for v in values["size"])
            source = values["source"]
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"camera: {error!r} in {str(values)[:200]}") from error
        if not isinstance(source, str):
            raise ValueError(f"camera: source must be text, not {str(source)[:100]}")
        if max(width, height) > MAX_SIDE or max(map(abs, (*focal, *principal_point))) > MAX_PIXELS:
            raise ValueError(f"camera: impossible numbers in {str(values)[:200]}")
        return cls(focal, principal_point, (width, height), source)

    def to_dict(self) -> dict[str, Any]:
        """Numbers and names that JSON can hold: focal, principal_point, size, source."""
        return {
            "focal": list(self.focal),
            "principal_point": list(self.principal_point),
            "size": list(self.size),
            "source": self.source,
        }

    @classmethod
    def from_focal(cls, focal: float, size: tuple[int, int], source: str = "focal") -> "Camera":
        """A camera with square pixels and its principal point at the image centre; focal in px."""
        width, height = size
        return cls((float(focal), float(focal)), (width / 2, height / 2), (int(width), int(height)), source)

    @classmethod
    def from_intrinsics(cls, intrinsics: ArrayLike, size: tuple[int, int]) -> "Camera":
        """From a 3x3 matrix K in px, or from (fx, fy, cx, cy).

        Raises:
            ValueError: if it is neither, or has skew.
        """
        k = np.asarray(intrinsics, dtype=np.float64)
        if k.shape == (3, 3):
            if abs(k[0, 1]) > 1e-6 * abs(k[0, 0]):
                raise ValueError(f"intrinsics with skew are not supported: {k.tolist()}")
            k = np.array([k[0, 0], k[1, 1], k[0, 2], k[1, 2]])
        if k.shape != (4,):
            raise ValueError(f"intrinsics must be a 3x3 matrix or fx, fy, cx, cy; got shape {k.shape}")
        fx, fy, cx, cy = k.tolist()
        return cls((fx, fy), (cx, cy), (int(size[0]), int(size[1])), "intrinsics")

    @classmethod
    def from_fov(cls, degrees: float, size: tuple[int, int]) -> "Camera":
        """From the horizontal field of view in degrees.

        Raises:
            ValueError: unless 0 < degrees < 180.
        """
        if not 0 < degrees < 180:
            raise ValueError(f"field of view must lie between 0 and 180 degrees, got {degrees}")
        return cls.from_focal(size[0] / 2 / math.tan(math.radians(degrees) / 2), size, "fov")

    @classmethod
    def from_diagonal(cls, size: tuple[int, int]) -> "Camera":
        """CLIFF's estimate where nothing is known: focal = sqrt(w^2 + h^2), 53.13 degrees diagonally."""
        return cls.from_focal(math.hypot(*size), size, "diagonal")

    @classmethod
    def from_exif(cls, exif: Mapping[int, Any], size: tuple[int, int]) -> "Camera | None":
        """From the EXIF tags of a photo, or None if they lack a focal length.

        Of photos that were cut, as other programs save them, the focal length cannot be known.

        The 35 mm equivalent comes first: it relates the diagonal of the image to that of a 36 x 24 mm frame
        (CIPA DCG-001). Else the focal length with the sensor's resolution. Both refer to the photo as it was
        taken: if the tags give it another size of the same shape, `size` is a reduction of it, and if they
        give a larger one of another shape, `size` is a crop of the same magnification.

        Args:
            exif: tag number to value, main and Exif directory together.
            size: (width, height) of the upright image in px.

        Raises:
            ExifError: there is a focal length, but it cannot be this photo's; the message says why.
        """
        taken = _size_when_taken(exif) or (float(size[0]), float(size[1]))
        equivalent = _positive(exif.get(_FOCAL_35MM))
        focal_mm, resolution = _positive(exif.get(_FOCAL_LENGTH)), _positive(exif.get(_PLANE_X_RESOLUTION))
        unit = _UNIT_MM.get(int(_positive(exif.get(_PLANE_UNIT)) or 2))
        if equivalent:
            focal = equivalent * math.hypot(*taken) / math.hypot(36, 24)
        elif focal_mm and resolution and unit:
            focal = focal_mm * resolution / unit
        else:
            return None
        # Of the size when taken, to that of now; a photo that is turned upright has its sides exchanged.
        scale = math.hypot(*size) / math.hypot(*taken)
        if abs(max(taken) / min(taken) / (max(size) / min(size)) - 1) > 0.03:
            if max(size) > max(taken) or min(size) > min(taken):
                raise ExifError(
                    f"EXIF's size of {taken[0]:.0f} x {taken[1]:.0f} px is not that of this photo"
                )
            scale = 1.0
        if not any(abs(max(taken) / min(taken) / shape - 1) < 0.015 for shape in _SENSOR_SHAPES):
            raise ExifError(f"{taken[0]:.0f} x {taken[1]:.0f} px is no camera's shape: the photo was cut")
        # Tags of nonsense (some editors rewrite the resolution) would give an impossible lens.
        camera = cls.from_focal(scale * focal, size, "exif")
        if camera.implausible():
            raise ExifError(f"EXIF's focal length would be {scale * focal:.0f} px, which no lens has")
        return camera

    def implausible(self) -> str | None:
        """Why this can hardly be the camera of a photo, with the likely confusion of units; None if it can.

        Lenses from fisheye to telescope have focal lengths of 0.2 to 30 times the diagonal.
        """
        width, height = self.size
        diagonal = math.hypot(width, height)
        fx, fy = self.focal
        x, y = self.principal_point
        if min(fx, fy) < 0.2 * diagonal:
            why = f"a focal length of {min(fx, fy):g} px is too short for a photo of {width} x {height} px"
            if max(fx, fy) <= 10 and max(abs(x), abs(y)) <= 2:
                return f"{why}: the intrinsics look normalised; multiply them by the photo's width and height"
            if self.source == "fov":
                return f"{why}: the field of view is that of its width, here at most {_widest(self.size):.0f}"
            pixels = min(fx, fy) * diagonal / math.hypot(36, 24)
            if pixels < 0.2 * diagonal:
                return f"{why}: it has to be in px of this photo"
            return f"{why}: if it is in mm of a 36 x 24 mm frame, give {pixels:.0f} px"
        if self.source == "fov" and self.fov[0] <= math.pi:
            degrees = self.fov[0]
            return (
                f"a field of view of {degrees:g} degrees is a telescope's: if it is in radians, give "
                f"{math.degrees(degrees):.1f}; for such a lens, give the focal length in px"
            )
        if max(fx, fy) > 30 * diagonal:
            return (
                f"a focal length of {max(fx, fy):g} px is too long for a photo of {width} x {height} px: "
                "it has to be in px of this photo"
            )
        if max(fx, fy) > 3 * min(fx, fy):
            return (
                f"focal lengths of {fx:g} px across and {fy:g} px down: no camera's pixels are so far from "
                "square; the order is fx fy cx cy"
            )
        if not (0 <= x <= width and 0 <= y <= height):
            why = f"the principal point ({x:g}, {y:g}) lies outside the photo of {width} x {height} px"
            if min(x, y) <= 0 or max(x, y) > MAX_SIDE:
                return why
            return (
                f"{why}: the intrinsics belong to another resolution, perhaps {2 * x:.0f} x {2 * y:.0f} px; "
                "scale all"
            )
        return None

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """K, (3, 3) px."""
        (fx, fy), (cx, cy) = self.focal, self.principal_point
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])

    def through(self, window: tuple[float, float, float]) -> NDArray[np.float64]:
        """K, (3, 3) px, of what a window (x, y, scale) shows: pixel p of it is (x, y) + scale * p here."""
        x, y, scale = window
        k = self.intrinsics / scale
        k[:2, 2] -= np.array([x, y]) / scale
        k[2, 2] = 1
        return k

    @property
    def fov(self) -> tuple[float, float]:
        """Horizontal and vertical field of view, degrees."""
        x, y = (math.degrees(2 * math.atan(s / 2 / f)) for s, f in zip(self.size, self.focal, strict=True))
        return x, y


def _widest(size: tuple[int, int]) -> float:
    """Degrees of the width that the shortest plausible lens sees."""
    return math.degrees(2 * math.atan(size[0] / 2 / (0.2 * math.hypot(*size))))


def _size_when_taken(exif: Mapping[int, Any]) -> tuple[float, float] | None:
    width, height = (_positive(exif.get(tag)) for tag in (_PIXEL_WIDTH, _PIXEL_HEIGHT))
    return (width, height) if width and height else None


def _positive(value: Any) -> float | None:
    """An EXIF number (int, float or rational) as a positive float, else None."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def project(points: Tensor, focal: Tensor | float, principal_point: Tensor | float = 0.0) -> Tensor:
    """Perspective projection.

    Points nearer than 0.1 m (or behind the camera) are projected as if they lay at 0.1 m, which keeps losses
    finite while a fit or a network is still far off.

    Args:
        points: (..., 3) camera frame, metres.
        focal: px, a number or broadcastable to (..., 2).
        principal_point: px, a number or broadcastable to (..., 2); with 0 the result is relative to it.

    Returns:
        (..., 2) px.
    """
    return focal * points[..., :2] / points[..., 2:].clamp(min=0.1) + principal_point


def project_points(points: NDArray[Any], camera: Camera) -> NDArray[np.float64]:
    """Points (K, 3) of the camera frame to pixels (K, 2) of its image, as `project` does for tensors."""
    depth: NDArray[np.float64] = np.maximum(points[:, 2:], 0.1)
    return points[:, :2] * np.array(camera.focal) / depth + np.array(camera.principal_point)


def compute_bbox_info(center_rel: Tensor, size: Tensor, focal: Tensor | float, norm: str = "plain") -> Tensor:
    """CLIFF's bounding-box information: where the crop sits in the full frame (CLIFF, eq. 5).

    Args:
        center_rel: (..., 2) box centre relative to the principal point, px.
        size: (...) crop height in full-image px.
        focal: (...) px.
        norm: "plain" is (cx, cy, b) / f as in the paper; "h36m" is the scaled form of the released weights,
            (2.8 cx / f, 2.8 cy / f, (b / f - 0.24) / 0.06).

    Returns:
        (..., 3).

    Raises:
        ValueError: for another norm.
    """
    info = (
        torch.cat((center_rel, size[..., None]), dim=-1) / torch.as_tensor(focal, dtype=size.dtype)[..., None]
    )
    if norm == "plain":
        return info
    if norm == "h36m":
        return torch.cat((2.8 * info[..., :2], (info[..., 2:] - 0.24) / 0.06), dim=-1)
    raise ValueError(f"unknown bbox_info norm {norm!r}; known: {', '.join(BBOX_NORMS)}")


def crop_to_full_translation(
    weak_camera: Tensor, center_rel: Tensor, size: Tensor, focal: Tensor | float
) -> Tensor:
    """Translation in the full frame's camera from a crop's weak-perspective camera (CLIFF, eq. 6-7).

    Args:
        weak_camera: (..., 3) s, tx, ty: u = s (x + tx), v = s (y + ty) on a crop that spans [-1, 1].
        center_rel: (..., 2) box centre relative to the principal point, px.
        size: (...) crop height in full-image px.
        focal: (...) px.

    Returns:
        (..., 3) metres, to be added to the body's vertices and joints.
    """
    scale, offset = weak_camera[..., :1], weak_camera[..., 1:]
    pixels_per_metre = size[..., None] * scale + 1e-9
    depth = 2 * torch.as_tensor(focal, dtype=size.dtype)[..., None] / pixels_per_metre
    return torch.cat((offset + 2 * center_rel / pixels_per_metre, depth.expand_as(scale)), dim=-1)


def crop_translation(weak_camera: Tensor, crop_height: int, focal: float = HMR_FOCAL) -> Tensor:
    """HMR's translation in the crop's own camera: (tx, ty, 2 f / (r s)).

    Args:
        weak_camera: (..., 3) s, tx, ty.
        crop_height: r, px.
        focal: of that camera, in crop px.
    """
    scale, offset = weak_camera[..., :1], weak_camera[..., 1:]
    return torch.cat((offset, 2 * focal / (crop_height * scale + 1e-9)), dim=-1)

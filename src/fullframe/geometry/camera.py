"""The pinhole camera of the full frame, and the way from a crop's weak camera into it (CLIFF, ECCV 2022).

Camera frame: x right, y down, z forward (OpenCV), metres. Pixels are those of the full image;
(0, 0) is the centre of the top left one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
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
DISTORTIONS, FISHEYE_DISTORTIONS = (4, 5, 8, 12, 14), (4,)
"""How many coefficients OpenCV's models of lenses have."""
_STEEPEST = 10.0
"""Tangent of the angle off the axis beyond which nothing is asked of a lens."""

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
        source: how the focal length was found: "intrinsics", "focal", "fov", "calibration", "exif" or
            "diagonal".
        distortion: coefficients of the lens in OpenCV's models: k1, k2, p1, p2, k3, ..., or k1 to k4 of the
            fisheye model; empty for a pinhole.
        fisheye: which of the two models.
    """

    focal: tuple[float, float]
    principal_point: tuple[float, float]
    size: tuple[int, int]
    source: str
    distortion: tuple[float, ...] = ()
    fisheye: bool = False

    def __post_init__(self) -> None:
        width, height = self.size
        if width < 1 or height < 1:
            raise ValueError(f"image size must be positive, got {width} x {height}")
        if not all(math.isfinite(f) and f > 0 for f in self.focal):
            raise ValueError(f"focal length must be positive and finite, got {self.focal} px")
        if not all(math.isfinite(p) for p in self.principal_point):
            raise ValueError(f"principal point must be finite, got {self.principal_point} px")
        if not self.fisheye and not any(self.distortion):
            object.__setattr__(self, "distortion", ())  # a lens without distortion is a pinhole
        known = FISHEYE_DISTORTIONS if self.fisheye else DISTORTIONS
        if self.distortion and len(self.distortion) not in known:
            expected = f"{' or '.join(map(str, known))}{' of a fisheye' if self.fisheye else ''}"
            raise ValueError(f"got {len(self.distortion)} distortion coefficients; expected {expected}")
        if not all(math.isfinite(k) for k in self.distortion):
            raise ValueError(f"distortion coefficients must be finite, got {list(self.distortion)}")

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
            distortion = tuple(float(k) for k in values.get("distortion", ()))
            fisheye = bool(values.get("fisheye", False))
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"camera: {error!r} in {str(values)[:200]}") from error
        if not isinstance(source, str):
            raise ValueError(f"camera: source must be text, not {str(source)[:100]}")
        if max(width, height) > MAX_SIDE or max(map(abs, (*focal, *principal_point))) > MAX_PIXELS:
            raise ValueError(f"camera: impossible numbers in {str(values)[:200]}")
        return cls(focal, principal_point, (width, height), source, distortion, fisheye)

    def to_dict(self) -> dict[str, Any]:
        """Numbers and names that JSON can hold: focal, principal_point, size, source; of a lens that distorts
        also distortion and fisheye."""
        values: dict[str, Any] = {
            "focal": list(self.focal),
            "principal_point": list(self.principal_point),
            "size": list(self.size),
            "source": self.source,
        }
        if self.distortion:
            values |= {"distortion": list(self.distortion), "fisheye": self.fisheye}
        return values

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
    def pinhole(self) -> "Camera":
        """The camera without the distortion of its lens."""
        return replace(self, distortion=(), fisheye=False) if self.distortion else self

    def resized(self, size: tuple[int, int]) -> "Camera":
        """The camera of its images scaled to `size` (width, height) px; (0, 0) is the centre of a pixel."""
        scale = [new / old for new, old in zip(size, self.size, strict=True)]
        fx, fy = (f * s for f, s in zip(self.focal, scale, strict=True))
        cx, cy = ((c + 0.5) * s - 0.5 for c, s in zip(self.principal_point, scale, strict=True))
        return replace(self, focal=(fx, fy), principal_point=(cx, cy), size=(int(size[0]), int(size[1])))

    def distort(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Pixels (..., 2) of the image from those of the pinhole camera.

        Where the model of the lens folds back, far outside what it was calibrated for, points stay at the
        edge of what it can show.
        """
        pixels: NDArray[np.float64] = np.asarray(points, np.float64)
        if not self.distortion:
            return pixels
        rays = (pixels - self.principal_point) / self.focal
        return self._distorted(rays) * self.focal + self.principal_point

    def undistort(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Pixels (..., 2) of the pinhole camera from those of the image; NaN where the lens shows nothing."""
        pixels: NDArray[np.float64] = np.asarray(points, np.float64)
        if not self.distortion:
            return pixels
        finite: NDArray[np.bool_] = np.asarray(np.isfinite(pixels).all(axis=-1))
        seen = (np.where(finite[..., None], pixels, self.principal_point) - self.principal_point) / self.focal
        found = self._undistorted(seen.reshape(-1, 2)).reshape(seen.shape)
        # Where the model folds back there is no answer.
        good = finite & (np.linalg.norm(self._distorted(found) - seen, axis=-1) < 1e-4)
        good &= np.linalg.norm(found, axis=-1) <= self._steepest
        return np.where(good[..., None], found * self.focal + self.principal_point, np.nan)

    def undistort_boxes(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """The boxes (N, 4) x1, y1, x2, y2 px of the pinhole camera around what boxes of the image show.

        What the lens shows farther off the axis than a pinhole can is left out. A box of which nothing is
        left stays as it is.
        """
        xyxy: NDArray[np.float32] = np.asarray(boxes, np.float32).reshape(-1, 4)
        if not self.distortion or not len(xyxy):
            return xyxy
        share = np.linspace(0, 1, 9)
        x, y = (xyxy[:, [k]] + share * (xyxy[:, [k + 2]] - xyxy[:, [k]]) for k in (0, 1))
        grid = np.stack(np.broadcast_arrays(x[:, :, None], y[:, None, :]), axis=-1).reshape(len(xyxy), -1, 2)
        points = self.undistort(grid)
        result = xyxy.copy()
        for row, some in enumerate(points):
            seen = some[np.isfinite(some).all(axis=1)]
            if len(seen) and (np.ptp(seen, axis=0) > 0).all():
                result[row] = np.concatenate((seen.min(axis=0), seen.max(axis=0)))
        return result

    def undistort_keypoints(self, keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keypoints (..., 3), x, y px and confidence, of the pinhole camera; 0 for those it cannot show."""
        if not self.distortion:
            return keypoints
        points = self.undistort(keypoints[..., :2])
        seen: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=-1))
        result = np.where(seen[..., None], np.concatenate((points, keypoints[..., 2:]), axis=-1), 0)
        return result.astype(np.float32)

    def undistort_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image (H, W, 3) as the pinhole camera sees it; black where unknown."""
        if not self.distortion:
            return image
        return np.asarray(cv2.remap(image, *_maps(self), cv2.INTER_LINEAR), np.uint8)

    def bend(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """Points (..., 3) of the camera frame, moved to where the pinhole shows them as the lens does."""
        if not self.distortion:
            return points
        depth = points[..., 2:]
        ahead = depth > 0.01
        rays = points[..., :2] / np.where(ahead, depth, 1)
        bent = np.concatenate((self._distorted(rays) * depth, depth), axis=-1)
        return np.where(ahead, bent, points).astype(points.dtype)

    def _distorted(self, rays: NDArray[np.floating]) -> NDArray[np.float64]:
        """Where rays (..., 2), x / z and y / z, go through the lens: the same, distorted."""
        flat = np.asarray(rays, np.float64).reshape(-1, 2)
        if not len(flat):
            return np.zeros(rays.shape)
        radius = np.linalg.norm(flat, axis=1, keepdims=True)
        flat = flat * np.minimum(1, self._steepest / np.maximum(radius, 1e-12))
        return _through_lens(flat, np.array(self.distortion), self.fisheye).reshape(rays.shape)

    def _undistorted(self, seen: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rays (N, 2) that the lens maps to these, by Newton's method; where there are none, something else.

        Ours, since OpenCV's iteration stops after five steps, far from the answer for wide lenses.
        """
        radius = np.linalg.norm(seen, axis=1, keepdims=True)
        limit = self._steepest
        start = np.tan(np.minimum(radius, 1.4)) if self.fisheye else radius
        rays = seen * np.minimum(start, 0.98 * limit) / np.maximum(radius, 1e-12)
        step = 1e-6
        for _ in range(30):
            error = self._distorted(rays) - seen
            if not error.size or np.abs(error).max() < 1e-10:
                break
            a, c = ((self._distorted(rays + offset) - error - seen).T / step for offset in step * np.eye(2))
            determinant = a[0] * c[1] - a[1] * c[0]
            safe = np.where(np.abs(determinant) > 1e-9, determinant, 1e-9)
            x, y = error.T
            change = np.stack((c[1] * x - c[0] * y, a[0] * y - a[1] * x), axis=1) / safe[:, None]
            # No farther at once than the lens is smooth.
            length = np.linalg.norm(change, axis=1, keepdims=True)
            change *= np.minimum(
                1, 0.3 * (1 + np.linalg.norm(rays, axis=1, keepdims=True)) / np.maximum(length, 1e-12)
            )
            rays = rays - change
            farthest = np.linalg.norm(rays, axis=1, keepdims=True)
            rays *= np.minimum(1, 0.999 * limit / np.maximum(farthest, 1e-12))
        return rays

    @property
    def _steepest(self) -> float:
        """The tangent of the angle off the axis up to which the lens maps farther rays farther out."""
        return _one_to_one(self.distortion, self.fisheye)

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


def _through_lens(
    rays: NDArray[np.float64], distortion: NDArray[np.float64], fisheye: bool
) -> NDArray[np.float64]:
    """Rays (N, 2) after OpenCV's distortion."""
    if fisheye:
        return np.asarray(cv2.fisheye.distortPoints(rays[:, None], np.eye(3), distortion)).reshape(-1, 2)
    points = np.concatenate((rays, np.ones((len(rays), 1))), axis=1)[:, None]
    return np.asarray(cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.eye(3), distortion)[0])[:, 0]


@lru_cache(maxsize=16)
def _one_to_one(distortion: tuple[float, ...], fisheye: bool) -> float:
    radius = np.tan(np.linspace(0, math.atan(_STEEPEST), 4000))
    limit = _STEEPEST
    for angle in np.arange(8) * np.pi / 4:
        rays = radius[:, None] * np.array([np.cos(angle), np.sin(angle)])
        outward = _through_lens(rays, np.array(distortion), fisheye) @ (np.cos(angle), np.sin(angle))
        back = np.flatnonzero(np.diff(outward) <= 0)
        if len(back):
            limit = min(limit, float(radius[back[0]]))
    return limit


@lru_cache(maxsize=4)
def _maps(camera: Camera) -> tuple[NDArray[Any], NDArray[Any]]:
    make: Any = cv2.fisheye.initUndistortRectifyMap if camera.fisheye else cv2.initUndistortRectifyMap
    k = camera.intrinsics
    return make(k, np.array(camera.distortion), np.eye(3), k, camera.size, cv2.CV_16SC2)


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
    return camera.distort(points[:, :2] * np.array(camera.focal) / depth + np.array(camera.principal_point))


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


def bbox_info_translation(weak_camera: Tensor, bbox_info: Tensor) -> Tensor:
    """The same (N, 3) for bounding-box info (N, 3) = (cx, cy, b) / f, in which all lengths are over f."""
    return crop_to_full_translation(weak_camera, bbox_info[:, :2], bbox_info[:, 2], 1.0)


def bbox_info_weak_camera(translation: Tensor, bbox_info: Tensor) -> Tensor:
    """The inverse: weak cameras (N, 3) of translations (N, 3) with a positive z."""
    depth = translation[:, 2:]
    offset = translation[:, :2] - bbox_info[:, :2] * depth
    return torch.cat((2 / (bbox_info[:, 2:] * depth), offset), dim=1)


def crop_translation(weak_camera: Tensor, crop_height: int, focal: float = HMR_FOCAL) -> Tensor:
    """HMR's translation in the crop's own camera: (tx, ty, 2 f / (r s)).

    Args:
        weak_camera: (..., 3) s, tx, ty.
        crop_height: r, px.
        focal: of that camera, in crop px.
    """
    scale, offset = weak_camera[..., :1], weak_camera[..., 1:]
    return torch.cat((offset, 2 * focal / (crop_height * scale + 1e-9)), dim=-1)

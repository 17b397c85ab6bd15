"""Crops of samples: the window of the full image that a network sees, and CLIFF's bounding-box info of it.

Random windows for training are in augment.py.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullframe.data.clip_frame import ClipFrame
from fullframe.data.sample import Sample
from fullframe.geometry.box import LABEL_ENLARGE, PersonBox, box_from_xyxy, crop_image, warp_crop
from fullframe.geometry.camera import Camera
from fullframe.geometry.rotation import axis_rotation
from fullframe.io.image import ImageError, read_photo


class View(NamedTuple):
    """A window of the full image, which is mirrored and rotated about the principal point.

    Attributes:
        center: (2,) of the window, px of the full image before it is mirrored and rotated.
        size: height of the window in px of the full image.
        flip: mirror the image left to right.
        angle: of the rotation in radians, after the mirroring.
        frame: (4,) x1, y1, x2, y2 px: the image is black beyond.
    """

    center: NDArray[np.float64]
    size: float
    flip: bool = False
    angle: float = 0.0
    frame: tuple[float, float, float, float] = (-math.inf, -math.inf, math.inf, math.inf)

    @property
    def mirror(self) -> NDArray[np.float64]:
        """(3, 3)."""
        return np.diag([-1.0 if self.flip else 1.0, 1.0, 1.0])

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) from the camera frame to the new one, mirroring included."""
        return axis_rotation(2, -self.angle) @ self.mirror

    def bbox_info(self, camera: Camera) -> NDArray[np.float32]:
        """(3,) (cx, cy, b) / f of the window (CLIFF, ECCV 2022, eq. 5)."""
        offset = self.rotation[:2, :2] @ (self.center - np.array(camera.principal_point))
        focal = sum(camera.focal) / 2
        return (np.append(offset, self.size) / focal).astype(np.float32)


def plain_crop(
    sample: Sample, crop: tuple[int, int], method: str = "antialiased", enlarge: float = LABEL_ENLARGE
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The crop of a sample without augmentation, as in evaluation.

    Args:
        sample: to crop.
        crop: (height, width) px.
        method: one of geometry.box.CROP_METHODS.
        enlarge: factor on the box.

    Returns:
        the crop (height, width, 3) uint8 RGB, and (3,) float32 (cx, cy, b) / f.

    Raises:
        ImageError: the image cannot be read or is not of the camera's size.
        ValueError: the box has no area.
    """
    window = box_from_xyxy(sample.box, crop[0] / crop[1], enlarge)
    view = View(window.center[0], float(window.size[0]))
    image = read_pixels(sample)
    if method == "antialiased":
        pixels = warp_view(image, sample.window, view, crop)
    else:
        x, y, scale = sample.window
        inside = PersonBox((window.center - (x, y)) / scale, window.size / scale)
        pixels = crop_image(image, inside, crop, method)[0]
    return pixels, view.bbox_info(sample.camera)


def read_pixels(sample: Sample) -> NDArray[np.uint8]:
    """The sample's image, read if it is a file or a frame of a video.

    Raises:
        ImageError: it cannot be read or is not of the camera's size.
    """
    if isinstance(sample.image, np.ndarray):
        return sample.image
    if isinstance(sample.image, ClipFrame):
        return sample.image.read()
    photo = read_photo(sample.image)
    if sample.window == (0.0, 0.0, 1.0) and photo.size != sample.camera.size:
        raise ImageError(
            f"{photo.path}: the image is {photo.size[0]} x {photo.size[1]} px, but its labels are for "
            f"{sample.camera.size[0]} x {sample.camera.size[1]} px"
        )
    return photo.pixels


def warp_view(
    image: NDArray[np.uint8], window: tuple[float, float, float], view: View, crop: tuple[int, int]
) -> NDArray[np.uint8]:
    """The pixels (height, width, 3) of a view.

    Args:
        image: (H, W, 3), of the part of the full image that `window` describes, see Sample.window.
        window: (x, y, scale) px.
        view: of the full image.
        crop: (height, width) px.
    """
    height, width = crop
    origin, step = np.array(window[:2]), window[2]
    # Whole pixels between the frame's edges.
    edges = (np.array(view.frame) - origin[[0, 1, 0, 1]]) / step
    x1, y1 = np.clip(np.ceil(edges[:2]), 0, image.shape[1::-1]).astype(int)
    x2, y2 = np.clip(np.floor(edges[2:]) + 1, 0, image.shape[1::-1]).astype(int)
    linear = view.rotation[:2, :2] * (height / view.size)
    offset = np.array([width, height]) / 2 + linear @ (origin + step * np.array([x1, y1]) - view.center)
    matrix = np.concatenate((linear * step, offset[:, None]), axis=1)
    return warp_crop(image[y1:y2, x1:x2], matrix, crop)

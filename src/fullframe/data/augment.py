"""Random views of a sample: the crop that a network sees in training, with exact labels.

The full image is mirrored and rotated about the principal point, then the window that the crop shows is
shifted and scaled. A camera that rolls about its optical axis sees exactly this, so the bounding-box info
(CLIFF, ECCV 2022, eq. 5), keypoints, joints and pose of the new view follow without approximation.

Keypoints outside the crop are kept: CLIFF's 2D loss is in the full frame.
"""

import functools
import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data import corruptions
from fullframe.data.batch import Example
from fullframe.data.crop import View, read_pixels, warp_view
from fullframe.data.sample import Sample
from fullframe.geometry.box import LABEL_ENLARGE, box_from_keypoints, box_from_xyxy
from fullframe.geometry.camera import project_points

_HEAD = {"head_top", "head", "nose", "eye", "ear", "jaw", "neck", "shoulder", "collar", "thorax", "spine3"}
_WAIST = {"hip", "pelvis", "spine", "spine1", "spine2"}
PARTS = {
    "bust": _HEAD,
    "upper": _HEAD | _WAIST | {"elbow", "wrist", "hand"},
    "lower": _WAIST | {"knee", "ankle", "foot"},
}
"""What half-body crops show: names of joints without left_ and right_."""


@dataclass(frozen=True)
class Augmentation:
    """How much samples vary. Fields are probabilities unless they say otherwise.

    Attributes:
        flip: mirror.
        rotation: standard deviation in degrees, normal (SPIN).
        rotation_limit: in degrees; larger angles become it.
        rotation_probability: of rotating at all.
        scale: the window's size is multiplied by N(1, scale), at most 1 +- scale (SPIN); not a probability.
        shift: the window moves by up to this fraction of its size along each axis; not a probability.
        half_body: show the bust, the upper or the lower body only, where keypoints show where it is. In half
            of these the image ends where the body is cut.
        occlusion: paste occluders.
        channel_noise: each channel is multiplied by U(1 - noise, 1 + noise) (SPIN); not a probability.
        gamma: change the contrast by a power.
        grey: no colour.
        blur: out of focus or moved.
        downscale: few pixels.
        jpeg: strongly compressed.

    Raises:
        ValueError: for an impossible value.
    """

    flip: float = 0.5
    rotation: float = 30.0
    rotation_limit: float = 60.0
    rotation_probability: float = 0.4
    scale: float = 0.25
    shift: float = 0.05
    half_body: float = 0.15
    occlusion: float = 0.3
    channel_noise: float = 0.4
    gamma: float = 0.1
    grey: float = 0.05
    blur: float = 0.1
    downscale: float = 0.1
    jpeg: float = 0.1

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            limit = 180.0 if name in ("rotation", "rotation_limit") else 1.0
            if not 0 <= value <= limit:
                raise ValueError(f"{name} must lie between 0 and {limit:g}, got {value}")
        if self.scale > 0.9:
            raise ValueError(f"scale must be at most 0.9, got {self.scale}: the window would vanish")

    @classmethod
    def none(cls) -> "Augmentation":
        """The plain crop, for evaluation."""
        return cls(**{f.name: 0.0 for f in fields(cls)})


def augment(
    sample: Sample, crop: tuple[int, int], rng: np.random.Generator, options: Augmentation
) -> Example:
    """A random view of a sample.

    The betas of a body with a weight of the kid template (`Sample.kid`) do not describe its shape: they count
    as unknown.

    Args:
        sample: not changed.
        crop: (height, width) px.
        rng: source of randomness; the same state gives the same view.
        options: how much to vary; Augmentation.none() for the plain crop.

    Raises:
        ImageError: the image cannot be read or is not of the camera's size.
        ValueError: the box has no area.
    """
    view = _sample_view(sample, crop, rng, options)
    image = read_pixels(sample)
    pixels = warp_view(image, sample.window, view, crop)
    if rng.random() < options.occlusion:
        corruptions.occlude(pixels, image, crop[0] / view.size * sample.window[2], rng)
    pixels = _corrupt(pixels, rng, options)

    example = Example(pixels, view.bbox_info(sample.camera))
    rotation, in_plane = view.rotation, view.rotation[:2, :2]
    for name, points in sample.keypoints.items():
        visible = points[:, 2:] > 0
        moved = np.where(visible, (points[:, :2] - view.center) @ in_plane.T * (2 / view.size), 0)
        example.keypoints[name] = _labelled(name, moved, points[:, 2:], view)
    for name, joints in sample.joints.items():
        moved = np.where(joints[:, 3:] > 0, joints[:, :3] @ rotation.T, 0)
        example.joints[name] = _labelled(name, moved, joints[:, 3:], view)

    if sample.pose is not None:
        pose = sample.pose.astype(np.float64)
        if view.flip:
            pose = view.mirror @ pose[list(JOINT_SETS["smpl24"].flip_permutation)] @ view.mirror
        example.pose = pose.astype(np.float32)
        example.pose[0] = rotation @ sample.pose[0] @ view.mirror
    if sample.betas is not None and not sample.kid:
        example.betas = sample.betas.astype(np.float32)
    return example


def _labelled(
    joint_set: str, moved: NDArray[np.float64], known: NDArray[np.float32], view: View
) -> NDArray[np.float32]:
    """Points with their confidence; left and right change names in a mirror."""
    points = np.concatenate((moved, known), axis=1).astype(np.float32)
    return points[list(JOINT_SETS[joint_set].flip_permutation)] if view.flip else points


def _sample_view(
    sample: Sample, crop: tuple[int, int], rng: np.random.Generator, options: Augmentation
) -> View:
    box = np.asarray(sample.box, np.float64)
    frame = np.array([-np.inf, -np.inf, np.inf, np.inf])
    if rng.random() < options.half_body:
        part = _part_box(sample, rng)
        if part is not None:
            if rng.random() < 0.5:
                # The image ends where the body is cut, as for people close to the camera.
                outwards = np.array([-1, -1, 1, 1])
                cut = (box - part) * outwards > 0.1 * (part[2:] - part[:2]).max()
                frame = np.where(cut, part, frame)
            box = part
    window = box_from_xyxy(box, crop[0] / crop[1], LABEL_ENLARGE)
    limit = options.scale
    size = window.size[0] * np.clip(rng.normal(1, limit), 1 - limit, 1 + limit)
    center = window.center[0] + rng.uniform(-options.shift, options.shift, 2) * size
    angle = 0.0
    if rng.random() < options.rotation_probability:
        angle = float(
            np.clip(rng.normal(0, options.rotation), -options.rotation_limit, options.rotation_limit)
        )
    x1, y1, x2, y2 = frame.tolist()
    return View(center, float(size), bool(rng.random() < options.flip), math.radians(angle), (x1, y1, x2, y2))


@functools.cache
def _members(joint_set: str, part: str) -> list[int]:
    """Rows of a joint set that belong to a part of the body."""
    bare = (name.removeprefix("left_").removeprefix("right_") for name in JOINT_SETS[joint_set].names)
    return [row for row, name in enumerate(bare) if name in PARTS[part]]


def _part_box(sample: Sample, rng: np.random.Generator) -> NDArray[np.float64] | None:
    """The box (4,) of a random part of the body in the image; None if the labels do not show one."""
    part = ("upper", "upper", "bust", "lower")[rng.integers(4)]
    points = [kept[_members(name, part)] for name, kept in sample.keypoints.items()]
    if not points and sample.translation is not None:
        for name, joints in sample.joints.items():
            xyz = joints[_members(name, part)]
            points.append(np.concatenate((project_points(xyz[:, :3], sample.camera), xyz[:, 3:]), axis=1))
    known = np.concatenate(points) if points else np.zeros((0, 3))
    if np.count_nonzero(known[:, 2]) < 4:
        return None
    whole = sample.box.astype(np.float64)
    low, high = np.maximum(whole[:2], 0), np.minimum(whole[2:], sample.camera.size)
    corners = box_from_keypoints(known[None], threshold=0.0)[0].astype(np.float64).reshape(2, 2)
    box = np.minimum(np.maximum(corners, low), high).reshape(4)
    # Joints in one place, or outside of the visible person, do not make a view.
    extent, limit = box[2:] - box[:2], (whole[2:] - whole[:2]).max()
    if extent.min() < 0.1 * limit or extent.max() < 0.3 * limit:
        return None
    return box


def _corrupt(pixels: NDArray[np.uint8], rng: np.random.Generator, options: Augmentation) -> NDArray[np.uint8]:
    if rng.random() < options.blur:
        pixels = corruptions.blur(pixels, rng)
    if rng.random() < options.downscale:
        pixels = corruptions.downscale(pixels, rng)
    gamma = bool(rng.random() < options.gamma)
    if gamma or options.channel_noise:
        pixels = corruptions.recolor(pixels, options.channel_noise, gamma, rng)
    if rng.random() < options.grey:
        pixels = corruptions.grey(pixels)
    if rng.random() < options.jpeg:
        pixels = corruptions.compress(pixels, rng)
    return pixels

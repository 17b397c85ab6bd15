"""Random views of a sample: what a network sees in training, and labels that stay exact.

Geometry is one map of the full image: mirror, then turn, both about the principal point; then the window that
the crop shows moves and grows. A camera turned about its optical axis sees exactly this, so that the
bounding-box info (CLIFF, ECCV 2022, eq. 5), keypoints, pose and translation of the new view follow without
approximation.

Keypoints beyond the crop are kept: the loss of CLIFF is one of the full frame, and a network has to know that
a person whose legs are cut off has some.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data import corruptions as degrade
from fullframe.data.batch import Batch
from fullframe.data.sample import Sample
from fullframe.geometry.box import ENLARGE, box_from_keypoints, box_from_xyxy, warp_crop
from fullframe.geometry.camera import project_points
from fullframe.io.image import ImageError, read_photo

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
        rotation_probability: of turning at all.
        rotation_mode: "R2" turns the image about its principal point, which is exact. "R1" keeps
            `bbox_info` as it was, as CLIFF was trained: root and joints turn about the optical axis all the
            same, so that labels disagree with the picture: typically by 1 % of the crop, by 10 % and more for
            people far off the centre.
        scale: the window's size is multiplied by N(1, scale), at most 1 +- scale (SPIN); not a probability.
        shift: the window moves by up to this fraction of its size along each axis; not a probability.
        half_body: show the bust, the upper or the lower body only, where keypoints tell where it is. In half
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
    rotation_mode: str = "R2"
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
        if self.rotation_mode not in ("R1", "R2"):
            raise ValueError(f"rotation_mode must be R1 or R2, got {self.rotation_mode!r}")
        for name in (f.name for f in fields(self) if f.name != "rotation_mode"):
            value = getattr(self, name)
            limit = 180.0 if name in ("rotation", "rotation_limit") else 1.0
            if not 0 <= value <= limit:
                raise ValueError(f"{name} must lie between 0 and {limit:g}, got {value}")
        if self.scale > 0.9:
            raise ValueError(f"scale must be at most 0.9, got {self.scale}: the window would vanish")

    @classmethod
    def none(cls) -> "Augmentation":
        """The plain crop, for evaluation."""
        nothing: dict[str, Any] = {f.name: 0.0 for f in fields(cls) if f.name != "rotation_mode"}
        return cls(**nothing)


@dataclass
class Example:
    """A sample as a network takes it; a row of a Batch. What is unknown is None, or absent.

    Attributes:
        crop: (height, width, 3) uint8 RGB.
        bbox_info: (3,) float32 (cx, cy, b) / f.
        keypoints: joint set to (K, 3) float32: relative to the crop's centre in halves of its height,
            confidence. Zero where the confidence is.
        joints: joint set to (K, 4) float32: metres in the camera frame, validity. Zero where invalid.
        pose: (24, 3, 3) float32; betas: (B,) float32; translation: (3,) float32 metres.
        source: index of the mixture's source.
    """

    crop: NDArray[np.uint8]
    bbox_info: NDArray[np.float32]
    keypoints: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    joints: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    pose: NDArray[np.float32] | None = None
    betas: NDArray[np.float32] | None = None
    translation: NDArray[np.float32] | None = None
    source: int = 0


class _View(NamedTuple):
    """Where to look, in px of the full image before it is turned."""

    center: NDArray[np.float64]  # (2,) of the window
    size: float  # the crop's height
    flip: bool
    angle: float  # radians, after the mirroring
    frame: NDArray[np.float64]  # (4,) x1, y1, x2, y2: the image ends here

    @property
    def mirror(self) -> NDArray[np.float64]:
        return np.diag([-1.0 if self.flip else 1.0, 1.0, 1.0])

    @property
    def turn(self) -> NDArray[np.float64]:
        """(3, 3) from the camera frame to the new one."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) @ self.mirror


def augment(
    sample: Sample, crop: tuple[int, int], rng: np.random.Generator, options: Augmentation
) -> Example:
    """A random view of a sample.

    The shape of a body with a kid's template is not told by betas alone, so there they count as unknown. The
    translation is added to a body that turns about its rest pelvis J0 (R' = Q R, t' = Q (J0 + t) - J0), and
    J0 is the pelvis of joints["smpl24"] minus t; a view that is turned or mirrored of a sample with a
    translation but without that joint has no translation.

    Args:
        sample: not changed.
        crop: (height, width) px.
        rng: source of chance; the same state gives the same view.
        options: how much to vary; Augmentation.none() for the plain crop.

    Raises:
        ImageError: the image cannot be read or is not of the camera's size.
        ValueError: the box has no area.
    """
    view = _draw_view(sample, crop, rng, options)
    image = pixels_of(sample)
    pixels, magnification = _look(image, sample.window, view, crop)
    if rng.random() < options.occlusion:
        degrade.occlude(pixels, image, magnification, rng)
    pixels = _degrade(pixels, rng, options)

    turn, flat = view.turn, view.turn[:2, :2]
    focal = sum(sample.camera.focal) / 2  # as models.locate
    center_rel = view.center - np.array(sample.camera.principal_point)
    placed = (flat if options.rotation_mode == "R2" else view.mirror[:2, :2]) @ center_rel
    example = Example(pixels, (np.append(placed, view.size) / focal).astype(np.float32))

    for name, points in sample.keypoints.items():
        seen = points[:, 2:] > 0
        moved = np.where(seen, (points[:, :2] - view.center) @ flat.T * (2 / view.size), 0)
        example.keypoints[name] = _labelled(name, moved, points[:, 2:], view)

    # R1: the crop stays where it was in the frame, and the turned body is moved along with it.
    aside = np.zeros(3)
    if sample.translation is not None:
        aside[:2] = (placed - flat @ center_rel) / focal * sample.translation[2]
    for name, joints in sample.joints.items():
        moved = np.where(joints[:, 3:] > 0, joints[:, :3] @ turn.T + aside, 0)
        example.joints[name] = _labelled(name, moved, joints[:, 3:], view)

    if sample.pose is not None:
        pose = sample.pose.astype(np.float64)
        if view.flip:
            pose = view.mirror @ pose[list(JOINT_SETS["smpl24"].flip_permutation)] @ view.mirror
        example.pose = pose.astype(np.float32)
        example.pose[0] = turn @ sample.pose[0] @ view.mirror
    if sample.betas is not None and not sample.kid:
        example.betas = sample.betas.astype(np.float32)
    if sample.translation is not None:
        example.translation = _moved_translation(sample, turn, aside)
    return example


def _labelled(
    joint_set: str, moved: NDArray[np.float64], known: NDArray[np.float32], view: _View
) -> NDArray[np.float32]:
    """Points with their confidence; left and right change names in a mirror."""
    points = np.concatenate((moved, known), axis=1).astype(np.float32)
    return points[list(JOINT_SETS[joint_set].flip_permutation)] if view.flip else points


def _moved_translation(
    sample: Sample, turn: NDArray[np.float64], aside: NDArray[np.float64]
) -> NDArray[np.float32] | None:
    assert sample.translation is not None
    joints = sample.joints.get("smpl24")
    if joints is not None and joints[0, 3] > 0:
        pelvis = joints[0, :3].astype(np.float64)
        rest_pelvis = pelvis - sample.translation
        return (turn @ pelvis + aside - rest_pelvis).astype(np.float32)
    return sample.translation.astype(np.float32) if np.array_equal(turn, np.eye(3)) else None


def _draw_view(
    sample: Sample, crop: tuple[int, int], rng: np.random.Generator, options: Augmentation
) -> _View:
    box = np.asarray(sample.box, np.float64)
    frame = np.array([-np.inf, -np.inf, np.inf, np.inf])
    if rng.random() < options.half_body:
        part = _part_box(sample, rng)
        if part is not None:
            if rng.random() < 0.5:
                # The image ends where the body goes on, as for people close to the camera.
                outwards = np.array([-1, -1, 1, 1])
                cut = (box - part) * outwards > 0.1 * (part[2:] - part[:2]).max()
                frame = np.where(cut, part, frame)
            box = part
    window = box_from_xyxy(box, crop[0] / crop[1], ENLARGE)
    limit = options.scale
    size = window.size[0] * np.clip(rng.normal(1, limit), 1 - limit, 1 + limit)
    center = window.center[0] + rng.uniform(-options.shift, options.shift, 2) * size
    angle = 0.0
    if rng.random() < options.rotation_probability:
        angle = float(
            np.clip(rng.normal(0, options.rotation), -options.rotation_limit, options.rotation_limit)
        )
    return _View(center, float(size), bool(rng.random() < options.flip), math.radians(angle), frame)


@functools.cache
def _members(joint_set: str, part: str) -> list[int]:
    """Rows of a joint set that belong to a part."""
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


def pixels_of(sample: Sample) -> NDArray[np.uint8]:
    """The sample's image, read if it is a file.

    Raises:
        ImageError: it cannot be read or is not of the camera's size.
    """
    if isinstance(sample.image, np.ndarray):
        return sample.image
    photo = read_photo(sample.image)
    if sample.window == (0.0, 0.0, 1.0) and photo.size != sample.camera.size:
        raise ImageError(
            f"{photo.path}: the image is {photo.size[0]} x {photo.size[1]} px, but its labels are for "
            f"{sample.camera.size[0]} x {sample.camera.size[1]} px"
        )
    return photo.pixels


def _look(
    image: NDArray[np.uint8], window: tuple[float, float, float], view: _View, crop: tuple[int, int]
) -> tuple[NDArray[np.uint8], float]:
    """The crop, and crop pixels per pixel of `image`."""
    height, width = crop
    origin, step = np.array(window[:2]), window[2]
    # Whole pixels between the frame's edges.
    edges = (view.frame - origin[[0, 1, 0, 1]]) / step
    x1, y1 = np.clip(np.ceil(edges[:2]), 0, image.shape[1::-1]).astype(int)
    x2, y2 = np.clip(np.floor(edges[2:]) + 1, 0, image.shape[1::-1]).astype(int)
    linear = view.turn[:2, :2] * (height / view.size)
    offset = np.array([width, height]) / 2 + linear @ (origin + step * np.array([x1, y1]) - view.center)
    matrix = np.concatenate((linear * step, offset[:, None]), axis=1)
    return warp_crop(image[y1:y2, x1:x2], matrix, crop), height / view.size * step


def _degrade(pixels: NDArray[np.uint8], rng: np.random.Generator, options: Augmentation) -> NDArray[np.uint8]:
    if rng.random() < options.blur:
        pixels = degrade.blur(pixels, rng)
    if rng.random() < options.downscale:
        pixels = degrade.downscale(pixels, rng)
    gamma = bool(rng.random() < options.gamma)
    if gamma or options.channel_noise:
        pixels = degrade.recolor(pixels, options.channel_noise, gamma, rng)
    if rng.random() < options.grey:
        pixels = degrade.grey(pixels)
    if rng.random() < options.jpeg:
        pixels = degrade.compress(pixels, rng)
    return pixels


def collate(examples: Sequence[Example], num_betas: int) -> Batch:
    """Examples of any labels to a batch; fewer betas than num_betas are filled up with zeros.

    Raises:
        ValueError: no examples, or one has more betas than num_betas.
    """
    if not examples:
        raise ValueError("a batch needs at least one example")
    most = max((len(e.betas) for e in examples if e.betas is not None), default=0)
    if most > num_betas:
        raise ValueError(f"an example has {most} betas, the network {num_betas}: use num_betas={most}")

    def stack(name: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        values = np.zeros((len(examples), *shape), np.float32)
        known = np.zeros(len(examples), np.float32)
        for i, example in enumerate(examples):
            value = getattr(example, name)
            if value is not None:
                values[i, : len(value)] = value
                known[i] = 1
        return torch.from_numpy(values), torch.from_numpy(known)

    def stack_sets(name: str, columns: int) -> dict[str, Tensor]:
        found = {key for example in examples for key in getattr(example, name)}
        out = {key: np.zeros((len(examples), len(JOINT_SETS[key]), columns), np.float32) for key in found}
        for i, example in enumerate(examples):
            for key, points in getattr(example, name).items():
                out[key][i] = points
        return {key: torch.from_numpy(out[key]) for key in sorted(out)}

    pose, has_pose = stack("pose", (24, 3, 3))
    betas, has_betas = stack("betas", (num_betas,))
    translation, has_translation = stack("translation", (3,))
    return Batch(
        crops=torch.from_numpy(np.stack([example.crop for example in examples])),
        bbox_info=stack("bbox_info", (3,))[0],
        keypoints=stack_sets("keypoints", 3),
        joints=stack_sets("joints", 4),
        pose=pose,
        has_pose=has_pose,
        betas=betas,
        has_betas=has_betas,
        translation=translation,
        has_translation=has_translation,
        source=torch.tensor([example.source for example in examples]),
    )

"""Composition of scenes: people, camera, light and occluders; everything but the pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.geometry.camera import Camera
from fullframe.geometry.rotation import axis_rotation
from fullframe.geometry.world import Y_UP
from fullframe.synth.joints import NUM_BETAS, OpenBodyPoser, PosedBody
from fullframe.synth.poses import Poses, poses_of_labels
from fullframe.synth.sampling import cumulative_weights, sample_index
from fullframe.synth.shading import Light

MAX_PEOPLE = 8
KIDS = 0.12
"""Share of children."""

# Width and height of frames, px, and their weights.
_FRAMES = ((1280, 960), (960, 1280), (1280, 720), (720, 1280), (1200, 800), (800, 1200), (1000, 1000))
_FRAME_WEIGHTS = cumulative_weights(0.26, 0.16, 0.18, 0.12, 0.12, 0.08, 0.08)

_COMPANY_WEIGHTS = cumulative_weights(0.42, 0.2, 0.14, 0.09, 0.06, 0.04, 0.03, 0.02)
"""Weights of zero to seven other people in a scene."""

# Radius of the body about each joint (SMPL's 24), metres, for contact with the ground.
_RADIUS = np.full(24, 0.08)
_RADIUS[[7, 8]] = 0.08
_RADIUS[[10, 11, 20, 21, 22, 23]] = 0.03
_RADIUS[[4, 5, 18, 19]] = 0.06
_RADIUS[[0, 1, 2, 15]] = 0.12


@dataclass
class Person:
    """One person of a scene, in the camera frame.

    Attributes:
        betas: (11,) float32.
        posed: joints and transforms before translation.
        translation: (3,) float32 metres.
        kind: of pose.
        heading: radians about the vertical, 0 faces the camera's side of the ground.
        seed: of the looks.
    """

    betas: NDArray[np.float32]
    posed: PosedBody
    translation: NDArray[np.float32]
    kind: str
    heading: float
    seed: int


@dataclass
class Block:
    """A cuboid: furniture or an occluder.

    Attributes:
        center: (3,) metres, camera frame.
        axes: (3, 3) rows are its half-axes in the camera frame, metres.
        seed: of the looks.
    """

    center: NDArray[np.float32]
    axes: NDArray[np.float32]
    seed: int


@dataclass
class Scene:
    """People on level ground before a camera.

    Attributes:
        camera: of the full frame.
        people: at most MAX_PEOPLE; the first is the one that the frame was composed around.
        blocks: furniture and occluders.
        light: in the camera frame.
        floor: height of the camera above the ground, metres.
        seed: of the background and the camera effects.
    """

    camera: Camera
    people: list[Person]
    blocks: list[Block]
    light: Light
    floor: float
    seed: int


class Scenes:
    """Composes scenes; the same seed gives the same scene.

    Args:
        split: "train" or "val", of the poses.
        labels: labels of photos, whose poses are as frequent as motion capture; see synth.poses.
    """

    def __init__(self, split: str = "train", labels: str | Path | None = None) -> None:
        self.poses = Poses(split, poses_of_labels(labels) if labels else None)
        self.bodies = OpenBodyPoser()

    def compose(self, rng: np.random.Generator) -> Scene:
        """A scene whose first person is at least partly in view."""
        while True:
            scene = self._try(rng)
            if scene is not None:
                return scene

    def _try(self, rng: np.random.Generator) -> Scene | None:
        size = _FRAMES[sample_index(_FRAME_WEIGHTS, rng)]
        camera = _camera(size, rng)
        focal = camera.focal[0]
        first = self._person(rng)
        # Heights in the image from a fifth of the frame to far beyond it; from 25 m to arm's length.
        stature = _stature(first)
        depth = focal * stature / (size[1] * np.exp(rng.uniform(np.log(0.2), np.log(1.7))))
        if not 0.7 < depth < 25:
            return None
        spot = np.array([rng.uniform(-0.02, 1.02), rng.normal(0.52, 0.13)]) * size
        ray = np.append((spot - camera.principal_point) / focal, 1)
        pitch = np.radians(min(max(rng.normal(8, 13), -30), 65))
        tilted = rng.random() < 0.15
        roll = np.radians(rng.normal(0, 20 if tilted else 2.5))
        turn = _world_to_camera(pitch, roll)
        pelvis_height = _pelvis_height(first)
        height = pelvis_height - ray @ turn[:, 1] * depth
        if not 0.15 < height < 5:
            return None
        people = [_place(first, turn, ray * depth)]
        if not _in_view(people[0], camera):
            return None
        ground = [(turn.T @ (ray * depth))[[0, 2]]]
        for _ in range(_company(rng)):
            other = self._person(rng)
            where = _beside(ground, depth, size[0] / focal, rng)
            if where is not None:
                ground.append(where)
                pelvis = turn @ np.array([where[0], _pelvis_height(other) - height, where[1]])
                people.append(_place(other, turn, pelvis))
        blocks = [block for person in people for block in _seat(person, turn, height, rng)]
        if rng.random() < 0.22:
            blocks.append(_obstacle(ray * depth, turn, height, rng))
        light = _light(turn, rng)
        return Scene(camera, people, blocks, light, float(height), int(rng.integers(2**31)))

    def _person(self, rng: np.random.Generator) -> Person:
        theta, kind = self.poses.draw(rng)
        betas = np.zeros(NUM_BETAS, np.float32)
        betas[:10] = np.clip(rng.normal(size=10), -2.5, 2.5)
        if rng.random() < KIDS:
            betas[10] = rng.uniform(0.25, 1.05)
            betas[:10] *= 0.7
        posed = self.bodies.pose(betas, theta)
        return Person(
            betas, posed, np.zeros(3, np.float32), kind, rng.uniform(-np.pi, np.pi), int(rng.integers(2**31))
        )


def _camera(size: tuple[int, int], rng: np.random.Generator) -> Camera:
    """Views of 25 to 100 degrees over the longer side, ordinary lenses more often."""
    wide = np.radians(rng.uniform(25, 100) if rng.random() < 0.5 else min(max(rng.normal(58, 12), 25), 100))
    return Camera.from_focal(max(size) / 2 / np.tan(wide / 2), size, "intrinsics")


def _world_to_camera(pitch: float, roll: float) -> NDArray[np.float64]:
    """World axes x right, y up, z towards the viewer; positive pitch looks down."""
    return axis_rotation(2, roll) @ Y_UP.rotation @ axis_rotation(0, pitch)


def _stature(person: Person) -> float:
    """Roughly, from head joint to feet along the bones, metres."""
    joints = person.posed.joints
    chain = (15, 12, 9, 6, 3, 0, 1, 4, 7)
    return float(np.linalg.norm(np.diff(joints[list(chain)], axis=0), axis=1).sum()) + 0.2


def _pelvis_height(person: Person) -> float:
    """Of the pelvis joint above the ground when the lowest part of the body touches it, metres."""
    scale = _stature(person) / 1.7
    lowest = (person.posed.joints[:, 1] - scale * _RADIUS).min()
    return float(person.posed.joints[0, 1] - lowest)


def _place(person: Person, turn: NDArray[np.float64], pelvis: NDArray[np.float64]) -> Person:
    """The person with the heading applied and the pelvis joint at a point of the camera frame."""
    root: Any = (turn @ axis_rotation(1, person.heading)).astype(np.float32)
    origin = person.posed.rest_pelvis
    rotations = person.posed.rotations.copy()
    rotations[0] = root @ rotations[0]
    joints = (person.posed.joints - origin) @ root.T + origin
    transforms = root @ person.posed.transforms
    transforms[:, :, 3] += origin - root @ origin
    person.posed = PosedBody(rotations, joints, transforms, origin)
    person.translation = (pelvis - origin).astype(np.float32)
    return person


def _in_view(person: Person, camera: Camera, share: float = 0.4) -> bool:
    """Whether enough of the joints are in the frame, the head or the whole legs among them."""
    points = person.posed.joints + person.translation
    if points[:, 2].min() < 0.25:
        return False
    pixels = points[:, :2] / points[:, 2:] * camera.focal + camera.principal_point
    inside = np.all((pixels >= 0) & (pixels < np.array(camera.size)), axis=1)
    return bool(inside.mean() >= share and (inside[15] or inside[[1, 2, 4, 5]].all()))


def _company(rng: np.random.Generator) -> int:
    """Number of other people."""
    return sample_index(_COMPANY_WEIGHTS, rng)


def _beside(
    ground: list[NDArray[np.float64]], depth: float, width: float, rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """A free place (x, z) on the ground, close to the first person or anywhere in view; None if taken."""
    if rng.random() < 0.55:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.3)
        where = ground[0] + distance * np.array([np.cos(angle), np.sin(angle)])
    else:
        far = depth * rng.uniform(0.5, 2.5)
        where = np.array([rng.uniform(-0.5, 0.5) * width * far, -far])
    if -where[1] < 0.8 or min(np.linalg.norm(where - other) for other in ground) < 0.35:
        return None
    return where


def _seat(person: Person, turn: NDArray[np.float64], height: float, rng: np.random.Generator) -> list[Block]:
    """A seat for most sitting people."""
    if person.kind != "sitting":
        return []
    pelvis = person.posed.joints[0] + person.translation
    above = height + float(turn[:, 1] @ pelvis)
    top = above - 0.13 * _stature(person) / 1.7
    if top < 0.08 or rng.random() < 0.12:
        return []
    c, s = np.cos(person.heading), np.sin(person.heading)
    sideways, back = turn @ np.array([c, 0, -s]), turn @ np.array([-s, 0, -c])
    half = np.array([rng.uniform(0.2, 0.6), top / 2, rng.uniform(0.16, 0.26)])
    center = pelvis + back * (half[2] - 0.12) - turn[:, 1] * (above - top / 2)
    axes = np.stack((sideways, turn[:, 1], back)) * half[:, None]
    return [Block(center.astype(np.float32), axes.astype(np.float32), int(rng.integers(2**31)))]


def _obstacle(
    target: NDArray[np.float64], turn: NDArray[np.float64], height: float, rng: np.random.Generator
) -> Block:
    """A block on the ground between the camera and the first person."""
    nearer = target * rng.uniform(0.55, 0.9)
    spot = turn.T @ nearer
    half = np.array([rng.uniform(0.08, 0.6), rng.uniform(0.1, 0.55), rng.uniform(0.08, 0.4)])
    spot[0] += rng.normal(0, 0.35)
    spot[1] = half[1] - height
    angle = rng.uniform(0, np.pi)
    axes = (turn @ axis_rotation(1, angle)).T * half[:, None]
    return Block((turn @ spot).astype(np.float32), axes.astype(np.float32), int(rng.integers(2**31)))


def _light(turn: NDArray[np.float64], rng: np.random.Generator) -> Light:
    """A lamp 12 to 80 degrees above the horizon, hard or soft, warm or cold."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(12, 80))
    world = np.array(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    )
    warmth = rng.normal(0, 0.07) * np.array([1, 0.1, -1])
    hardness = rng.uniform(0.1, 0.75)
    exposure = min(max(rng.normal(1.15, 0.2), 0.6), 1.7)
    lamp = exposure * 1.5 * hardness * (1 + warmth)
    sky = exposure * (1.0 - 0.75 * hardness) * (1 - 0.7 * warmth)
    ground = sky * rng.uniform(0.4, 0.8) * (1 + rng.normal(0, 0.05, 3))
    return Light(
        (turn @ world).astype(np.float32),
        lamp.astype(np.float32),
        sky.astype(np.float32),
        ground.astype(np.float32),
        turn[:, 1].astype(np.float32),
    )

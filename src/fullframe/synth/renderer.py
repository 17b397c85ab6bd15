"""From a scene to pixels."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.synth.appearance import Look, TexturePool, look_of
from fullframe.synth.backgrounds import Backgrounds, view
from fullframe.synth.camera_effects import simulate_camera
from fullframe.synth.scene import Block, Person, Scene
from fullframe.synth.shading import (
    Light,
    Mesh,
    Surfaces,
    cast_on_ground,
    draw,
    shadow_map,
    skin,
    welded_normals,
)
from fullframe.synth.wardrobe import Surface, load_wardrobe

_SHADOW_DEPTH = 0.8
"""Share of the lamp's light on the ground that a shadow removes."""
_SLACK = 1.0
"""Root mean square error of a simplified surface, px."""
_ERRORS = (0.002, 0.004, 0.008)
"""Root mean square errors of the simplified outfits, metres."""


class Dressed(NamedTuple):
    """A mesh, the textures (S, 3, 3) of its surfaces as in TexturePool.levels, and their looks."""

    mesh: Mesh
    textures: NDArray[np.int64]
    looks: list[Look]


@lru_cache(maxsize=1)
def _texture_pool() -> TexturePool:
    """The wardrobe's textures, and that of furniture as the last; made once, in some tenths of a second."""
    board = np.full((4, 4, 3), 200, np.uint8)
    return TexturePool([*load_wardrobe().textures, board])


class Painter:
    """Dresses and renders the people of scenes.

    Args:
        backgrounds: folder of photos without people; None for procedural ones.
    """

    def __init__(self, backgrounds: str | Path | None = None) -> None:
        self._wardrobe = load_wardrobe()
        self._pool = _texture_pool()
        self._backgrounds = Backgrounds(backgrounds)

    def dress(self, person: Person, focal: float = np.inf) -> Dressed:
        """The person in clothes, in the camera frame.

        Args:
            person: of a scene.
            focal: of the image, px; people that are small in it get fewer triangles.
        """
        rng = np.random.default_rng(person.seed)
        depth = max(float((person.posed.joints[:, 2] + person.translation[2]).min()), 0.0)
        errors = [error for error in _ERRORS if error < _SLACK * depth / focal]
        outfit = self._wardrobe.outfit(rng, max(errors, default=0.0))
        vertices = np.empty_like(outfit.vertices)
        skin(outfit.vertices, outfit.shape_dirs, person.betas, outfit.bone, outfit.share,
             person.posed.transforms, vertices)  # fmt: skip
        vertices += person.translation
        normals = welded_normals(vertices, outfit.faces, outfit.weld)
        mesh = Mesh(vertices, normals, outfit.uv, outfit.faces, outfit.face_surface)
        return self._colored(mesh, outfit.surfaces, rng)

    def paint(
        self,
        scene: Scene,
        people: list[Dressed],
        window: tuple[float, float, float],
        shape: tuple[int, int],
        antialias: bool = False,
        background: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Render a window of the scene's frame.

        Args:
            people: those visible in the window.
            window: (x, y, scale): pixel p of the result is the frame's (x, y) + scale * p.
            shape: (height, width) px of the result.
            antialias: smooth outlines, at twice the time; not needed for images that are downscaled.
            background: (height, width, 3) RGB of the window; drawn by the scene's seed if None.

        Returns:
            (height, width, 3) RGB.
        """
        rng = np.random.default_rng(scene.seed)
        if background is None:
            image = view(self._backgrounds.draw(rng), scene.camera.size, window, shape, rng)
        else:
            image = background.astype(np.float32)
        intrinsics = scene.camera.through(window)
        mesh, surfaces = _join([*people, *map(self._build, scene.blocks)], intrinsics[0, 0])
        light = _match(scene.light, image)
        shadows = shadow_map(mesh, light)
        darkest = 1 - _SHADOW_DEPTH * light.lamp / (light.lamp + light.sky)
        cast_on_ground(image, shadows, intrinsics, light, scene.floor, darkest)
        draw(image, mesh, surfaces, self._pool.texels, light, shadows, intrinsics, antialias)
        return simulate_camera(image, rng)

    def _build(self, block: Block) -> Dressed:
        vertices = (_CORNERS @ block.axes + block.center).astype(np.float32)
        outward = block.axes / np.linalg.norm(block.axes, axis=1, keepdims=True)
        normals = (_SIDES @ outward).astype(np.float32)
        mesh = Mesh(vertices, normals, _CUBE_UV, _CUBE_FACES, np.zeros(len(_CUBE_FACES), np.int32))
        surface = Surface("furniture", len(self._pool) - 1)
        return self._colored(mesh, (surface,), np.random.default_rng(block.seed))

    def _colored(self, mesh: Mesh, surfaces: tuple[Surface, ...], rng: np.random.Generator) -> Dressed:
        """With a random look for each surface."""
        looks = [look_of(surface.kind, rng) for surface in surfaces]
        rows = [
            surface.texture + len(self._pool) * look.plain
            for surface, look in zip(surfaces, looks, strict=True)
        ]
        return Dressed(mesh, self._pool.levels[rows], looks)


def _join(parts: list[Dressed], focal: float) -> tuple[Mesh, Surfaces]:
    """Everything as one mesh, with textures as large as they appear at this focal length, px."""
    vertex = np.cumsum([0, *(len(part.mesh.vertices) for part in parts)])
    row = np.cumsum([0, *(len(part.looks) for part in parts)])
    textures = []
    for part in parts:
        # A texture of 512 px spans a body: some 350 px for its height.
        depth = max(float(part.mesh.vertices[:, 2].mean()), 0.3)
        level = int(np.clip(np.log2(350 / (1.7 * focal / depth)), 0, 2))
        textures.append(part.textures[:, level])
    looks = [look for part in parts for look in part.looks]
    surfaces = Surfaces(
        np.concatenate(textures),
        np.array([look.tint for look in looks], np.float32),
        np.array([look.pattern for look in looks], np.float32),
        np.array([look.gloss for look in looks], np.float32),
    )
    meshes = [part.mesh for part in parts]
    mesh = Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.faces + np.int32(k) for m, k in zip(meshes, vertex, strict=False)]),
        np.concatenate([m.surface + np.int32(k) for m, k in zip(meshes, row, strict=False)]),
    )
    return mesh, surfaces


def _match(light: Light, background: NDArray[np.float32]) -> Light:
    """The light dimmed and tinted as the background suggests."""
    mean = np.array(cv2.mean(background)[:3])
    tint = 0.6 + 0.4 * mean / max(float(mean.mean()), 1.0)
    level = (0.55 + 0.45 * float(mean.mean()) / 115) * tint
    level = np.clip(level, 0.5, 1.4)
    lamp, sky, ground = ((level * part).astype(np.float32) for part in (light.lamp, light.sky, light.ground))
    return light._replace(lamp=lamp, sky=sky, ground=ground)


def _cube() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Corners (24, 3) of a cube of half-length 1, normals, uv, and faces counter-clockwise from outside."""
    corners: list[NDArray[np.float64]] = []
    sides: list[NDArray[np.float64]] = []
    faces: list[list[int]] = []
    for axis in range(3):
        for sign in (-1, 1):
            u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            first = len(corners)
            square = ((-1, -1), (1, -1), (1, 1), (-1, 1))
            corners += [sign * np.eye(3)[axis] + a * u + b * v for a, b in square]
            sides += [sign * np.eye(3)[axis]] * 4
            loop = (0, 1, 2, 3) if sign > 0 else (0, 3, 2, 1)
            faces += [[first + loop[i] for i in tri] for tri in ((0, 1, 2), (0, 2, 3))]
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]] * 6, np.float32)
    return np.array(corners, np.float32), np.array(sides, np.float32), uv, np.array(faces, np.int32)


_CORNERS, _SIDES, _CUBE_UV, _CUBE_FACES = _cube()

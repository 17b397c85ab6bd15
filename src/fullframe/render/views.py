"""The scene from the side and from above, in the camera frame: where the people stand before the camera.

Both show the camera with its true field of view, a metric grid on the floor (as low as the lowest foot) and
the people in the overlay's colours. They are drawn from far away through a long lens, so that a metre has
nearly the same length everywhere; the scale is chosen so that everybody is in the picture.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullframe.geometry.rotation import axis_rotation
from fullframe.render.colors import person_colors
from fullframe.render.drawing import Color, Label, draw_labels, polygon, polyline
from fullframe.render.mesh_shading import draw_meshes, joined_faces
from fullframe.render.rasterize import rasterize
from fullframe.results.people import People

_PAPER, _FLOOR, _IN_VIEW = (255, 255, 255), (244, 245, 247), (226, 235, 244)
_GRID, _RAYS, _CAMERA = (212, 216, 222), (150, 170, 196), (40, 48, 60)

# Rows are the viewer's x, y and z axis in the camera frame.
_FROM_ABOVE = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
_FROM_THE_RIGHT = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
_AHEAD, _ELEVATION = math.radians(16), math.radians(14)

# The viewer's distance in sizes of the scene.
_FAR = 15


class _Scene(NamedTuple):
    """What both views show, in the camera frame: a box, the step of its grid, and the image (4, 3)."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    step: float
    rectangle: NDArray[np.float64]


class _Viewer(NamedTuple):
    """A second camera that looks at the scene; `rotation` turns the people's camera frame into its own."""

    rotation: NDArray[np.float64]
    position: NDArray[np.float64]
    intrinsics: NDArray[np.float64]

    def local(self, points: ArrayLike) -> NDArray[np.float64]:
        return (np.asarray(points, np.float64) - self.position) @ self.rotation.T

    def pixels(self, points: ArrayLike) -> NDArray[np.float64]:
        flat = self.local(points) @ self.intrinsics.T
        return flat[..., :2] / flat[..., 2:]


def side_view(people: People, size: tuple[int, int]) -> NDArray[np.uint8]:
    """From the camera's right, a little from above and ahead; distance runs to the right.

    The wall behind the people shows heights above the floor.

    Args:
        size: (width, height) of the picture, px.

    Returns:
        (height, width, 3) RGB.
    """
    rotation = axis_rotation(0, _ELEVATION) @ axis_rotation(1, _AHEAD) @ _FROM_THE_RIGHT

    scene, font = _scene(people), _font_size(size)
    (x0, y0, z0), (x1, y1, z1) = scene.low, scene.high
    viewer = _look(scene, rotation, size, (1.5, 3.2, 3.5, 4), font)
    distances, heights = _ticks(z0, z1, scene.step), _ticks(0, y1 - y0, _step(y1 - y0, 4))
    lines: list[tuple[ArrayLike, Color]] = [([[x0, y0, z], [x0, y1, z]], _GRID) for z in distances]
    lines += [([[x0, y1 - h, z0], [x0, y1 - h, z1]], _GRID) for h in heights]
    lines += [(ray, _RAYS) for ray in _rays(scene)]
    image = _draw(people, scene, viewer, size, lines)

    def label(words: str, point: ArrayLike, dx: float, dy: float, anchor: str) -> Label:
        return Label(words, viewer.pixels(point) + np.array((dx, dy)) * font, anchor)

    labels = [
        label("distance from the camera (m)", [x1, y1, 0.65 * z0 + 0.35 * z1], 0, 2.4, "mt"),
        label("height (m)", [x0, y0, z1], 1.8, -0.9, "rb"),
        *(label(f"{z:g}", [x1, y1, z], 0, 0.5, "mt") for z in distances),
        *(label(f"{h:g}", [x0, y1 - h, z1], 0.5, 0, "lm") for h in heights),
    ]
    bodies = viewer.pixels(people.vertices)
    tops = np.take_along_axis(bodies, bodies[..., 1:].argmin(axis=1, keepdims=True), axis=1)[:, 0]
    _add_labels(image, people, bodies, tops, labels, font)
    return image


def birds_eye(people: People, size: tuple[int, int]) -> NDArray[np.uint8]:
    """From straight above; distance runs upwards, the camera's x axis to the right.

    Args:
        size: (width, height) of the picture, px.

    Returns:
        (height, width, 3) RGB.
    """
    scene, font = _scene(people), _font_size(size)
    # As much floor to the sides as the picture and the camera's view hold.
    widest = (np.abs(scene.rectangle[:, 0]) / scene.rectangle[:, 2]).max()
    half = scene.high[2] * min(0.45 * size[0] / size[1], widest)
    half = math.ceil(half / scene.step) * scene.step
    scene.low[0], scene.high[0] = min(scene.low[0], -half), max(scene.high[0], half)

    (x0, _, z0), (x1, y1, z1) = scene.low, scene.high
    viewer = _look(scene, _FROM_ABOVE, size, (3, 2.2, 2, 3.6), font)
    image = _draw(people, scene, viewer, size, [])

    def label(words: str, point: ArrayLike, dx: float, dy: float, anchor: str) -> Label:
        return Label(words, viewer.pixels(point) + np.array((dx, dy)) * font, anchor)

    labels = [
        label("distance (m)", [x0, y1, z1], -2.2, -0.7, "lb"),
        label("to the camera's right (m)", [(x0 + x1) / 2, y1, z0], 0, 1.9, "mt"),
        *(label(f"{z:g}", [x0, y1, z], -0.5, 0, "rm") for z in _ticks(z0, z1, scene.step)),
        *(label(f"{x:g}", [x, y1, z0], 0, 0.5, "mt") for x in _ticks(x0, x1, scene.step)),
    ]
    bodies, pelvises = viewer.pixels(people.vertices), viewer.pixels(people.joints[:, 0])
    _add_labels(image, people, bodies, pelvises, labels, font)
    return image


def _scene(people: People) -> _Scene:
    points: NDArray[Any] = people.vertices.reshape(-1, 3)
    if len(points) == 0:
        points = np.array([[-1, -0.5, 4], [1, 1.5, 4.0]])  # an empty floor
    low, high = (np.asarray(v, np.float64) for v in (points.min(axis=0), points.max(axis=0)))
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    step = _step((high - low)[[0, 2]].max(), 8)
    for axis in (0, 2):
        low[axis] = math.floor((low[axis] - 0.1 * step) / step) * step if low[axis] < 0 else 0
        high[axis] = math.ceil((high[axis] + 0.1 * step) / step) * step
    if low[0] == 0 or high[0] == 0:
        low[0], high[0] = min(low[0], -step), max(high[0], step)

    (fx, fy), (cx, cy), (width, height) = (
        people.camera.focal,
        people.camera.principal_point,
        people.camera.size,
    )
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5
    rays = np.column_stack(((corners - (cx, cy)) / (fx, fy), np.ones(4)))
    # Large enough to be seen, and in front of everybody.
    nearest = points[:, 2][points[:, 2] > 0].min(initial=high[2])
    rectangle = rays * min(0.2 * high[2], 0.8 * nearest)
    low[1] = min(low[1], rectangle[:, 1].min())
    return _Scene(low, high, step, rectangle)


def _step(length: float, at_most: int) -> float:
    """The smallest 1, 2 or 5 times a power of ten, from 0.5 up, that divides the length into so few parts."""
    step = 0.5
    for power in range(-1, 9):
        for factor in (1, 2, 5):
            step = max(factor * 10.0**power, 0.5)
            if length / step <= at_most:
                return step
    return step


def _ticks(low: float, high: float, step: float) -> list[float]:
    """Multiples of the step from low to high."""
    return [i * step for i in range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)]


def _font_size(size: tuple[int, int]) -> int:
    return max(9, round(min(size) / 34))


def _look(
    scene: _Scene,
    rotation: NDArray[np.float64],
    size: tuple[int, int],
    margins: tuple[float, float, float, float],
    font: int,
) -> _Viewer:
    """A viewer from far away whose picture the scene just fills.

    Args:
        margins: left, right, top and bottom, in heights of a letter.
    """
    box = np.array([[x, y, z] for x, y, z in np.ndindex(2, 2, 2)]) * (scene.high - scene.low) + scene.low
    shown = np.concatenate((box, scene.rectangle, np.zeros((1, 3))))
    center = (scene.low + scene.high) / 2
    position = center - _FAR * np.linalg.norm(scene.high - scene.low) * rotation[2]
    flat = (shown - position) @ rotation.T
    flat = flat[:, :2] / flat[:, 2:]
    low, high = flat.min(axis=0), flat.max(axis=0)

    left, right, top, bottom = (m * font for m in margins)
    free = np.maximum((size[0] - left - right, size[1] - top - bottom), 1)
    scale = (free / (high - low)).min()
    offset = np.array((left, top)) + (free - scale * (high - low)) / 2 - scale * low
    return _Viewer(rotation, position, np.array([[scale, 0, offset[0]], [0, scale, offset[1]], [0, 0, 1]]))


def _rays(scene: _Scene) -> list[NDArray[np.float64]]:
    """The rays through the image's corners, (2, 3) each, up to where they leave the scene."""
    limits = np.where(scene.rectangle > 0, scene.high, scene.low)
    reach = np.divide(limits, scene.rectangle, out=np.full((4, 3), np.inf), where=scene.rectangle != 0)
    ends = scene.rectangle * reach.min(axis=1, keepdims=True)
    return [np.stack((np.zeros(3), end)) for end in ends]


def _draw(
    people: People,
    scene: _Scene,
    viewer: _Viewer,
    size: tuple[int, int],
    lines: Sequence[tuple[ArrayLike, Color]],
) -> NDArray[np.uint8]:
    """Floor, lines, shadows, the camera and the people, each over what came before."""
    width, height = size
    (x0, _, z0), (x1, y1, z1) = scene.low, scene.high
    far = scene.rectangle[:2] * (z1 / scene.rectangle[0, 2])
    floor = _area([[x0, y1, z0], [x1, y1, z0], [x1, y1, z1], [x0, y1, z1]], viewer, size)
    in_view = floor * _area([[0, y1, 0], [far[0, 0], y1, z1], [far[1, 0], y1, z1]], viewer, size)
    shades = _PAPER + floor * np.subtract(_FLOOR, _PAPER) + in_view * np.subtract(_IN_VIEW, _FLOOR)
    image = shades.astype(np.uint8)
    grid = [[[x0, y1, z], [x1, y1, z]] for z in _ticks(z0, z1, scene.step)]
    grid += [[[x, y1, z0], [x, y1, z1]] for x in _ticks(x0, x1, scene.step)]
    for line, color in [*((line, _GRID) for line in grid), *lines]:
        polyline(image, viewer.pixels(line), color)

    flattened = people.vertices.reshape(-1, 3).copy()
    flattened[:, 1] = y1
    faces = joined_faces(people.faces, *people.vertices.shape[:2])
    nothing = np.empty((len(flattened), 0))
    shadow = rasterize(viewer.local(flattened), faces, nothing, viewer.intrinsics, size)
    dark = 0.3 * np.bincount(shadow.pixel, shadow.weight, width * height).reshape(height, width, 1)
    image = (image * (1 - dark) + 0.5).astype(np.uint8)

    thick = max(1, _font_size(size) // 8)
    for corner in scene.rectangle:
        polyline(image, viewer.pixels([[0, 0, 0], corner]), _CAMERA, thick)
    polyline(image, viewer.pixels([*scene.rectangle, scene.rectangle[0]]), _CAMERA, thick)
    local = viewer.local(people.vertices).astype(np.float32)
    return draw_meshes(image, local, people.faces, person_colors(people.track_ids), viewer.intrinsics, 1.0)


def _area(corners: ArrayLike, viewer: _Viewer, size: tuple[int, int]) -> NDArray[np.float64]:
    """How much of each pixel a convex polygon covers, (height, width, 1)."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    polygon(mask, viewer.pixels(corners), (255,))
    return mask[..., None] / 255


def _add_labels(
    image: NDArray[np.uint8],
    people: People,
    bodies: NDArray[np.float64],
    points: NDArray[np.float64],
    labels: list[Label],
    font: int,
) -> None:
    """The axes' labels, and at each person's point the id and the distance of the pelvis."""
    distances, colors = people.joints[:, 0, 2], person_colors(people.track_ids)
    for name, distance, point, color in zip(people.track_ids, distances, points, colors, strict=True):
        plate = tuple(int(0.72 * c) for c in color)
        labels.append(Label(f"{name}: {distance:.1f} m", point, plate=plate))
    draw_labels(image, labels, font, [(*b.min(axis=0), *b.max(axis=0)) for b in bodies])

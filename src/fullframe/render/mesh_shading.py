"""Light and blending: what turns the rasteriser's samples into a picture of people."""

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullframe.compiled import compiled
from fullframe.render.rasterize import best_threads, in_bands, rasterize


def _unit(*direction: float) -> NDArray[np.float32]:
    return (np.array(direction) / np.linalg.norm(direction)).astype(np.float32)


# The key light stands above the camera and to its left (y is down), the sky straight above. Gloss lies where
# the normal halves the angle between the key light and the camera's axis (Blinn, 1977).
_KEY = _unit(-0.45, -0.65, -0.61)
_HALF = _unit(*(_KEY + np.array([0, 0, -1])))
_ROUND = np.float32(0.5)
_AMBIENT, _SKY, _DIRECT, _RIM, _GLOSS = (np.float32(v) for v in (0.5, 0.12, 0.55, 0.6, 36))

# Cosine of the viewing angle beyond which a surface is seen from within; interpolated normals of the outside
# come close to it.
_INSIDE = np.float32(-0.3)


def draw_meshes(
    image: NDArray[np.uint8],
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    colors: ArrayLike,
    intrinsics: ArrayLike,
    opacity: float,
    threads: int | None = None,
) -> NDArray[np.uint8]:
    """A copy of the image with N lit bodies in one z-buffer: the nearer hides the farther.

    Args:
        image: (H, W, 3) RGB.
        vertices: (N, V, 3) camera frame, metres.
        faces: (F, 3) of each body, a closed mesh.
        colors: (N, 3) RGB 0 to 255.
        intrinsics: (3, 3) K in px.
        opacity: 0 to 1.
        threads: as for `rasterize`.
    """
    height, width = image.shape[:2]
    number, count = vertices.shape[:2]
    if number == 0:
        return image.copy()
    triangles = joined_faces(faces, number, count)
    points = np.ascontiguousarray(vertices, np.float32).reshape(-1, 3)
    threads = threads or best_threads(len(triangles))
    normals = vertex_normals(points, triangles)
    samples = rasterize(
        points, triangles, normals, intrinsics, (width, height), two_sided=False, threads=threads
    )
    result = np.array(image, order="C")
    if len(samples.pixel) == 0:
        return result
    inverse = np.linalg.inv(np.asarray(intrinsics, np.float64)).astype(np.float32)
    tints = np.asarray(colors, np.float32).reshape(-1, 3)
    # Rows of the picture, divided so that each thread has as many samples.
    cuts = [int(samples.pixel[len(samples.pixel) * i // threads]) // width for i in range(1, threads)]
    in_bands(
        list(pairwise([0, *cuts, height])),
        lambda *band: _light(
            result, *band, *samples, tints, len(faces), inverse, _KEY, _HALF, np.float32(opacity)
        ),
    )
    return result


def joined_faces(faces: NDArray[np.int32], number: int, count: int) -> NDArray[np.int32]:
    """The triangles (number * F, 3) of N bodies of `count` vertices each that stand one after another."""
    offsets = np.arange(number, dtype=np.int32)[:, None, None] * count
    return (np.asarray(faces, np.int32) + offsets).reshape(-1, 3)


def vertex_normals(vertices, faces):
    """Outward normals of a mesh, (V, 3) float32: the mean of the faces around each vertex, weighted by area.

    They are not of unit length. Faces (F, 3) are counter-clockwise from outside.
    """
    return sum_normals(vertices, faces, faces)


@compiled
def sum_normals(vertices, faces, targets):
    """Each face's normal, as long as twice its area, added to its three targets, (F, 3): (V, 3) float32."""
    normals = np.zeros((len(vertices), 3), np.float32)
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        ux, uy, uz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        vx, vy, vz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for target in (targets[f, 0], targets[f, 1], targets[f, 2]):
            normals[target, 0] += nx
            normals[target, 1] += ny
            normals[target, 2] += nz
    return normals


@compiled
def _light(
    picture, top, bottom, pixel, weight, face, depth, normals, tints, faces_each, inverse, key, half, opacity
):
    """Light the samples of the rows top..bottom and blend them into the picture, in place.

    A key light and a soft one from the sky show the form; darkening where the surface turns away separates a
    limb from what lies behind it.
    """
    width = picture.shape[1]
    one = np.float32(1)
    red = green = blue = covered = np.float32(0)
    row, person = top, 0
    for k in range(np.searchsorted(pixel, top * width), np.searchsorted(pixel, bottom * width)):
        while pixel[k] >= (row + 1) * width:
            row += 1
        column = pixel[k] - row * width
        x, y = np.float32(column), np.float32(row)
        rx = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
        ry = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
        nx, ny, nz = normals[k, 0], normals[k, 1], normals[k, 2]
        unit = one / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-30))
        nx, ny, nz = nx * unit, ny * unit, nz * unit
        facing = -(nx * rx + ny * ry + nz) / np.sqrt(rx * rx + ry * ry + one)
        inside = facing < _INSIDE
        if facing < 0:
            nx, ny, nz, facing = -nx, -ny, -nz, -facing

        direct = max(nx * key[0] + ny * key[1] + nz * key[2], np.float32(0))
        shine = max(nx * half[0] + ny * half[1] + nz * half[2], np.float32(0))
        away = one - facing
        light = (_AMBIENT - _SKY * ny + _DIRECT * direct) * (one - _RIM * away * away * away)
        gloss = _GLOSS * shine**16
        if inside:
            light, gloss = light * _AMBIENT, np.float32(0)

        share = weight[k] * opacity
        if not person * faces_each <= face[k] < (person + 1) * faces_each:
            person = face[k] // faces_each
        red += share * min(tints[person, 0] * light + gloss, np.float32(255))
        green += share * min(tints[person, 1] * light + gloss, np.float32(255))
        blue += share * min(tints[person, 2] * light + gloss, np.float32(255))
        covered += share
        if k + 1 == len(pixel) or pixel[k + 1] != pixel[k]:
            rest = one - covered
            picture[row, column, 0] = np.uint8(np.float32(picture[row, column, 0]) * rest + red + _ROUND)
            picture[row, column, 1] = np.uint8(np.float32(picture[row, column, 1]) * rest + green + _ROUND)
            picture[row, column, 2] = np.uint8(np.float32(picture[row, column, 2]) * rest + blue + _ROUND)
            red = green = blue = covered = np.float32(0)

"""A z-buffer rasteriser for triangle meshes on the CPU.

Three passes: every triangle is drawn at the pixel centres; the pixels through which an outline runs are found
and drawn again at eight points each; what is visible is handed out as a flat list of samples, each with its
share of the pixel. Shading is left to the caller, so one routine serves colours, normals, parts and depth.

Vertices are in the camera frame (x right, y down, z forward, metres). Integer pixel coordinates are pixel
centres, as in OpenCV.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullframe.compiled import compiled

NEAR = 0.05
"""Metres in front of the camera at which meshes are cut off."""

# Positions are rounded to 1/256 px: with samples on the same grid every edge function is exact in float64, so
# triangles that share an edge leave no gap and own no sample twice (the fill rule decides the ties).
_GRID = 256.0
_BELOW_ONE_STEP = 2.0**-18

# Eight points of which no two share a row or a column: (x, y) in px from the pixel's centre.
_PATTERN = np.array([[1, -3], [-1, 3], [5, 1], [-3, -5], [-5, 5], [-7, -1], [3, 7], [7, -7]]) / 16

# For every set of the eight points, as bits: their mean (x, y) and the share of the pixel they stand for.
_BITS = (np.arange(256)[:, None] >> np.arange(8)) & 1
_MEANS = np.column_stack((_BITS @ _PATTERN / np.maximum(_BITS.sum(axis=1), 1)[:, None], _BITS.mean(axis=1)))

# An outline inside the silhouette is where depth jumps by this many pixels' width.
_JUMP = 2.0

# Below this, starting a second thread costs more than it saves.
_TRIANGLES_PER_THREAD = 4000


class Samples(NamedTuple):
    """The visible parts of a mesh, K of them, ordered by pixel.

    Attributes:
        pixel: (K,) int32, row * width + column.
        weight: (K,) float32, the share of the pixel's area; summed over a pixel it is the mesh's coverage.
        face: (K,) int32, the triangle seen.
        depth: (K,) float32, z in metres.
        attributes: (K, A) float32, interpolated over the triangle with perspective.
    """

    pixel: NDArray[np.int32]
    weight: NDArray[np.float32]
    face: NDArray[np.int32]
    depth: NDArray[np.float32]
    attributes: NDArray[np.float32]


def cache_folder() -> Path | None:
    """Where the compiled rasteriser is kept; None if no place was writable."""
    folder = _draw.stats.cache_path
    return Path(folder) if folder else None


def rasterize(
    vertices: ArrayLike,
    faces: ArrayLike,
    attributes: ArrayLike,
    intrinsics: ArrayLike,
    size: tuple[int, int],
    *,
    two_sided: bool = True,
    antialias: bool = True,
    threads: int | None = None,
) -> Samples:
    """What a pinhole camera sees of a mesh.

    Args:
        vertices: (V, 3) camera frame, metres; those behind the camera are fine.
        faces: (F, 3) vertex indices.
        attributes: (V, A) one row a vertex, A may be 0.
        intrinsics: (3, 3) K in px.
        size: (width, height) of the image in px.
        two_sided: with False, triangles seen from behind (clockwise) are skipped, twice as fast and right for
            closed meshes; a mesh that reaches behind the camera is always drawn with both sides.
        antialias: with False every visible pixel gets one sample of weight 1, at its centre.
        threads: how many to use; by default `best_threads`.

    Raises:
        ValueError: for wrong shapes, vertices that are not finite or a face that names no vertex.
    """
    vertices = np.asarray(vertices, dtype=np.float64)
    attributes = np.asarray(attributes, dtype=np.float32)
    triangles = np.ascontiguousarray(faces, dtype=np.int32)
    _check(vertices, triangles, attributes)

    face_of: NDArray[np.int32] | None = None
    behind = vertices[:, 2] < NEAR
    if behind.any():
        vertices, attributes, triangles, face_of = _clip(vertices, attributes, triangles, behind)
    k = np.asarray(intrinsics, dtype=np.float64)
    points, *bounds = _project(vertices, k)

    # Only the window that the mesh touches costs time and memory. It has a border of one pixel, empty or
    # outside the image, so that every pixel within has four neighbours.
    low = np.clip(np.floor(bounds[:2]) - 2, -1, size).astype(int)
    high = np.clip(np.ceil(bounds[2:]) + 3, 0, np.add(size, 1)).astype(int)
    if (high - low < 3).any():
        return _empty(attributes.shape[1])
    points[:, :2] -= low
    columns, rows = (high - low).tolist()
    inverse = np.zeros((rows, columns), np.float32)
    # 0: nothing, i + 1: the i-th triangle, -(i + 1): the i-th pixel of its band that holds an outline.
    owner = np.zeros((rows, columns), np.int32)

    # The near plane cuts a closed mesh open: then its inside is in view.
    mesh = (points, _visible(points, triangles, two_sided or face_of is not None, columns, rows))
    bands = _bands(points[:, 1], rows, threads or best_threads(len(triangles)))
    in_bands(bands, lambda *band: _draw(*mesh, *band, inverse, owner))
    bands = [(max(top, 1), min(bottom, rows - 1)) for top, bottom in bands]
    # In units of 1/z; the silhouette makes a jump of 1, and none is infinite.
    jump = np.float32(min(_JUMP / max(abs(k[0, 0]), abs(k[1, 1])), 0.5) if antialias else np.inf)
    refined = in_bands(bands, lambda *band: _refine(*mesh, *band, inverse, owner, jump, _PATTERN))
    counts = [count for _, _, count in refined]
    starts = [sum(counts[:i]) for i in range(len(counts))]
    samples = _empty(attributes.shape[1], sum(counts))
    corner = (int(low[0]), int(low[1]), size[0])
    in_bands(
        bands,
        lambda top, bottom, outline, start: _collect(
            *mesh, top, bottom, owner, *outline[:2], _MEANS, attributes, *corner, start, *samples
        ),
        refined,
        starts,
    )
    return samples if face_of is None else samples._replace(face=face_of[samples.face])


def best_threads(triangles: int) -> int:
    """Two for large meshes where the machine has them: more gain little."""
    return min(2, os.cpu_count() or 1, 1 + triangles // _TRIANGLES_PER_THREAD)


def in_bands(bands: list[tuple[int, int]], kernel: Callable[..., Any], *each: list[Any]) -> list[Any]:
    """kernel(first, last, ...) for all bands at once, each with its item of every list.

    The threads live for one call only: a pool kept for longer would not survive a fork.
    """
    if len(bands) == 1:
        return [kernel(*bands[0], *(items[0] for items in each))]
    with ThreadPoolExecutor(len(bands)) as pool:
        return list(pool.map(lambda band, *items: kernel(*band, *items), bands, *each))


def _check(vertices: NDArray[Any], triangles: NDArray[Any], attributes: NDArray[Any]) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"vertices must be (V, 3), got {vertices.shape}")
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"faces must be (F, 3), got {triangles.shape}")
    if attributes.ndim != 2 or len(attributes) != len(vertices):
        raise ValueError(f"attributes must be ({len(vertices)}, A), got {attributes.shape}")
    if not np.isfinite(vertices).all():
        raise ValueError("vertices must be finite")
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < len(vertices):
        raise ValueError(f"faces must name vertices 0 to {len(vertices) - 1}")


def _empty(channels: int, number: int = 0) -> Samples:
    return Samples(
        np.empty(number, np.int32),
        np.empty(number, np.float32),
        np.empty(number, np.int32),
        np.empty(number, np.float32),
        np.empty((number, channels), np.float32),
    )


def _bands(y: NDArray[np.float64], rows: int, threads: int) -> list[tuple[int, int]]:
    """The rows divided among the threads so that each has about as many vertices."""
    if threads < 2:
        return [(0, rows)]
    cuts = np.quantile(np.clip(y[::16], 0, rows), np.linspace(0, 1, threads + 1)[1:-1]).astype(int)
    limits = [0, *cuts.tolist(), rows]
    return list(pairwise(limits))


def _clip(
    vertices: NDArray[np.float64],
    attributes: NDArray[np.float32],
    triangles: NDArray[np.int32],
    behind: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Cut a mesh at z = NEAR (Sutherland and Hodgman, 1974, for one plane).

    Returns:
        vertices and attributes with the cut points appended, the triangles left, and the face of each.
    """
    face = np.arange(len(triangles), dtype=np.int32)
    out = behind[triangles]
    number = out.sum(axis=1)
    whole, one_in, one_out = (number == n for n in (0, 2, 1))
    # Roll the corners so that the odd one out comes first.
    tip, tip_face = triangles[one_in], face[one_in]
    tip = np.take_along_axis(tip, (np.argmin(out[one_in], axis=1)[:, None] + np.arange(3)) % 3, axis=1)
    base, base_face = triangles[one_out], face[one_out]
    base = np.take_along_axis(base, (np.argmax(out[one_out], axis=1)[:, None] + np.arange(3)) % 3, axis=1)

    # Every cut runs from the corner in front to the one behind: both triangles of an edge get the same point.
    front = np.concatenate((tip[:, 0], tip[:, 0], base[:, 1], base[:, 2]))
    back = np.concatenate((tip[:, 1], tip[:, 2], base[:, 0], base[:, 0]))
    z_front, z_back = vertices[front, 2], vertices[back, 2]
    t = ((z_front - NEAR) / (z_front - z_back))[:, None]
    cut = vertices[front] + t * (vertices[back] - vertices[front])
    cut[:, 2] = NEAR
    cut_attributes = attributes[front] + t.astype(np.float32) * (attributes[back] - attributes[front])

    tips, bases = len(tip), len(base)
    index = np.arange(len(vertices), len(vertices) + len(cut), dtype=np.int32)
    tip_1, tip_2, base_1, base_2 = np.split(index, np.cumsum([tips, tips, bases]))
    parts = (
        triangles[whole],
        np.stack((tip[:, 0], tip_1, tip_2), axis=1),
        np.stack((base[:, 1], base[:, 2], base_2), axis=1),
        np.stack((base[:, 1], base_2, base_1), axis=1),
    )
    return (
        np.concatenate((vertices, cut)),
        np.concatenate((attributes, cut_attributes)),
        np.ascontiguousarray(np.concatenate(parts), dtype=np.int32),
        np.concatenate((face[whole], tip_face, base_face, base_face)),
    )


# The kernels below take (top, bottom), a band of rows; every thread writes its own band only.


@compiled
def _project(vertices, k):
    """Vertices on the screen, (V, 3): x and y in px, and 1/z, which is linear there; and the box around them.

    Those behind the near plane get some position in front of it; no triangle left by `_clip` has one.
    """
    points = np.empty(vertices.shape)
    left = above = np.inf
    right = below = -np.inf
    for v in range(len(vertices)):
        x, y, z = vertices[v, 0], vertices[v, 1], 1 / max(vertices[v, 2], NEAR)
        px = np.rint(((k[0, 0] * x + k[0, 1] * y) * z + k[0, 2]) * _GRID) / _GRID
        py = np.rint(((k[1, 0] * x + k[1, 1] * y) * z + k[1, 2]) * _GRID) / _GRID
        points[v, 0], points[v, 1], points[v, 2] = px, py, z
        if vertices[v, 2] >= NEAR:
            left, right, above, below = min(left, px), max(right, px), min(above, py), max(below, py)
    return points, left, above, right, below


@compiled
def _visible(points, triangles, two_sided, columns, rows):
    """The triangles that may show in the window, (M, 4): corners in the order of positive area, and the face.

    Faces are counter-clockwise from outside; on the screen, y down, that is a negative area.
    """
    kept = np.empty((len(triangles), 4), np.int32)
    count = 0
    for face in range(len(triangles)):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        ax, ay = points[a, 0], points[a, 1]
        bx, by = points[b, 0], points[b, 1]
        cx, cy = points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (area > 0 and not two_sided):
            continue
        if max(ax, bx, cx) < 0 or min(ax, bx, cx) > columns or max(ay, by, cy) < 0 or min(ay, by, cy) > rows:
            continue
        kept[count, 0] = a
        kept[count, 1] = b if area > 0 else c
        kept[count, 2] = c if area > 0 else b
        kept[count, 3] = face
        count += 1
    return kept[:count]


@compiled
def _edge(points, p, q):
    """(u, v, w) with u x + v y + w >= 0 inside the edge p-q; top and left edges own their points."""
    dx, dy = points[q, 0] - points[p, 0], points[q, 1] - points[p, 1]
    w = dy * points[p, 0] - dx * points[p, 1]
    if not (dy < 0 or (dy == 0 and dx > 0)):
        w -= _BELOW_ONE_STEP
    return -dy, dx, w


@compiled
def _plane(points, a, b, c):
    """(u, v, w) with 1/z = u x + v y + w on a triangle."""
    bx, by, bz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    cx, cy, cz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    scale = 1 / (bx * cy - by * cx)
    u, v = (bz * cy - by * cz) * scale, (bx * cz - bz * cx) * scale
    return u, v, points[a, 2] - u * points[a, 0] - v * points[a, 1]


@compiled
def _span(p, q, r, margin, low, high):
    """First and one past the last whole number within `margin` of the interval p, q, r and low..high."""
    first = max(np.ceil(min(p, q, r) - margin), low)
    last = min(np.floor(max(p, q, r) + margin) + 1, high)
    return int(first), int(last)


@compiled
def _narrow(u, r, first, last):
    """The part of first..last (both included) where u x + r >= 0."""
    if u > 0:
        return max(first, int(np.ceil(-r / u))), last
    if u < 0:
        return first, min(last, int(np.floor(-r / u)))
    return first, last if r >= 0 else first - 1


@compiled
def _draw(points, triangles, top, bottom, inverse, owner):
    """First pass: the nearest triangle at each pixel centre, and 1/z there."""
    columns = inverse.shape[1]
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        y0, y1 = _span(points[a, 1], points[b, 1], points[c, 1], 0.0, top, bottom)
        x0, x1 = _span(points[a, 0], points[b, 0], points[c, 0], 0.0, 0, columns)
        if y0 >= y1 or x0 >= x1:
            continue
        ua, va, wa = _edge(points, b, c)
        ub, vb, wb = _edge(points, c, a)
        uc, vc, wc = _edge(points, a, b)
        uz, vz, wz = _plane(points, a, b, c)
        for y in range(y0, y1):
            ra, rb, rc, rz = va * y + wa, vb * y + wb, vc * y + wc, vz * y + wz
            first, last = _narrow(ua, ra, x0, x1 - 1)
            first, last = _narrow(ub, rb, first, last)
            first, last = _narrow(uc, rc, first, last)
            for x in range(first, last + 1):
                z = np.float32(uz * x + rz)
                if z > inverse[y, x]:
                    inverse[y, x] = z
                    owner[y, x] = t + 1


@compiled
def _refine(points, triangles, top, bottom, inverse, owner, jump, pattern):
    """Second pass: find the pixels with an outline and draw them at the points of the pattern.

    A straight outline that touches a pixel always runs between its centre and that of one of its four
    neighbours, which suffice. Over a plane 1/z is linear: a second difference shows where depth jumps, at the
    silhouette (beside it 1/z is 0) and within the mesh alike.

    Returns:
        (E, 8) int32, for each such pixel the triangles seen at its points, no triangle twice;
        (E, 8) uint8, for each of them at which points, a bit each; 0 ends the list;
        and how many samples the band has in all.
    """
    columns = inverse.shape[1]
    outline = np.zeros(columns, np.bool_)
    edges = count = 0
    for y in range(top, bottom):
        for x in range(1, columns - 1):
            twice = 2 * inverse[y, x]
            across = abs(inverse[y, x - 1] + inverse[y, x + 1] - twice)
            along = abs(inverse[y - 1, x] + inverse[y + 1, x] - twice)
            outline[x] = max(across, along) > jump * inverse[y, x]
        for x in range(1, columns - 1):
            if outline[x]:
                edges += 1
                owner[y, x] = -edges
            else:
                count += owner[y, x] > 0

    at_points = np.full((edges, len(pattern)), -1, np.int32)
    nearest = np.zeros((edges, len(pattern)), np.float32)
    for t in range(len(triangles) if edges else 0):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        y0, y1 = _span(points[a, 1], points[b, 1], points[c, 1], 0.5, top, bottom)
        x0, x1 = _span(points[a, 0], points[b, 0], points[c, 0], 0.5, 1, columns - 1)
        ready = False
        ua = va = wa = ub = vb = wb = uc = vc = wc = uz = vz = wz = reach_a = reach_b = reach_c = 0.0
        for y in range(y0, y1):
            for x in range(x0, x1):
                if owner[y, x] >= 0:
                    continue
                if not ready:
                    ua, va, wa = _edge(points, b, c)
                    ub, vb, wb = _edge(points, c, a)
                    uc, vc, wc = _edge(points, a, b)
                    uz, vz, wz = _plane(points, a, b, c)
                    reach_a, reach_b = 0.5 * (abs(ua) + abs(va)), 0.5 * (abs(ub) + abs(vb))
                    reach_c = 0.5 * (abs(uc) + abs(vc))
                    ready = True
                ra, rb, rc = ua * x + va * y + wa, ub * x + vb * y + wb, uc * x + vc * y + wc
                if min(ra + reach_a, rb + reach_b, rc + reach_c) < 0:
                    continue
                rz = uz * x + vz * y + wz
                edge = -owner[y, x] - 1
                for s in range(len(pattern)):
                    px, py = pattern[s, 0], pattern[s, 1]
                    if min(ra + ua * px + va * py, rb + ub * px + vb * py, rc + uc * px + vc * py) >= 0:
                        z = np.float32(rz + uz * px + vz * py)
                        if z > nearest[edge, s]:
                            nearest[edge, s] = z
                            at_points[edge, s] = t

    seen = np.empty((edges, len(pattern)), np.int32)
    bits = np.zeros((edges, len(pattern)), np.uint8)
    for edge in range(edges):
        number = 0
        for s in range(len(pattern)):
            t = at_points[edge, s]
            if t < 0:
                continue
            slot = 0
            while slot < number and seen[edge, slot] != t:
                slot += 1
            if slot == number:
                seen[edge, slot] = t
                number += 1
            bits[edge, slot] |= 1 << s
        count += number
    return seen, bits, count


@compiled
def _collect(
    points, triangles, top, bottom, owner, seen, bits, means, attributes, left, above, width, k,
    pixel, weight, face, depth, values,
):  # fmt: skip
    """Third pass: write the samples from position k on; `means` has x, y and share for each set of points."""
    last = -1
    a = b = c = 0
    ua = va = wa = ub = vb = wb = uc = vc = wc = za = zb = zc = 0.0
    for y in range(top, bottom):
        for x in range(1, owner.shape[1] - 1):
            own = owner[y, x]
            if own == 0:
                continue
            for s in range(1 if own > 0 else bits.shape[1]):
                px, py, share = float(x), float(y), 1.0
                t = own - 1
                if own < 0:
                    at = bits[-own - 1, s]
                    if at == 0:
                        break
                    t = seen[-own - 1, s]
                    px, py, share = (
                        x + means[at, 0],
                        y + means[at, 1],
                        means[at, 2],
                    )
                if t != last:
                    last = t
                    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                    za, zb, zc = points[a, 2], points[b, 2], points[c, 2]
                    ua, va, wa = _edge(points, b, c)
                    ub, vb, wb = _edge(points, c, a)
                    uc, vc, wc = _edge(points, a, b)
                ea = max(ua * px + va * py + wa, 0.0)
                eb = max(ub * px + vb * py + wb, 0.0)
                ec = max(uc * px + vc * py + wc, 0.0)
                scale = 1 / (ea * za + eb * zb + ec * zc)
                pixel[k] = (y + above) * width + x + left
                weight[k] = share
                face[k] = triangles[t, 3]
                depth[k] = (ea + eb + ec) * scale
                ea, eb, ec = ea * za * scale, eb * zb * scale, ec * zc * scale
                for i in range(values.shape[1]):
                    values[k, i] = ea * attributes[a, i] + eb * attributes[b, i] + ec * attributes[c, i]
                k += 1

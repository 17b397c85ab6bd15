"""Mesh simplification, for people who are small in the image."""

import numpy as np
from numpy.typing import NDArray

from fullframe.compiled import compiled

_PASSES = 10
_LONGEST = 25
"""Longest edge, in multiples of the error: joints have to bend, and clothes to follow betas."""
_BORDER = 2.0
"""Weight of planes that stand on borders (hems, necklines, a change of colour) beside those of the faces."""


def decimate(
    points: NDArray[np.float32],
    weld: NDArray[np.int32],
    faces: NDArray[np.int32],
    surface: NDArray[np.int32],
    error: float,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Fewer triangles over a subset of the same vertices.

    Edges are collapsed, those with the least quadric error first (Garland and Heckbert, Surface
    simplification using quadric error metrics, SIGGRAPH 1997).

    Where uv jumps, all sides of an edge collapse or none, so that textures stay in their place.

    Args:
        points: (V, 3) metres.
        weld: (V,) the first vertex at the same place, of which there are several where uv jumps.
        faces: (F, 3) vertices.
        surface: (F,) what each face is made of.
        error: root mean square displacement of the surface, metres.

    Returns:
        faces and surface of the triangles that are left.
    """
    faces, places = faces.copy(), points.astype(np.float64)
    quadrics = _quadrics(places, weld[faces], surface)
    for step in range(1, _PASSES + 1):
        _collapse(places, weld, faces, quadrics, (error * step / _PASSES) ** 2, (_LONGEST * error) ** 2)
        triangles = weld[faces]
        left = (triangles != np.roll(triangles, 1, axis=1)).all(axis=1)
        faces, surface = faces[left], surface[left]
    return faces, surface


def _quadrics(
    points: NDArray[np.float64], triangles: NDArray[np.int32], surface: NDArray[np.int32]
) -> NDArray[np.float64]:
    """For each vertex, of the planes n x + d = 0 about it, the weighted sum of (n, d) (n, d)^T, and in the
    last place that of the weights: (V, 5, 5)."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1)
    normal /= np.maximum(area, 1e-12)[:, None]

    # A border is an edge of one face alone, or alone of its surface.
    edges = np.concatenate((triangles[:, :2], triangles[:, 1:], triangles[:, ::2]))
    low, high = edges.min(axis=1).astype(np.int64), edges.max(axis=1)
    key = (low * len(points) + high) * (int(surface.max()) + 1) + np.tile(surface, 3)
    _, index, number = np.unique(key, return_index=True, return_counts=True)
    border = index[number == 1]
    ends = edges[border]
    along = points[ends[:, 1]] - points[ends[:, 0]]
    length = np.linalg.norm(along, axis=1)
    across = np.cross(along, normal[border % len(triangles)]) / np.maximum(length, 1e-12)[:, None]

    result = np.zeros((len(points), 5, 5))
    _add_planes(result, triangles, a, normal, area)
    _add_planes(result, ends, points[ends[:, 0]], across, _BORDER * length**2)
    return result


@compiled
def _add_planes(quadrics, corners, points, normals, weights):
    """Adds (N) planes, each through a point with a unit normal, to those of their corners, in place."""
    for i in range(len(corners)):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        plane = (x, y, z, -(x * points[i, 0] + y * points[i, 1] + z * points[i, 2]))
        for k in range(corners.shape[1]):
            quadric = quadrics[corners[i, k]]
            for row in range(4):
                for column in range(4):
                    quadric[row, column] += weights[i] * plane[row] * plane[column]
            quadric[4, 4] += weights[i]


@compiled
def _collapse(points, weld, faces, quadrics, limit, longest):
    """Collapses edges whose squared error is below the limit, none next to another, in place.

    Faces (F, 3) that vanish have two corners at the same place afterwards; longest is a squared length.
    """
    start = np.zeros(len(points) + 1, np.int64)
    for f in range(len(faces)):
        for k in range(3):
            start[weld[faces[f, k]] + 1] += 1
    start = np.cumsum(start)
    filled, member = start.copy(), np.empty(3 * len(faces), np.int64)
    for f in range(len(faces)):
        for k in range(3):
            place = weld[faces[f, k]]
            member[filled[place]] = f
            filled[place] += 1

    settled = np.zeros(len(points), np.bool_)
    for u in range(len(points)):
        around = member[start[u] : start[u + 1]]
        if len(around) == 0 or settled[u]:
            continue
        least, best = limit, -1
        for f in around:
            for k in range(3):
                v = weld[faces[f, k]]
                if v != u and not settled[v]:
                    error = _error(quadrics[u], quadrics[v], points[v])
                    if error < least and _may_collapse(points, weld, faces, around, u, v, longest):
                        least, best = error, v
        if best < 0:
            continue
        quadrics[best] += quadrics[u]
        for f in around:
            for k in range(3):
                settled[weld[faces[f, k]]] = True
        targets = np.empty(len(around), np.int32)
        for i in range(len(around)):
            targets[i] = _target(weld, faces, around, around[i], u, best)
        for i in range(len(around)):
            for k in range(3):
                if weld[faces[around[i], k]] == u:
                    faces[around[i], k] = targets[i]


@compiled
def _error(a, b, point):
    """Mean squared distance of a point from the planes of two quadrics."""
    x = (point[0], point[1], point[2], 1.0)
    total = 0.0
    for i in range(4):
        for j in range(4):
            total += x[i] * x[j] * (a[i, j] + b[i, j])
    return total / (a[4, 4] + b[4, 4])


@compiled
def _may_collapse(points, weld, faces, around, u, v, longest):
    """Whether u can move to v: no face turns over, no edge is too long and no texture is torn."""
    for f in around:
        a, b, c = weld[faces[f, 0]], weld[faces[f, 1]], weld[faces[f, 2]]
        if _target(weld, faces, around, f, u, v) < 0:
            return False
        if v in (a, b, c):
            continue
        before = _normal(points[a], points[b], points[c])
        a, b, c = v if a == u else a, v if b == u else b, v if c == u else c
        after = _normal(points[a], points[b], points[c])
        cosine = _dot(before, after)
        if cosine <= 0 or cosine**2 < 0.1 * _dot(before, before) * _dot(after, after):
            return False
        for w in (a, b, c):
            side = (points[w, 0] - points[v, 0], points[w, 1] - points[v, 1], points[w, 2] - points[v, 2])
            if _dot(side, side) > longest:
                return False
    return True


@compiled
def _normal(a, b, c):
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


@compiled
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def _target(weld, faces, around, face, u, v):
    """The corner of v that u's corner in a face becomes: the one across the edge on this side of any jump of
    uv; -1 if there is none, or two."""
    corner = faces[face, 0]
    for k in range(1, 3):
        if weld[faces[face, k]] == u:
            corner = faces[face, k]
    found = -1
    for f in around:
        if corner == faces[f, 0] or corner == faces[f, 1] or corner == faces[f, 2]:
            for k in range(3):
                if weld[faces[f, k]] == v:
                    if found >= 0 and found != faces[f, k]:
                        return -1
                    found = faces[f, k]
    return found

"""Rendering of textured meshes with light and shadows over a background.

Two passes of the rasteriser: from the light, for shadows that people cast on themselves, on each other and on
the ground; and from the camera. Everything is in the camera frame (x right, y down, z forward, metres).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullframe.compiled import compiled
from fullframe.render.mesh_shading import sum_normals
from fullframe.render.rasterize import rasterize

_SHADOW_PIXELS = 128
_SHADOW_BIAS = 0.03
"""Metres behind the shadow map from which a surface is in shadow."""


class Surfaces(NamedTuple):
    """Materials of S surfaces; each face of a mesh has the index of one.

    Attributes:
        texture: (S, 3) int64 offset into the pool of texels, width and height.
        tint: (S, 3) float32 factor on the texture's RGB.
        pattern: (S, 8) float32 kind (0 none, 1 stripes, 2 checks, 3 dots, 4 noise), frequency in u and v,
            angle, then RGB 0 to 255 of the second colour, and its opacity.
        gloss: (S,) float32.
    """

    texture: NDArray[np.int64]
    tint: NDArray[np.float32]
    pattern: NDArray[np.float32]
    gloss: NDArray[np.float32]


class Light(NamedTuple):
    """One far lamp (sun, window) and the rest of the surroundings.

    Attributes:
        direction: (3,) unit vector towards the lamp, camera frame.
        lamp, sky, ground: (3,) RGB factors: of the lamp, from above and from below.
        up: (3,) unit vector, camera frame.
    """

    direction: NDArray[np.float32]
    lamp: NDArray[np.float32]
    sky: NDArray[np.float32]
    ground: NDArray[np.float32]
    up: NDArray[np.float32]


class Mesh(NamedTuple):
    """Triangles in the camera frame.

    Attributes:
        vertices: (V, 3) float32 metres.
        normals: (V, 3) float32 outward, of any length.
        uv: (V, 2) float32, v downwards; textures repeat beyond [0, 1].
        faces: (F, 3) int32.
        surface: (F,) int32 row of Surfaces.
    """

    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    uv: NDArray[np.float32]
    faces: NDArray[np.int32]
    surface: NDArray[np.int32]


class ShadowMap(NamedTuple):
    """What the lamp sees: rows of `axes` are its right, down and forward in the camera frame."""

    axes: NDArray[np.float32]
    center: NDArray[np.float32]
    scale: np.float32
    depth: NDArray[np.float32]


def shadow_map(mesh: Mesh, light: Light) -> ShadowMap:
    """Depth of the mesh from the lamp, which is so far away that its rays are parallel."""
    forward = -light.direction
    right = np.cross(light.up, forward)
    norm = np.linalg.norm(right)
    right = right / norm if norm > 1e-3 else np.array([1, 0, 0], np.float32)
    axes = np.stack((right, np.cross(forward, right), forward)).astype(np.float32)
    points, low, high = _seen_along(mesh.vertices, axes)
    center = (low + high) / 2
    scale = np.float32(_SHADOW_PIXELS / 2 / (max(float((high - low)[:2].max()) / 2, 0.1) * 1.05))
    depth = np.full((_SHADOW_PIXELS, _SHADOW_PIXELS), np.inf, np.float32)
    _splat(points, mesh.faces, center, scale, depth)
    return ShadowMap(axes, center, scale, depth)


def cast_on_ground(
    image: NDArray[np.float32],
    shadows: ShadowMap,
    intrinsics: NDArray[np.float64],
    light: Light,
    floor: float,
    darkest: NDArray[np.float32],
) -> None:
    """Darkens the ground where the lamp does not reach it, in place.

    Args:
        image: (H, W, 3) float32.
        floor: distance of the camera above the ground along `light.up`, metres.
        darkest: (3,) factor on the image's RGB in full shadow.
    """
    inverse = np.linalg.inv(intrinsics).astype(np.float32)
    _cast_on_ground(image, inverse, light.up, np.float32(floor), darkest, *shadows)


def draw(
    image: NDArray[np.float32],
    mesh: Mesh,
    surfaces: Surfaces,
    texels: NDArray[np.uint8],
    light: Light,
    shadows: ShadowMap,
    intrinsics: NDArray[np.float64],
    antialias: bool,
) -> None:
    """Draws the mesh over the image (H, W, 3) float32 0 to 255, in place."""
    height, width = image.shape[:2]
    attributes = np.concatenate((mesh.normals, mesh.uv, mesh.vertices), axis=1)
    samples = rasterize(
        mesh.vertices, mesh.faces, attributes, intrinsics, (width, height), antialias=antialias, threads=1
    )
    if len(samples.pixel):
        _shade(
            image.reshape(-1, 3), samples.pixel, samples.weight, samples.face, samples.attributes,
            mesh.surface, *surfaces, texels, *light, *shadows,
        )  # fmt: skip


@compiled
def skin(template, shape_dirs, betas, bone, share, transforms, out):
    """Linear blend skinning of one person, in place of `out` (V, 3).

    template (V, 3), shape_dirs (V, 3, B), betas (B,), the 4 strongest joints of each vertex: bone (V, 4) and
    share (V, 4); transforms (24, 3, 4) from the rest pose of this person's joints.
    """
    count = len(betas)
    for v in range(len(template)):
        x, y, z = template[v, 0], template[v, 1], template[v, 2]
        for b in range(count):
            x += shape_dirs[v, 0, b] * betas[b]
            y += shape_dirs[v, 1, b] * betas[b]
            z += shape_dirs[v, 2, b] * betas[b]
        px = py = pz = np.float32(0)
        for k in range(bone.shape[1]):
            w = share[v, k]
            if w > 0:
                m = transforms[bone[v, k]]
                px += w * (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3])
                py += w * (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3])
                pz += w * (m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3])
        out[v, 0], out[v, 1], out[v, 2] = px, py, pz


def welded_normals(vertices, faces, weld):
    """Normals (V, 3) that are equal for vertices at the same place; `weld` (V,) names the first of them."""
    return sum_normals(vertices, faces, weld[faces])[weld]


@compiled
def _lit(px, py, pz, axes, center, scale, depth):
    """Share of the lamp that reaches a point: the mean of four neighbours in the shadow map."""
    size = depth.shape[0]
    u = (axes[0, 0] * px + axes[0, 1] * py + axes[0, 2] * pz - center[0]) * scale + np.float32(0.5 * size)
    v = (axes[1, 0] * px + axes[1, 1] * py + axes[1, 2] * pz - center[1]) * scale + np.float32(0.5 * size)
    d = axes[2, 0] * px + axes[2, 1] * py + axes[2, 2] * pz - center[2]
    d -= np.float32(_SHADOW_BIAS)
    column, row = int(np.floor(u)), int(np.floor(v))
    if column < 0 or row < 0 or column + 1 >= size or row + 1 >= size:
        return np.float32(1)
    fu, fv = u - column, v - row
    upper = (1 - fu) * (depth[row, column] > d) + fu * (depth[row, column + 1] > d)
    lower = (1 - fu) * (depth[row + 1, column] > d) + fu * (depth[row + 1, column + 1] > d)
    return np.float32((1 - fv) * upper + fv * lower)


@compiled
def _seen_along(vertices, axes):
    """Coordinates (V, 3) along three axes, and their least and greatest."""
    points = np.empty(vertices.shape, np.float32)
    low, high = np.full(3, np.inf, np.float32), np.full(3, -np.inf, np.float32)
    for v in range(len(vertices)):
        for a in range(3):
            p = axes[a, 0] * vertices[v, 0] + axes[a, 1] * vertices[v, 1] + axes[a, 2] * vertices[v, 2]
            points[v, a] = p
            low[a], high[a] = min(low[a], p), max(high[a], p)
    return points, low, high


@compiled
def _splat(points, faces, center, scale, depth):
    """Enters the faces' depth from the lamp, in place: corners, and of larger faces dots a pixel apart."""
    size = depth.shape[0]
    half = np.float32(0.5 * size)
    for v in range(len(points)):
        column = int((points[v, 0] - center[0]) * scale + half)
        row = int((points[v, 1] - center[1]) * scale + half)
        depth[row, column] = min(depth[row, column], points[v, 2] - center[2])
    pixel = 1 / scale
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        vx, vy = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1]
        longest = max(abs(ux), abs(uy), abs(vx), abs(vy), abs(vx - ux), abs(vy - uy))
        if longest < pixel:
            continue
        uz, vz = points[b, 2] - points[a, 2], points[c, 2] - points[a, 2]
        steps = min(int(longest * scale) + 1, 2 * size)
        for i in range(steps):
            p = (i + np.float32(0.34)) / steps
            for j in range(steps - i):
                q = (j + np.float32(0.33)) / steps
                column = int((points[a, 0] + p * ux + q * vx - center[0]) * scale + half)
                row = int((points[a, 1] + p * uy + q * vy - center[1]) * scale + half)
                z = points[a, 2] + p * uz + q * vz - center[2]
                depth[row, column] = min(depth[row, column], z)


@compiled
def _cast_on_ground(image, inverse, up, floor, darkest, axes, center, scale, depth):
    """Looks every other pixel up: a shadow has soft edges."""
    height, width = image.shape[0], image.shape[1]
    for row in range(0, height, 2):
        ry = inverse[1, 1] * row + inverse[1, 2]
        for column in range(0, width, 2):
            rx = inverse[0, 0] * column + inverse[0, 2]
            slope = -(up[0] * rx + up[1] * ry + up[2])
            if slope < 0.02:
                continue
            distance = floor / slope
            if distance > 60:
                continue
            shadow = 1 - _lit(rx * distance, ry * distance, distance, axes, center, scale, depth)
            if shadow > 0:
                for y in range(row, min(row + 2, height)):
                    for x in range(column, min(column + 2, width)):
                        for channel in range(3):
                            image[y, x, channel] *= 1 - shadow * (1 - darkest[channel])


@compiled
def _texel(texels, offset, width, height, u, v):
    """Bilinear lookup, repeated beyond the edges: three floats."""
    x = (u - np.floor(u)) * width - np.float32(0.5)
    y = (v - np.floor(v)) * height - np.float32(0.5)
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - x0, y - y0
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    x0, y0 = max(x0, 0), max(y0, 0)
    a, b = offset + y0 * width + x0, offset + y0 * width + x1
    c, d = offset + y1 * width + x0, offset + y1 * width + x1
    wa, wb, wc, wd = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    red = wa * texels[a, 0] + wb * texels[b, 0] + wc * texels[c, 0] + wd * texels[d, 0]
    green = wa * texels[a, 1] + wb * texels[b, 1] + wc * texels[c, 1] + wd * texels[d, 1]
    blue = wa * texels[a, 2] + wb * texels[b, 2] + wc * texels[c, 2] + wd * texels[d, 2]
    return red, green, blue


@compiled
def _hash(i, j):
    """A number in [0, 1) for a cell of a grid."""
    n = (i * 374761393 + j * 668265263) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 1274126177) & 0xFFFFFFFF
    return np.float32((n & 0xFFFF) / 65536)


@compiled
def _second_colour(pattern, c, s, u, v):
    """How much of a pattern's second colour shows at (u, v); c and s are cosine and sine of its angle."""
    kind = int(pattern[0])
    if kind == 0:
        return np.float32(0)
    x, y = (c * u + s * v) * pattern[1], (-s * u + c * v) * pattern[2]
    if kind == 1:
        shown = x - np.floor(x) < 0.5
    elif kind == 2:
        shown = (x - np.floor(x) < 0.5) != (y - np.floor(y) < 0.5)
    elif kind == 3:
        shown = (x - np.floor(x) - 0.5) ** 2 + (y - np.floor(y) - 0.5) ** 2 < 0.09
    else:
        i, j = int(np.floor(x)), int(np.floor(y))
        fx, fy = x - i, y - j
        top = (1 - fx) * _hash(i, j) + fx * _hash(i + 1, j)
        bottom = (1 - fx) * _hash(i, j + 1) + fx * _hash(i + 1, j + 1)
        return np.float32(pattern[7] * ((1 - fy) * top + fy * bottom))
    return pattern[7] if shown else np.float32(0)


@compiled
def _shade(
    image, pixel, weight, face, attributes, face_surface, texture, tint, pattern, gloss, texels,
    direction, lamp, sky, ground, up, axes, center, scale, depth,
):  # fmt: skip
    """Lights the samples and blends them into the image, both in place."""
    cosine, sine = np.cos(pattern[:, 3]), np.sin(pattern[:, 3])
    for k in range(len(pixel)):
        n = attributes[k]
        nx, ny, nz = n[0], n[1], n[2]
        px, py, pz = n[5], n[6], n[7]
        unit = 1 / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-20))
        nx, ny, nz = nx * unit, ny * unit, nz * unit
        away = 1 / np.sqrt(px * px + py * py + pz * pz)
        vx, vy, vz = -px * away, -py * away, -pz * away
        facing = nx * vx + ny * vy + nz * vz
        # Cloth and hair are open: their inside is lit as if it were an outside.
        if facing < np.float32(-0.1):
            nx, ny, nz, facing = -nx, -ny, -nz, -facing
        s = face_surface[face[k]]
        red, green, blue = _texel(texels, texture[s, 0], texture[s, 1], texture[s, 2], n[3], n[4])
        red, green, blue = red * tint[s, 0], green * tint[s, 1], blue * tint[s, 2]
        share = _second_colour(pattern[s], cosine[s], sine[s], n[3], n[4])
        if share > 0:
            # The texture's folds stay visible in the second colour.
            fold = np.float32(0.4) + np.float32(0.6) * (red + green + blue) / np.float32(
                max(1.0, 255 * (tint[s, 0] + tint[s, 1] + tint[s, 2]))
            )
            red += share * (pattern[s, 4] * fold - red)
            green += share * (pattern[s, 5] * fold - green)
            blue += share * (pattern[s, 6] * fold - blue)
        direct = nx * direction[0] + ny * direction[1] + nz * direction[2]
        shine = np.float32(0)
        if direct > 0:
            lit = _lit(px, py, pz, axes, center, scale, depth)
            direct *= lit
            hx, hy, hz = direction[0] + vx, direction[1] + vy, direction[2] + vz
            half = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-20))
            if half > 0:
                shine = lit * gloss[s] * half**24
        else:
            direct = np.float32(0)
        above = np.float32(0.5) + np.float32(0.5) * (nx * up[0] + ny * up[1] + nz * up[2])
        below = 1 - above
        w, p = weight[k], pixel[k]
        red *= direct * lamp[0] + above * sky[0] + below * ground[0]
        green *= direct * lamp[1] + above * sky[1] + below * ground[1]
        blue *= direct * lamp[2] + above * sky[2] + below * ground[2]
        if k == 0 or pixel[k - 1] != p:
            # The first sample of a pixel makes room for all of them.
            total = w
            j = k + 1
            while j < len(pixel) and pixel[j] == p:
                total += weight[j]
                j += 1
            for channel in range(3):
                image[p, channel] *= 1 - total
        image[p, 0] += w * (red + shine * lamp[0])
        image[p, 1] += w * (green + shine * lamp[1])
        image[p, 2] += w * (blue + shine * lamp[2])

"""Edge collapse of a mirror-symmetric triangle mesh that keeps a subset of its vertices.

Quadric error metrics (Garland & Heckbert, SIGGRAPH 1997), with half-edge collapses so that whatever belongs
to a vertex by index (skinning weights, blend shapes, texture coordinates) carries over, and with every
collapse done on both sides of the mirror plane x = 0 at once.
"""

import heapq

import numpy as np
from scipy.spatial import cKDTree


def mirror_indices(vertices: np.ndarray, tolerance: float = 2e-4) -> np.ndarray:
    """For each vertex (V, 3) the index of its mirror image in x = 0; ValueError where there is none."""
    distance, index = cKDTree(vertices).query(vertices * [-1, 1, 1])
    if distance.max() > tolerance or (index[index] != np.arange(len(vertices))).any():
        raise ValueError(f"the mesh is not symmetric: {distance.max()}")
    return index


def triangulate_symmetrically(
    quads: np.ndarray, uv_quads: np.ndarray, vertices: np.ndarray, mirror: np.ndarray
):
    """Quads (Q, 4) and their texture corners to triangles (2Q, 3) each, cut at the shorter diagonal.

    The diagonal of a quad on the right is the mirror image of the one on the left.
    """
    left = {frozenset(quad) for quad in quads.tolist()}
    triangles, uv_triangles = [], []
    for quad, uv_quad in zip(quads.tolist(), uv_quads.tolist(), strict=True):
        on_left = vertices[quad, 0].mean() >= 0
        corners = quad if on_left else mirror[quad].tolist()
        assert frozenset(mirror[quad].tolist()) in left
        ends = vertices[corners]
        shorter = np.linalg.norm(ends[0] - ends[2]) <= np.linalg.norm(ends[1] - ends[3])
        for a, b, c in ((0, 1, 2), (0, 2, 3)) if shorter else ((0, 1, 3), (1, 2, 3)):
            triangles.append((quad[a], quad[b], quad[c]))
            uv_triangles.append((uv_quad[a], uv_quad[b], uv_quad[c]))
    return np.array(triangles), np.array(uv_triangles)


class _Mesh:
    """Triangles with texture corners that can be edited by half-edge collapses."""

    def __init__(
        self, vertices: np.ndarray, faces: np.ndarray, uv_faces: np.ndarray, face_weight: np.ndarray
    ):
        self.vertices = vertices
        self.faces = [list(face) for face in faces.tolist()]
        self.uv_faces = [list(face) for face in uv_faces.tolist()]
        self.around: list[set[int]] = [set() for _ in vertices]
        for index, face in enumerate(self.faces):
            for vertex in face:
                self.around[vertex].add(index)
        a, b, c = (vertices[faces[:, i]] for i in range(3))
        normal = np.cross(b - a, c - a)
        area = np.linalg.norm(normal, axis=1)
        normal /= np.maximum(area, 1e-12)[:, None]
        plane = np.concatenate((normal, -(normal * a).sum(1, keepdims=True)), axis=1)
        quadric = plane[:, :, None] * plane[:, None, :] * (area * face_weight)[:, None, None]
        self.quadrics = np.zeros((len(vertices), 4, 4))
        for corner in range(3):
            np.add.at(self.quadrics, faces[:, corner], quadric)

    def neighbours(self, vertex: int) -> set[int]:
        return {other for face in self.around[vertex] for other in self.faces[face]} - {vertex}

    def texture_corners(self, vertex: int) -> set[int]:
        return {self.uv_faces[f][self.faces[f].index(vertex)] for f in self.around[vertex]}

    def cost(self, u: int, v: int) -> float:
        """Quadric error of moving u onto v, plus a little for the length, which keeps flat parts even."""
        position = np.append(self.vertices[v], 1.0)
        length = np.sum((self.vertices[u] - self.vertices[v]) ** 2)
        return float(position @ (self.quadrics[u] + self.quadrics[v]) @ position) + 1e-5 * length * length

    def may_collapse(self, u: int, v: int) -> bool:
        if len(self.neighbours(u) & self.neighbours(v)) != 2 or len(self.neighbours(v)) > 14:
            return False
        if self._texture_map(u, v) is None:
            return False
        for face in self.around[u] - self.around[v]:
            before = self.vertices[self.faces[face]]
            after = self.vertices[[v if vertex == u else vertex for vertex in self.faces[face]]]
            n0 = np.cross(before[1] - before[0], before[2] - before[0])
            n1 = np.cross(after[1] - after[0], after[2] - after[0])
            longest = max(np.sum((after[i] - after[i - 1]) ** 2) for i in range(3))
            if n0 @ n1 < 0.3 * np.linalg.norm(n0) * np.linalg.norm(n1) or np.linalg.norm(n1) < 0.08 * longest:
                return False
        return True

    def _texture_map(self, u: int, v: int) -> dict[int, int] | None:
        """Where each texture corner of u goes when u moves onto v; None if the edge leaves a seam."""
        mapping = {}
        for face in self.around[u] & self.around[v]:
            corner = dict(zip(self.faces[face], self.uv_faces[face], strict=True))
            if mapping.setdefault(corner[u], corner[v]) != corner[v]:
                return None
        return mapping if set(mapping) == self.texture_corners(u) else None

    def collapse(self, u: int, v: int) -> None:
        mapping = self._texture_map(u, v)
        assert mapping is not None
        for face in list(self.around[u]):
            if v in self.faces[face]:
                for vertex in self.faces[face]:
                    self.around[vertex].discard(face)
                self.faces[face] = []
            else:
                corner = self.faces[face].index(u)
                self.faces[face][corner] = v
                self.uv_faces[face][corner] = mapping[self.uv_faces[face][corner]]
                self.around[v].add(face)
        self.around[u] = set()
        self.quadrics[v] += self.quadrics[u]


def decimate(
    vertices: np.ndarray,
    faces: np.ndarray,
    uv_faces: np.ndarray,
    face_weight: np.ndarray,
    mirror: np.ndarray,
    target: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reduces a closed symmetric mesh to `target` vertices.

    Args:
        vertices: (V, 3); faces: (F, 3); uv_faces: (F, 3) texture corner of each face corner.
        face_weight: (F,) how much the shape of each face matters.
        mirror: (V,) from mirror_indices.

    Returns:
        indices of the kept vertices (target,), faces into them, and their texture corners.
    """
    mesh = _Mesh(vertices, faces, uv_faces, face_weight)
    midline = mirror == np.arange(len(vertices))
    heap: list[tuple[float, int, int]] = []

    def push(u: int) -> None:
        """Queues the collapses of u; the mirrored ones are done along, so one side's are enough."""
        if vertices[u, 0] < 0 and not midline[u]:
            return
        for v in mesh.neighbours(u):
            if midline[v] if midline[u] else (midline[v] or vertices[v, 0] > 0):
                heapq.heappush(heap, (mesh.cost(u, v), u, v))

    for u in range(len(vertices)):
        push(u)
    count = sum(1 for around in mesh.around if around)
    while count > target:
        cost, u, v = heapq.heappop(heap)
        if not mesh.around[u] or v not in mesh.neighbours(u) or cost < mesh.cost(u, v) - 1e-18:
            continue
        pair = not midline[u]
        if pair and (
            count - target < 2 or mirror[u] in mesh.neighbours(u) or not _sides_apart(mesh, u, v, mirror)
        ):
            continue
        if not mesh.may_collapse(u, v):
            continue
        mesh.collapse(u, v)
        if pair:
            assert mesh.may_collapse(mirror[u], mirror[v])
            mesh.collapse(int(mirror[u]), int(mirror[v]))
        count -= 1 + pair
        for vertex in {v, *mesh.neighbours(v)}:
            push(vertex)
    kept = np.array([index for index, around in enumerate(mesh.around) if around])
    new = np.full(len(vertices), -1)
    new[kept] = np.arange(len(kept))
    left = [index for index, face in enumerate(mesh.faces) if face]
    return kept, new[[mesh.faces[i] for i in left]], np.array([mesh.uv_faces[i] for i in left])


def _sides_apart(mesh: _Mesh, u: int, v: int, mirror: np.ndarray) -> bool:
    """Whether collapsing u leaves what the mirrored collapse relies on as it is."""
    if mirror[v] != v:
        return int(mirror[v]) not in mesh.neighbours(u)
    shared = mesh.neighbours(u) & mesh.neighbours(int(mirror[u]))
    return shared <= mesh.neighbours(v) | {v}

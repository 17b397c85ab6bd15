"""tools/symmetric_decimation.py, which makes the open body's mesh."""

import numpy as np
import pytest
from symmetric_decimation import decimate, mirror_indices, triangulate_symmetrically


def cube_of_quads(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A cube's surface cut into n x n quads a side and blown up to a ball, symmetric in x."""
    index: dict[tuple[int, ...], int] = {}
    quads = []
    for axis in range(3):
        for side in (0, n):
            for i in range(n):
                for j in range(n):
                    ring = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
                    if side == 0:
                        ring.reverse()
                    corners = []
                    for a, b in ring:
                        corner = [0, 0, 0]
                        corner[axis], corner[(axis + 1) % 3], corner[(axis + 2) % 3] = side, a, b
                        corners.append(index.setdefault(tuple(corner), len(index)))
                    quads.append(corners)
    points = np.array(list(index)) * 2.0 / n - 1
    return points / np.linalg.norm(points, axis=1, keepdims=True), np.array(quads)


def test_a_ball_stays_closed_symmetric_and_round() -> None:
    vertices, quads = cube_of_quads(10)
    mirror = mirror_indices(vertices)
    faces, uv = triangulate_symmetrically(quads, quads, vertices, mirror)
    assert len(faces) == 2 * len(quads) == 2 * len(vertices) - 4
    kept, new_faces, new_uv = decimate(vertices, faces, uv, np.ones(len(faces)), mirror, 200)
    assert len(kept) == 200 and len(new_faces) == 2 * 200 - 4
    assert set(mirror[kept]) == set(kept)
    edges = new_faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).tolist()
    assert sorted(edges) == sorted([b, a] for a, b in edges)
    np.testing.assert_array_equal(new_uv, kept[new_faces])  # here each vertex has its own texture corner
    corners = vertices[kept][new_faces]
    volume = np.linalg.det(corners).sum() / 6
    assert 0.9 * 4 / 3 * np.pi < volume < 4 / 3 * np.pi


def test_a_crooked_mesh_is_refused() -> None:
    vertices, _ = cube_of_quads(4)
    with pytest.raises(ValueError, match="not symmetric"):
        mirror_indices(vertices + np.array([0.01, 0, 0]))

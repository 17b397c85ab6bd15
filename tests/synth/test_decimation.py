import numpy as np
import pytest
from scipy.spatial import cKDTree

from fullframe.synth.decimation import decimate
from fullframe.synth.wardrobe import Outfit, load_wardrobe


def grid(side: int, height) -> tuple[np.ndarray, np.ndarray]:
    """A unit square of side x side points, and its triangles."""
    x, z = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    points = np.stack((x, height(x, z), z), -1).reshape(-1, 3).astype(np.float32)
    corner = np.arange(side * side, dtype=np.int32).reshape(side, side)
    a, b, c, d = (
        part.ravel() for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:])
    )
    return points, np.concatenate((np.stack((a, b, c), 1), np.stack((b, d, c), 1)))


def area(points, faces):
    a, b, c = (points[faces[:, k]].astype(float) for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2


def coarse(outfit: Outfit, error: float) -> Outfit:
    return outfit.only(*decimate(outfit.vertices, outfit.weld, outfit.faces, outfit.face_surface, error))


@pytest.fixture(scope="module")
def outfit() -> Outfit:
    return load_wardrobe().outfit(np.random.default_rng(3))


def test_a_flat_square_loses_its_inside_and_keeps_its_outline():
    points, faces = grid(21, lambda x, z: 0 * x)
    surface = np.zeros(len(faces), np.int32)
    left, _ = decimate(points, np.arange(len(points), dtype=np.int32), faces, surface, 0.01)
    assert len(left) < 0.1 * len(faces)
    assert area(points, left) == pytest.approx(1, abs=0.005)


def test_a_border_between_surfaces_stays_straight():
    points, faces = grid(21, lambda x, z: 0 * x)
    surface = (points[faces].mean(axis=1)[:, 0] > 0.5).astype(np.int32)
    left, kinds = decimate(points, np.arange(len(points), dtype=np.int32), faces, surface, 0.01)
    assert len(left) < 0.2 * len(faces)
    assert area(points, left[kinds == 1]) == pytest.approx(0.5, abs=0.005)


def test_a_wave_stays_within_the_error():
    points, faces = grid(41, lambda x, z: 0.05 * np.sin(6 * x))
    surface = np.zeros(len(faces), np.int32)
    counts = []
    for error in (0.002, 0.005):
        left, _ = decimate(points, np.arange(len(points), dtype=np.int32), faces, surface, error)
        middle = points[left].mean(axis=1)
        off = middle[:, 1] - 0.05 * np.sin(6 * middle[:, 0])
        assert np.sqrt((off**2).mean()) < error
        counts.append(len(left))
    assert counts[1] < counts[0] < len(faces)


def test_outfits_keep_their_shape_and_their_textures(outfit):
    few = coarse(outfit, 0.004)
    assert 0.05 * len(outfit.faces) < len(few.faces) < 0.35 * len(outfit.faces)
    assert np.array_equal(np.unique(few.faces), np.arange(len(few.vertices)))
    assert np.array_equal(few.vertices[few.weld], few.vertices)
    assert set(np.unique(few.face_surface)) == set(np.unique(outfit.face_surface))
    # All that is left is close to what was there, all that was there close to what is left.
    centres, dense = few.vertices[few.faces].mean(axis=1), outfit.vertices[outfit.faces].mean(axis=1)
    assert np.percentile(cKDTree(dense).query(centres)[0], 95) < 0.02
    assert np.percentile(cKDTree(few.vertices).query(dense)[0], 95) < 0.06
    assert area(few.vertices, few.faces) == pytest.approx(area(outfit.vertices, outfit.faces), rel=0.1)
    # A face across a jump of uv would be stretched over the whole texture.
    longest = [np.ptp(o.uv[o.faces], axis=1).max(axis=1) for o in (outfit, few)]
    assert np.percentile(longest[1], 99) < 0.4


def test_the_same_again_and_nothing_changed(outfit):
    before = outfit.faces.copy()
    first, second = coarse(outfit, 0.002), coarse(outfit, 0.002)
    assert np.array_equal(first.faces, second.faces) and np.array_equal(before, outfit.faces)
    assert len(coarse(outfit, 0.008).faces) < len(coarse(outfit, 0.004).faces) < len(first.faces)

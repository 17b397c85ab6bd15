import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.compiled import compiled
from fullframe.render.rasterize import NEAR, cache_folder, rasterize

SIZE = (64, 48)
K = np.array([[50.0, 0, 31.3], [0, 55.0, 22.8], [0, 0, 1]])
seeds = st.integers(0, 2**32 - 1)


def soup(seed, number=12, low=(-2, -2, -1), high=(2, 2, 6)):
    """Loose random triangles, some across or behind the near plane, with three attributes a vertex."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(low, high, (number, 1, 3))
    vertices = (centers + rng.normal(0, 0.7, (number, 3, 3))).reshape(-1, 3)
    return vertices, np.arange(3 * number).reshape(-1, 3), rng.normal(size=(3 * number, 3))


def jittered_grid(seed, cells=9):
    """A wavy sheet of triangles, wider than the image, all in front of the camera."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-3, 3, cells + 1), np.linspace(-3, 3, cells + 1))
    vertices = np.stack((x, y, np.full_like(x, 3)), axis=-1)
    vertices += rng.uniform(-0.1, 0.1, vertices.shape)
    index = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    a, b, c, d = (i.ravel() for i in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    return vertices.reshape(-1, 3), np.concatenate((np.stack((a, b, c), 1), np.stack((a, c, d), 1)))


def reference(vertices, faces, attributes, k, size, shift=(0.0, 0.0)):
    """Slow and plain: every pixel's ray against the plane of every triangle."""
    width, height = size
    v, u = np.mgrid[:height, :width].astype(float)
    rays = np.stack((u + shift[0], v + shift[1], np.ones_like(u)), axis=-1) @ np.linalg.inv(k).T
    nearest = np.full((height, width), np.inf)
    face = np.full((height, width), -1)
    values = np.zeros((height, width, attributes.shape[1]))
    for f, corners in enumerate(faces):
        # The ray's point at depth z is z (b0 v0 + b1 v1 + b2 v2) with b0 + b1 + b2 = 1 / z.
        weights = rays @ np.linalg.inv(vertices[corners])
        total = weights.sum(axis=-1)
        depth = np.divide(1, total, where=total > 0, out=np.full_like(total, np.inf))
        seen = (weights >= 0).all(axis=-1) & (total > 0) & (depth >= NEAR) & (depth < nearest)
        nearest[seen], face[seen] = depth[seen], f
        values[seen] = (weights[seen] / total[seen, None]) @ attributes[corners]
    return face, nearest, values


def narrow(vertices, faces, height=0.1):
    """The faces whose image is less than `height` px high."""
    points = vertices @ K.T
    a, b, c = np.moveaxis((points[:, :2] / points[:, 2:])[faces], 1, 0)
    sides = np.stack((b - a, c - b, a - c))
    area = np.abs(sides[0, :, 0] * sides[1, :, 1] - sides[0, :, 1] * sides[1, :, 0])
    return np.flatnonzero(area < height * np.linalg.norm(sides, axis=-1).max(axis=0))


def maps(samples, size):
    """Samples at the pixel centres as images: face, depth, attributes."""
    width, height = size
    face, depth = np.full(height * width, -1), np.full(height * width, np.inf)
    values = np.zeros((height * width, samples.attributes.shape[1]))
    face[samples.pixel], depth[samples.pixel] = samples.face, samples.depth
    values[samples.pixel] = samples.attributes
    return face.reshape(height, width), depth.reshape(height, width), values.reshape(height, width, -1)


def coverage(samples, size):
    return np.bincount(samples.pixel, samples.weight, size[0] * size[1]).reshape(size[::-1])


@settings(max_examples=40)
@given(seeds)
def test_it_agrees_with_the_slow_reference(seed):
    vertices, faces, attributes = soup(seed)
    face, depth, values = maps(rasterize(vertices, faces, attributes, K, SIZE, antialias=False), SIZE)
    expected, expected_depth, expected_values = reference(vertices, faces, attributes, K, SIZE)
    # Positions are rounded to 1/256 px: pixels that change within 1/100 px are not compared.
    sure = np.ones_like(face, bool)
    for shift in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        sure &= reference(vertices, faces, attributes, K, SIZE, shift)[0] == expected
    # Nor where a face is so narrow that these shifts step over it.
    sure &= ~np.isin(face, narrow(vertices, faces))
    assert sure.mean() > 0.8
    np.testing.assert_array_equal(face[sure], expected[sure])
    hit = sure & (expected >= 0)
    # What 1/256 px may change, seen from how fast the value changes from pixel to pixel.
    for got, want in ((depth[..., None], expected_depth[..., None]), (values, expected_values)):
        slopes = [
            np.abs(reference(vertices, faces, attributes, K, SIZE, s)[1 if got.shape[-1] == 1 else 2]
                   .reshape(want.shape)[hit] - want[hit])
            for s in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01))
        ]  # fmt: skip
        assert (
            np.abs(got[hit] - want[hit]) <= 1e-4 + 1e-4 * np.abs(want[hit]) + 4 * np.sum(slopes, axis=0)
        ).all()


@settings(max_examples=20)
@given(seeds)
def test_order_of_faces_changes_nothing(seed):
    vertices, faces, attributes = soup(seed, 30)
    order = np.random.default_rng(seed).permutation(len(faces))
    one = rasterize(vertices, faces, attributes, K, SIZE)
    other = rasterize(vertices, faces[order], attributes, K, SIZE)

    def key(samples, face):
        rows = np.lexsort((face, samples.pixel))
        return [a[rows] for a in (samples.pixel, samples.weight, face, samples.depth, samples.attributes)]

    for a, b in zip(key(one, one.face), key(other, order[other.face]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@settings(max_examples=20)
@given(seeds, st.integers(-20, 20), st.integers(-20, 20))
def test_whole_pixels_of_shift_shift_the_picture(seed, dx, dy):
    vertices, faces, attributes = soup(seed, low=(-1, -1, 1), high=(1, 1, 4))
    moved = K.copy()
    moved[:2, 2] += dx, dy
    here = coverage(rasterize(vertices, faces, attributes, K, SIZE), SIZE)
    there = coverage(rasterize(vertices, faces, attributes, moved, SIZE), SIZE)
    width, height = SIZE
    x = slice(max(0, dx), min(width, width + dx)), slice(max(0, -dx), min(width, width - dx))
    y = slice(max(0, dy), min(height, height + dy)), slice(max(0, -dy), min(height, height - dy))
    # Only the last digit of a rounded vertex may differ: at most one of the eight points of a pixel, rarely.
    difference = np.abs(there[y[0], x[0]] - here[y[1], x[1]])
    assert difference.max(initial=0) <= 0.25 and difference.mean() < 1e-3


@settings(max_examples=20)
@given(seeds)
def test_the_nearer_surface_wins(seed):
    vertices, faces, attributes = soup(seed, 20)
    face, depth, _ = maps(rasterize(vertices, faces, attributes, K, SIZE, antialias=False), SIZE)
    for f in range(len(faces)):
        _, alone, _ = maps(rasterize(vertices, faces[f : f + 1], attributes, K, SIZE, antialias=False), SIZE)
        assert (depth <= alone).all()
        np.testing.assert_array_equal(depth[face == f], alone[face == f])


@settings(max_examples=20)
@given(seeds)
def test_a_sheet_has_no_gaps_and_no_seams(seed):
    vertices, faces = jittered_grid(seed)
    samples = rasterize(vertices, faces, vertices, K, SIZE)
    np.testing.assert_allclose(coverage(samples, SIZE), 1, atol=1e-6)
    # Each triangle alone: no pixel belongs to two of them.
    total = np.zeros(SIZE[::-1])
    for f in range(len(faces)):
        total += coverage(rasterize(vertices, faces[f : f + 1], vertices, K, SIZE, antialias=False), SIZE)
    np.testing.assert_array_equal(total, 1)


def test_edges_through_pixel_centres_belong_to_one_triangle():
    corners = np.array([[4.0, 4], [20, 4], [20, 20], [4, 20], [12, 12]])
    vertices = np.column_stack((corners, np.ones(5)))
    faces = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    samples = rasterize(vertices, faces, np.empty((5, 0)), np.eye(3), (32, 32), antialias=False)
    assert len(np.unique(samples.pixel)) == len(samples.pixel) == 16 * 16
    rows, columns = np.divmod(samples.pixel, 32)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (4, 4, 19, 19)  # top and left edges only


def test_attributes_are_correct_in_perspective():
    # A wall that runs from 1 m to 30 m away; its attributes are the positions themselves.
    vertices = np.array([[-0.6, -5, 1], [-0.6, 5, 1], [8, 5, 30], [8, -5, 30.0]])
    samples = rasterize(vertices, [[0, 1, 2], [0, 2, 3]], vertices, K, SIZE, antialias=False)
    rows, columns = np.divmod(samples.pixel, SIZE[0])
    rays = np.stack((columns, rows, np.ones_like(rows)), axis=1) @ np.linalg.inv(K).T
    assert samples.depth.min() < 2 and samples.depth.max() > 20
    np.testing.assert_allclose(samples.attributes[:, 2], samples.depth, rtol=1e-4)
    np.testing.assert_allclose(samples.attributes, rays * samples.depth[:, None], rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("roll", [0, 1, 2])
def test_near_plane_cuts_exactly(roll):
    # A floor 1 m below the camera, from 10 m behind it to 100 m ahead: rows below cy + f / NEAR see nothing.
    floor = np.array([[-200, 1, -10], [200, 1, -10], [200, 1, 100], [-200, 1, 100.0]])
    faces = np.roll([[0, 1, 2], [0, 2, 3]], roll, axis=1)
    k = np.array([[20.0, 0, 8], [0, 20, 10], [0, 0, 1]])
    size = (16, 500)
    _, depth, values = maps(rasterize(floor, faces, floor, k, size, antialias=False), size)
    rows = np.arange(size[1])
    first, last = 10 + 20 / 100, 10 + 20 / NEAR
    seen = (rows > first) & (rows < last)
    np.testing.assert_array_equal(np.isfinite(depth), np.broadcast_to(seen[:, None], depth.shape))
    np.testing.assert_allclose(
        depth[seen], np.broadcast_to(20 / (rows[seen] - 10)[:, None], (seen.sum(), 16)), rtol=5e-3
    )
    np.testing.assert_allclose(values[seen][..., 1], 1, atol=1e-4)
    np.testing.assert_allclose(values[seen][..., 2], depth[seen], rtol=1e-4)


@settings(max_examples=30)
@given(st.floats(0, 2 * np.pi), st.floats(-3, 3))
def test_coverage_of_a_half_plane(angle, offset):
    # One huge triangle whose first edge is the line n . (p - centre) = offset.
    normal, along = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    center = np.array([16.0, 16.0]) + offset * normal
    corners = np.array([center - 500 * along, center + 500 * along, center + 500 * normal])
    vertices = np.column_stack((corners, np.ones(3)))
    got = coverage(rasterize(vertices, [[0, 1, 2]], np.empty((3, 0)), np.eye(3), (33, 33)), (33, 33))
    fine = (np.arange(33 * 32) + 0.5) / 32 - 0.5
    inside = (fine[None, :] - center[0]) * normal[0] + (fine[:, None] - center[1]) * normal[1] > 0
    exact = inside.reshape(33, 32, 33, 32).mean(axis=(1, 3))
    partial = (exact > 0.02) & (exact < 0.98)
    assert np.abs(got - exact).max() < 0.3
    if partial.any():  # a line may run between the pixels
        assert np.abs(got - exact)[partial].mean() < 0.2
    assert (got[exact == 1] == 1).all() and (got[exact == 0] == 0).all()


def test_sides_of_a_face():
    # Counter-clockwise from the camera's side: x right, y down, so the second and third corner are swapped.
    toward, away = [[0, 2, 1]], [[0, 1, 2]]
    vertices = np.array([[-1, -1, 3], [1, -1, 3], [0, 1, 3.0]])
    both = rasterize(vertices, away, vertices, K, SIZE)
    assert len(both.pixel) > 100
    assert len(rasterize(vertices, away, vertices, K, SIZE, two_sided=False).pixel) == 0
    facing = rasterize(vertices, toward, vertices, K, SIZE, two_sided=False)
    np.testing.assert_array_equal(facing.pixel, both.pixel)


def test_an_arm_before_the_body_has_a_smooth_outline():
    # A tilted strip 40 cm before a wall: pixels on its edge see both.
    wall = [[-9, -9, 3], [9, -9, 3], [9, 9, 3], [-9, 9, 3]]
    strip = [[-1, -0.5, 2.6], [1, -0.3, 2.6], [1, 0.3, 2.6], [-1, 0.1, 2.6]]
    attributes = np.repeat([[0.0], [1.0]], 4, axis=0)
    faces = [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]
    samples = rasterize(np.array(wall + strip), faces, attributes, K, SIZE)
    np.testing.assert_allclose(coverage(samples, SIZE), 1, atol=1e-6)
    strip_share = np.bincount(samples.pixel, samples.weight * samples.attributes[:, 0], SIZE[0] * SIZE[1])
    assert ((strip_share > 0.05) & (strip_share < 0.95)).sum() > 40


@pytest.mark.parametrize("offset", [[50, 0, 3], [0, -50, 3], [0, 0, -5], [1e7, 1e7, 3]])
def test_meshes_out_of_sight(offset):
    vertices, faces, attributes = soup(0, low=(-0.1, -0.1, 1), high=(0.1, 0.1, 2))
    samples = rasterize(vertices + offset, faces, attributes, K, SIZE)
    assert len(samples.pixel) == 0 and samples.attributes.shape == (0, 3)


def test_nothing_to_draw():
    samples = rasterize(np.empty((0, 3)), np.empty((0, 3), int), np.empty((0, 2)), K, SIZE)
    assert len(samples.pixel) == 0 and samples.attributes.shape == (0, 2)


def test_a_mesh_around_the_camera_fills_the_image():
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = [[q[i] for i in t] for q in quads for t in ((0, 1, 2), (0, 2, 3))]
    samples = rasterize(corners, faces, corners, K, SIZE, two_sided=False)
    np.testing.assert_allclose(coverage(samples, SIZE), 1, atol=1e-6)
    np.testing.assert_allclose(np.abs(samples.attributes).max(axis=1), 1, atol=1e-3)


def test_threads_agree():
    vertices, faces, attributes = soup(3, 200)
    one = rasterize(vertices, faces, attributes, K, SIZE, threads=1)
    for threads in (2, 5):
        for a, b in zip(one, rasterize(vertices, faces, attributes, K, SIZE, threads=threads), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("vertices", "faces", "attributes", "message"),
    [
        (np.zeros((3, 2)), [[0, 1, 2]], np.zeros((3, 1)), "vertices"),
        (np.zeros((3, 3)), [[0, 1]], np.zeros((3, 1)), "faces"),
        (np.zeros((3, 3)), [[0, 1, 3]], np.zeros((3, 1)), "faces"),
        (np.zeros((3, 3)), [[0, 1, 2]], np.zeros((2, 1)), "attributes"),
        (np.full((3, 3), np.nan), [[0, 1, 2]], np.zeros((3, 1)), "finite"),
    ],
)
def test_bad_input_is_refused(vertices, faces, attributes, message):
    with pytest.raises(ValueError, match=message):
        rasterize(vertices, faces, attributes, K, SIZE)


def test_functions_without_a_cache_still_compile():
    # numba finds no place for the machine code of a function without a file, as in a read-only home.
    assert compiled(eval("lambda x: x + 1"))(2) == 3


def test_compiled_code_is_kept_on_disk():
    vertices, faces, attributes = soup(0)
    rasterize(vertices, faces, attributes, K, SIZE)
    folder = cache_folder()
    if folder is None:
        pytest.skip("no writable place for numba's cache")
    assert any(file.name.startswith("rasterize._draw") for file in folder.glob("*.nbc"))

import numpy as np
import pytest

from fullframe.geometry.camera import Camera
from fullframe.render import overlay
from fullframe.render.colors import PALETTE, person_colors
from fullframe.render.mesh_shading import draw_meshes, vertex_normals


def grey(people):
    width, height = people.camera.size
    return np.full((height, width, 3), 128, np.uint8)


def hue(pixel):
    return np.asarray(pixel, float) / np.max(pixel)


def test_a_ball_covers_its_projection(balls):
    # On the camera's axis a ball's outline is a circle of radius f r / sqrt(z^2 - r^2).
    people = balls([[0, 0, 4]], 0.5)
    white, black = np.full((240, 320, 3), 255, np.uint8), np.zeros((240, 320, 3), np.uint8)
    drawn = [
        draw_meshes(image, people.vertices, people.faces, [[90, 90, 90]], people.camera.intrinsics, 1.0)
        for image in (white, black)
    ]
    coverage = 1 - (drawn[0].astype(float) - drawn[1]).mean(axis=2) / 255
    radius = 400 * 0.5 / np.sqrt(4**2 - 0.5**2)
    v, u = np.mgrid[:240, :320]
    distance = np.hypot(u - 160, v - 120)
    assert (coverage[distance < radius - 1] == 1).all()
    assert (coverage[distance > radius + 1] == 0).all()
    # The area gives where the edge lies on average; the ball of triangles is a little smaller.
    assert abs(np.sqrt(coverage.sum() / np.pi) - radius) < 0.2
    assert ((coverage > 0.1) & (coverage < 0.9)).sum() > 100


def test_the_photo_shines_through_and_stays_elsewhere(balls):
    people = balls([[0, 0, 4]])
    photo = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    before = photo.copy()
    result = overlay(photo, people)
    np.testing.assert_array_equal(photo, before)
    np.testing.assert_array_equal(result[:40], photo[:40])
    inside = (slice(110, 130), slice(150, 170))
    correlation = np.corrcoef(result[inside].ravel(), photo[inside].ravel())[0, 1]
    assert correlation > 0.2
    assert (result[inside].std(axis=(0, 1)) < 0.4 * photo[inside].std(axis=(0, 1))).all()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_person_hides_the_farther(balls, order):
    people = balls([[0, 0, 3], [0.8, 0, 5]])[order]
    result = overlay(grey(people), people)
    alone = overlay(grey(people), people[people.translation[:, 2] < 4])
    np.testing.assert_array_equal(result[120, 160], alone[120, 160])
    # Right of the near ball's edge (column 228) the far one is seen, in its own colour.
    far = overlay(grey(people), people[people.translation[:, 2] > 4])
    assert (far[120, 200:250] != 128).any(axis=1).all()
    np.testing.assert_array_equal(result[120, 200:225], alone[120, 200:225])
    np.testing.assert_array_equal(result[120, 230:250], far[120, 230:250])


def test_light_comes_from_above_and_the_rim_is_dark(balls):
    people = balls([[0, 0, 4]])
    result = overlay(np.zeros((240, 320, 3), np.uint8), people).astype(float).sum(axis=2)
    assert result[85, 150] > 1.2 * result[155, 170]
    assert result[120, 160] > 1.3 * result[120, 208]


def test_half_a_body_before_the_lens(balls):
    # The camera is inside: the near plane cuts the ball open and its inside fills the image.
    people = balls([[0, 0, 0.1]])
    assert (overlay(grey(people), people) != 128).any(axis=2).all()


def test_no_people_and_none_in_view(balls):
    for people in (balls([]), balls([[0, 0, -3]]), balls([[50, 0, 3]])):
        np.testing.assert_array_equal(overlay(grey(people), people), grey(people))


def test_a_photo_of_another_size_is_refused(balls):
    with pytest.raises(ValueError, match="320"):
        overlay(np.zeros((240, 321, 3), np.uint8), balls([[0, 0, 3]]))


def test_odd_image_shapes(balls):
    for size in ((1, 1), (3000, 5), (5, 3000)):
        people = balls([[0, 0, 3]], camera=Camera.from_diagonal(size))
        assert overlay(grey(people), people).shape == (size[1], size[0], 3)


def test_number_of_threads_changes_nothing(balls):
    people = balls([[0, 0, 3], [0.5, 0.2, 4]])
    one, two, three = (
        draw_meshes(
            grey(people),
            people.vertices,
            people.faces,
            person_colors([0, 1]),
            people.camera.intrinsics,
            0.8,
            threads,
        )
        for threads in (1, 2, 3)
    )
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, three)


def test_normals_of_a_ball_point_outwards(balls):
    people = balls([[0, 0, 0]], 2.0)
    normals = vertex_normals(people.vertices[0], people.faces)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.testing.assert_allclose(normals, people.vertices[0] / 2, atol=0.01)


def test_colors_belong_to_ids():
    colors = person_colors(range(24))
    np.testing.assert_array_equal(colors[:8], PALETTE)
    np.testing.assert_array_equal(person_colors([5, 17]), colors[[5, 17]])
    assert len(np.unique(colors, axis=0)) == 24
    assert person_colors([]).shape == (0, 3)

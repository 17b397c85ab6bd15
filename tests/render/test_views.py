import numpy as np
import pytest

from fullframe.geometry.camera import Camera
from fullframe.render import birds_eye, sheet, side_view
from fullframe.render.colors import person_colors
from fullframe.render.drawing import Label, draw_labels
from fullframe.render.views import _scene

CROWDS = {
    "nobody": [],
    "one": [[0.3, 0.5, 3]],
    "near and far": [[0, 0.5, 1.2], [4, 0, 30], [-0.3, 0.4, 2]],
    "before the lens": [[0, 0, 0.3]],
    "eight": [[x, 0.4, 3 + 0.7 * abs(x)] for x in np.linspace(-3, 3, 8)],
    "in one place": [[0, 0, 4]] * 3,
    "behind": [[0, 0, -2]],
}


def mask_of(image, color):
    """Pixels with the hue of a person, however lit."""
    flat = image.astype(float)
    direction = flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1)
    return (direction @ (color / np.linalg.norm(color)) > 0.995) & (np.ptp(flat, axis=2) > 40)


@pytest.mark.parametrize("view", [side_view, birds_eye])
@pytest.mark.parametrize("crowd", CROWDS)
def test_every_crowd_is_drawn_without_touching_the_border(view, crowd, balls):
    image = view(balls(CROWDS[crowd]), (480, 360))
    assert image.shape == (360, 480, 3) and image.dtype == np.uint8
    assert (image < 200).any()
    border = np.concatenate((image[0], image[-1], image[:, 0], image[:, -1]))
    assert (border == 255).all()


@pytest.mark.parametrize("view", [side_view, birds_eye])
def test_a_scene_far_wider_than_deep_is_drawn(view, balls):
    assert (view(balls([[-1e6, 0.5, 4]]), (480, 360)) < 200).any()


@pytest.mark.parametrize("view", [side_view, birds_eye])
def test_everyone_is_in_the_picture(view, balls):
    people = balls(CROWDS["near and far"], 0.8)
    image = view(people, (900, 600))
    for color in person_colors(people.track_ids):
        assert mask_of(image, color).sum() > 20


def test_farther_is_right_from_the_side_and_up_from_above(balls):
    people = balls([[0, 0, 3], [0, 0, 7]])
    for view, axis, sign in ((side_view, 1, 1), (birds_eye, 0, -1)):
        image = view(people, (700, 600))
        near, far = (np.argwhere(mask_of(image, color))[:, axis].mean() for color in person_colors([0, 1]))
        assert sign * (far - near) > 50


def test_right_of_the_camera_is_right_from_above(balls):
    image = birds_eye(balls([[-1, 0, 5], [1, 0, 5]]), (700, 600))
    left, right = (np.argwhere(mask_of(image, color))[:, 1].mean() for color in person_colors([0, 1]))
    assert right - left > 50


def test_a_metre_is_a_metre_everywhere(balls):
    # From above, three balls in a row: distances on the picture are as in space, to 2 %.
    people = balls([[0, 0, 2], [0, 0, 4], [2, 0, 4]], 0.2)
    image = birds_eye(people, (1200, 900))
    a, b, c = (np.argwhere(mask_of(image, color)).mean(axis=0) for color in person_colors([0, 1, 2]))
    assert np.linalg.norm(a - b) == pytest.approx(np.linalg.norm(b - c), rel=0.05)


def test_the_frustum_has_the_cameras_field_of_view(balls):
    camera = Camera((500.0, 600.0), (200.0, 300.0), (800, 400), "intrinsics")
    scene = _scene(balls([[0, 0, 4]], camera=camera))
    np.testing.assert_allclose(
        scene.rectangle[:, :2] / scene.rectangle[:, 2:] * (500, 600) + (200, 300),
        [[-0.5, -0.5], [799.5, -0.5], [799.5, 399.5], [-0.5, 399.5]],
    )
    assert 0 < scene.rectangle[0, 2] < 3.5  # before the ball


@pytest.mark.parametrize("crowd", ["nobody", "one", "eight"])
@pytest.mark.parametrize("size", [(320, 240), (200, 400), (2000, 10), (1, 1)])
def test_sheet(crowd, size, balls):
    people = balls(CROWDS[crowd], camera=Camera.from_diagonal(size))
    people.image = "folder/photo.jpg"
    photo = np.full((size[1], size[0], 3), 60, np.uint8)
    page = sheet(photo, people)
    assert page.dtype == np.uint8 and page.shape[0] > 1200 and page.shape[1] > 700
    assert (page[:, :8] == 255).all() and (page[:, -8:] == 255).all()


def test_labels_do_not_overlap():
    # Twelve plates for one point: every one finds a place of its own.
    image = np.full((300, 600, 3), 255, np.uint8)
    color = (120, 30, 30)
    at = np.array((300.0, 200.0))
    draw_labels(image, [Label("88: 8.8 m", at, plate=color)], 16)
    one = (image != 255).any(axis=2).sum()
    image[:] = 255
    draw_labels(image, [Label("88: 8.8 m", at, plate=color)] * 12, 16)
    assert (image != 255).any(axis=2).sum() > 11 * one

    image[:] = 255
    draw_labels(image, [Label("first", at)], 16)
    first = image.copy()
    draw_labels(image, [], 16)
    image[:] = 255
    draw_labels(image, [Label("first", at), Label("second", at + 3)], 16)
    np.testing.assert_array_equal(image, first)

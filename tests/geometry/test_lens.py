"""The distortion of lenses: undone and put back."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.geometry.camera import Camera, project_points

SIZE = (1280, 720)
PLAIN = Camera((900.0, 910.0), (650.0, 350.0), SIZE, "calibration")
K = PLAIN.intrinsics
NORMAL = replace(PLAIN, distortion=(-0.25, 0.08, 0.001, -0.002, -0.01))
FISHEYE = replace(PLAIN, focal=(420.0, 420.0), distortion=(-0.02, 0.004, -0.001, 0.0), fisheye=True)
ACTION = replace(PLAIN, focal=(800.0, 800.0), distortion=(-0.28, 0.09, 0.0, 0.0, -0.015))
LENSES = {"normal": NORMAL, "action": ACTION, "fisheye": FISHEYE}


@pytest.mark.parametrize("name", LENSES)
def test_points_are_projected_as_opencv_does(name):
    camera = LENSES[name]
    points = np.random.default_rng(0).uniform((-1.5, -0.8, 3), (1.5, 0.8, 6), (50, 3))
    zero, d = np.zeros(3), np.array(camera.distortion)
    if camera.fisheye:
        expected = cv2.fisheye.projectPoints(points[:, None], zero, zero, camera.intrinsics, d)[0][:, 0]
    else:
        expected = cv2.projectPoints(points[:, None], zero, zero, camera.intrinsics, d)[0][:, 0]
    np.testing.assert_allclose(project_points(points, camera), expected, atol=1e-6)
    # The pinhole shows bent points where the lens shows the points.
    np.testing.assert_allclose(project_points(camera.bend(points), camera.pinhole), expected, atol=1e-6)


@pytest.mark.parametrize("name", LENSES)
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_round_trip_of_pixels(name, seed):
    """Every pixel that undistortion knows comes back; a lens for cameras knows them all."""
    camera = LENSES[name]
    pixels = np.random.default_rng(seed).uniform((0, 0), SIZE, (40, 2))
    flat = camera.undistort(pixels)
    known = np.isfinite(flat).all(axis=1)
    assert known.mean() > (0.6 if camera.fisheye else 0.99)
    np.testing.assert_allclose(camera.distort(flat[known]), pixels[known], atol=0.1)


@given(
    st.tuples(st.floats(-0.3, 0.3), st.floats(-0.1, 0.1), st.floats(-0.01, 0.01), st.floats(-0.01, 0.01)),
    st.floats(-0.6, 0.6),
    st.floats(-0.35, 0.35),
)
@settings(max_examples=200)
def test_round_trip_of_rays(distortion, x, y):
    """Whatever the lens: what it maps one to one is found again."""
    camera = replace(PLAIN, distortion=distortion)
    if not camera.distortion or np.hypot(x, y) > 0.95 * camera._steepest:
        return
    pixel = np.array([x, y]) * camera.focal + camera.principal_point
    np.testing.assert_allclose(camera.undistort(camera.distort(pixel)), pixel, atol=0.2)


def test_a_lens_does_not_fold_back():
    """k1 alone turns back far off the axis: points beyond stay at the edge, not in the middle again."""
    camera = replace(PLAIN, distortion=(-0.3, 0.0, 0.0, 0.0))
    far = np.array([[3.0, 0.0, 1.0], [30.0, 0.0, 1.0], [0.9, 0, 1.0]])
    x = project_points(far, camera)[:, 0]
    assert x[0] == pytest.approx(x[1]) and x[0] >= x[2] > camera.principal_point[0] + 500
    # Pixels that no ray reaches are unknown.
    assert np.isnan(camera.undistort(np.array([[5000.0, 350.0]]))).all()


def test_boxes_and_keypoints():
    boxes = np.array([[500, 200, 700, 600], [2, 3, 300, 700], [0, 0, 1280, 720]], np.float32)
    flat = NORMAL.undistort_boxes(boxes)
    # Barrel distortion: the picture's corners lie farther out; the middle hardly moves.
    assert np.abs(flat[0] - boxes[0]).max() < 12
    assert flat[1, 0] < -60 and flat[2, 2] > 1320
    inside = NORMAL.undistort(np.array([[2.0, 3.0], [150.0, 300.0], [299.0, 699.0]]))
    assert (inside >= flat[1, :2] - 1e-3).all() and (inside <= flat[1, 2:] + 1e-3).all()
    points = np.array([[[600, 300, 0.9], [0, 0, 0.5], [9000, 9000, 0.7]]], np.float32)
    found = NORMAL.undistort_keypoints(points)
    np.testing.assert_allclose(found[0, :2, 2], [0.9, 0.5])
    np.testing.assert_allclose(found[0, 2], 0)
    np.testing.assert_allclose(NORMAL.distort(found[0, :2, :2]), points[0, :2, :2], atol=0.05)


def test_beyond_what_a_pinhole_sees():
    """The corner of a wide fisheye looks backwards: its keypoints are unknown, its boxes end before."""
    wide = replace(FISHEYE, focal=(300.0, 300.0), distortion=(0.0, 0.0, 0.0, 0.0))
    assert wide.distortion == (0, 0, 0, 0)  # a fisheye without coefficients is no pinhole
    boxes = np.array([[0, 0, 1280, 720], [640, 340, 660, 360]], np.float32)
    flat = wide.undistort_boxes(boxes)
    assert np.isfinite(flat).all() and (flat[:, 2:] > flat[:, :2]).all()
    assert np.abs(flat[1] - boxes[1]).max() < 1
    corner = np.array([[[1279, 719, 0.9]]], np.float32)
    assert wide.undistort_keypoints(corner)[0, 0, 2] == 0


def test_the_picture_bends_with_the_points():
    """A dot of the undistorted image is where its pixel is."""
    image = np.zeros((720, 1280, 3), np.uint8)
    pixels = np.array([[300.0, 200.0], [900.0, 500.0]])
    for x, y in pixels.astype(int):
        cv2.circle(image, (int(x), int(y)), 6, (255, 255, 255), -1)
    flat = NORMAL.undistort_image(image)
    for pixel in NORMAL.undistort(pixels):
        x, y = np.rint(pixel).astype(int)
        window = flat[y - 15 : y + 16, x - 15 : x + 16, 0].astype(float)
        rows, columns = np.indices(window.shape) - 15
        offset = np.array([(columns * window).sum(), (rows * window).sum()]) / window.sum()
        assert np.linalg.norm(offset - (pixel - (x, y))) < 0.5


def test_saved_and_read():
    for camera in LENSES.values():
        assert Camera.from_dict(camera.to_dict()) == camera
    assert set(PLAIN.to_dict()) == {"focal", "principal_point", "size", "source"}
    assert NORMAL.pinhole == PLAIN and PLAIN.pinhole is PLAIN
    assert replace(PLAIN, distortion=(0.0,) * 5) == PLAIN
    with pytest.raises(ValueError, match="distortion"):
        Camera.from_dict({**NORMAL.to_dict(), "distortion": [1, 2]})

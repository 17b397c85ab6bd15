import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.detect.movenet import FLIP, THUNDER_SIDE, Window, multipose, thunder


class Brightest:
    """Stands in for Thunder: every joint is where the crop is brightest, weighted to sub-pixel precision."""

    def __call__(self, crop):
        assert crop.shape == (1, THUNDER_SIDE, THUNDER_SIDE, 3) and crop.dtype == np.int32
        light = crop[0, :, :, 0].astype(float)
        light[light < 0.3 * light.max()] = 0
        rows, columns = np.indices(light.shape)
        y, x = (rows * light).sum() / light.sum(), (columns * light).sum() / light.sum()
        joints = np.zeros((1, 1, 17, 3), np.float32)
        joints[..., 0], joints[..., 1] = (y + 0.5) / THUNDER_SIDE, (x + 0.5) / THUNDER_SIDE
        joints[..., 2] = np.arange(17) / 17
        return [joints]


@given(
    st.floats(-np.pi, np.pi), st.floats(60, 900), st.booleans(), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)
)
@settings(max_examples=40)
def test_a_spot_is_found_where_it_is(angle, side, flip, x, y):
    spot, blur = np.array([211.3, 160.8]), max(1.5, side / 100)
    rows, columns = np.indices((330, 420))
    light = np.exp(-((columns - spot[0]) ** 2 + (rows - spot[1]) ** 2) / (2 * blur**2))
    image = np.repeat((255 * light).astype(np.uint8)[..., None], 3, axis=2)
    center = spot + np.array([x, y]) * side
    found = thunder(Brightest(), image, Window(center, side, angle, flip))
    np.testing.assert_allclose(found[:, :2], np.tile(spot, (17, 1)), atol=max(0.15, side / 1000))
    confidence = np.arange(17) / 17
    np.testing.assert_allclose(found[:, 2], confidence[FLIP] if flip else confidence, atol=1e-6)


def test_a_window_beside_the_image_is_black():
    class Black:
        def __call__(self, crop):
            assert not crop.any()
            return [np.zeros((1, 1, 17, 3), np.float32)]

    white = np.full((20, 20, 3), 255, np.uint8)
    assert thunder(Black(), white, Window(np.array([500.0, 10.0]), 100)).shape == (17, 3)


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (100, 700), (1, 1)])
def test_multipose_boxes_are_pixels(size):
    height, width = size

    class Halves:
        """One person who fills the right half of what is not padding."""

        def __call__(self, image):
            _, h, w, _ = image.shape
            assert h % 32 == w % 32 == 0 and max(h, w) == 256 and image.dtype == np.int32
            scale = 256 / max(size)
            inside_h, inside_w = max(1, round(height * scale)), max(1, round(width * scale))
            people = np.zeros((1, 6, 56), np.float32)
            people[0, 0, 51:] = 0, inside_w / 2 / w, inside_h / h, inside_w / w, 0.7
            return [people]

    boxes, scores = multipose(Halves(), np.zeros((height, width, 3), np.uint8))
    np.testing.assert_allclose(boxes[0], [width / 2, 0, width, height], rtol=1e-5)
    np.testing.assert_allclose(scores, [0.7, 0, 0, 0, 0, 0], rtol=1e-6)

import numpy as np
import pytest

from fullframe.detect.nanodet import BINS, SIDE, STRIDES, candidates


class OnePerson:
    """Stands in for NanoDet: in the cell in the middle of the image, sides 4, 4, 5 and 6 strides away."""

    def __init__(self, person=0.8, other=0.1):
        self.person, self.other = person, other

    def __call__(self, image):
        assert image.shape == (1, 3, SIDE, SIDE) and image.dtype == np.float32
        outputs = []
        for stride in STRIDES:
            n = SIDE // stride
            scores = np.zeros((1, n * n, 80), np.float32)
            sides = np.zeros((1, n * n, 4, BINS), np.float32)
            if stride == 32:
                place = n // 2 * n + n // 2
                scores[0, place, 0], scores[0, place, 17] = self.person, self.other
                sides[0, place, np.arange(4), [4, 4, 5, 6]] = 50
            outputs += [scores, sides.reshape(1, n * n, 4 * BINS)]
        return outputs


@pytest.mark.parametrize(("height", "width"), [(416, 416), (480, 640), (1200, 900)])
def test_boxes_are_pixels_of_the_image(height, width):
    found = candidates(OnePerson(), np.zeros((height, width, 3), np.uint8))
    # The middle cell's centre is the middle of the image; the mirrored pass sees left and right swapped.
    scale = max(height, width) / SIDE
    plain = np.array([-4, -4, 5, 6]) * 32 * scale + np.tile([width / 2, height / 2], 2)
    mirrored = np.array([-5, -4, 4, 6]) * 32 * scale + np.tile([width / 2, height / 2], 2)
    expected = np.mean([x.clip(0, [width, height, width, height]) for x in (plain, mirrored)], axis=0)
    assert len(found.boxes) == 1
    np.testing.assert_allclose(found.boxes[0], expected, rtol=1e-4)
    # One raw box in each pass, of the five that a person should have.
    np.testing.assert_allclose(found.person, [0.8 / 5], rtol=1e-5)
    np.testing.assert_allclose(found.other, [0.1], rtol=1e-5)


def test_faint_people_are_no_candidates():
    found = candidates(OnePerson(person=0.09), np.zeros((100, 100, 3), np.uint8))
    assert len(found.boxes) == len(found.person) == len(found.other) == 0

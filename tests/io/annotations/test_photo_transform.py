import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fullframe.io.annotations.photo_transform import SizeError, are_upside_down, photo_transform


@given(
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)).filter(lambda size: size[0] != size[1]),
    orientation=st.integers(3, 8),
    data=st.data(),
)
def test_points_are_turned_as_the_pixels_are(size, orientation, data):
    x, y = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    image = Image.new("L", size)
    image.putpixel((x, y), 255)
    image.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(image)
    transform = photo_transform(size, upright.size, orientation, upside_down=orientation < 5)
    (point,) = transform.points(np.array([[x, y, 1]], np.float32))
    assert upright.getpixel((int(point[0]), int(point[1]))) == 255
    assert "turned alike" in transform.note


def test_nothing_changes_where_sizes_agree_or_are_unknown():
    points = np.array([[3, 4, 1], [5, 6, 0]], np.float32)
    for annotated in ((60, 80), None):
        transform = photo_transform(annotated, (60, 80), 6)
        np.testing.assert_array_equal(transform.points(points), points)
        assert transform.note == ""


def test_the_size_cannot_show_mirroring_or_a_half_turn():
    points = np.array([[3, 4, 1]], np.float32)
    for orientation in (2, 3, 4):
        transform = photo_transform((60, 80), (60, 80), orientation)
        np.testing.assert_array_equal(transform.points(points), points)
        assert transform.note == (
            f"taken as annotated upright: the file cannot say (EXIF orientation {orientation})"
        )
    assert photo_transform((60, 80), (60, 80), 1, upside_down=True).note == ""


def test_upside_down_people():
    names = ("nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip")
    upright = np.array([[5, 0, 1], [4, 10, 1], [6, 10, 1], [4, 30, 1], [6, 99, 0]], np.float32)
    turned = upright * (1, -1, 1)
    assert are_upside_down([turned], names) and are_upside_down([turned, upright, turned], names)
    assert not are_upside_down([upright, turned], names) and not are_upside_down([], names)
    assert not are_upside_down([turned * (1, 1, 0)], names)


def test_another_resolution_is_scaled():
    transform = photo_transform((1920, 1080), (640, 360))
    assert transform.boxes(np.array([300, 600, 900, 1080], np.float32)).tolist() == [100, 200, 300, 360]
    assert transform.note == "annotated at 1920 x 1080 px, scaled to 640 x 360"
    # By a pixel's rounding the ratio may differ.
    assert photo_transform((1000, 667), (500, 333)).note


def test_another_resolution_before_turning():
    transform = photo_transform((4000, 3000), (600, 800), 6)
    (point,) = transform.points(np.array([[0, 0, 1]], np.float32))
    np.testing.assert_allclose(point, [2999 / 5, 0, 1], atol=1e-4)
    assert "turned alike; annotated at 3000 x 4000 px, scaled" in transform.note


@pytest.mark.parametrize(
    ("annotated", "orientation", "message"),
    [((80, 60), 1, "60 x 80 px upright, but annotated as 80 x 60 px: turned since"),
     ((80, 60), 3, "turned since"),
     ((60, 70), 1, "cut, padded or another photo"),
     ((120, 150), 1, "cut, padded"),
     ((70, 60), 6, "cut, padded")],
)  # fmt: skip
def test_other_photos_are_refused(annotated, orientation, message):
    with pytest.raises(SizeError, match=message):
        photo_transform(annotated, (60, 80), orientation)


@given(
    annotated=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    factor=st.sampled_from([0.25, 0.5, 2, 3]),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_fractions_and_pixels_land_at_the_same_place(annotated, factor, corner):
    photo = tuple(max(1, round(side * factor)) for side in annotated)
    point = np.array([[*corner, 1]])
    whole = photo_transform(None, photo, normalized=True).points(point.astype(np.float32))
    np.testing.assert_allclose(whole[0, :2], np.array(corner) * photo, rtol=1e-5, atol=1e-3)

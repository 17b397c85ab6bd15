import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.geometry.box import (
    PersonBox,
    box_from_keypoints,
    box_from_xyxy,
    clip_boxes,
    crop_affine,
    crop_image,
    iou,
    nms,
)


def one_box(x: float, y: float, size: float) -> PersonBox:
    return PersonBox(np.array([[x, y]], float), np.array([size], float))


def test_golden_affine() -> None:
    (matrix,) = crop_affine(one_box(1400, 500, 600), (256, 192))
    expected = [[0.426667, 0, -501.333], [0, 0.426667, -85.333]]
    np.testing.assert_allclose(matrix, expected, atol=5e-4)


@pytest.mark.parametrize(("xyxy", "size"), [([0, 0, 30, 120], 120), ([0, 0, 120, 30], 160)])
def test_the_crop_holds_the_whole_box(xyxy: list[float], size: float) -> None:
    box = box_from_xyxy([xyxy], aspect=4 / 3, enlarge=1.0)
    assert box.size[0] == pytest.approx(size)
    np.testing.assert_allclose(box.center[0], [xyxy[2] / 2, xyxy[3] / 2])


def test_enlargement_scales_the_size_alone() -> None:
    plain, large = (box_from_xyxy([[10, 20, 50, 120]], enlarge=e) for e in (1.0, 1.2))
    np.testing.assert_allclose(large.size, plain.size * 1.2)
    np.testing.assert_allclose(large.center, plain.center)


@pytest.mark.parametrize("bad", [[0, 0, 0, 10], [5, 5, 1, 9], [0, 0, np.nan, 4], [0, 0, np.inf, 4]])
def test_what_is_not_a_box_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="box 1 is not a box"):
        box_from_xyxy([[0, 0, 1, 1], bad])


@settings(max_examples=50)
@given(
    st.floats(20, 80),
    st.floats(20, 60),
    st.floats(20, 400),
    st.sampled_from([(64, 48), (32, 32), (224, 168)]),
)
def test_a_ramp_is_sampled_by_the_affine(x: float, y: float, size: float, crop: tuple[int, int]) -> None:
    """On a linear ramp, bilinear sampling and block averages are exact, so every pixel is its own check."""
    image = np.zeros((81, 101, 3), np.uint8)
    image[..., 0] = np.arange(101) * 2
    image[..., 1] = np.arange(81)[:, None] * 3
    box = one_box(x, y, size)
    (result,) = crop_image(image, box, crop)
    (matrix,) = crop_affine(box, crop)
    rows, columns = np.mgrid[: crop[0], : crop[1]]
    in_x, in_y = ((columns - matrix[0, 2]) / matrix[0, 0], (rows - matrix[1, 2]) / matrix[1, 1])
    # A sample lies between two blocks, of which the further one ends a block and a half away.
    blur = 1.5 * max(1, size / crop[0]) + 1
    inside = (in_x > blur) & (in_x < 100 - blur) & (in_y > blur) & (in_y < 80 - blur)
    # OpenCV before 4.12 rounds positions to 1/32 px of the image that is averaged by whole factors.
    rounding = max(1, size / crop[0]) / 64
    assert np.abs(result[..., 0] - 2 * in_x)[inside].max(initial=0) <= 1.2 + 2 * rounding
    assert np.abs(result[..., 1] - 3 * in_y)[inside].max(initial=0) <= 1.2 + 3 * rounding
    reach = 1.5 * blur
    outside = (in_x < -reach) | (in_x > 101 + reach) | (in_y < -reach) | (in_y > 81 + reach)
    assert result[outside].max(initial=0) == 0


def test_a_box_far_outside_gives_a_black_crop() -> None:
    image = np.full((10, 10, 3), 255, np.uint8)
    assert crop_image(image, one_box(-500, 3, 20), (32, 24)).max() == 0


def test_extreme_sizes() -> None:
    wide = np.full((10, 20_000, 3), 7, np.uint8)
    assert crop_image(wide, one_box(10_000, 5, 20_000), (64, 48)).shape == (1, 64, 48, 3)
    assert (crop_image(wide, one_box(10_000, 5, 4), (64, 48)) == 7).all()
    assert crop_image(np.full((1, 1, 3), 9, np.uint8), one_box(0, 0, 1), (4, 4)).max() == 9


def test_box_from_keypoints() -> None:
    keypoints = np.zeros((2, 17, 3))
    keypoints[0, :3] = [[10, 10, 0.9], [30, 110, 0.8], [500, 500, 0.1]]
    boxes = box_from_keypoints(keypoints)
    assert boxes[0, 0] < 10 and boxes[0, 1] < 10 and 30 < boxes[0, 2] < 100 and 110 < boxes[0, 3] < 150
    assert np.isnan(boxes[1]).all()


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([600, 10, 700, 50], "box 1 lies outside the 525 x 430 px image"),
        ([10, 10, 10, 50], "box 1 has no area"),
        ([10, 10, np.nan, 50], "box 1 is not finite"),
    ],
)
def test_impossible_boxes(box: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        clip_boxes([[340, 60, 520, 430], box], (525, 430))


def test_boxes_are_cut_to_the_image() -> None:
    np.testing.assert_array_equal(clip_boxes([[-5, 10, 600, 90]], (525, 430)), [[0, 10, 525, 90]])


@st.composite
def boxes(draw, least=1):
    corner = st.integers(0, 50)
    side = st.integers(1, 40)
    rows = draw(st.lists(st.tuples(corner, corner, side, side), min_size=least, max_size=8))
    xywh = np.array(rows, float).reshape(-1, 4)
    return np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1)


@given(boxes(), boxes())
@settings(max_examples=50)
def test_iou_equals_counted_pixels(a, b):
    def mask(box):
        x1, y1, x2, y2 = box.astype(int)
        canvas = np.zeros((100, 100), bool)
        canvas[y1:y2, x1:x2] = True
        return canvas

    expected = [[(mask(p) & mask(q)).sum() / (mask(p) | mask(q)).sum() for q in b] for p in a]
    np.testing.assert_allclose(iou(a, b), expected)


@given(boxes(least=0), st.floats(0, 1))
@settings(max_examples=50)
def test_suppression_keeps_boxes_apart_and_drops_only_near_ones(found, limit):
    keep = nms(found, limit)
    overlap = iou(found, found)
    kept = overlap[np.ix_(keep, keep)]
    assert (kept[~np.eye(len(keep), dtype=bool)] <= limit).all()
    for i in set(range(len(found))) - set(keep.tolist()):
        assert (overlap[i, keep[keep < i]] > limit).any()


def test_suppression_with_a_limit_for_each_pair():
    twins = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [1, 0, 10, 10]], float)
    limit = np.full((3, 3), 0.5)
    assert nms(twins, limit).tolist() == [0]
    limit[0, 2] = limit[2, 0] = 0.95
    assert nms(twins, limit).tolist() == [0, 2]

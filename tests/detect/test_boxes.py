import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.detect.boxes import iou, nms


@st.composite
def boxes(draw, least=1):
    corner = st.integers(0, 50)
    side = st.integers(1, 40)
    rows = draw(st.lists(st.tuples(corner, corner, side, side), min_size=least, max_size=8))
    xywh = np.array(rows, float).reshape(-1, 4)
    return np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1)


@given(boxes(), boxes())
@settings(max_examples=50, deadline=None)
def test_iou_equals_counted_pixels(a, b):
    def mask(box):
        x1, y1, x2, y2 = box.astype(int)
        canvas = np.zeros((100, 100), bool)
        canvas[y1:y2, x1:x2] = True
        return canvas

    expected = [[(mask(p) & mask(q)).sum() / (mask(p) | mask(q)).sum() for q in b] for p in a]
    np.testing.assert_allclose(iou(a, b), expected)


@given(boxes(least=0), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
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

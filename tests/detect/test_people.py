import numpy as np
import pytest

from fullframe.detect.people import body_scores, distinct_people, keypoint_similarity

# A standing person in a box of 100 x 200 px: nose to ankles.
STANDING = np.array(
    [
        [50, 20], [46, 16], [54, 16], [42, 20], [58, 20], [30, 50], [70, 50], [20, 85], [80, 85], [10, 115],
        [90, 115], [36, 110], [64, 110], [34, 150], [66, 150], [34, 190], [66, 190],
    ],
    float,
)  # fmt: skip
BOX = np.array([0, 5, 100, 200], float)
RIGHT = np.array([1, 0, 1, 0])


def person(shift=(0, 0), confidence=0.6):
    return np.c_[STANDING + shift, np.full(17, confidence)].astype(np.float32)


def test_people_side_by_side_stay():
    boxes = np.array([BOX, BOX + 90 * RIGHT], np.float32)
    keypoints = np.stack((person(), person((90, 0))))
    np.testing.assert_array_equal(distinct_people(boxes, np.array([0.9, 0.4], np.float32), keypoints), [0, 1])


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_boxes_on_one_person_the_one_explained_by_the_keypoints_stays(order):
    """The upper half has the higher score, but its keypoints are those of the whole person."""
    half = BOX.copy()
    half[3] = 90
    boxes = np.array([BOX, half], np.float32)[order]
    keypoints = np.stack((person(), person((1, 1), 0.5)))[order]
    scores = np.array([0.5, 0.9], np.float32)[order]
    np.testing.assert_array_equal(distinct_people(boxes, scores, keypoints), [order.index(0)])


def test_two_sure_boxes_are_two_people():
    boxes = np.array([BOX, BOX + 10 * RIGHT], np.float32)
    keypoints = np.stack((person(), person((1, 1))))
    assert len(distinct_people(boxes, np.array([0.9, 0.8], np.float32), keypoints)) == 2
    assert len(distinct_people(boxes, np.array([0.9, 0.6], np.float32), keypoints)) == 1


def test_who_is_hardly_seen_is_nobody_and_scores_say_how_much_is_seen():
    boxes = np.array([BOX, BOX + 300], np.float32)
    hand = person((300, 300), 0.02)
    keypoints = np.stack((person(), hand))
    scores = np.array([0.999, 0.999], np.float32)
    np.testing.assert_array_equal(distinct_people(boxes, scores, keypoints), [0])
    np.testing.assert_allclose(body_scores(scores, keypoints), [0.5994, 0.01998], atol=1e-4)


def test_nobody():
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 17, 3), np.float32)
    assert distinct_people(*nothing).shape == (0,)


def test_similarity_is_coco_s():
    """At a distance of one standard deviation of a label, twice COCO's sigma, it is exp(-1/2)."""
    area = (BOX[2] - BOX[0]) * (BOX[3] - BOX[1])
    a, b = person(), person()
    b[:, 2] = 0
    b[0] = *(a[0, :2] + (2 * 0.026 * np.sqrt(area), 0)), 1
    similarity = keypoint_similarity(np.stack((a, b)), np.array([BOX, BOX], np.float32))
    np.testing.assert_allclose(similarity, [[1, np.exp(-0.5)], [np.exp(-0.5), 1]], rtol=1e-4)

import numpy as np
import pytest

from fullframe.detect.find_people import (
    TURNED_SCORE,
    body_scores,
    distinct_people,
    find_people,
    keypoint_similarity,
    lean_angle,
    quarter_turns,
)

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


def test_hardly_visible_people_are_dropped_and_scores_give_the_visible_share():
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


@pytest.mark.parametrize("degrees", [0, 35, 90, -120, 180])
def test_lean_of_the_trunk(degrees):
    joints = np.zeros((17, 3))
    joints[[5, 6, 11, 12]] = [[-20, -50, 1], [20, -50, 1], [-10, 50, 1], [10, 50, 1]]
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    joints[:, :2] = joints[:, :2] @ turn.T
    assert np.isclose(np.exp(1j * lean_angle(joints)), np.exp(1j * angle))
    joints[[11, 12], 2] = 0.1
    assert lean_angle(joints) is None


class UprightDetector:
    """Finds a standing person in images whose first pixel is white."""

    name = "upright"

    def __init__(self, score=0.9):
        self.looks = 0
        self.score = score

    def boxes(self, image):
        self.looks += 1
        if not image[0, 0].all():
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return BOX[None].astype(np.float32), np.array([self.score], np.float32)

    def keypoints(self, image, boxes):
        return np.stack([person() for _ in boxes]) if len(boxes) else np.zeros((0, 17, 3), np.float32)


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_people_in_turned_photos_are_found_where_they_are(turn):
    """The image is that of an upright person, turned clockwise."""
    image = np.zeros((210, 120, 3), np.uint8)
    image[0, 0] = 255
    height, width = image.shape[:2]
    detector = UprightDetector()
    found = find_people(detector, np.ascontiguousarray(np.rot90(image, -turn)))
    assert detector.looks == (1 if turn == 0 else 4)
    back = {
        0: lambda x, y: (x, y),
        1: lambda x, y: (y, width_of[1] - x),
        2: lambda x, y: (width - x, height - y),
        3: lambda x, y: (height_of[3] - y, x),
    }
    width_of, height_of = {1: height}, {3: width}
    x, y = back[turn](found.keypoints[0, :, 0] + 0.5, found.keypoints[0, :, 1] + 0.5)
    np.testing.assert_allclose(np.c_[x, y] - 0.5, STANDING, atol=1e-4)
    assert quarter_turns(found.keypoints[0]) == turn
    x1, y1, x2, y2 = found.boxes[0]
    corners = np.array([back[turn](x1, y1), back[turn](x2, y2)])
    np.testing.assert_allclose(np.r_[corners.min(0), corners.max(0)], BOX, atol=1e-4)


@pytest.mark.parametrize("turn", [0, 2])
def test_in_turned_photos_somebody_has_to_be_clear(turn):
    image = np.zeros((210, 120, 3), np.uint8)
    image[0, 0] = 255
    unsure = UprightDetector(TURNED_SCORE - 0.01)
    found = find_people(unsure, np.ascontiguousarray(np.rot90(image, -turn)))
    assert unsure.looks == 4 and len(found.boxes) == (turn == 0)


def test_empty_frames_of_a_clip_are_detected_once():
    detector = UprightDetector()
    assert not len(find_people(detector, np.zeros((100, 100, 3), np.uint8), empty_looks=False).boxes)
    assert detector.looks == 1


def test_parts_of_a_person_in_a_turned_photo_do_not_replace_the_person():
    class Parts:
        """One person of score 0.22 in the upright image, white at its top left; else three of 0.1."""

        name = "parts"

        def boxes(self, image):
            if image[0, 0, 0]:
                return np.float32([[10, 10, 70, 90]]), np.float32([0.5])
            return np.float32([[x, 10, x + 20, 60] for x in (5, 35, 65)]), np.full(3, 0.2, np.float32)

        def keypoints(self, image, boxes):
            points = np.zeros((len(boxes), 17, 3), np.float32)
            points[..., :2] = np.linspace(boxes[:, :2], boxes[:, 2:], 17, axis=1)
            # No trunk: nobody shows which way is up.
            points[:, :5, 2] = points[:, 13:, 2] = 0.83 if image[0, 0, 0] else 0.94
            return points

    image = np.zeros((100, 160, 3), np.uint8)
    image[0, 0] = 255
    found = find_people(Parts(), image)
    assert found.boxes.tolist() == [[10, 10, 70, 90]]

"""What differs between the many files that are called COCO."""

import json

import numpy as np
import pytest
import writers

from fullframe.detect.own_people import OwnPeople
from fullframe.io.annotations.keypoint_names import COCO17
from fullframe.io.annotations.read import read_annotations
from fullframe.io.image import Photo

H36M = (  # as mmpose names them
    "root right_hip right_knee right_foot left_hip left_knee left_foot spine thorax neck_base head "
    "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist"
)
IMAGES = [{"id": 0, "file_name": writers.NAME, "width": 640, "height": 480}]


def photo(width=640, height=480, orientation=1):
    return Photo(np.zeros((height, width, 3), np.uint8), orientation, None, f"x/{writers.NAME}")


def person(x=300.0):
    points = np.array([[x + 3 * k, 60 + 20 * k, 1.0] for k in range(17)])
    points[:3] = [[x, 60, 1], [x + 4, 56, 1], [x - 4, 56, 1]]
    return points


@pytest.fixture
def read(tmp_path):
    def to(content):
        (tmp_path / "a.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return read_annotations(tmp_path / "a.json")

    return to


def annotations(points=None, entry=(), **category):
    (whole,) = writers.person_entries([person() if points is None else points])
    whole |= {"image_id": 0, "category_id": category.get("id", 1), **dict(entry)}
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO17), **category}]
    return {"images": list(IMAGES), "annotations": [whole], "categories": categories}


def test_the_persons_category_may_have_any_id(read):
    for number in (0, 1, 7):
        content = annotations(id=number)
        content["categories"].insert(0, {"id": 3, "name": "car"})
        content["annotations"].append({**content["annotations"][0], "category_id": 3})
        file = read(content)
        assert len(file.people) == 1 and file.stats.reasons() == "1 of another category (car)"


def test_names_say_the_order(read):
    exchanged = [n.replace("left", "x").replace("right", "left").replace("x", "right") for n in COCO17]
    file = read(annotations(person()[[exchanged.index(n) for n in COCO17]], keypoints=exchanged))
    np.testing.assert_allclose(OwnPeople(None, file).for_photo(photo()).keypoints[0], person())


def test_human36m_is_not_taken_for_coco(read):
    h36m = H36M.split()
    places = {
        "left_hip": (320, 250),
        "right_hip": (290, 250),
        "left_knee": (322, 330),
        "right_knee": (288, 330),
    }
    rows = np.array([(*places.get(name, (300, 100 + 5 * k)), 1.0) for k, name in enumerate(h36m)])
    found = OwnPeople(None, read(annotations(rows, keypoints=h36m))).for_photo(photo()).keypoints[0]
    assert found[COCO17.index("left_knee")].tolist() == [322, 330, 1]
    assert not found[:5].any()  # it has neither nose nor eyes
    # Without names, they are refused rather than mistaken.
    body = {
        "root": (310, 250), "right_hip": (295, 252), "right_knee": (292, 330), "right_foot": (290, 410),
        "left_hip": (325, 252), "left_knee": (328, 330), "left_foot": (330, 410), "spine": (310, 210),
        "thorax": (310, 165), "neck_base": (310, 140), "head": (310, 120), "left_shoulder": (335, 168),
        "left_elbow": (345, 215), "left_wrist": (350, 260), "right_shoulder": (285, 168),
        "right_elbow": (275, 215), "right_wrist": (270, 260),
    }  # fmt: skip
    content = annotations(np.array([(*body[name], 1.0) for name in h36m]))
    del content["categories"]
    with pytest.raises(ValueError, match="17 keypoints have no names, and look like Human3.6M's"):
        read(content)


def test_boxes_as_corners_are_recognised_by_keypoints_or_image(read):
    x1, y1, x2, y2 = box = writers.box_of(person())
    file = read(annotations(entry={"bbox": box}))
    np.testing.assert_allclose(file.people[0].box, box)
    assert "its boxes are x1, y1, x2, y2" in file.stats.notes[0]
    # A box that reaches out of the image as x, y, width, height, and not as corners.
    file = read(annotations(entry={"bbox": [400, 200, 600, 460], "keypoints": None}))
    assert file.people[0].box.tolist() == [400, 200, 600, 460]
    # One entry that cannot be corners decides that none is.
    content = annotations(entry={"bbox": box})
    content["annotations"].append({"image_id": 0, "category_id": 1, "bbox": [400, 300, 50, 60]})
    np.testing.assert_allclose(read(content).people[0].box, [x1, y1, x1 + x2, y1 + y2])


def test_boxes_that_reach_a_little_out_of_the_image_stay(read):
    file = read(annotations(entry={"bbox": [-20, 400, 100, 100], "keypoints": None}))
    assert file.people[0].box.tolist() == [-20, 400, 80, 500] and not file.stats.notes


def test_a_box_that_was_not_drawn(read):
    file = read(annotations(entry={"bbox": [0, 0, 0, 0]}))
    assert file.people[0].box is None
    x1, y1, x2, y2 = OwnPeople(None, file).for_photo(photo()).boxes[0]
    assert x1 < 296 and y1 < 56 and x2 > 348 and y2 > 380


def test_result_lists_without_categories(read):
    entry = {"image_id": writers.NAME, "bbox": [1, 2, 3, 4]}
    assert len(read([entry, {**entry, "category_id": 1}, {**entry, "category_id": 18}]).people) == 2
    file = read([{**entry, "category_id": 0}])
    assert len(file.people) == 1 and "category 0, which all entries have" in file.stats.notes[0]
    file = read([{**entry, "category_id": 18}])
    assert not file.people and file.stats.reasons() == "1 of another category (id 18)"


def test_numbers_written_as_text_and_with_a_byte_order_mark(read):
    content = annotations()
    content["images"][0] = {**IMAGES[0], "id": "7", "width": "640"}
    content["annotations"][0]["image_id"] = 7
    file = read("\ufeff" + json.dumps(content))
    assert len(file.people) == 1 and file.images[0].size == (640, 480)


def test_ids_and_tracks_are_kept(read):
    file = read(annotations(entry={"id": 31, "track_id": 4}))
    assert (file.people[0].id, file.people[0].track_id) == (31, 4)
    assert read(annotations(entry={"attributes": {"track_id": 9}})).people[0].track_id == 9  # CVAT


def test_entries_of_other_categories_are_no_empty_photo(read):
    content = annotations()
    content["categories"].append({"id": 3, "name": "car"})
    content["annotations"] = [{**content["annotations"][0], "category_id": 3}] * 12
    found = OwnPeople(None, read(content)).for_photo(photo())
    assert found.notes == ["0 of 12 entries in a.json are people: 12 of another category (car)"]
    content["annotations"] = []
    assert OwnPeople(None, read(content)).for_photo(photo()).notes == ["a.json names nobody in it"]
    content["categories"] = content["categories"][1:]
    with pytest.raises(
        ValueError, match=r"none of its categories is 'person' or has keypoints \(they are car\)"
    ):
        read(content)

"""People of the user's files in the photos that they are about."""

import json

import numpy as np
import pytest

from fullframe.detect.own_people import read_own_people
from fullframe.io.annotations.keypoint_names import COCO17
from fullframe.io.image import Photo

JOINTS = [v for j in range(17) for v in (100 + (j % 3) * 5, 200 + 10 * j, j % 3)]


@pytest.fixture
def write(tmp_path):
    def to(content, name="given.json"):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / name

    return to


def entry(**changes):
    return {"image_id": 785, "category_id": 1, "bbox": [10, 20, 30, 60], "score": 0.5} | changes


def photo(path, size=(640, 480), orientation=1):
    return Photo(np.zeros((size[1], size[0], 3), np.uint8), orientation, None, str(path))


def test_nothing_given():
    assert read_own_people(None, None) is None


@pytest.mark.parametrize(
    "name", ["000000000785.jpg", "COCO_val2014_000000000785.png", "785.JPG", "a/b/785.jpg"]
)
def test_results_by_image_id(write, name):
    results = [entry(), entry(bbox=[1, 2, 3, 4], score=0.25), entry(image_id=36), entry(category_id=18)]
    given = read_own_people(write(results), None).for_photo(photo(name))
    assert given.keypoints is None
    np.testing.assert_array_equal(given.boxes, [[10, 20, 40, 80], [1, 2, 4, 6]])
    np.testing.assert_array_equal(given.scores, np.array([0.5, 0.25], np.float32))
    assert "1 of 3 entries left out (1 of another category (id 18))" in given.notes[0]


def test_keypoints_and_their_boxes(write):
    scores = [0.31 if i % 3 == 2 else value for i, value in enumerate(JOINTS)]
    people = [entry(keypoints=JOINTS), entry(keypoints=scores)]
    del people[1]["bbox"]
    given = read_own_people(None, write(people)).for_photo(photo("785.jpg"))
    assert given.keypoints.shape == (2, 17, 3) and given.keypoints.dtype == np.float32
    # Visibility 2 is sure, too; a point of none has no place.
    np.testing.assert_array_equal(given.keypoints[0, :6, 2], [0, 1, 1, 0, 1, 1])
    assert not given.keypoints[0, 0].any()
    np.testing.assert_array_equal(given.keypoints[1, :, 2], np.float32(0.31))
    np.testing.assert_array_equal(given.boxes[0], [10, 20, 40, 80])
    x1, y1, x2, y2 = given.boxes[1]
    assert 50 < x1 < 100 and 110 < x2 < 160 and 150 < y1 < 200 and 360 < y2 < 410


def test_boxes_and_keypoints_from_two_files(write):
    boxes = write([entry(bbox=[5, 5, 50, 50])], "boxes.json")
    keypoints = write([entry(keypoints=JOINTS)], "keypoints.json")
    given = read_own_people(boxes, keypoints).for_photo(photo("785.jpg"))
    np.testing.assert_array_equal(given.boxes, [[5, 5, 55, 55]])
    assert given.keypoints.shape == (1, 17, 3)
    two = write([entry(), entry()], "two.json")
    with pytest.raises(ValueError, match=r"two\.json has 2 people for 785\.jpg.*same order"):
        read_own_people(two, keypoints).for_photo(photo("785.jpg"))


def test_two_files_go_together_by_id_whatever_their_order(write):
    other = [v + 7 if i % 3 == 0 else v for i, v in enumerate(JOINTS)]
    boxes = write([entry(id=1), entry(id=2, bbox=[50, 50, 9, 9])], "boxes.json")
    keypoints = write([entry(id=2, keypoints=other), entry(id=1, keypoints=JOINTS)], "keypoints.json")
    given = read_own_people(boxes, keypoints).for_photo(photo("785.jpg"))
    assert given.keypoints[:, 1, 0].tolist() == [105, 112]
    # Without ids, one that is left out would move all that follow.
    boxes = write([entry(bbox=[1, 1, 0, 0]), entry()], "boxes.json")
    keypoints = write([entry(keypoints=other), entry(keypoints=JOINTS)], "keypoints.json")
    with pytest.raises(ValueError, match="1 people for 785.jpg.*has 2"):
        read_own_people(boxes, keypoints).for_photo(photo("785.jpg"))


def test_an_unknown_photo(write):
    with pytest.raises(ValueError, match=r"given\.json has no entry for other\.jpg"):
        read_own_people(write([entry()]), None).for_photo(photo("other.jpg"))


def test_a_file_of_boxes_is_not_one_of_keypoints(write):
    with pytest.raises(ValueError, match=r"given\.json has no keypoints"):
        read_own_people(None, write([entry()]))


def test_people_without_keypoints_among_others_are_left_out(write):
    given = read_own_people(None, write([entry(keypoints=JOINTS), entry()])).for_photo(photo("785.jpg"))
    assert len(given.boxes) == 1 and "entry 1 has no keypoints: add them" in given.notes[0]


def test_where_nobody_can_be_used_the_photo_fails(write):
    people = [entry(keypoints=[0] * 51, bbox=None)]
    with pytest.raises(ValueError, match=r"none of its entries.*fewer than 2 keypoints.*add a bbox"):
        read_own_people(None, write(people)).for_photo(photo("785.jpg"))


def images(*names, size=(640, 480)):
    return [
        {"id": n, "file_name": name, "width": size[0], "height": size[1]} for n, name in enumerate(names, 1)
    ]


def test_folders_distinguish_photos_of_the_same_name(write, tmp_path):
    paths = [tmp_path / camera / "000001.jpg" for camera in ("camA", "camB")]
    people = [entry(image_id=1), entry(image_id=2), entry(image_id=2)]
    file = write({"images": images("camA/000001.jpg", "camB/000001.jpg"), "annotations": people})
    own = read_own_people(file, None, paths)
    assert [len(own.for_photo(photo(path)).boxes) for path in paths] == [1, 2]
    file = write({"images": images("000001.jpg"), "annotations": people[:1]})
    for path in paths:
        with pytest.raises(ValueError, match="matches .*000001.jpg as well"):
            read_own_people(file, None, paths).for_photo(photo(path))


def test_people_of_the_neighbouring_folder_are_not_taken(write, tmp_path):
    for camera in ("camA", "camB"):
        (tmp_path / camera).mkdir()
        (tmp_path / camera / "000001.jpg").write_bytes(b"")
    file = write({"images": images("camA/000001.jpg"), "annotations": [entry(image_id=1)]})
    own = read_own_people(file, None, [tmp_path / "camB" / "000001.jpg"])
    with pytest.raises(ValueError, match="it is about .*camA"):
        own.for_photo(photo(tmp_path / "camB" / "000001.jpg"))
    (tmp_path / "camA" / "000001.jpg").unlink()
    given = own.for_photo(photo(tmp_path / "camB" / "000001.jpg"))  # the folder was renamed
    assert given.notes == ["taken from camA/000001.jpg in given.json"]
    long = "x" * 300 + "/000001.jpg"  # no folder can have that name
    file = write({"images": images(long), "annotations": [entry(image_id=1)]})
    own = read_own_people(file, None, [tmp_path / "camB" / "000001.jpg"])
    assert len(own.for_photo(photo(tmp_path / "camB" / "000001.jpg")).boxes) == 1


def test_the_size_decides_how_coordinates_are_changed(write):
    content = {"images": images("a.jpg"), "annotations": [entry(image_id=1, keypoints=JOINTS)]}
    own = read_own_people(None, write(content))
    assert own.for_photo(photo("a.jpg")).boxes[0].tolist() == [10, 20, 40, 80]
    half = own.for_photo(photo("a.jpg", (320, 240)))
    assert half.boxes[0].tolist() == [5, 10, 20, 40] and half.keypoints[0, 1, :2].tolist() == [52.5, 105]
    turned = own.for_photo(photo("a.jpg", (480, 640), orientation=6))
    assert turned.boxes[0].tolist() == [399, 10, 459, 40]
    with pytest.raises(ValueError, match=r"a\.jpg: 480 x 640 px upright, but annotated as 640 x 480.*given"):
        own.for_photo(photo("a.jpg", (480, 640)))


@pytest.mark.parametrize(
    ("size", "orientation", "hint"),
    [((320, 240), 1, "at another resolution"), ((480, 640), 6, "before it was turned")],
)
def test_without_a_size_people_must_be_in_the_photo(write, size, orientation, hint):
    file = write([entry(image_id="a.jpg", bbox=[500, 20, 100, 100])])
    assert len(read_own_people(file, None).for_photo(photo("a.jpg")).boxes) == 1
    with pytest.raises(ValueError, match="outside the photo|" + hint):
        read_own_people(file, None).for_photo(photo("a.jpg", size, orientation))


def test_what_is_in_a_file_and_what_is_not_used_is_logged(write, caplog):
    points = [*JOINTS, *[0] * 348]
    categories = [{"id": 1, "name": "person", "keypoints": [*COCO17, *(f"face-{k}" for k in range(116))]}]
    people = [entry(image_id=1, keypoints=points), entry(image_id=1, iscrowd=1)]
    file = write({"images": images("a.jpg"), "annotations": people, "categories": categories})
    with caplog.at_level("INFO", "fullframe"):
        read_own_people(None, file)
    first, second = caplog.messages
    assert first.endswith("given.json: COCO annotations, 1 person in 1 image; left out: 1 crowd")
    assert second.endswith("given.json: 17 of 133 keypoints are used (named in categories)")

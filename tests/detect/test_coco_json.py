import json
from pathlib import Path

import numpy as np
import pytest

from fullframe.detect.coco_json import read_people

JOINTS = [value for j in range(17) for value in (100 + 5 * j, 200 + 10 * j, j % 3)]


@pytest.fixture
def write(tmp_path):
    def to(content, name="given.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return to


def entry(**changes):
    return {"image_id": 785, "category_id": 1, "bbox": [10, 20, 30, 60], "score": 0.5} | changes


def test_nothing_given():
    assert read_people(None, None).for_photo(Path("any.jpg")) == {}


@pytest.mark.parametrize(
    "photo", ["000000000785.jpg", "COCO_val2014_000000000785.png", "785.JPG", "a/b/785.jpg"]
)
def test_results_by_image_id(write, photo):
    results = [entry(), entry(bbox=[1, 2, 3, 4], score=0.25), entry(image_id=36), entry(category_id=18)]
    given = read_people(write(results), None).for_photo(Path(photo))
    assert set(given) == {"boxes", "scores"}
    np.testing.assert_array_equal(given["boxes"], [[10, 20, 40, 80], [1, 2, 4, 6]])
    np.testing.assert_array_equal(given["scores"], np.array([0.5, 0.25], np.float32))


@pytest.mark.parametrize("name", ["Team.jpg", "team", "photos/TEAM.jpg"])
def test_results_by_file_name(write, name):
    person = entry(file_name=name)
    del person["image_id"], person["score"]
    given = read_people(write([person]), None).for_photo(Path("x/team.jpg"))
    np.testing.assert_array_equal(given["scores"], [1])


def annotations():
    return {
        "images": [
            {"id": 7, "file_name": "one.jpg", "width": 640, "height": 480},
            {"id": 8, "file_name": "nobody.jpg", "width": 640, "height": 480},
            {"id": 785, "file_name": "000000000785.jpg"},
        ],
        "annotations": [
            entry(image_id=7, keypoints=JOINTS, iscrowd=0),
            entry(image_id=7, bbox=[-20, 400, 100, 100]),
            entry(image_id=7, iscrowd=1),
            entry(image_id=785),
        ],
    }


def test_annotations(write):
    given = read_people(write(annotations()), None)
    one = given.for_photo(Path("one.jpg"))
    np.testing.assert_array_equal(one["boxes"], [[10, 20, 40, 80], [0, 400, 80, 480]])  # cut to the image
    assert given.for_photo(Path("nobody.jpg"))["boxes"].shape == (0, 4)
    assert len(given.for_photo(Path("COCO_val2014_000000000785.jpg"))["boxes"]) == 1
    # A photo is not mistaken for the one that happens to have its number as id.
    with pytest.raises(ValueError, match="no entry"):
        given.for_photo(Path("7.jpg"))


def test_keypoints_and_their_boxes(write):
    scores = [0.31 if i % 3 == 2 else value for i, value in enumerate(JOINTS)]
    people = [entry(keypoints=JOINTS), entry(keypoints=scores)]
    del people[1]["bbox"]
    given = read_people(None, write(people)).for_photo(Path("785.jpg"))
    assert given["keypoints"].shape == (2, 17, 3) and given["keypoints"].dtype == np.float32
    np.testing.assert_array_equal(
        given["keypoints"][0, :6, 2], [0, 1, 1, 0, 1, 1]
    )  # visibility 2 is sure, too
    np.testing.assert_array_equal(given["keypoints"][1, :, 2], np.float32(0.31))
    np.testing.assert_array_equal(given["keypoints"][0, :, 0], 100 + 5 * np.arange(17))
    np.testing.assert_array_equal(given["boxes"][0], [10, 20, 40, 80])
    x1, y1, x2, y2 = given["boxes"][1]
    assert 50 < x1 < 100 and 180 < x2 < 230 and 150 < y1 < 200 and 360 < y2 < 410


def test_boxes_and_keypoints_from_two_files(write):
    boxes = write([entry(bbox=[5, 5, 50, 50])], "boxes.json")
    keypoints = write([entry(keypoints=JOINTS)], "keypoints.json")
    given = read_people(boxes, keypoints).for_photo(Path("785.jpg"))
    np.testing.assert_array_equal(given["boxes"], [[5, 5, 55, 55]])
    assert given["keypoints"].shape == (1, 17, 3)
    two = write([entry(), entry()], "two.json")
    with pytest.raises(ValueError, match=r"two\.json has 2 people for 785\.jpg.*same order"):
        read_people(two, keypoints).for_photo(Path("785.jpg"))


def test_an_unknown_photo(write):
    with pytest.raises(ValueError, match=r"given\.json has no entry for other\.jpg"):
        read_people(write([entry()]), None).for_photo(Path("other.jpg"))


BAD_BOXES = {
    "no area": [10, 10, 0, 50],
    "above 0": [10, 10, 20, -5],
    "outside": [-60, 10, 50, 50],
    "not finite": [float("nan"), 1, 2, 3],
    "must be 4 numbers, found 3": [1, 2, 3],
    "must be 4 numbers": ["a", 2, 3, 4],
    "must be 4 numbers, found 7": 7,
}


@pytest.mark.parametrize("reason", BAD_BOXES)
def test_impossible_boxes(write, reason):
    people = [entry(), entry(bbox=BAD_BOXES[reason])]
    with pytest.raises(ValueError, match=rf"given\.json, entry 1.*{reason}"):
        read_people(write(people), None)


def test_a_box_outside_its_annotated_image(write):
    content = annotations()
    content["annotations"][1]["bbox"] = [700, 10, 50, 50]
    with pytest.raises(ValueError, match=r"entry 1: bbox.*outside the image.*full image"):
        read_people(write(content), None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"keypoints": JOINTS[:48]}, "keypoints must be 51 numbers, found 48"),
        ({"keypoints": [*JOINTS[:50], float("inf")]}, "keypoints is not finite"),
        ({"keypoints": []}, "no keypoints"),
        ({"keypoints": JOINTS, "score": None}, "score"),
        ({"keypoints": JOINTS, "image_id": None}, "neither a file name nor a number"),
    ],
)
def test_impossible_keypoints(write, changes, reason):
    with pytest.raises(ValueError, match=rf"given\.json, entry 0.*{reason}"):
        read_people(None, write([entry(**changes)]))


def test_too_few_keypoints_for_a_box(write):
    person = entry(keypoints=[0] * 51)
    del person["bbox"]
    with pytest.raises(ValueError, match=r"fewer than 2 keypoints.*add a bbox"):
        read_people(None, write([person]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no json", "is not a JSON file"),
        ("7", "neither a list of COCO results"),
        ("{}", "neither a list of COCO results"),
        ('{"images": 3, "annotations": []}', "neither a list of COCO results"),
        ("[3]", "entry 0: expected an object"),
        ('[{"bbox": [1, 2, 3, 4]}]', "expected an image_id or a file_name"),
        ('[{"image_id": 3}]', "neither a bbox nor keypoints"),
        ('{"images": [{"id": 3}], "annotations": []}', r"images\[0\]: expected id and file_name"),
        ('{"images": [{"id": 3, "file_name": "a.jpg"}], "annotations": [{"image_id": 4}]}', "is not among"),
    ],
)
def test_other_files(write, content, reason):
    with pytest.raises(ValueError, match=reason):
        read_people(write(content), None)


def test_a_missing_or_binary_file(tmp_path):
    with pytest.raises(OSError, match=r"none\.json"):
        read_people(tmp_path / "none.json", None)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" * 9)
    with pytest.raises(ValueError, match="not a JSON file"):
        read_people(None, tmp_path / "photo.jpg")


@pytest.mark.parametrize(
    "text",
    [
        '{"images": [{"id": [1], "file_name": "a.jpg"}], "annotations": []}',
        '{"images": [{"id": 1, "file_name": "a.jpg", "width": null}], "annotations": []}',
        '[{"image_id": {}, "bbox": [1, 2, 3, 4]}]',
        '[{"image_id": 1, "bbox": [true, true, true, true]}]',
        '[{"image_id": 1, "bbox": [1, 2, 1e300, 4]}]',
        '[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 9}]',
        "[" * 100_000,
    ],
)
def test_malformed_files_are_refused_by_name(tmp_path, text):
    path = tmp_path / "given.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"given\.json"):
        read_people(path, None)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "given.json"
    path.write_text('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', encoding="utf-8-sig")
    assert len(read_people(path, None).for_photo(Path("1.jpg"))["boxes"]) == 1

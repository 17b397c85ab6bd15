"""Annotations of all sorts, and photos that are not what they should be."""

import json
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from fullframe.annotate import photo_people as reading
from fullframe.annotate.crops import prepare
from fullframe.annotate.photo_people import PhotoPeople, find_people, read_people
from fullframe.body import JOINT_SETS
from fullframe.io.workdir import Shards, WorkDir

IMAGES = [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 80}]
POINTS = [20.0, 30.0, 2] * 17


def entry(number=1, **changes):
    whole = {"id": number, "image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 60], "keypoints": POINTS}
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


@pytest.fixture
def read(tmp_path):
    """Reads annotations of these entries about a.jpg, which is there."""
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((80, 60, 3), 99, np.uint8))

    def reader(*entries, images=IMAGES, names=JOINT_SETS["coco17"].names):
        categories = [{"id": 1, "name": "person", "keypoints": list(names)}]
        content = {"images": images, "annotations": list(entries), "categories": categories}
        (tmp_path / "x.json").write_text(json.dumps(content))
        return read_people(tmp_path / "x.json", tmp_path)

    return reader


def shards(people, tmp_path):
    return Shards(tmp_path / "work", 256, len(people))


def problems(given, tmp_path, joint_set="coco17"):
    crops, found, _ = prepare(PhotoPeople(given, tmp_path), joint_set, shards(given, tmp_path), None)
    return crops, [*given.left_out, *found]


def test_names_in_any_order_and_of_any_joint_set(read, tmp_path):
    names = ["Head Top", "left-ankle", "neck"]
    given = read(entry(keypoints=[1, 2, 2, 3, 4, 1, 5, 6, 0.4]), names=names)
    assert given.joint_set == "lsp14"
    rows = JOINT_SETS["lsp14"].names
    found = {rows[k]: given.keypoints[0, k].tolist() for k in np.flatnonzero(given.keypoints[0, :, 2])}
    assert found == {"head_top": [1, 2, 1], "left_ankle": [3, 4, 1], "neck": [5, 6, pytest.approx(0.4)]}


@pytest.mark.parametrize("joint_set", JOINT_SETS)
def test_every_joint_set_is_known_by_its_names(read, joint_set):
    names = JOINT_SETS[joint_set].names
    given = read(entry(keypoints=[7.0, 8.0, 2] * len(names)), names=names[::-1])
    assert set(names) <= set(JOINT_SETS[given.joint_set].names)
    assert (given.keypoints[0, :, 2] > 0).sum() == len(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [(("nose", "tail", "left_wing"), "unknown keypoint names tail, left_wing"),
     (("nose", "nose"), "stands twice"),
     (("left_foot", "nose"), "do not belong to one joint set.*lsp14: right_ankle")],
)  # fmt: skip
def test_unknown_joint_names_are_reported(read, tmp_path, names, message):
    with pytest.raises(ValueError, match=message) as error:
        read(entry(keypoints=[1, 2, 2] * len(names)), names=names)
    assert "x.json" in str(error.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (entry(1), "the id 1 is taken"),
        (entry(2, image_id=9), "image_id 9 is not among"),
        (entry(2, keypoints=[1, 2]), "keypoints must be 51 numbers, found 2 values"),
        (
            entry(2, bbox=None, keypoints=[5, 5, 2, 90, 9, 2] + 45 * [0]),
            "fewer than 2 keypoints in the photo",
        ),
        (entry(2, bbox=[0, 0, 1e5, 1e5]), "more than 2 times as large as the photo"),
        (entry(2, bbox=[10, 10, 0, 0]), "has no area"),
        (entry(2, bbox=[100, 10, 5, 5]), "lies outside the image"),
        (
            entry(2, bbox=None, keypoints=[5, 5, 2] + 48 * [0]),
            "fewer than 2 keypoints in the photo: add a bbox",
        ),
        ("someone", "expected an object"),
    ],
)
def test_people_who_cannot_be_labelled_are_left_out_and_reported(read, tmp_path, bad, message):
    crops, reported = problems(read(entry(1), bad), tmp_path)
    assert len(crops) == 1 and len(reported) == 1
    assert message in reported[0] and ("x.json" in reported[0] or "a.jpg" in reported[0])


def test_other_categories_and_crowds_are_counted(read, caplog):
    with caplog.at_level("INFO", "fullframe"):
        assert len(read(entry(1), entry(2, category_id=7), entry(3, iscrowd=1))) == 1
    assert "left out: 1 of another category (id 7), 1 crowd" in caplog.text


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"file_name": "b.jpg"}, "b.jpg: no such photo"),
        ({"file_name": "broken.jpg"}, "broken.jpg"),
        ({"file_name": "../a.jpg"}, "not a path below"),
        ({"width": 80, "height": 60}, "60 x 80 px upright, but annotated as 80 x 60 px.*x.json"),
        ({"width": "wide"}, "not whole numbers"),
        ({"id": 2, "file_name": "b.jpg"}, "stands for several images"),
    ],
)
def test_photos_that_are_not_what_was_annotated(read, tmp_path, image, message):
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    (tmp_path / "sub").mkdir()
    cv2.imwrite(str(tmp_path / "sub" / "c.jpg"), np.full((80, 60, 3), 99, np.uint8))
    second = {"id": 2, "file_name": "sub/c.jpg", "width": 60, "height": 80}
    images = [*IMAGES, *([second] if image.get("id") == 2 else []), {**second, **image}]
    crops, reported = problems(read(entry(1), entry(2, image_id=2), images=images), tmp_path)
    assert len(crops) == 1 and len(reported) == 1
    assert re.search(message, reported[0])


def test_photos_are_found_by_the_end_of_their_path(read, tmp_path):
    for camera in ("camA", "camB"):
        (tmp_path / camera).mkdir()
        cv2.imwrite(str(tmp_path / camera / "1.jpg"), np.full((80, 60, 3), 99, np.uint8))
    names = ("D:\\shots\\camB\\1.jpg", "D:\\shots\\camA\\1.jpg", "1.jpg")
    images = [{"id": k, "file_name": name, "width": 60, "height": 80} for k, name in enumerate(names, 1)]
    people = [entry(k, image_id=k) for k in (1, 2)]
    given = read(*people, images=images[:2])
    assert given.photos.tolist() == ["camB/1.jpg", "camA/1.jpg"]
    crops, reported = problems(read(entry(1, image_id=3), images=images[2:]), tmp_path)
    assert not len(crops) and re.search("1.jpg matches .*cam./1.jpg as well", reported[0])


def test_annotations_of_unturned_or_smaller_pixels_follow_the_photo(read, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((60, 80, 3), 99, np.uint8)).save(tmp_path / "t.jpg", exif=exif)  # 60 x 80 upright
    images = [{"id": 1, "file_name": "t.jpg", "width": 80, "height": 60}]
    sample = PhotoPeople(read(entry(1, bbox=[20, 10, 30, 40]), images=images), tmp_path)[0]
    assert sample.box.tolist() == [9, 20, 49, 50] and sample.keypoints["coco17"][0].tolist() == [29, 20, 1]
    images = [{"id": 1, "file_name": "t.jpg", "width": 30, "height": 40}]
    sample = PhotoPeople(read(entry(1, bbox=[2, 1, 3, 4]), images=images), tmp_path)[0]
    assert sample.box.tolist() == [4, 2, 10, 10] and sample.keypoints["coco17"][0].tolist() == [40, 60, 1]


def test_points_that_cannot_be_used_become_unknown(read, tmp_path):
    points = np.array(POINTS).reshape(17, 3)
    points[0, 0], points[1, 1], points[2, 2], points[3, 0] = 61, np.nan, np.nan, -1
    points[4] = 1000, np.nan, 0  # not labelled: whatever it says
    crops, reported = problems(read(entry(1, keypoints=points.reshape(-1).tolist())), tmp_path)
    assert (crops.keypoints[0, :, 2] > 0).sum() == 12
    assert not crops.keypoints[0, :5].any()
    assert reported == [
        "a.jpg#1: 2 keypoints are outside the photo or NaN: not used"
    ]  # the others: test_coco_json


def test_a_box_is_drawn_for_a_person_without_one(read, tmp_path):
    given = read(entry(1, bbox=None, keypoints=[20.0, 30.0, 2, 40.0, 70.0, 1] + [0, 0, 0] * 15))
    x1, y1, x2, y2 = PhotoPeople(given, tmp_path)[0].box
    assert x1 < 20 and y1 < 30 and x2 > 40 and y2 > 70
    # Points that cannot be have no say.
    far = [20.0, 30.0, 2, 40.0, 70.0, 1, 900, 900, 2, float("inf"), 5, 2] + [0, 0, 0] * 13
    given = read(entry(1, bbox=None, keypoints=far))
    assert PhotoPeople(given, tmp_path)[0].box.tolist() == [x1, y1, x2, y2]


def test_a_photo_is_read_once_for_all_its_people(photos, tmp_path, monkeypatch):
    read, names = reading.read_photo, []
    monkeypatch.setattr(reading, "read_photo", lambda path: (names.append(path.name), read(path))[1])
    given = read_people(tmp_path / "people.json", photos)
    prepare(PhotoPeople(given, photos), "coco17", shards(given, tmp_path), None)
    assert names == ["1.jpg", "2.jpg", "3.jpg"]


def test_people_without_keypoints_among_others_are_reported(read):
    given = read(entry(1), entry(2, keypoints=None))
    assert len(given) == 2 and "1 annotations without keypoints among others" in given.left_out[0]


class Finder:
    """Finds one person in every photo that is not black, two joints of theirs surely, one outside."""

    name = "finder"

    def boxes(self, image):
        n = int(image.any())
        return np.full((n, 4), (10, 10, 40, 70), np.float32), np.ones(n, np.float32)

    def keypoints(self, image, boxes):
        points = np.full((len(boxes), 17, 3), (20, 30, 0.1), np.float32)
        points[:, :2, 2], points[:, 2] = 0.9, (200, 10, 0.9)
        return points


def test_people_are_found_where_nothing_is_annotated(tmp_path):
    names = [f"{k}.jpg" for k in range(3)]
    for name, grey in zip(names, (90, 0, 90), strict=True):
        cv2.imwrite(str(tmp_path / name), np.full((80, 60, 3), grey, np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"")
    with WorkDir(tmp_path / "found", {}) as work:
        given = find_people(tmp_path, [*names, "broken.jpg"], Finder(), work)
    assert given.photos.tolist() == ["0.jpg", "2.jpg"] and len(given.left_out) == 1
    points = PhotoPeople(given, tmp_path, Finder())[1].keypoints["coco17"]
    assert (points[:, 2] > 0).sum() == 2


def test_boxes_without_keypoints_get_a_detectors(read, tmp_path):
    given = read(entry(1, keypoints=None), entry(2, keypoints=None))
    assert given.keypoints is None and given.joint_set == "coco17"
    assert PhotoPeople(given, tmp_path, Finder())[1].keypoints["coco17"][:2].all()

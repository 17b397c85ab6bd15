"""Files that want to hang the reader, to fill the memory, or to be taken for something else."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import writers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullframe.detect.own_people import OwnPeople
from fullframe.io.annotations import untrusted
from fullframe.io.annotations.read import read_annotations
from fullframe.io.image import Photo

WIDE = Photo(np.zeros((480, 640, 3), np.uint8), 1, None, writers.NAME)
BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">' + "".join(
    f'<!ENTITY {c} "{f"&{b};" * 10}">' for b, c in zip("bcdefg", "cdefgh", strict=True)
) + "]><annotations><image name='&h;'/></annotations>"  # fmt: skip

# (name, content, expected message): whole files that are refused.
REFUSED = [
    ("a.json", b"", "the file is empty"),
    ("a.json", b"\xff\xd8\xff\xe0" * 9, "is not a JSON file"),
    ("a.json", b"{", "is not a JSON file"),
    ("a.json", b"[" * 100_000, "is not a JSON file"),
    ("a.json", b'{"a":' * 100_000, "is not a JSON file"),
    ("a.json", b'{"annotations": [' + b"9" * 10**6, "is not a JSON file"),
    ("a.json", b"7", "none of the formats"),
    ("a.json", b"{}", "none of the formats"),
    ("a.json", b'{"images": 3, "annotations": []}', "must be lists"),
    ("a.json", b'{"annotations": 3}', "must be lists"),
    ("a.json", b'{"images": [], "annotations": [], "categories": 7}', "'categories' must be a list"),
    (
        "a.json",
        b'{"images": [], "annotations": [], "categories": [{"id": [1]}]}',
        "'categories' must be a list",
    ),
    (
        "a.json",
        b'{"images": [], "annotations": [], "categories": [{"id": 3, "name": "cat"}]}',
        "(they are cat)",
    ),
    (
        "a.json",
        b'{"annotations":[],"categories":[{"id":1,"name":"person","keypoints":{"a":1}}]}',
        "list of names",
    ),
    ("a.json", b"PK\x03\x04" + b"\0" * 99, "is a ZIP archive"),
    ("a.xml", BOMB.encode(), "has a document type"),
    ("a.xml", BOMB.encode("utf-16"), "a.xml"),
    ("a.xml", b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "has a document type"),
    ("a.xml", b"<annotations>" + b"<a>" * 100_000, "nested more than"),
    ("a.xml", b"<annotations><image", "is not an XML file"),
    ("a.xml", b'<?xml version="1.0" encoding="utf-9"?><annotations/>', "unknown encoding"),
    ("a.xml", b'<?xml version="1.0" encoding="big5"?><annotations/>', "multi-byte encodings"),
    ("a.xml", b"<kml/>", "is not CVAT's XML"),
    ("a.txt", b"hello", "is neither MOT"),
    ("a.txt", b"\xff\xfe\x00", "is not a text file"),
    ("a.txt", b"1,2,3,4", "is neither MOT"),
]


@pytest.mark.parametrize(("name", "content", "message"), REFUSED)
def test_whole_files_are_refused_by_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_annotations(tmp_path / name)
    assert message in str(error.value) and str(tmp_path / name) in str(error.value)
    assert len(str(error.value)) < 2000


def entry(**changes):
    return {"id": 1, "image_id": 5, "category_id": 1, "bbox": [10, 20, 30, 60], **changes}


POINTS = [300, 200, 2] * 17

# (change of an entry, expected message): the entry is left out, the others stay.
LEFT_OUT = [
    ({"bbox": [10, 10, 0, 50]}, "has no area"),
    ({"bbox": [10, 10, 20, -5]}, "has no area"),
    ({"bbox": [-60, 10, 50, 50]}, "outside"),
    ({"bbox": [700, 10, 50, 50]}, "outside"),
    ({"bbox": [float("nan"), 1, 2, 3]}, "not finite"),
    ({"bbox": [1, 2, float("inf"), 3]}, "not finite"),
    ({"bbox": [1, 2, 1e30, 4]}, "not finite or far too large"),
    ({"bbox": [1, 2, 3, 10**400]}, "a number that is too large"),
    ({"bbox": [1, 2, 3]}, "must be 4 numbers, found 3"),
    ({"bbox": ["a", 2, 3, 4]}, "must be 4 numbers"),
    ({"bbox": [True, True, True, True]}, "must be 4 numbers"),
    ({"bbox": 7}, "must be 4 numbers, found 7"),
    ({"bbox": {"x": 1}}, "must be 4 numbers"),
    ({"bbox": None}, "neither a bbox nor keypoints"),
    ({"keypoints": POINTS[:48]}, "16 keypoints without names"),
    ({"keypoints": [[300, 200, 2]] * 17}, "keypoints must be"),
    ({"keypoints": POINTS, "score": "high"}, "score"),
    ({"score": 9}, "score must lie between 0 and 1, found 9"),
    ({"score": float("nan")}, "score must be a finite number"),
    ({"score": -1}, "between 0 and 1"),
    ({"image_id": 99}, "image_id 99 is not among the 'images'"),
    ({"image_id": None}, "is not among"),
    ({"image_id": [1]}, "is not among"),
    ({"image_id": {}}, "is not among"),
]


@pytest.mark.parametrize(("changes", "message"), LEFT_OUT)
def test_entries_that_cannot_be_used_are_left_out(tmp_path, changes, message):
    images = [{"id": 5, "file_name": writers.NAME, "width": 640, "height": 480}]
    content = {"images": images, "annotations": [entry(), entry(**changes), entry(id=3)]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    file = read_annotations(tmp_path / "a.json")
    assert len(file.people) == 2
    (problem,) = (problem for problems in file.stats.problems.values() for problem in problems)
    assert message in problem and "a.json, annotations[1]" in problem and len(problem) < 500
    assert len(OwnPeople(file, None).for_photo(WIDE).boxes) == 2


@pytest.mark.parametrize(
    ("image", "message"),
    [({"file_name": "../a.jpg"}, "is not a path below"), ({"file_name": "x/../a.jpg"}, "is not a path below"),
     ({"file_name": "\ud800.jpg"}, "is not text"), ({"file_name": "a\0.jpg"}, "is not text"),
     ({"file_name": 7}, "is not a path"), ({"file_name": ""}, "is not a path"), ({}, "is not a path"),
     ({"width": "wide", "file_name": "b.jpg"}, "not whole numbers"),
     ({"width": 2**70, "file_name": "b.jpg"}, "not whole numbers"),
     ({"width": float("nan"), "file_name": "b.jpg"}, "not whole numbers"),
     ({"width": -4, "file_name": "b.jpg"}, "not whole numbers"),
     ({"id": 5, "file_name": "b.jpg"}, "stands for several images")],
)  # fmt: skip
def test_images_that_cannot_be_used_cost_their_own_people_only(tmp_path, image, message):
    images = [
        {"id": 5, "file_name": writers.NAME, "width": 640, "height": 480},
        {"id": 6, "width": 9, "height": 9, **image},
    ]
    ids = (5, 6) if image.get("id") != 5 else (5, 5)
    content = {"images": images, "annotations": [entry(image_id=ids[0]), entry(image_id=ids[1])]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    file = read_annotations(tmp_path / "a.json")
    problems = [problem for problems in file.stats.problems.values() for problem in problems]
    assert message in problems[0] and len(file.people) == (1 if image.get("id") != 5 else 0)


def test_points_that_are_no_numbers_become_unknown(tmp_path):
    points = [float("nan"), 5, 2, 5, float("inf"), 1, 1e30, 4, 1, None, None, None, *POINTS[12:]]
    (tmp_path / "a.json").write_text(json.dumps([entry(file_name=writers.NAME, keypoints=points)]))
    file = read_annotations(tmp_path / "a.json")
    found = OwnPeople(None, file).for_photo(WIDE)
    assert not found.keypoints[0, :4].any() and (found.keypoints[0, 4:, 2] == 1).all()
    assert "4 keypoints are not finite" in " ".join(file.stats.notes)


def test_a_file_of_fractions_is_not_taken_for_pixels(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([entry(file_name="a.jpg", bbox=[0.1, 0.2, 0.3, 0.5])]))
    with pytest.raises(ValueError, match="all coordinates are between 0 and 1"):
        read_annotations(tmp_path / "a.json")


def test_pipes_folders_devices_and_loops_are_no_files(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match=r"pipe\.json is a pipe or device"):
        read_annotations(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match="/dev/zero is a pipe or device"):
        read_annotations("/dev/zero")
    (tmp_path / "loop.json").symlink_to("loop.json")
    with pytest.raises(OSError, match=r"loop\.json"):
        read_annotations(tmp_path / "loop.json")
    with pytest.raises(ValueError, match="no annotations in this folder"):
        read_annotations(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        read_annotations(tmp_path / "none.json")


def test_names_cannot_steer_the_terminal(tmp_path):
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "\x1b]0;car\x07\ud800"}]
    images = [{"id": 5, "file_name": "\x1b[2J.jpg"}]
    content = {
        "images": images,
        "annotations": [entry(category_id=2), entry(bbox=[1])],
        "categories": categories,
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    file = read_annotations(tmp_path / "a.json")
    with pytest.raises(ValueError) as error:
        OwnPeople(file, None).for_photo(WIDE)
    for text in (file.summary(), *file.stats.messages(), str(error.value)):
        assert text.isprintable()
    assert "1 of another category (?]0;car??)" in file.summary()


def test_sizes_are_checked_before_anything_is_parsed(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text(json.dumps([[[]] * 1000] * 10))
    monkeypatch.setattr(untrusted, "LARGEST_JSON", 10_000)
    with pytest.raises(ValueError, match=r"a\.json would take about"):
        read_annotations(tmp_path / "a.json")
    monkeypatch.setattr(untrusted, "LARGEST_FILE", 100)
    with pytest.raises(ValueError, match=r"a\.json is larger than"):
        read_annotations(tmp_path / "a.json")


@pytest.mark.parametrize(
    "content", [[[]] * 1000, [{}] * 1000, list(range(1000)), [{"a": 1}] * 999, ["a"] * 999]
)
def test_the_estimate_of_memory_is_not_too_low(content):
    """What Python takes, with the small things that it shares counted once, as in a parsed file."""
    parsed = json.loads(json.dumps([content] * 3))
    used = sum(sys.getsizeof(c) + sum(sys.getsizeof(v) for v in c) for c in parsed)
    text = json.dumps([content] * 3, separators=(",", ":")).encode()
    assert untrusted.json_memory(text) > 0.7 * used


def test_very_many_people_of_one_photo_are_read_but_not_recovered(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([entry(id=k, file_name=writers.NAME) for k in range(30_000)]))
    file = read_annotations(tmp_path / "a.json")  # in quadratic time, this would take minutes
    assert len(file.people) == 30_000
    with pytest.raises(ValueError, match="30000 people"):
        OwnPeople(file, None).for_photo(WIDE)


KEYS = (
    "images annotations categories id image_id file_name bbox keypoints people landmarks frames 0 result "
    "value pose_keypoints_2d instances keypoint_scores data category_id score"
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(content=_json)
def test_any_json_is_read_or_refused_by_name(content, tmp_path_factory):
    path = Path(tmp_path_factory.mktemp("any") / f"{Path(writers.NAME).stem}.json")
    path.write_text(json.dumps(content))
    try:
        file = read_annotations(path)
        OwnPeople(None, file).for_photo(WIDE)
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("write", writers.WRITERS, ids=lambda write: write.__name__)
@settings(max_examples=30)
@given(data=st.data())
def test_a_damaged_file_of_any_format_is_read_or_refused_by_name(write, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    points = np.array([[300.0 + 3 * k, 60 + 20 * k, 1.0] for k in range(17)])
    path = write(folder, [points])
    victims = [file for file in folder.rglob("*") if file.is_file()]
    victim = data.draw(st.sampled_from(victims))
    content = victim.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start, min(len(content), start + 30)))
    filler = data.draw(
        st.sampled_from([b"", b"null", b"-1e30", b"NaN", b'"', b"[]", b"{}", b"9" * 500, b"\xff"])
    )
    victim.write_bytes(content[:start] + filler + content[end:])
    try:
        found = OwnPeople(None, read_annotations(path)).for_photo(WIDE)
    except ValueError as error:
        assert str(folder) in str(error) or str(victim) in str(error)
    else:
        assert np.isfinite(found.boxes).all() and np.isfinite(found.keypoints).all()

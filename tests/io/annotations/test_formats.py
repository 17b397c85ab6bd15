"""People come out of every format as they went in."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import writers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from fullframe.detect.own_people import OwnPeople
from fullframe.io.annotations import coco_json
from fullframe.io.annotations.annotation_file import AnnotationFile
from fullframe.io.annotations.read import FORMATS, read_annotations
from fullframe.io.image import Photo, read_photo

_seen = st.tuples(st.floats(10, 600), st.floats(10, 440), st.sampled_from([0.25, 0.5, 1.0]))
_point = st.one_of(_seen, _seen, _seen, st.just((0.0, 0.0, 0.0)))
_person = st.lists(_point, min_size=17, max_size=17).map(np.array).filter(lambda p: (p[:, 2] > 0).sum() > 2)


def placed(file: AnnotationFile):
    """The people in the one photo of `writers`."""
    photo = Photo(np.zeros((writers.SIZE[1], writers.SIZE[0], 3), np.uint8), 1, None, f"x/{writers.NAME}")
    return OwnPeople(None, file).for_photo(photo)


def with_a_face(points):
    """Otherwise the reader rightly doubts that points without names are in COCO's order."""
    points[:3] = [[100, 100, 1], [104, 96, 1], [96, 96, 1]]
    return points


def look_like_h36m(points):
    bones = coco_json._COCO_BONES, coco_json._H36M_BONES
    coco, h36m = (coco_json._bone_length(points, each) for each in bones)
    return coco / h36m > coco_json._NOT_COCO


@pytest.mark.parametrize("write", writers.WRITERS, ids=lambda write: write.__name__)
@settings(max_examples=15)
@given(people=st.lists(_person, min_size=1, max_size=3))
def test_round_trip(write, people):
    people = [with_a_face(points) for points in people]
    assume(not any(map(look_like_h36m, people)))
    with tempfile.TemporaryDirectory() as folder:
        file = read_annotations(write(Path(folder), people))
    assert file.format in FORMATS
    found = placed(file)
    wanted = np.array(people)
    got = found.keypoints
    if write in (writers.label_studio, writers.cvat):  # they know no confidence
        wanted[..., 2] = wanted[..., 2] > 0
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got[..., 2], wanted[..., 2], atol=1e-6)
    seen = wanted[..., 2] > 0
    np.testing.assert_allclose(got[seen], wanted[seen], atol=1e-3)
    if write in writers.WITH_BOXES:
        np.testing.assert_allclose(found.boxes, [writers.box_of(p) for p in people], atol=1e-3)
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


def standing(x=300.0):
    """One person whose every point has its own place."""
    points = np.array([[x + 3 * k, 60 + 20 * k, 1.0] for k in range(17)])
    return with_a_face(points)


def test_openpose_mmpose_and_mediapipe_read_a_folder_too(tmp_path):
    for writer in (writers.openpose, writers.mmpose, writers.mediapipe):
        folder = tmp_path / writer.__name__
        folder.mkdir()
        path = writer(folder, [standing()])
        other = path.with_name(path.name.replace("photo_1", "photo_2"))
        other.write_text(path.read_text())
        file = read_annotations(folder)
        assert len(file.images) == 2 and len(placed(file).boxes) == 1


def test_mmpose_writes_an_empty_list_for_nobody(tmp_path):
    (tmp_path / "photo_1.json").write_text("[]")
    (tmp_path / "photo_2.json").write_text("[]")
    for path in (tmp_path / "photo_1.json", tmp_path):
        found = placed(read_annotations(path))
        assert len(found.boxes) == 0 and "names nobody" in found.notes[0]


def test_mmpose_demo_names_its_points(tmp_path):
    path = writers.mmpose(tmp_path, [standing()])
    names = {str(k): name for k, name in enumerate(reversed(writers.COCO17))}
    content = {"meta_info": {"keypoint_id2name": names}, "instance_info": json.loads(path.read_text())}
    path.write_text(json.dumps(content))
    np.testing.assert_allclose(placed(read_annotations(path)).keypoints[0], standing()[::-1], atol=1e-4)


def test_a_3d_estimator_of_mmpose_is_refused(tmp_path):
    (tmp_path / "photo_1.json").write_text(
        json.dumps([{"keypoints": [[1, 2, 3]] * 17, "keypoint_scores": [1] * 17}])
    )
    with pytest.raises(ValueError, match="these keypoints are 3D"):
        placed(read_annotations(tmp_path / "photo_1.json"))


def test_openpose_between_minus_1_and_1_is_refused(tmp_path):
    path = writers.openpose(tmp_path, [np.full((17, 3), (-0.5, 0.3, 1.0))])
    with pytest.raises(ValueError, match="--keypoint_scale 0"):
        read_annotations(path)


def test_scores_of_alphapose_are_divided_by_the_highest_possible(tmp_path):
    file = read_annotations(writers.alphapose(tmp_path, [standing()]))
    assert file.format == "AlphaPose results" and file.people[0].score == pytest.approx(3.0 / 3.25)
    assert file.people[0].track_id == 1 and "scores reach 3.00" in " ".join(file.stats.notes)


LABEL_STUDIO_MIN = [
    {
        "id": 4, "img": "/data/local-files/?d=set%20a/photo_1.jpg",
        "kp": [
            {"x": 50.0, "y": 25.0, "width": 0.3, "keypointlabels": ["Left shoulder"],
             "original_width": 640, "original_height": 480},
            {"x": 25.0, "y": 50.0, "width": 0.3, "keypointlabels": ["Right shoulder"],
             "original_width": 640, "original_height": 480},
        ],
    }
]  # fmt: skip


def test_label_studio_min(tmp_path):
    (tmp_path / "min.json").write_text(json.dumps(LABEL_STUDIO_MIN))
    file = read_annotations(tmp_path / "min.json")
    assert file.images[0].name == "set a/photo_1.jpg"
    points = placed(file).keypoints[0]
    assert points[5].tolist() == [320, 120, 1] and points[6].tolist() == [160, 240, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[1].update(image_rotation=90), "was turned in Label Studio"),
        (lambda r: r[0]["value"].update(rotation=10), "a rectangle that is turned"),
        (lambda r: r[1].update(original_width=100), "must have one original_width"),
        (lambda r: r[2]["value"].update(keypointlabels=["nose"]), "'nose' stands twice"),
        (lambda r: r[1]["value"].update(x="a"), "x must be"),
    ],
)
def test_what_label_studio_cannot_mean_is_left_out(tmp_path, change, message):
    path = writers.label_studio(tmp_path, [standing()])
    content = json.loads(path.read_text())
    change(content[0]["annotations"][0]["result"])
    path.write_text(json.dumps(content))
    file = read_annotations(path)
    assert not file.people and message in next(iter(file.stats.problems.values()))[0]


def test_a_keypoint_of_label_studio_in_two_rectangles_is_ambiguous(tmp_path):
    path = writers.label_studio(tmp_path, [standing(), standing(304)])
    content = json.loads(path.read_text())
    for result in content[0]["annotations"][0]["result"]:
        result.pop("parentID", None)
    path.write_text(json.dumps(content))
    assert "lies in 2 rectangles" in next(iter(read_annotations(path).stats.problems.values()))[0]


CVAT_VIDEO = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><original_size><width>640</width><height>480</height></original_size>
</task></meta>
<track id="3" label="person" source="manual">
<box frame="0" outside="0" occluded="0" keyframe="1" xtl="10" ytl="20" xbr="110" ybr="220"></box>
<box frame="1" outside="0" occluded="0" keyframe="0" xtl="12" ytl="20" xbr="112" ybr="220"></box>
<box frame="2" outside="1" occluded="0" keyframe="1" xtl="12" ytl="20" xbr="112" ybr="220"></box>
</track>
<track id="4" label="car" source="manual">
<box frame="1" outside="0" occluded="0" keyframe="1" xtl="300" ytl="20" xbr="400" ybr="90" z_order="0"></box>
</track></annotations>
"""


def test_cvat_tracks_of_a_video(tmp_path):
    (tmp_path / "annotations.xml").write_text(CVAT_VIDEO)
    file = read_annotations(tmp_path)  # the unpacked export
    assert [(file.images[p.image].frame, p.track_id, p.box.tolist()) for p in file.people] == [
        (0, 3, [10, 20, 110, 220]),
        (1, 3, [12, 20, 112, 220]),
    ]
    assert file.stats.reasons() == "1 of another label (car)" and file.images[0].size == (640, 480)


@pytest.mark.parametrize("box", [True, False], ids=["box", "keypoints"])
@pytest.mark.parametrize(
    ("rest", "score", "track"), [("", 1, None), (" 0.5", 0.5, None), (" 7", 1, 7), (" 0.5 7", 0.5, 7)]
)
def test_predictions_of_yolo_end_with_confidence_and_track(tmp_path, box, rest, score, track):
    points = "" if box else " 0.5 0.5 0.9" * 17
    (tmp_path / "clip_12.txt").write_text(f"0 0.5 0.5 0.2 0.4{points}{rest}\n")
    file = read_annotations(tmp_path / "clip_12.txt")
    (person,) = file.people
    assert (person.score, person.track_id, file.images[0].frame) == (score, track, 11)
    np.testing.assert_allclose(person.box, [0.4, 0.3, 0.6, 0.7], atol=1e-6)
    assert (person.keypoints is None) == box


def test_yolo_without_visibility_and_of_other_classes(tmp_path):
    writers.yolo(tmp_path, [standing()])
    (tmp_path / "data.yaml").write_text("kpt_shape: [17, 2]\nnames: [car, person]\n")
    points = " 0 0" + " 0.5 0.25" * 16
    labels = tmp_path / "labels" / "train" / "photo_1.txt"
    labels.write_text(f"1 0.5 0.5 0.5 0.5{points}\n0 0.5 0.5 0.1 0.1{points}\n")
    file = read_annotations(tmp_path / "labels")
    assert file.stats.reasons() == "1 of another class (car)"
    assert placed(file).keypoints[0].tolist() == [[0, 0, 0], *[[320, 120, 1]] * 16]


def test_yolo_names_its_points_in_data_yaml(tmp_path):
    writers.yolo(tmp_path, [standing()])
    names = ", ".join(reversed(writers.COCO17))
    (tmp_path / "data.yaml").write_text(
        f"kpt_shape: [17, 3]\nnames: {{0: person}}\nkpt_names: {{0: [{names}]}}\n"
    )
    np.testing.assert_allclose(
        placed(read_annotations(tmp_path / "labels")).keypoints[0], standing()[::-1], atol=1e-3
    )


MOT = """1, 3, 794.27, 247.59, 71.245, 174.88, -1, -1, -1, -1
1, 6, 648.1, 119.61, 66.504, 163.24, 0.5, -1, -1, -1
2, 3, 795.27, 247.59, 71.245, 174.88, 37.5, -1, -1, -1
2, -1, 10, 20, 30, 40, 0.9, -1, -1, -1
"""


def test_mot(tmp_path):
    (tmp_path / "tracks.txt").write_text(MOT)
    file = read_annotations(tmp_path / "tracks.txt")
    found = [(file.images[p.image].frame, p.track_id, p.score) for p in file.people]
    assert found == [(0, 3, 1), (0, 6, 0.5), (1, 3, 1), (1, None, 0.9)]
    np.testing.assert_allclose(file.people[0].box, [794.27, 247.59, 865.515, 422.47], atol=1e-3)


def test_ground_truth_of_mot_ignores_and_has_classes(tmp_path):
    lines = [
        "1,1,10,10,50,90,1,1,0.9",
        "1,2,10,10,50,90,0,1,0.9",
        "1,3,10,10,50,90,1,3,0.9",
        "1,1,10,10,50,90,1,1,1",
    ]
    (tmp_path / "gt.txt").write_text("\n".join(lines))
    file = read_annotations(tmp_path / "gt.txt")
    assert [p.track_id for p in file.people] == [1]
    assert "the id 1 stands twice in frame 1" in file.stats.problems[0][0]
    assert file.stats.count(0) == 3 and "1 of another class (3)" in file.stats.reasons()


@pytest.mark.parametrize(
    "content",
    [
        {"0": [{"track_id": 7, "bbox": [10, 20, 30, 60]}], "3": []},
        {
            "frames": [
                {"frame": 0, "boxes": [{"track_id": 7, "bbox": [10, 20, 30, 60]}]},
                {"frame": 3, "boxes": []},
            ]
        },
        [
            {"frame": 0, "track_id": 7, "bbox": [10, 20, 30, 60]},
            {"frame_id": 3, "track_id": 7, "bbox": [1, 1, 0, 0]},
        ],
    ],
)
def test_json_by_frame(tmp_path, content):
    (tmp_path / "tracks.json").write_text(json.dumps(content))
    file = read_annotations(tmp_path / "tracks.json")
    assert file.format == "JSON by frame" and [image.frame for image in file.images] == [0, 3]
    (person,) = file.people
    assert person.track_id == 7 and person.box.tolist() == [10, 20, 40, 80] and person.image == 0


def test_annotations_of_unturned_pixels_follow_the_photo(tmp_path):
    """A white dot and its coordinates land at the same place for each EXIF orientation."""
    for orientation in range(5, 9):
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[10, 50] = 255
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.png"
        Image.fromarray(pixels).save(path, exif=exif)
        images = [{"id": 1, "file_name": path.name, "width": 64, "height": 48}]
        entry = {"image_id": 1, "bbox": [48, 8, 5, 5], "keypoints": [50, 10, 2] * 17}
        (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": [entry]}))
        photo = read_photo(path)
        found = OwnPeople(None, read_annotations(tmp_path / "a.json")).for_photo(photo)
        x, y, _ = found.keypoints[0, 0].astype(int)
        assert photo.pixels[y, x].tolist() == [255] * 3
        x1, y1, x2, y2 = found.boxes[0]
        assert x1 < x < x2 and y1 < y < y2 and "turned alike" in found.notes[0]

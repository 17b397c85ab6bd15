import json
from pathlib import Path

import pytest
from PIL import Image

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.coco import COCO
from fullframe.io.image import ImageError


def person(image_id: int, visibilities: list[int], **changes) -> dict:
    values = [
        v for j, seen in enumerate(visibilities) for v in ((10 + j, 20 + 2 * j, seen) if seen else (0, 0, 0))
    ]
    return {
        "image_id": image_id, "category_id": 1, "bbox": [10, 20, 30, 60], "iscrowd": 0, "area": 900.0,
        "num_keypoints": sum(seen > 0 for seen in visibilities), "keypoints": values,
    } | changes  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    names = {785: "COCO_train2014_000000000785.jpg", 36: "000000000036.jpg"}
    for name in names.values():
        Image.new("RGB", (120, 90)).save(tmp_path / "images" / name)
    content = {
        "images": [{"id": n, "file_name": name, "width": 120, "height": 90} for n, name in names.items()],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            person(785, [2] * 17),
            person(785, [0] * 5 + [1, 2] * 6, bbox=[50, 10, 20, 30]),
            person(36, [2, 2] + [0] * 15),
            person(36, [0] * 17),
            person(36, [2] * 17, iscrowd=1),
        ],
    }
    (tmp_path / "people.json").write_text(json.dumps(content))
    return tmp_path


def test_people(root: Path) -> None:
    data = COCO(root / "people.json", root / "images")
    assert [sample.name for sample in data] == [
        "COCO_train2014_000000000785.jpg#0",
        "COCO_train2014_000000000785.jpg#1",
        "000000000036.jpg#0",
    ]
    first, second, third = data
    assert first.box.tolist() == [10, 20, 40, 80] and second.box.tolist() == [50, 10, 70, 40]
    assert first.camera.size == (120, 90) and first.camera.focal[0] == pytest.approx(150)
    row = JOINT_SETS["coco17"].names.index("left_wrist")
    assert first.keypoints["coco17"][row].tolist() == [10 + row, 20 + 2 * row, 1]
    assert (
        second.keypoints["coco17"][:, 2].tolist() == [0] * 5 + [1] * 12
    )  # occluded counts, missing does not
    assert Path(third.image) == root / "images" / "000000000036.jpg"


def test_few_joints_and_small_people_can_be_left_out(root: Path) -> None:
    assert len(COCO(root / "people.json", root / "images", min_joints=0)) == 4
    assert len(COCO(root / "people.json", root / "images", min_joints=3)) == 2
    assert len(COCO(root / "people.json", root / "images", min_height=40)) == 2


def test_what_is_missing_is_named(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.json is missing.*cocodataset"):
        COCO(root / "none.json", root / "images")
    with pytest.raises(FileNotFoundError, match=r"photos.*cocodataset"):
        COCO(root / "people.json", root / "photos")
    (root / "images" / "000000000036.jpg").unlink()
    data = COCO(root / "people.json", root / "images")
    assert len(data[:2]) == 2
    with pytest.raises(ImageError, match="000000000036.jpg: no such file"):
        data[2]


def test_real(shared: Path) -> None:
    folder = shared / "data/photos/coco_dev"
    data = COCO(folder / "annotations.json", folder / "images")
    assert len(data) == 282 and len({sample.name for sample in data}) == 282
    content = json.loads((folder / "annotations.json").read_text())
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in content["images"]}
    assert all(sample.camera.size == sizes[Path(sample.image).name] for sample in data)


def test_a_person_with_an_impossible_box_does_not_spoil_the_set(root: Path) -> None:
    content = json.loads((root / "people.json").read_text())
    content["annotations"].append(person(36, [2] * 17, bbox=[10, 20, 0, 30]))
    (root / "people.json").write_text(json.dumps(content))
    data = COCO(root / "people.json", root / "images")
    assert len(data) == 3
    assert len(data.left_out) == 1 and "has no area" in data.left_out[0]

"""Photos of people who are to be labelled."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import tiny

from fullframe.body import JOINT_SETS

PEOPLE = 4


@pytest.fixture(scope="module")
def samples():
    """People with 2D keypoints alone."""
    inside = [
        person
        for person in tiny.StickPeople(12)
        if (person.keypoints["coco17"][:, :2] % tiny.CAMERA.size == person.keypoints["coco17"][:, :2]).all()
    ]
    return [
        replace(person, joints={}, pose=None, betas=None, translation=None, name=f"{i}.jpg#{i}")
        for i, person in enumerate(inside[:PEOPLE])
    ]


@pytest.fixture
def photos(samples, tmp_path) -> Path:
    """A folder of photos, two people in the first, and their annotations beside it."""
    return write_photos(samples, tmp_path)


def write_photos(samples, parent: Path) -> Path:
    """What `photos` is."""
    folder = parent / "photos"
    folder.mkdir()
    images, annotations = [], []
    for number, sample in enumerate(samples):
        photo = f"{max(number, 1)}.jpg"
        cv2.imwrite(str(folder / photo), sample.image[..., ::-1])
        width, height = sample.camera.size
        if number:
            images.append({"id": number, "file_name": photo, "width": width, "height": height})
        x1, y1, x2, y2 = sample.box.tolist()
        annotations.append(
            {
                "id": 100 + number,
                "image_id": max(number, 1),
                "category_id": 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "keypoints": [
                    value for x, y, seen in sample.keypoints["coco17"].tolist() for value in (x, y, 2 * seen)
                ],
            }
        )
    categories = [{"id": 1, "name": "person", "keypoints": list(JOINT_SETS["coco17"].names)}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (parent / "people.json").write_text(json.dumps(content))
    return folder

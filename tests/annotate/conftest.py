import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import tiny
import torch

from fullframe.annotate.crops import prepare
from fullframe.annotate.job import Job, predict
from fullframe.body import JOINT_SETS, load_body
from fullframe.io.workdir import WorkDir
from fullframe.models import ENCODERS, create_model, load_model, save_checkpoint

PEOPLE = 4


@pytest.fixture(autouse=True, scope="module")
def tiny_encoder():
    ENCODERS["tiny"] = tiny.ENCODER
    yield
    del ENCODERS["tiny"]


@pytest.fixture(scope="module")
def checkpoint(tiny_encoder, tmp_path_factory) -> Path:
    """A network that knows nothing."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    model = create_model("cliff", encoder="tiny", crop=(48, 36), num_betas=11)
    save_checkpoint(model, path, body="open", data="nothing", licence="none", metrics={})
    return path


@pytest.fixture(scope="module")
def body():
    return load_body(num_betas=11)


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
def job(checkpoint, samples, body, tmp_path) -> Iterator[Job]:
    """The people, ready for a method."""
    network = load_model(checkpoint).network
    with WorkDir(tmp_path / "work", {}) as work:
        shards = work.shards("reading_photos", size=2, count=len(samples))
        crops, problems, _ = prepare(samples, "coco17", shards, network)
        assert not problems
        yield Job(crops, body, network, predict(network, crops, work), work, "method")


@pytest.fixture
def photos(samples, tmp_path) -> Path:
    """A folder of photos, two people in the first, and their annotations beside it."""
    folder = tmp_path / "photos"
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
    (tmp_path / "people.json").write_text(json.dumps(content))
    return folder

"""COCO keypoints (Lin et al., ECCV 2014)."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullframe.data.formats.paths import image_size, need
from fullframe.data.formats.samples import SampleSequence
from fullframe.data.sample import Sample
from fullframe.detect.coco_json import read_people
from fullframe.geometry.camera import Camera

WHERE = "https://cocodataset.org/#download"


class COCO(SampleSequence):
    """The people of a COCO keypoint file as samples with `coco17` keypoints, crowds left out.

    A keypoint that was annotated, visible or not, has confidence 1. The camera is CLIFF's guess from the
    image's diagonal.

    Args:
        annotations: person_keypoints_train2017.json, or any file of that format.
        images: the folder with the photos.
        min_joints: people with fewer annotated keypoints are left out; SPIN asks for the 12 of the body.
        min_height: people whose box is lower are left out, px.

    Attributes:
        left_out: why people with impossible labels (a box without area) are left out.

    Raises:
        FileNotFoundError: names what is missing.
        ValueError: the file is of another kind; names file, entry and remedy.
    """

    def __init__(
        self, annotations: str | Path, images: str | Path, min_joints: int = 1, min_height: float = 0
    ) -> None:
        annotations, images = Path(annotations), Path(images)
        need(annotations.parent, annotations.name, where=WHERE)
        need(images, where=WHERE)
        self.left_out: list[str] = []
        given = read_people(None, annotations, self.left_out).keypoints
        assert given is not None
        # The reader of user files ignores the case of names.
        files = {path.name.lower(): path for path in images.iterdir()}
        found: list[_Person] = []
        for key, people in given.photos.items():
            # Photos whose name is their number are listed under both.
            if not isinstance(key, str):
                continue
            path = files.get(key, images / key)
            for index, person in enumerate(people):
                keypoints = person.keypoints
                if keypoints is None or np.count_nonzero(keypoints[:, 2]) < min_joints:
                    continue
                if person.box[3] - person.box[1] >= min_height:
                    found.append(_Person(path, index, person.box, keypoints))
        super().__init__([_People(found)])


class _Person(NamedTuple):
    path: Path
    number: int  # in the photo
    box: NDArray[np.float32]
    keypoints: NDArray[np.float32]


@dataclass(frozen=True)
class _People:
    people: list[_Person]

    def __len__(self) -> int:
        return len(self.people)

    def sample(self, index: int) -> Sample:
        path, number, box, keypoints = self.people[index]
        return Sample(
            path,
            Camera.from_diagonal(image_size(path)),
            box.copy(),
            keypoints={"coco17": keypoints.copy()},
            name=f"{path.name}#{number}",
        )

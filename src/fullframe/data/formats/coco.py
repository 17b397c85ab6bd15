"""COCO keypoints (Lin et al., ECCV 2014)."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullframe.data.formats.paths import image_size, need
from fullframe.data.formats.samples import SampleSequence
from fullframe.data.sample import Sample
from fullframe.geometry.box import box_from_keypoints
from fullframe.geometry.camera import Camera
from fullframe.io.annotations.keypoint_names import COCO17, reordered
from fullframe.io.annotations.photo_matching import Unmatched, find_photos
from fullframe.io.annotations.photo_transform import SizeError, photo_transform
from fullframe.io.annotations.read import read_annotations
from fullframe.io.image import ImageError

WHERE = "https://cocodataset.org/#download"


class COCO(SampleSequence):
    """The people of a COCO keypoint file as samples with `coco17` keypoints, crowds left out.

    A keypoint that was annotated, visible or not, has confidence 1. The camera is CLIFF's guess from the
    image's diagonal. Other files of keypoints in px that `fullframe.io.annotations` reads are taken, too.

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
        file = read_annotations(annotations)
        if file.normalized or (file.people and not file.keypoint_names):
            raise ValueError(
                f"{annotations}: {file.format} without keypoints in px; give a COCO keypoint file"
            )
        self.left_out = file.stats.messages()
        found: list[_Person] = []
        for index, name in enumerate(find_photos(images, file.images)):
            if isinstance(name, Unmatched):
                self.left_out.append(f"{annotations}, {file.images[index].name}: {name}")
                continue
            size = file.images[index].size
            labelled = [person for person in file.people_of(index) if person.keypoints is not None]
            for number, person in enumerate(labelled):
                assert person.keypoints is not None
                keypoints = reordered(person.keypoints, file.keypoint_names, COCO17)
                if np.count_nonzero(keypoints[:, 2]) < min_joints:
                    continue
                box = person.box if person.box is not None else box_from_keypoints(keypoints[None], 0.0)[0]
                box = box if size is None else box.clip(0, np.array(size * 2, np.float32))
                if not np.isfinite(box).all():
                    self.left_out.append(f"{person.entry}: fewer than 2 keypoints and no bbox: add a bbox")
                elif box[3] - box[1] >= min_height:
                    found.append(_Person(images / name, size, number, box, keypoints))
        super().__init__([_People(found)])


class _Person(NamedTuple):
    path: Path
    size: tuple[int, int] | None  # that was annotated
    number: int  # in the photo
    box: NDArray[np.float32]
    keypoints: NDArray[np.float32]


@dataclass(frozen=True)
class _People:
    people: list[_Person]

    def __len__(self) -> int:
        return len(self.people)

    def sample(self, index: int) -> Sample:
        path, annotated, number, box, keypoints = self.people[index]
        size = image_size(path)
        try:
            transform = photo_transform(annotated, size)
        except SizeError as error:
            raise ImageError(f"{path}: {error}") from error
        return Sample(
            path,
            Camera.from_diagonal(size),
            transform.boxes(box),
            keypoints={"coco17": transform.points(keypoints)},
            name=f"{path.name}#{number}",
        )

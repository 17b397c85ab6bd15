"""The photos with labelled people that the benchmarks measure on."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHARED = Path(os.environ.get("FULLFRAME_SHARED", Path(__file__).parents[2] / "shared"))


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and those of its people that are labelled.

    Attributes:
        path: of the photo.
        boxes: (N, 4) x1, y1, x2, y2 px.
        keypoints: (N, 17, 3) COCO-17: x, y px and COCO's visibility, 0 if not labelled.
    """

    path: Path
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(N,) who is seen well enough to measure poses on: 12 labelled joints and 100 px of height."""
        labelled = (self.keypoints[..., 2] > 0).sum(axis=1)
        return (labelled >= 12) & (self.boxes[:, 3] - self.boxes[:, 1] >= 100)

    def of_measured_people(self) -> "LabelledPhoto":
        """The same photo without the other people."""
        return LabelledPhoto(self.path, self.boxes[self.measured], self.keypoints[self.measured])


def photos_folder() -> Path:
    """The folder with the sets of photos; ends the program where there is none."""
    folder = SHARED / "data" / "photos"
    if not folder.is_dir():
        raise SystemExit(f"skipped: {folder} is absent; set FULLFRAME_SHARED to the folder with data/photos")
    return folder


def labelled_photos() -> Iterator[LabelledPhoto]:
    """The COCO photos set aside for measuring."""
    folder = photos_folder() / "coco_dev"
    coco = json.loads((folder / "annotations.json").read_text())
    for image in coco["images"]:
        people = [person for person in coco["annotations"] if person["image_id"] == image["id"]]
        boxes = np.array([person["bbox"] for person in people], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        keypoints = np.array([person["keypoints"] for person in people], np.float32).reshape(-1, 17, 3)
        yield LabelledPhoto(folder / "images" / image["file_name"], boxes, keypoints)


def pck_errors(
    photo: LabelledPhoto, points: NDArray, confident: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Distances between joints and their labels in units of the longer side of the person's box.

    Args:
        photo: with N people.
        points: (N, 17, 2) px.
        confident: (N, 17) which joints count; all if None.

    Returns:
        (M,) one for each labelled joint, of the measured people, that counts.
    """
    counts = (photo.keypoints[..., 2] > 0) & photo.measured[:, None]
    if confident is not None:
        counts &= confident
    side = (photo.boxes[:, 2:] - photo.boxes[:, :2]).max(axis=1)
    return (np.linalg.norm(points - photo.keypoints[..., :2], axis=-1) / side[:, None])[counts]

"""The pictures of people that the benchmarks measure on."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.paths import image_size
from fullframe.data.formats.triangulated_joints import limb_sample
from fullframe.data.sample import Sample
from fullframe.evaluate.protocol import Protocol
from fullframe.evaluate.protocols import PROTOCOLS
from fullframe.geometry.box import clip_boxes
from fullframe.geometry.camera import Camera

SHARED = Path(os.environ.get("FULLFRAME_SHARED", Path(__file__).parents[2] / "shared"))
PHOTOS = SHARED / "data" / "photos"
PAIRS = SHARED / "data" / "real3d" / "pairs"
"""55 pictures of two or three people with 3D truth, from MuPoTS-3D (Mehta et al., 3DV 2018)."""


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
    if not PHOTOS.is_dir():
        raise SystemExit(f"skipped: {PHOTOS} is absent; set FULLFRAME_SHARED to the folder with data/photos")
    return PHOTOS


def pairs(folder: Path) -> list[Sample]:
    """The people of a folder with truth.npz: image, intrinsics, box, and joints of the limbs in metres."""
    with np.load(folder / "truth.npz", allow_pickle=False) as file:
        truth = {key: file[key] for key in file.files}
    rows = [JOINT_SETS["coco17"].names.index(name) for name in truth["names"].tolist()]
    samples = []
    for number, image in enumerate(truth["image"].tolist()):
        camera = Camera.from_intrinsics(truth["intrinsics"][number], image_size(folder / image))
        joints = np.zeros((17, 4), np.float32)
        joints[rows] = np.c_[truth["joints"][number], np.ones(len(rows))]
        sample = limb_sample(folder / image, camera, joints, f"{image}#{number}", image, 0)
        samples.append(replace(sample, box=clip_boxes(truth["box"][number, None], camera.size)[0]))
    return samples


def protocol_of(name: str) -> Protocol:
    """A benchmark of `fullframe evaluate`, or pairs: measured as gestures, but its intervals draw people."""
    if name != "pairs":
        return PROTOCOLS[name]
    return replace(PROTOCOLS["gestures"], title="pairs", open=pairs, by_sequence=False)


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

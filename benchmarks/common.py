"""The pictures of people that the benchmarks measure on."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.paths import image_size
from fullframe.data.formats.triangulated_joints import LIMBS, limb_sample
from fullframe.data.sample import Sample
from fullframe.evaluate.protocol import Protocol
from fullframe.evaluate.protocols import PROTOCOLS
from fullframe.geometry.box import clip_boxes
from fullframe.geometry.camera import Camera, project_points

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


def hidden_joints(people: Sequence[Sample]) -> NDArray[np.bool_]:
    """(N, 12) which joints of LIMBS another of the people hides, or the edge of the picture cuts off.

    The others are cylinders around true limbs, trunk and head, of an adult's thickness. What people hide of
    themselves is not counted.
    """
    rows = [JOINT_SETS["coco17"].names.index(name) for name in LIMBS]
    joints = np.stack([sample.joints["coco17"][rows, :3] for sample in people]).astype(np.float64)
    hidden = np.zeros(joints.shape[:2], bool)
    for one, sample in enumerate(people):
        points = project_points(joints[one], sample.camera)
        hidden[one] = (points < 0).any(1) | (points >= sample.camera.size).any(1)
        for other, neighbour in enumerate(people):
            if other != one and neighbour.sequence == sample.sequence:
                hidden[one] |= _behind(joints[one], joints[other])
    return hidden


def _behind(points: NDArray[np.float64], joints: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (K, 3) a person with joints (12, 3) of LIMBS hides from a camera at the origin."""
    left, right = joints[0::2], joints[1::2]  # shoulder, elbow, wrist, hip, knee, ankle
    neck, pelvis = (left[0] + right[0]) / 2, (left[3] + right[3]) / 2
    up = (neck - pelvis) / np.linalg.norm(neck - pelvis)
    parts = [(neck, neck + 0.28 * up, 0.11)]
    parts += [(a[0], a[3], 0.11) for a in (left, right)] + [(neck, pelvis, 0.13)]
    for a in (left, right):
        parts += [(a[0], a[1], 0.05), (a[1], a[2], 0.04), (a[3], a[4], 0.08), (a[4], a[5], 0.055)]
    rays = points / np.linalg.norm(points, axis=1, keepdims=True)
    found = np.zeros(len(points), bool)
    for begin, end, radius in parts:
        on_part = begin + np.linspace(0, 1, 16)[:, None] * (end - begin)
        along = on_part @ rays.T  # (16, K)
        apart = np.linalg.norm(on_part[:, None] - along[..., None] * rays, axis=2)
        nearer = along < np.linalg.norm(points, axis=1) - 2 * radius
        found |= ((apart < radius) & nearer & (along > 0)).any(0)
    return found


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

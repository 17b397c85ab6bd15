"""The people to be labelled: from a file of annotations, or found by a detector."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from fullframe.annotate.crops import usable
from fullframe.body.joint_sets import JOINT_SETS, closest_joint_set
from fullframe.data.sample import Sample
from fullframe.detect import Detector, load_detector
from fullframe.detect import find_people as detection
from fullframe.geometry.box import box_from_keypoints
from fullframe.io.annotations.keypoint_names import FEWEST, reordered
from fullframe.io.annotations.photo_matching import find_photos
from fullframe.io.annotations.photo_transform import (
    PhotoTransform,
    SizeError,
    are_upside_down,
    photo_transform,
)
from fullframe.io.annotations.read import read_annotations
from fullframe.io.image import ImageError, Photo, read_photo
from fullframe.io.progress import Progress, silent
from fullframe.io.workdir import Arrays, WorkDir, Workers, in_process

PHOTOS_PER_SHARD = 32
"""Photos in a shard of detected people."""
ANNOTATOR_MIN_CONFIDENCE = 0.3
"""Detected keypoints below this count as not visible."""


@dataclass(frozen=True)
class Annotations:
    """N people of photos, those of one photo one after another.

    Attributes:
        source: the file or folder that they are from, for messages.
        joint_set: what the keypoints are, a key of JOINT_SETS.
        photos: (N,) names of photos, relative to their folder.
        sizes: (N, 2) int64 width, height px of the photos that were annotated; 0 if unknown.
        ids: (N,) int64 of the annotations, each once.
        boxes: (N, 4) float32 x1, y1, x2, y2 px; NaN if unknown.
        keypoints: (N, K, 3) float32 x, y px and confidence 0 to 1, as annotated; None for a detector to find.
        left_out: a message for each person or image that is left out.
        normalized: whether coordinates are fractions of width and height, not px.
        ambiguous: photos that cannot be told apart, by name, and why.
    """

    source: str
    joint_set: str
    photos: NDArray[np.str_]
    sizes: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32] | None
    left_out: list[str] = field(default_factory=list)
    normalized: bool = False
    ambiguous: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.photos)


class PhotoPeople(Sequence[Sample]):
    """The people as samples, with the pixels of their photos; one photo is in memory at a time.

    The camera is that of the photo's EXIF, else CLIFF's guess from the diagonal. Unknown boxes are computed
    from the keypoints.

    Args:
        annotations: the people.
        images: the folder that their photos are relative to.
        detector: finds keypoints where the annotations have none.
    """

    def __init__(self, annotations: Annotations, images: Path, detector: Detector | None = None) -> None:
        self.annotations, self.images, self.detector = annotations, images, detector
        self._photo: tuple[str, Photo] | None = None

    def __len__(self) -> int:
        return len(self.annotations)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """A person.

        Raises:
            ValueError: the photo is missing, damaged or of another size, or the person has no box and fewer
                than two keypoints; names the file and the remedy.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        people = self.annotations
        name, number = str(people.photos[index]), int(people.ids[index])
        photo, transform = self._read(index)
        box = transform.boxes(people.boxes[index])
        if people.keypoints is not None:
            keypoints = transform.points(people.keypoints[index])
            if np.isnan(box).any():
                known = np.where(usable(keypoints, photo.size)[:, None], keypoints, 0)
                box = box_from_keypoints(known[None], threshold=0.0)[0]
        if np.isnan(box).any():
            raise ValueError(
                f"{people.source}, annotation {number}: no bbox, and fewer than 2 keypoints in the photo: "
                "add a bbox"
            )
        if people.keypoints is None:
            assert self.detector is not None
            found = self.detector.keypoints(photo.pixels, box[None])[0]
            confident = usable(found, photo.size) & (found[:, 2] >= ANNOTATOR_MIN_CONFIDENCE)
            keypoints = np.where(confident[:, None], found, 0).astype(np.float32)
        return Sample(
            photo.pixels,
            photo.camera,
            box,
            keypoints={people.joint_set: keypoints},
            name=f"{name}#{number}",
        )

    def readable(self, index: int) -> bool:
        """Whether a person's photo can be read and has the size that was annotated."""
        try:
            self._read(index)
        except (ImageError, OSError):
            return False
        return True

    def _read(self, index: int) -> tuple[Photo, PhotoTransform]:
        name, size = str(self.annotations.photos[index]), self.annotations.sizes[index]
        path = self.images / name
        if self._photo is None or self._photo[0] != name:
            if name in self.annotations.ambiguous:
                raise ImageError(f"{path}: {self.annotations.source}: {self.annotations.ambiguous[name]}")
            if not os.path.isfile(path):
                raise ImageError(
                    f"{path}: no such photo; put it there, or give the folder that the file_name of "
                    f"{self.annotations.source} is relative to"
                )
            self._photo = name, read_photo(path)
        photo = self._photo[1]
        annotated = (int(size[0]), int(size[1])) if size.any() else None
        keypoints, upside_down = self.annotations.keypoints, False
        if keypoints is not None and photo.orientation > 1:
            names = JOINT_SETS[self.annotations.joint_set].names
            upside_down = are_upside_down(keypoints[self.annotations.photos == name], names)
        try:
            transform = photo_transform(
                annotated, photo.size, photo.orientation, self.annotations.normalized, upside_down
            )
        except SizeError as error:
            raise ImageError(f"{path}: {error} ({self.annotations.source})") from error
        return photo, transform


def read_people(path: Path, images: Path) -> Annotations:
    """The people of a file of annotations, see `fullframe.io.annotations.read`, in a folder of photos.

    Args:
        path: of the file, or a folder of files.
        images: the folder of the photos, searched with all folders below it.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it cannot be read, or has joints of unknown names; names the remedy.
    """
    file = read_annotations(path)
    entries = sorted(file.people, key=lambda person: person.image)
    left_out = file.stats.messages()
    people, taken = [], set()
    for index, person in enumerate(entries):
        number = index if person.id is None else person.id
        if number in taken:
            left_out.append(
                f"{person.entry}: the id {number} is taken; give each annotation its own; "
                "this person is left out"
            )
            continue
        taken.add(number)
        people.append((person, number))
    labelled = any(person.keypoints is not None for person, _ in people)
    if labelled and (bare := [number for person, number in people if person.keypoints is None]):
        left_out.append(
            f"{path}: {len(bare)} annotations without keypoints among others that have them (the first: "
            f"{bare[0]}) count as unreliable; in a file of their own, a detector finds their keypoints"
        )
    joint_set = closest_joint_set(file.keypoint_names) if labelled else "coco17"
    names = JOINT_SETS[joint_set].names
    known = len(set(names) & set(file.keypoint_names))
    if labelled and known < min(FEWEST, len(file.keypoint_names)):
        choices = "; ".join(f"{key}: {', '.join(joints.names)}" for key, joints in JOINT_SETS.items())
        raise ValueError(
            f"{path}: its keypoints ({', '.join(file.keypoint_names)}) do not belong to one joint set; use "
            f"names of one of these (all or some of them, in any order): {choices}"
        )
    keypoints = np.zeros((len(people), len(names), 3), np.float32)
    for index, (person, _) in enumerate(people):
        if person.keypoints is not None:
            keypoints[index] = reordered(person.keypoints, file.keypoint_names, names)
    found = find_photos(images, file.images)
    named = [image.name or f"photo number {image.number}" for image in file.images]
    sizes = [image.size or (0, 0) for image in file.images]
    of = [person.image for person, _ in people]
    return Annotations(
        source=str(path),
        joint_set=joint_set,
        photos=np.array([found[i] if isinstance(found[i], str) else named[i] for i in of], np.str_),
        sizes=np.array([sizes[i] for i in of], np.int64).reshape(-1, 2),
        ids=np.array([number for _, number in people], np.int64),
        boxes=np.array(
            [[np.nan] * 4 if person.box is None else person.box for person, _ in people], np.float32
        ).reshape(-1, 4),
        keypoints=keypoints if labelled else None,
        left_out=left_out,
        normalized=file.normalized,
        ambiguous={named[i]: str(found[i]) for i in of if not isinstance(found[i], str)},
    )


class SharedDetector:
    """A detector that can be pickled: each process loads its own.

    Args:
        provider: see `load_detector`, whose errors it raises.
    """

    def __init__(self, provider: str) -> None:
        self._provider, detector = provider, load_detector(provider)
        self.name, self.boxes, self.keypoints = detector.name, detector.boxes, detector.keypoints

    def __reduce__(self) -> tuple[type["SharedDetector"], tuple[str]]:
        return SharedDetector, (self._provider,)


def find_people(
    images: Path,
    photos: Sequence[str],
    detector: Detector,
    work: WorkDir,
    progress: Progress = silent,
    workers: Workers = in_process,
) -> Annotations:
    """The people that a detector finds in photos; finished parts are kept in `work`.

    Args:
        images: the folder that the photos' names are relative to.
    """

    def make(start: int, end: int) -> Arrays:
        found: list[tuple[int, NDArray[np.float32]]] = []
        problems = []
        for number in range(start, end):
            try:
                pixels = read_photo(images / photos[number]).pixels
            except ImageError as error:
                problems.append(f"{error}; fix or remove the file")
            else:
                found += [(number, box) for box in detection.find_people(detector, pixels).boxes]
        return {
            "photos": np.array([number for number, _ in found], np.int64),
            "boxes": np.array([box for _, box in found], np.float32).reshape(-1, 4),
            "problems": np.array(problems, np.str_),
        }

    shards = work.shards("finding_people", size=PHOTOS_PER_SHARD, count=len(photos))
    found = shards.compute(make, progress, workers)
    count = len(found["boxes"]) if found else 0
    names = np.array(photos, np.str_)
    return Annotations(
        source=str(images),
        joint_set="coco17",
        photos=names[found["photos"]] if found else names,
        sizes=np.zeros((count, 2), np.int64),
        ids=np.arange(count),
        boxes=found["boxes"] if found else np.zeros((0, 4), np.float32),
        keypoints=None,
        left_out=found["problems"].tolist() if found else [],
    )

"""The people to be labelled: from COCO keypoint annotations, or found by a detector."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from fullframe.annotate.crops import usable
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.sample import Sample
from fullframe.detect import Detector, load_detector
from fullframe.geometry.box import box_from_keypoints
from fullframe.geometry.camera import Camera
from fullframe.io.image import ImageError, Photo, read_photo
from fullframe.io.progress import Progress, silent
from fullframe.io.workdir import Arrays, WorkDir, Workers, in_process

PHOTOS_PER_SHARD = 32
"""Photos in a shard of detected people."""
_MOST_PIXELS = 10**6
"""Of a photo's side."""
LEAST_CONFIDENCE = 0.3
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
    """

    source: str
    joint_set: str
    photos: NDArray[np.str_]
    sizes: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32] | None
    left_out: list[str] = field(default_factory=list)

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
        photo = self._read(index)
        box = people.boxes[index]
        if people.keypoints is not None:
            keypoints = people.keypoints[index]
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
            confident = usable(found, photo.size) & (found[:, 2] >= LEAST_CONFIDENCE)
            keypoints = np.where(confident[:, None], found, 0).astype(np.float32)
        return Sample(
            photo.pixels,
            photo.exif_camera or Camera.from_diagonal(photo.size),
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

    def _read(self, index: int) -> Photo:
        name, size = str(self.annotations.photos[index]), self.annotations.sizes[index]
        if self._photo is None or self._photo[0] != name:
            path = self.images / name
            if not path.is_file():
                raise ImageError(
                    f"{path}: no such photo; put it there, or give the folder that the file_name of "
                    f"{self.annotations.source} is relative to"
                )
            self._photo = name, read_photo(path)
        photo = self._photo[1]
        if size.any() and photo.size != tuple(size):
            raise ImageError(
                f"{self.images / name}: {photo.size[0]} x {photo.size[1]} px upright, but "
                f"{self.annotations.source} is about {size[0]} x {size[1]} px; give the photos that were "
                "annotated, or correct width and height"
            )
        return photo


def read_annotations(path: Path) -> Annotations:
    """Read COCO keypoint annotations (Lin et al., ECCV 2014): images, annotations and categories.

    The category with keypoints tells their names, in any order; they must belong to one of JOINT_SETS.
    Without categories, 17 keypoints are COCO's. Visibilities 1 and 2 become a confidence of 1, fractions
    stay. Crowds are left out, and so is anybody whose entry cannot be understood.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is of another kind, or has joints of unknown names; names the remedy.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    lists = content if isinstance(content, dict) else {}
    images, entries = lists.get("images"), lists.get("annotations")
    if not (isinstance(images, list) and isinstance(entries, list)):
        raise ValueError(
            f"{path} is not COCO annotations: expected an object with the lists 'images' and 'annotations'"
        )
    category, names = _category(content.get("categories") or [], path)
    joint_set, order = _joint_set(names, path)
    left_out: list[str] = []
    known = _images(images, path, left_out)
    people: list[_Person] = []
    taken: set[int] = set()
    others = 0
    for index, entry in enumerate(entries):
        where = f"{path}, annotations[{index}]"
        if not isinstance(entry, dict):
            left_out.append(f"{where}: expected an object; the entry is left out")
            continue
        if category is not None and entry.get("category_id", category) != category:
            others += 1
            continue
        try:
            person = _person(entry, index, known, len(names), where)
            if person.id in taken:
                raise ValueError(f"{where}: the id {person.id} is taken; give each annotation its own")
        except ValueError as error:
            left_out.append(f"{error}; this person is left out")
        else:
            taken.add(person.id)
            people.append(person)
    if others:
        left_out.append(f"{path}: {others} annotations of other categories than {category} are left out")
    people.sort(key=lambda person: person.image.number)
    labelled = any(person.keypoints is not None for person in people)
    if labelled and (bare := [person.id for person in people if person.keypoints is None]):
        left_out.append(
            f"{path}: {len(bare)} annotations without keypoints among others that have them (the first: "
            f"{bare[0]}) count as unreliable; in a file of their own, a detector finds their keypoints"
        )

    count, width = len(people), len(JOINT_SETS[joint_set])
    keypoints = np.zeros((count, width, 3), np.float32)
    for row, person in enumerate(people):
        if person.keypoints is not None:
            keypoints[row, order] = person.keypoints
    return Annotations(
        source=str(path),
        joint_set=joint_set if labelled else "coco17",
        photos=np.array([person.image.name for person in people], np.str_),
        sizes=np.array([person.image.size for person in people], np.int64).reshape(-1, 2),
        ids=np.array([person.id for person in people], np.int64),
        boxes=np.array([person.box for person in people], np.float32).reshape(-1, 4),
        keypoints=keypoints if labelled else None,
        left_out=left_out,
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
                found += [(number, box) for box in detector.boxes(pixels)[0]]
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


@dataclass(frozen=True)
class _Image:
    number: int  # in the file
    name: str
    size: tuple[int, int]  # 0, 0 if unknown


@dataclass(frozen=True)
class _Person:
    image: _Image
    id: int
    box: list[float]  # x1, y1, x2, y2 px, or NaN
    keypoints: NDArray[np.float32] | None  # (K, 3) in the file's order


def _category(categories: Any, path: Path) -> tuple[int | None, list[str]]:
    """The id of the category with keypoints, None if there are no categories, and their names."""
    if not isinstance(categories, list) or not all(isinstance(c, dict) for c in categories):
        raise ValueError(f"{path}: 'categories' must be a list of objects")
    with_keypoints = [c for c in categories if c.get("keypoints")]
    people = [c for c in with_keypoints or categories if c.get("name") == "person"]
    chosen = (people or with_keypoints)[:1]
    names = list(JOINT_SETS["coco17"].names)
    if not chosen:
        if categories:
            raise ValueError(
                f"{path}: none of its categories is 'person' or has keypoints; add "
                '{"id": 1, "name": "person", "keypoints": [names]} to them'
            )
        return None, names
    return chosen[0].get("id"), [str(name) for name in chosen[0].get("keypoints") or names]


def _joint_set(names: Sequence[str], path: Path) -> tuple[str, list[int]]:
    """The smallest joint set that has all these names, and their rows in it."""
    plain = [name.strip().lower().replace(" ", "_").replace("-", "_") for name in names]
    fitting = [key for key, joints in JOINT_SETS.items() if set(plain) <= set(joints.names)]
    if not fitting or len(set(plain)) < len(plain):
        known = {name for joints in JOINT_SETS.values() for name in joints.names}
        unknown = [name for name, simple in zip(names, plain, strict=True) if simple not in known]
        if unknown:
            problem = f"unknown keypoint names {', '.join(unknown)}"
        elif len(set(plain)) < len(plain):
            problem = "a keypoint name stands twice"
        else:
            problem = "these keypoints do not belong to one joint set"
        choices = "; ".join(f"{key}: {', '.join(joints.names)}" for key, joints in JOINT_SETS.items())
        raise ValueError(
            f"{path}: {problem}; in 'categories', use names of one of these joint sets (all or some of them, "
            f"in any order): {choices}"
        )
    key = min(fitting, key=lambda name: len(JOINT_SETS[name]))
    return key, [JOINT_SETS[key].names.index(name) for name in plain]


def _images(images: list[Any], path: Path, left_out: list[str]) -> dict[Any, _Image | str]:
    """Images by id; in place of those that cannot be used, why."""
    known: dict[Any, _Image | str] = {}
    for number, image in enumerate(images):
        where = f"{path}, images[{number}]"
        if not isinstance(image, dict) or not isinstance(image.get("id"), (int, str)):
            left_out.append(f"{where}: expected an object with id and file_name; the image is left out")
            continue
        name, size = image.get("file_name"), (image.get("width", 0), image.get("height", 0))
        other = known.get(image["id"])
        if (
            not isinstance(name, str)
            or not name
            or PurePath(name).is_absolute()
            or ".." in PurePath(name).parts
        ):
            known[image["id"]] = f"{where}: file_name {name!r} is not a path below the folder of photos"
        elif not _is_text(name):
            known[image["id"]] = f"{where}: file_name {name!r} is not text"
        elif not all(type(side) is int and 0 <= side <= _MOST_PIXELS for side in size):
            known[image["id"]] = f"{where}: width and height {list(size)} are not whole numbers of px"
        elif other is not None and (isinstance(other, str) or other.name != name):
            known[image["id"]] = f"{where}: the id {image['id']} stands for several images; give each its own"
        else:
            known[image["id"]] = _Image(number, name, size)
    return known


def _person(
    entry: Mapping[str, Any], index: int, images: Mapping[Any, _Image | str], joints: int, where: str
) -> _Person:
    """Raises ValueError for an entry that cannot be understood, and for crowds."""
    if entry.get("iscrowd"):
        raise ValueError(f"{where}: a crowd, not a person")
    image_id = entry.get("image_id")
    image = images.get(image_id) if isinstance(image_id, (int, str)) else None
    if image is None:
        raise ValueError(f"{where}: image_id {image_id!r} is not among the 'images'")
    if isinstance(image, str):
        raise ValueError(f"{where}: {image}")
    number = entry.get("id", index)
    if type(number) is not int or abs(number) >= 2**63:
        raise ValueError(f"{where}: the id {number!r} is not a whole number of 64 bits")
    box = [np.nan] * 4
    if entry.get("bbox"):
        x, y, width, height = _numbers(entry["bbox"], 4, "bbox", where).tolist()
        box = [x, y, x + width, y + height]
    keypoints = None
    if entry.get("keypoints"):
        keypoints = _numbers(entry["keypoints"], 3 * joints, "keypoints", where).reshape(joints, 3)
        # A missing point has no confidence, whatever its coordinates; NaN is reported later.
        keypoints[:, 2] = np.where(np.isnan(keypoints[:, 2]), np.nan, keypoints[:, 2].clip(0, 1))
    return _Person(image, number, box, keypoints)


def _numbers(values: Any, count: int, name: str, where: str) -> NDArray[np.float32]:
    good = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not good or len(values) != count:
        found = f"{len(values)} values" if isinstance(values, list) else repr(values)
        raise ValueError(f"{where}: {name} must be {count} numbers, found {found}")
    try:
        return np.array(values, np.float64).clip(-1e9, 1e9).astype(np.float32)
    except OverflowError:
        raise ValueError(f"{where}: {name} has a number that is too large") from None


def _is_text(name: str) -> bool:
    """Whether it can be written: JSON allows halves of characters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

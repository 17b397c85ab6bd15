"""People given by the user as COCO JSON: a list of results, or annotations with their images."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.geometry.box import box_from_keypoints

PERSON = 1  # COCO's category


@dataclass
class _Person:
    box: NDArray[np.float32]  # (4,) x1, y1, x2, y2 px
    score: float
    keypoints: NDArray[np.float32] | None  # (17, 3) x, y px, confidence 0..1


@dataclass
class GivenFile:
    """The people in one file, by photo: the key is a file name in lower case, or an image id."""

    path: Path
    photos: dict[str | int, list[_Person]]

    def people(self, photo: Path) -> list[_Person]:
        """The people of a photo, found by its file name, with or without suffix, or by the number in it.

        Raises:
            ValueError: if the file says nothing about this photo.
        """
        for key in (photo.name.lower(), photo.stem.lower(), _number(photo.name)):
            if key is not None and key in self.photos:
                return self.photos[key]
        raise ValueError(
            f"{self.path} has no entry for {photo.name}: give its people that file_name, or the number at "
            "the end of its name as image_id; a photo without people must be listed under 'images'"
        )


@dataclass
class GivenPeople:
    """What the user gives instead of detections, for any number of photos; either file may be None."""

    boxes: GivenFile | None = None
    keypoints: GivenFile | None = None

    def for_photo(self, photo: Path) -> dict[str, NDArray[np.float32]]:
        """What is given for one photo, named like the arguments of `fullframe.recover`.

        Returns:
            Nothing if nothing was given, else boxes (N, 4) x1, y1, x2, y2 px, scores (N,), and keypoints
            (N, 17, 3), x, y px and confidence 0..1, if a file gives them.

        Raises:
            ValueError: if a file does not know the photo, or the two speak of different numbers of people.
        """
        given: dict[str, NDArray[np.float32]] = {}
        if self.keypoints is not None:
            people = self.keypoints.people(photo)
            points = [person.keypoints for person in people]
            given["keypoints"] = np.asarray(points, np.float32).reshape(-1, 17, 3)
        if self.boxes is not None:
            people = self.boxes.people(photo)
            if "keypoints" in given and len(given["keypoints"]) != len(people):
                assert self.keypoints is not None
                raise ValueError(
                    f"{self.boxes.path} has {len(people)} people for {photo.name}, {self.keypoints.path} has "
                    f"{len(given['keypoints'])}: give the same people, in the same order, in both"
                )
        if self.boxes is not None or self.keypoints is not None:
            given["boxes"] = np.array([person.box for person in people], np.float32).reshape(-1, 4)
            given["scores"] = np.array([person.score for person in people], np.float32)
        return given


def read_people(boxes: Path | None, keypoints: Path | None, skipped: list[str] | None = None) -> GivenPeople:
    """Read the files given with --boxes and --keypoints.

    A file is a list of results, {image_id or file_name, category_id, bbox [x, y, width, height], score,
    keypoints [x, y, confidence or COCO visibility, ...]}, or COCO annotations, {images, annotations}. Only
    people (category 1) count, and no crowds. Boxes may be left out where there are keypoints. COCO's
    visibilities become confidences: 0 stays 0, 1 and 2 become 1.

    Args:
        boxes: a file whose boxes are used, or None.
        keypoints: a file whose keypoints are used, and its boxes unless `boxes` is given, or None.
        skipped: if given, people whose numbers are impossible are left out and the reasons appended here, as
            befits large data sets.

    Raises:
        OSError: if a file cannot be opened.
        ValueError: for another kind of file or an impossible entry; names file, entry and remedy.
    """
    return GivenPeople(
        _read(Path(boxes), False, skipped) if boxes is not None else None,
        _read(Path(keypoints), True, skipped) if keypoints is not None else None,
    )


def _read(path: Path, need_keypoints: bool, skipped: list[str] | None) -> GivenFile:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # neither JSON nor text, or nested without end
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    images: list[Any] = []
    entries = content
    if isinstance(content, dict):
        images, entries = content.get("images", []), content.get("annotations")
    if not (isinstance(entries, list) and isinstance(images, list)):
        raise ValueError(
            f"{path} is neither a list of COCO results nor COCO annotations with 'images' and 'annotations'"
        )

    file = GivenFile(path, {})
    known: dict[Any, _Image] = {}
    for index, image in enumerate(images):
        where = f"{path}, images[{index}]"
        if not isinstance(image, dict) or not {"id", "file_name"} <= image.keys():
            raise ValueError(f"{where}: expected id and file_name")
        name, number = _key(image["file_name"], where), _key(image["id"], where)
        sides = (image.get("width", np.inf), image.get("height", np.inf))
        if not all(isinstance(side, (int, float)) and side > 0 for side in sides):
            raise ValueError(f"{where}: width and height must be numbers above 0, found {list(sides)}")
        known[number] = _Image(name, *sides)
        people: list[_Person] = []
        file.photos[name] = people
        if _number(str(name)) == number:  # COCO's own: 785 and COCO_val2014_000000000785.jpg
            file.photos[number] = people
    for index, entry in enumerate(entries):
        where = f"{path}, entry {index}"
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: expected an object with image_id and bbox or keypoints")
        if entry.get("category_id", PERSON) != PERSON or entry.get("iscrowd"):
            continue
        if "file_name" in entry:
            image = _Image(_key(entry["file_name"], where))
        elif "image_id" not in entry:
            raise ValueError(f"{where}: expected an image_id or a file_name")
        elif not images:
            image = _Image(_key(entry["image_id"], where))
        elif _key(entry["image_id"], where) in known:
            image = known[_key(entry["image_id"], where)]
        else:
            raise ValueError(f"{where}: image_id {entry['image_id']!r} is not among the 'images'")
        try:
            person = _person(entry, image, need_keypoints, where)
        except ValueError as error:
            if skipped is None:
                raise
            skipped.append(str(error))
            continue
        file.photos.setdefault(image.key, []).append(person)
    return file


@dataclass
class _Image:
    key: str | int
    width: float = np.inf
    height: float = np.inf


def _number(file_name: str) -> int | None:
    """The number at the end of a file name."""
    digits = re.search(r"(\d+)$", Path(file_name).stem)
    return int(digits[1]) if digits else None


def _key(name: Any, where: str) -> str | int:
    if isinstance(name, str) and name:
        return int(name) if name.isdecimal() else Path(name).name.lower()
    if isinstance(name, int) and not isinstance(name, bool):
        return name
    raise ValueError(f"{where}: {name!r} is neither a file name nor a number")


def _person(entry: dict[str, Any], image: _Image, need_keypoints: bool, where: str) -> _Person:
    keypoints = None
    if entry.get("keypoints"):
        keypoints = _keypoints(entry["keypoints"], where)
    elif need_keypoints:
        raise ValueError(f"{where} has no keypoints: add 17 x, y, confidence, or remove the entry")
    if "bbox" in entry:
        box = _box(entry["bbox"], image, where)
    elif keypoints is None:
        raise ValueError(f"{where} has neither a bbox nor keypoints: add one, or remove the entry")
    else:
        box = box_from_keypoints(keypoints[None], threshold=0.0)[0]
        if not np.isfinite(box).all():
            raise ValueError(f"{where}: fewer than 2 keypoints have a confidence above 0: add a bbox")
    (score,) = _numbers([entry.get("score", 1.0)], 1, "score", where)
    if not 0 <= score <= 1:
        raise ValueError(f"{where}: score must lie between 0 and 1, found {score}")
    return _Person(box, float(score), keypoints)


def _keypoints(values: Any, where: str) -> NDArray[np.float32]:
    points = _numbers(values, 51, "keypoints", where).reshape(17, 3)
    points[:, 2] = points[:, 2].clip(0, 1)  # COCO's visibility 2 becomes 1
    return points


def _box(values: Any, image: _Image, where: str) -> NDArray[np.float32]:
    x, y, width, height = _numbers(values, 4, "bbox", where)
    if width <= 0 or height <= 0:
        raise ValueError(
            f"{where}: bbox {values} has no area; a bbox is [x, y, width, height], width and height above 0"
        )
    if x + width <= 0 or y + height <= 0 or x >= image.width or y >= image.height:
        raise ValueError(
            f"{where}: bbox {values} lies outside the image; a bbox is [x, y, width, height] in px of the "
            "upright full image"
        )
    box = np.array([x, y, x + width, y + height])
    return box.clip(0, [image.width, image.height] * 2).astype(np.float32)


def _numbers(values: Any, count: int, name: str, where: str) -> NDArray[np.float32]:
    numbers: NDArray[np.float64] = np.zeros(0)
    if isinstance(values, list) and all(type(value) in (int, float) for value in values):
        numbers = np.array(values, np.float64)
    if numbers.shape != (count,):
        found = f"{len(values)} values" if isinstance(values, list) else repr(values)
        raise ValueError(f"{where}: {name} must be {count} numbers, found {found}")
    if not (np.abs(numbers) < 1e9).all():  # not for NaN either
        raise ValueError(
            f"{where}: {name} is not finite (NaN or infinity); use numbers, and confidence 0 if unknown"
        )
    return numbers.astype(np.float32)

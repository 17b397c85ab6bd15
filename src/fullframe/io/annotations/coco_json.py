"""COCO annotations and lists of results, also as CVAT, Label Studio, AlphaPose and others write them.

Format: cocodataset.org/#format-data and #format-results. AlphaPose's results (docs/output.md of
MVIG-SJTU/AlphaPose) name photos in image_id, and have "box" (x, y, width, height), "idx" (a track) and open
scores.
"""

import reprlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.io.annotations.annotation_file import (
    AnnotatedImage,
    AnnotatedPerson,
    AnnotationFile,
    ReadStats,
)
from fullframe.io.annotations.keypoint_names import (
    COCO17,
    KeypointOrder,
    order_from_count,
    order_from_list,
    order_from_names,
)
from fullframe.io.annotations.untrusted import (
    EntryError,
    box_xyxy,
    confidences,
    image_size,
    number,
    numbers,
    printable,
    track_number,
    whole_number,
)

PERSON = 1
"""COCO's category."""
PERSON_NAMES = frozenset({"person", "people", "persons", "human", "pedestrian"})


def _bones(pairs: str) -> NDArray[np.int64]:
    return np.array([[int(row) for row in pair.split("-")] for pair in pairs.split()])


_COCO_BONES = _bones("0-1 0-2 1-3 2-4 5-6 5-7 7-9 6-8 8-10 5-11 6-12 11-12 11-13 13-15 12-14 14-16")
_H36M_BONES = _bones("0-1 1-2 2-3 0-4 4-5 5-6 0-7 7-8 8-9 9-10 8-11 11-12 12-13 8-14 14-15 15-16")
_NOT_COCO = 1.4
"""Length of COCO's bones over that of Human3.6M's through the same points. In COCO's order it is .83 in the
median of 139 people of COCO and 1.24 at 99 %, in Human3.6M's at least 1.5 (59 people)."""


def read_coco(content: dict[str, Any], path: Path) -> AnnotationFile:
    """Annotations: an object with images, annotations and, as a rule, categories."""
    images, entries = content.get("images", []), content.get("annotations")
    if not (isinstance(images, list) and isinstance(entries, list)):
        raise ValueError(f"{path}: 'images' and 'annotations' must be lists")
    reader = _Reader(path, "COCO annotations")
    reader.name_images(images)
    reader.choose_category(content.get("categories"))
    return reader.read(entries, "annotations")


def read_coco_results(entries: list[Any], path: Path) -> AnnotationFile:
    """A list of results: {image_id or file_name, category_id, bbox, score, keypoints}."""
    alphapose = any(
        isinstance(entry, dict) and "keypoints" in entry and ("box" in entry or "idx" in entry)
        for entry in entries
    )
    return _Reader(path, "AlphaPose results" if alphapose else "COCO results").read(entries, "entry")


@dataclass
class _Box:
    person: AnnotatedPerson
    values: NDArray[np.float64]  # as they stand in the file
    size: tuple[int, int] | None


class _Reader:
    """Builds an AnnotationFile entry by entry."""

    def __init__(self, path: Path, format: str) -> None:
        self.file = AnnotationFile(path, format, [], [])
        self.stats: ReadStats = self.file.stats
        self.order: KeypointOrder | None = None
        self._named: dict[int | str, int | str] = {}  # an image's id: its index, or why it cannot be used
        self._ambiguous: dict[int | str, int] = {}  # index of the first image by an id that several have
        self._unnamed: dict[int | str, int] = {}  # index by what entries call their image
        self._categories: frozenset[int | str | None] = frozenset()
        self._category_names: dict[int | str | None, str] = {}
        self._boxes: list[_Box] = []
        self._broken_points = self._odd_tracks = 0

    def name_images(self, images: list[Any]) -> None:
        for index, image in enumerate(images):
            where = f"{self.file.path}, images[{index}]"
            key = _plain_id(image.get("id")) if isinstance(image, dict) else None
            if key is None:
                self.stats.leave_out(
                    -1, "image without id", f"{where}: expected an object with id and file_name"
                )
                continue
            try:
                named = self._image(image, where)
            except EntryError as error:
                self._named[key] = str(error)
                continue
            other = self._named.get(key)
            if isinstance(other, int) and self.file.images[other] == named:
                continue
            if other is not None:
                self._named[key] = f"{where}: the id {key} stands for several images; give each its own"
                if isinstance(other, int):
                    self._ambiguous[key] = other
                continue
            self._named[key] = len(self.file.images)
            self.file.images.append(named)

    def _image(self, image: dict[str, Any], where: str) -> AnnotatedImage:
        name = image.get("file_name")
        if not isinstance(name, str) or not name or ".." in name.replace("\\", "/").split("/"):
            raise EntryError(
                f"{where}: file_name {reprlib.repr(name)} is not a path below the folder of photos"
            )
        if not _is_text(name):
            raise EntryError(f"{where}: file_name {reprlib.repr(name)} is not text")
        size = image_size(image.get("width"), image.get("height"), where)
        frame = whole_number(image.get("frame_id"))
        return AnnotatedImage(
            name, whole_number(image["id"]), None if frame is None or frame < 0 else frame, size
        )

    def choose_category(self, categories: Any) -> None:
        """Find out which category are people and what their keypoints are."""
        path = self.file.path
        if categories in (None, []):
            return
        if not isinstance(categories, list) or not all(
            isinstance(c, dict) and _plain_id(c.get("id")) is not None for c in categories
        ):
            raise ValueError(f"{path}: 'categories' must be a list of objects with id and name")
        by_id: dict[Any, Any] = {}
        for category in categories:
            key = _plain_id(category["id"])
            if by_id.setdefault(key, category) != category:
                raise ValueError(f"{path}: several categories have the id {key}; give each its own")
        self._category_names = {_plain_id(c["id"]): printable(str(c.get("name"))[:40]) for c in categories}
        with_keypoints = [c for c in categories if c.get("keypoints")]
        people = [c for c in with_keypoints or categories if str(c.get("name")).lower() in PERSON_NAMES]
        chosen = people or with_keypoints[:1]
        if not chosen:
            shown = ", ".join(list(self._category_names.values())[:8])
            raise ValueError(
                f"{path}: none of its categories is 'person' or has keypoints (they are {shown}): no entry "
                'is a person. If one is, name it: {"id": 1, "name": "person", "keypoints": [names]}'
            )
        names = chosen[0].get("keypoints")
        self._categories = frozenset(_plain_id(c["id"]) for c in chosen if c.get("keypoints") == names)
        if not names:
            return
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: the keypoints of a category must be a list of names")
        try:
            self.order = order_from_names(names, "named in categories")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def read(self, entries: list[Any], list_name: str) -> AnnotationFile:
        if not self._categories:
            self._guess_category(entries)
        for index, entry in enumerate(entries):
            place = f"{list_name}[{index}]" if list_name != "entry" else f"entry {index}"
            where = f"{self.file.path}, {place}"
            if not isinstance(entry, dict):
                problem = f"{where}: expected an object with image_id and bbox or keypoints"
                self.stats.leave_out(-1, "not an object", problem)
                continue
            image = -1
            try:
                image = self._image_of(entry, where)
                category = _plain_id(entry["category_id"]) if "category_id" in entry else None
                if "category_id" in entry and category not in self._categories:
                    shown = self._category_names.get(category) or f"id {reprlib.repr(entry['category_id'])}"
                    self.stats.leave_out(image, f"of another category ({shown})")
                elif entry.get("iscrowd"):
                    self.stats.leave_out(image, "crowd")
                else:
                    self._add(entry, image, where)
            except EntryError as error:
                if image < 0:  # a photo that may be meant must not look empty
                    image = self._ambiguous.get(_plain_id(entry.get("image_id")) or -1, -1)
                self.stats.leave_out(image, "not usable", str(error))
        return self._finished()

    def _guess_category(self, entries: list[Any]) -> None:
        """Without categories, 1 is a person, as in COCO; 0 where all are 0."""
        dicts = [entry for entry in entries if isinstance(entry, dict)]
        ids = {_plain_id(entry.get("category_id", PERSON)) for entry in dicts}
        self._categories = frozenset({PERSON})
        if PERSON not in ids and len(ids) == 1:
            (only,) = ids
            if only == 0 or (only is not None and any(entry.get("keypoints") for entry in dicts)):
                self._categories = frozenset({only})
                self.stats.notes.append(f"category {only}, which all entries have, is taken for person")

    def _image_of(self, entry: dict[str, Any], where: str) -> int:
        name, image_id = entry.get("file_name"), _plain_id(entry.get("image_id"))
        if self._named and name is None:
            index = self._named.get(image_id) if image_id is not None else None
            if index is None:
                raise EntryError(
                    f"{where}: image_id {reprlib.repr(entry.get('image_id'))} is not among the 'images'"
                )
            if isinstance(index, str):
                raise EntryError(f"{where}: {index}")
            return index
        key = _plain_id(name) if name is not None else image_id
        if key is None or (isinstance(key, str) and not _is_text(key)):
            raise EntryError(f"{where}: expected an image_id or a file_name (a number or a name)")
        if key not in self._unnamed:
            plain = whole_number(key)
            self._unnamed[key] = len(self.file.images)
            image = AnnotatedImage(number=plain) if plain is not None else AnnotatedImage(str(key))
            self.file.images.append(image)
        return self._unnamed[key]

    def _add(self, entry: dict[str, Any], image: int, where: str) -> None:
        points = None
        if entry.get("keypoints"):
            points = self._keypoints(entry["keypoints"], where)
        values = entry.get("bbox", entry.get("box"))
        corners = None
        if values:
            corners = numbers(values, 4, "bbox", where)
            if points is not None and not corners.any():  # not drawn
                corners = None
        if corners is None and points is None:
            raise EntryError(f"{where} has neither a bbox nor keypoints: add one, or remove the entry")
        score = 1.0 if entry.get("score") is None else entry["score"]
        track = entry.get("track_id", entry.get("idx"))
        attributes = entry.get("attributes")
        if track is None and isinstance(attributes, dict):
            track = attributes.get("track_id")
        person = AnnotatedPerson(
            image,
            where,
            None,
            points,
            score=number(score, "score", where),
            id=whole_number(entry.get("id")),
            track_id=self._track(track[0] if isinstance(track, list) and len(track) == 1 else track),
        )
        if corners is not None:
            self._boxes.append(_Box(person, corners, self.file.images[image].size))
        self.file.people.append(person)

    def _track(self, value: Any) -> int | None:
        track = track_number(value)
        self._odd_tracks += track is None and value not in (None, -1)
        return track

    def _keypoints(self, values: Any, where: str) -> NDArray[np.float32]:
        count = self.order.total if self.order is not None else None
        flat = numbers(values, None if count is None else 3 * count, "keypoints", where)
        if self.order is None:
            if len(flat) % 3:
                raise EntryError(
                    f"{where}: keypoints must be x, y, confidence for each, found {len(flat)} values"
                )
            try:
                self.order = order_from_count(len(flat) // 3)
            except ValueError as error:
                raise EntryError(f"{where}: {error}") from error
        points, broken = confidences(flat.reshape(-1, 3)[list(self.order.rows)])
        self._broken_points += broken
        return points

    def _finished(self) -> AnnotationFile:
        file, stats = self.file, self.stats
        if self.order is not None:
            file.keypoint_names = self.order.names
            if self.order.note:
                stats.notes.append(self.order.note)
            if self.order == order_from_list("COCO"):
                self._check_order()
        if self._broken_points:
            stats.notes.append(f"{self._broken_points} keypoints are not finite or far outside: not used")
        if self._odd_tracks:
            stats.notes.append(f"{self._odd_tracks} track ids are not whole numbers from 0 on: not used")
        self._set_boxes()
        self._set_scores()
        coordinates = [v for box in self._boxes for v in box.values] if len(self._boxes) < 1000 else [9.0]
        points = [p.keypoints for p in file.people[:1000] if p.keypoints is not None]
        highest = max([*coordinates, *(float(p[:, :2].max(initial=0)) for p in points)], default=9.0)
        if 0 < highest <= 1:
            raise ValueError(f"{file.path}: all coordinates are between 0 and 1; COCO's are in px")
        return file

    def _check_order(self) -> None:
        """17 points without names are COCO's, unless Human3.6M's bones fit them much better."""
        ratios = [
            _bone_length(person.keypoints, _COCO_BONES) / _bone_length(person.keypoints, _H36M_BONES)
            for person in self.file.people
            if person.keypoints is not None
        ]
        known = [ratio for ratio in ratios if not np.isnan(ratio)]
        if known and np.median(known) > _NOT_COCO:
            raise ValueError(
                f"{self.file.path}: its 17 keypoints have no names, and look like Human3.6M's, not COCO's "
                f"({', '.join(COCO17)}): name them in the category's 'keypoints'"
            )

    def _set_boxes(self) -> None:
        """COCO's boxes are x, y, width, height. Where the whole file shows that its are corners, they are."""
        votes = Counter(_looks_like(box) for box in self._boxes)
        corners = votes["corners"] > 0 and not votes["size"]
        if corners:
            self.stats.notes.append("its boxes are x1, y1, x2, y2 (COCO's are x, y, width, height)")
        unusable: set[int] = set()
        for box in self._boxes:
            with np.errstate(over="ignore"):  # infinite, and refused as such
                a, b, c, d = box.values.astype(np.float32).astype(np.float64).tolist()
            xyxy = box.values if corners else np.array([a, b, a + c, b + d])
            shown, where = f"bbox {reprlib.repr([a, b, c, d])}", box.person.entry
            try:
                box.person.box = box_xyxy(xyxy, shown, where)
                if box.size is not None and ((xyxy[:2] >= box.size).any() or (xyxy[2:] <= 0).any()):
                    raise EntryError(
                        f"{where}: {shown} lies outside the image; a bbox is [x, y, width, height] in px of "
                        "the full image"
                    )
            except EntryError as error:
                self.stats.leave_out(box.person.image, "not usable", str(error))
                unusable.add(id(box.person))
        if unusable:
            self.file.people = [person for person in self.file.people if id(person) not in unusable]

    def _set_scores(self) -> None:
        """Scores from 0 to 1."""
        scores = [person.score for person in self.file.people]
        most = 1.0
        if self.file.format == "AlphaPose results" and max(scores, default=0) > 1:
            # Mean confidence + 1.25 times the highest + that of the box (alphapose/utils/pPose_nms.py).
            most = max(3.25, *scores)
            self.stats.notes.append(f"scores reach {max(scores):.2f}: divided by {most:.2f}")
        kept = []
        for person in self.file.people:
            person.score /= most
            if 0 <= person.score <= 1:
                kept.append(person)
            else:
                problem = f"{person.entry}: score must lie between 0 and 1, found {person.score:g}"
                self.stats.leave_out(person.image, "not usable", problem)
        self.file.people = kept


def _bone_length(points: NDArray[np.float32], bones: NDArray[np.int64]) -> float:
    """Mean length of the bones between points (17, 3) that are seen; NaN for fewer than eight."""
    seen = (points[bones, 2] > 0).all(axis=1)
    lengths = np.linalg.norm(points[bones[:, 0], :2] - points[bones[:, 1], :2], axis=1)
    return max(float(lengths[seen].mean()), 1e-9) if seen.sum() >= 8 else np.nan


def _looks_like(box: _Box) -> str:
    """Whether four numbers can only be corners, can only be position and size, or either."""
    a, b, c, d = box.values.tolist()
    if not (c > a and d > b):
        return "size"
    limit = np.array(box.size if box.size is not None else (np.inf, np.inf)) * 1.05 + 2
    if (a + c > limit[0] or b + d > limit[1]) and c <= limit[0] and d <= limit[1]:
        return "corners"
    points = box.person.keypoints
    if points is None or (points[:, 2] > 0).sum() < 4:
        return "either"
    seen = points[points[:, 2] > 0, :2]
    around = np.concatenate((seen.min(axis=0), seen.max(axis=0)))
    as_corners, as_size = _overlap(around, box.values), _overlap(around, np.array([a, b, a + c, b + d]))
    if as_corners > 0.4 and as_corners > 1.5 * as_size:
        return "corners"
    return "size" if as_size > 0.4 and as_size > 1.5 * as_corners else "either"


def _overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Intersection over union of two boxes (4,)."""
    both = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
    return float(both / max((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both, 1e-9))


def _plain_id(value: Any) -> int | str | None:
    """An id that is a number or a name, equal however the number is written; None for anything else."""
    if isinstance(value, str) and (not value.isdecimal() or (value[0] == "0" and value != "0")):
        return value or None
    return whole_number(value)


def _is_text(name: str) -> bool:
    """Whether it can be written: JSON allows halves of characters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name

"""Exports of Label Studio: JSON, and JSON-MIN.

Format: labelstud.io/tags/keypointlabels and /tags/rectanglelabels, labelstud.io/guide/export. A task has
"data" with the address of the image and "annotations" of "result"s: keypoints and rectangles with x, y, width
and height in percent of the image, whose original_width and original_height stand beside. Keypoints belong to
the rectangle that is their parentID, or that a relation joins them with, or that alone contains them; without
rectangles all are one person's.
"""

import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np
from numpy.typing import NDArray

from fullframe.io.annotations.annotation_file import AnnotatedImage, AnnotatedPerson, AnnotationFile
from fullframe.io.annotations.coco_json import PERSON_NAMES
from fullframe.io.annotations.keypoint_names import canonical, name_keypoints
from fullframe.io.annotations.untrusted import EntryError, box_xyxy, image_size, number

_KINDS = ("keypointlabels", "rectanglelabels")


def is_label_studio(content: Any) -> bool:
    """Whether a parsed JSON file looks like it."""
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict):
        return False
    if isinstance(first.get("data"), dict) and any(k in first for k in ("annotations", "completions")):
        return True
    return any(True for _ in _minimal_results(first))


def read_label_studio(tasks: list[Any], path: Path) -> AnnotationFile:
    """The people of a list of tasks."""
    result = AnnotationFile(path, "Label Studio", [], [])
    raw: list[tuple[int, str, _Person]] = []
    for row, task in enumerate(tasks):
        where = f"{path}, task {row}"
        image = -1
        try:
            name, results = _task(task, where)
            size = _size(results, where)
            image = len(result.images)
            result.images.append(AnnotatedImage(name, size=size))
            raw += [(image, where, person) for person in _people(results, where)]
        except EntryError as error:
            result.stats.leave_out(image, "not usable", str(error))
    if any(person.label.lower() in PERSON_NAMES for _, _, person in raw):
        for image, _, person in raw:
            if not person.is_person:
                result.stats.leave_out(image, f"of another label ({person.label[:40]})")
        raw = [(image, where, person) for image, where, person in raw if person.is_person]
    names = sorted({name for _, _, person in raw for name in person.points})
    known = name_keypoints(result, names)
    for image, where, person in raw:
        width, height = result.images[image].size or (0, 0)
        rows = np.zeros((len(result.keypoint_names), 3), np.float32)
        for index, name in enumerate(known if person.points else []):
            if name in person.points:
                x, y = person.points[name]
                rows[index] = x * width / 100, y * height / 100, 1
        try:
            box = None
            if person.box is not None:
                shown = f"rectangle {person.box.round(2).tolist()} %"
                box = box_xyxy(person.box * (width, height, width, height) / 100, shown, where)
            result.people.append(AnnotatedPerson(image, where, box, rows if person.points else None))
        except EntryError as error:
            result.stats.leave_out(image, "not usable", str(error))
    return result


@dataclass
class _Person:
    points: dict[str, tuple[float, float]]  # x, y in percent, by name
    box: NDArray[np.float64] | None  # x1, y1, x2, y2 in percent
    label: str

    @property
    def is_person(self) -> bool:
        return self.label.lower() in PERSON_NAMES or bool(self.points)


def _task(task: Any, where: str) -> tuple[str, list[dict[str, Any]]]:
    """The photo's name and the results of the last annotation that was not cancelled."""
    if not isinstance(task, dict):
        raise EntryError(f"{where}: expected an object with data and annotations")
    data = task.get("data")
    annotations = task.get("annotations", task.get("completions"))
    if isinstance(data, dict) and isinstance(annotations, list):
        done = [a for a in annotations if isinstance(a, dict) and not a.get("was_cancelled")]
        results = done[-1].get("result") if done else []
        results = results if isinstance(results, list) else []
    else:
        data, results = task, list(_minimal_results(task))
    addresses = [data.get(key) for key in ("image", "img", "photo", "url", "ocr")]
    addresses += [value for key, value in data.items() if isinstance(value, str) and key not in ("id",)]
    address = next((a for a in addresses if isinstance(a, str) and "." in a), None)
    if address is None:
        raise EntryError(f"{where}: no address of a photo in its data ({reprlib.repr(list(data))})")
    return _photo_name(address), [r for r in results if isinstance(r, dict)]


def _photo_name(address: str) -> str:
    """The path of a photo out of the address that Label Studio shows it by."""
    parsed = urlparse(address)
    local = parse_qs(parsed.query).get("d")  # /data/local-files/?d=folder/photo.jpg
    path = (
        local[0]
        if local
        else unquote(parsed.path)
        if parsed.scheme not in ("", "c", "d")
        else unquote(address)
    )
    return path.removeprefix("/data/upload/")


def _minimal_results(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """JSON-MIN has a list for each tag, of values with their sizes among them."""
    for value in task.values():
        for item in value if isinstance(value, list) else []:
            kind = next((k for k in _KINDS if isinstance(item, dict) and k in item), None)
            if kind is not None:
                yield {"type": kind, "value": item, **item}


def _size(results: list[dict[str, Any]], where: str) -> tuple[int, int] | None:
    shapes = [r for r in results if r.get("type") in _KINDS]
    sizes = {image_size(r.get("original_width"), r.get("original_height"), where) for r in shapes}
    if None in sizes or len(sizes) > 1:
        raise EntryError(f"{where}: its results must have one original_width and original_height")
    if any(r.get("image_rotation") not in (None, 0) for r in shapes):
        raise EntryError(
            f"{where}: the image was turned in Label Studio: turn it back there and export again"
        )
    return next(iter(sizes), None)


def _people(results: list[dict[str, Any]], where: str) -> Iterator[_Person]:
    boxes: dict[str, NDArray[np.float64]] = {}
    labels: dict[str, str] = {}
    for index, result in enumerate(results):
        if result.get("type") == "rectanglelabels":
            value = result.get("value")
            value = value if isinstance(value, dict) else {}
            if value.get("rotation"):
                raise EntryError(f"{where}: a rectangle that is turned: draw it upright")
            x, y, width, height = (
                number(value.get(key), key, where) for key in ("x", "y", "width", "height")
            )
            key, label = str(result.get("id", index)), value.get("rectanglelabels")
            boxes[key] = np.array([x, y, x + width, y + height])
            labels[key] = str(label[0]) if isinstance(label, list) and label else ""
    related: dict[str, str] = {}
    for result in results:
        if result.get("type") == "relation":
            ends = [str(result.get("from_id")), str(result.get("to_id"))]
            related |= {a: b for a, b in (ends, ends[::-1]) if b in boxes}
    points: dict[str, dict[str, tuple[float, float]]] = {key: {} for key in boxes}
    for result in results:
        if result.get("type") != "keypointlabels":
            continue
        value = result.get("value")
        value = value if isinstance(value, dict) else {}
        names = value.get("keypointlabels")
        if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
            raise EntryError(f"{where}: a keypoint must have one label")
        place = number(value.get("x"), "x", where), number(value.get("y"), "y", where)
        owner = result.get("parentID") or related.get(str(result.get("id")))
        if owner is None and boxes:
            inside = [
                key for key, box in boxes.items() if (box[:2] <= place).all() and (box[2:] >= place).all()
            ]
            owner = next(iter(boxes)) if len(boxes) == 1 else inside[0] if len(inside) == 1 else None
            if owner is None:
                raise EntryError(
                    f"{where}: the keypoint {names[0]!r} lies in {len(inside)} rectangles: say which person "
                    "it belongs to, with a relation or as a child of the rectangle"
                )
        theirs = points.setdefault(str(owner), {})
        name = canonical(names[0])
        if name in theirs:
            raise EntryError(
                f"{where}: {names[0]!r} stands twice for one person: draw a rectangle around each person, "
                "and make the keypoints its children"
            )
        theirs[name] = place
    for key, theirs in points.items():
        yield _Person(theirs, boxes.get(key), labels.get(key, ""))

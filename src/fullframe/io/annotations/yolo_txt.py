"""YOLO's labels, one .txt a photo: Ultralytics detection and pose, as exported or predicted (`save_txt`).

Format: docs.ultralytics.com/datasets/pose and ultralytics/engine/results.py. A line is a person: class, x, y
of the centre, width, height, then x, y (and visibility) of each keypoint, all but class and visibility as
fractions of the image's width and height; predictions may end with a confidence and a track id. data.yaml
beside the labels names classes ("names"), the shape of the points ("kpt_shape") and, in newer exports, the
points themselves ("kpt_names"). Class 0 is a person where it names none.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from fullframe.io.annotations.annotation_file import AnnotatedImage, AnnotatedPerson, AnnotationFile
from fullframe.io.annotations.coco_json import PERSON_NAMES
from fullframe.io.annotations.keypoint_names import KeypointOrder, order_from_count, order_from_names
from fullframe.io.annotations.untrusted import EntryError, box_xyxy, confidences, read_bytes

_LARGEST_YAML = 1 << 20


def looks_like_yolo(text: str) -> bool:
    """Whether the first line is a class and at least four fractions."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    try:
        values = [float(value) for value in first.split()]
    except ValueError:
        return False
    return (
        len(values) >= 5
        and values[0] >= 0
        and values[0] == int(values[0])
        and all(0 <= v <= 1 for v in values[1:5])
    )


def read_yolo(files: dict[Path, str], path: Path) -> AnnotationFile:
    """The people of one photo, or one frame of a video (<video>_<frame from 1>.txt), for each file."""
    result = AnnotationFile(path, "YOLO", [], [], normalized=True)
    settings = _settings(path)
    people = _person_classes(settings)
    order, dims = _order(settings, path), _dims(settings)
    for source, text in files.items():
        image = len(result.images)
        frame = re.search(r"_(\d+)$", source.stem)
        result.images.append(
            AnnotatedImage(source.stem, frame=max(int(frame[1][:15]) - 1, 0) if frame else None)
        )
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            where = f"{source}, line {number}"
            try:
                values = _values(line, where)
                if int(values[0]) not in people:
                    name = people.get(-1, {}).get(int(values[0]), f"class {int(values[0])}")
                    result.stats.leave_out(image, f"of another class ({name})")
                    continue
                count, size = _split(len(values), order, dims, where)
                if order is None and count:
                    order = order_from_count(count)
                result.people.append(_person(values, count, size, order, image, where))
            except ValueError as error:
                problem = str(error) if isinstance(error, EntryError) else f"{where}: {error}"
                result.stats.leave_out(image, "not usable", problem)
    if order is not None and any(person.keypoints is not None for person in result.people):
        result.keypoint_names = order.names
        if order.note:
            result.stats.notes.append(order.note)
    return result


def _values(line: str, where: str) -> NDArray[np.float64]:
    try:
        values = np.array([float(value) for value in line.split()[:1000]])
    except ValueError:
        raise EntryError(f"{where}: expected numbers, found {line[:60]!r}") from None
    if len(values) < 5 or not np.isfinite(values).all() or not 0 <= values[0] < 1e6:
        raise EntryError(f"{where}: expected class, x, y, width, height and keypoints, found {line[:60]!r}")
    return values


def _split(total: int, order: KeypointOrder | None, dims: int | None, where: str) -> tuple[int, int]:
    """How many keypoints a line has, and how many numbers each; up to two numbers may follow them."""
    if total <= 7:
        return 0, 3
    counts = [order.total] if order is not None else [17, 26, 133, 136]
    for size in (dims,) if dims is not None else (3, 2):
        for count in counts:
            if 0 <= total - 5 - count * size <= 2:
                return count, size
    raise EntryError(f"{where}: {total} numbers; expected 5, and 3 for each of {counts[0]} keypoints")


def _person(
    values: NDArray[np.float64], count: int, size: int, order: KeypointOrder | None, image: int, where: str
) -> AnnotatedPerson:
    x, y, width, height = values[1:5]
    corners = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    if (np.abs(corners) > 3).any():
        raise EntryError(f"{where}: x, y, width, height must be fractions of the photo's width and height")
    box = box_xyxy(corners, f"box {values[1:5].tolist()}", where)
    points = None
    end = 5 + count * size
    if count and order is not None:
        flat = values[5:end].reshape(count, size)
        # Without visibilities, a point that is not labelled stands at 0, 0.
        seen = flat[:, 2:] if size == 3 else (flat != 0).any(axis=1, keepdims=True)
        points, _ = confidences(np.concatenate((flat[:, :2], seen), axis=1)[list(order.rows)])
    rest = values[end:].tolist()
    # Of a single number, one with a fraction is a confidence, a whole one above 1 a track.
    track = rest.pop() if len(rest) == 2 or (rest and rest[0] > 1 and rest[0] == int(rest[0])) else None
    score = rest[0] if rest else 1.0
    if not 0 <= score <= 1:
        raise EntryError(f"{where}: the confidence {score:g} is not between 0 and 1")
    track_id = None if track is None else int(track)
    return AnnotatedPerson(image, where, box, points, score=score, track_id=track_id)


def _settings(path: Path) -> dict[str, Any]:
    """What data.yaml says, beside the labels or up to two folders above."""
    folder = path if path.is_dir() else path.parent
    for place in (folder, *folder.resolve().parents[:2]):
        file = place / "data.yaml"
        if file.is_file() and file.stat().st_size <= _LARGEST_YAML:
            try:
                content = yaml.safe_load(read_bytes(file))
            except (yaml.YAMLError, RecursionError, ValueError) as error:
                raise ValueError(f"{file} is not a YAML file: {str(error)[:200]}") from error
            return content if isinstance(content, dict) else {}
    return {}


def _person_classes(settings: dict[str, Any]) -> dict[int, Any]:
    """The classes that are people; -1 has the names of all."""
    names = settings.get("names")
    named = dict(enumerate(names)) if isinstance(names, list) else names if isinstance(names, dict) else {}
    shown = {key: str(name)[:40] for key, name in named.items() if isinstance(key, int)}
    people = [key for key, name in shown.items() if name.lower() in PERSON_NAMES]
    return {**dict.fromkeys(people or [0], True), -1: shown}


def _dims(settings: dict[str, Any]) -> int | None:
    shape = settings.get("kpt_shape")
    return shape[1] if isinstance(shape, list) and len(shape) == 2 and shape[1] in (2, 3) else None


def _order(settings: dict[str, Any], path: Path) -> KeypointOrder | None:
    names, shape = settings.get("kpt_names"), settings.get("kpt_shape")
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    try:
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return order_from_names(names, "named in data.yaml")
        if isinstance(shape, list) and shape and isinstance(shape[0], int):
            return order_from_count(shape[0])
    except ValueError as error:
        raise ValueError(f"{path}, data.yaml: {error}") from error
    return None

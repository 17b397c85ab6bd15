"""CVAT's own XML: skeletons and boxes of "CVAT for images 1.1", tracks of "CVAT for video 1.1".

Format: docs.cvat.ai/docs/dataset_management/formats/format-cvat and docs.cvat.ai/docs/other/xml_format. An
<image name width height> holds <box xtl ytl xbr ybr> and <skeleton> with <points label points="x,y" outside>;
a <track id> holds the same with a frame each, counted from 0. Shapes with the same group_id are one person.
"""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fullframe.io.annotations.annotation_file import AnnotatedImage, AnnotatedPerson, AnnotationFile
from fullframe.io.annotations.coco_json import PERSON_NAMES
from fullframe.io.annotations.keypoint_names import canonical, name_keypoints
from fullframe.io.annotations.untrusted import (
    EntryError,
    box_xyxy,
    image_size,
    printable,
    track_number,
    whole_number,
)

_DEEPEST = 20


def read_cvat(content: bytes, path: Path) -> AnnotationFile:
    """The people of an annotations.xml.

    Raises:
        ValueError: for other XML, names of points that are unknown, or no label that is a person.
    """
    found = _Shapes(path)
    parser = ET.XMLParser(target=found)
    try:
        parser.feed(content)
        parser.close()
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two of unusual encodings
        raise ValueError(f"{path} is not an XML file that can be read: {error}") from error
    if not found.is_cvat:
        raise ValueError(f"{path} is not CVAT's XML: expected <annotations> with <image> or <track>")
    return found.people()


class _Shape:
    def __init__(
        self, kind: str, image: int, attributes: dict[str, str], label: str, track: int | None
    ) -> None:
        self.kind, self.image, self.label, self.track = kind, image, label, track
        self.attributes = attributes
        self.points: dict[str, tuple[str, str]] = {}  # name: coordinates, outside


class _Shapes:
    """Collects shapes while the file is parsed; the tree itself is not kept."""

    def __init__(self, path: Path) -> None:
        self.path, self.is_cvat = path, False
        self.images: list[AnnotatedImage] = []
        self.shapes: list[_Shape] = []
        self.bad_images: list[str] = []
        self._frames: dict[int, int] = {}
        self._size: dict[str, str] = {}  # of a video
        self._open: list[str] = []
        self._text = ""
        self._image = -1
        self._track: dict[str, str] = {}
        self._skeleton: _Shape | None = None

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        # Entities could make a small file endless, or open others.
        raise ValueError("it has a document type, which CVAT's files have not")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._open.append(tag)
        self._text = ""
        if len(self._open) > _DEEPEST:
            raise ValueError(f"its elements are nested more than {_DEEPEST} deep")
        if tag in ("image", "track"):
            self.is_cvat = True
        if tag == "image":
            self._start_image(attributes)
        elif tag == "track":
            self._track = attributes
        elif tag in ("box", "skeleton") and self._open[-2] in ("image", "track"):
            self._start_shape(tag, attributes)
        elif tag == "points" and self._skeleton is not None:
            name = canonical(attributes.get("label", ""))
            place = attributes.get("points", ""), attributes.get("outside", "0")
            self._skeleton.points[name] = place

    def data(self, text: str) -> None:
        if len(self._text) < 100:
            self._text += text[:100]

    def end(self, tag: str) -> None:
        if tag in ("width", "height") and "original_size" in self._open:
            self._size[tag] = self._text.strip()
        if tag == "skeleton":
            self._skeleton = None
        elif tag == "track":
            self._track = {}
        self._open.pop()

    def close(self) -> None:
        pass

    def _start_image(self, attributes: dict[str, str]) -> None:
        name = attributes.get("name", "")
        where = f"{self.path}, image {name[:60]!r}"
        self._image = -1
        try:
            size = image_size(attributes.get("width"), attributes.get("height"), where)
            if not name:
                raise EntryError(f"{where}: it has no name")
        except EntryError as error:
            self.bad_images.append(str(error))
            return
        self._image = len(self.images)
        self.images.append(AnnotatedImage(name, whole_number(attributes.get("id")), size=size))

    def _start_shape(self, tag: str, attributes: dict[str, str]) -> None:
        image, track, label = self._image, None, attributes.get("label", "")
        if self._open[-2] == "track":
            frame, track = whole_number(attributes.get("frame")), track_number(self._track.get("id"))
            label = self._track.get("label", "")
            if frame is None or frame < 0:
                return
            if frame not in self._frames:
                self._frames[frame] = len(self.images)
                where = f"{self.path}, original_size"
                size = image_size(self._size.get("width"), self._size.get("height"), where)
                self.images.append(AnnotatedImage(frame=frame, size=size))
            image = self._frames[frame]
            if attributes.get("outside") == "1":  # the track ends here
                return
        shape = _Shape(tag, image, attributes, label, track)
        self.shapes.append(shape)
        if tag == "skeleton":
            self._skeleton = shape

    def people(self) -> AnnotationFile:
        result = AnnotationFile(self.path, "CVAT XML", self.images, [])
        for problem in self.bad_images:
            result.stats.leave_out(-1, "not usable", problem)
        labels = {shape.label for shape in self.shapes}
        wanted = {label for label in labels if label.lower() in PERSON_NAMES}
        wanted = wanted or {shape.label for shape in self.shapes if shape.points}
        if labels and not wanted:
            shown = ", ".join(sorted(printable(label[:40]) for label in labels)[:8])
            raise ValueError(
                f"{self.path}: none of its labels is 'person' or a skeleton (they are {shown}): no shape is "
                "a person"
            )
        names = sorted({n for shape in self.shapes if shape.label in wanted for n in shape.points})
        known = name_keypoints(result, names)
        with_skeletons = {
            shape.image for shape in self.shapes if shape.kind == "skeleton" and shape.label in wanted
        }
        boxes = self._boxes_by_group(result)
        for index, shape in enumerate(self.shapes):
            where = f"{self.path}, {shape.kind} {index}"
            if shape.image < 0:
                continue
            if shape.label not in wanted:
                result.stats.leave_out(shape.image, f"of another label ({shape.label[:40]})")
                continue
            group = (shape.image, shape.attributes.get("group_id"))
            try:
                if shape.kind == "skeleton":
                    points = _points(shape, known, where)
                    box = boxes.get(group)
                    result.people.append(
                        AnnotatedPerson(shape.image, where, box, points, track_id=shape.track)
                    )
                elif shape.image not in with_skeletons:
                    box = _corners(shape.attributes, where)
                    result.people.append(AnnotatedPerson(shape.image, where, box, None, track_id=shape.track))
                elif group not in boxes:
                    result.stats.leave_out(shape.image, "box beside skeletons")
            except EntryError as error:
                result.stats.leave_out(shape.image, "not usable", str(error))
        return result

    def _boxes_by_group(self, result: AnnotationFile) -> dict[tuple[int, Any], NDArray[np.float32]]:
        found = {}
        for shape in self.shapes:
            if shape.kind == "box" and shape.attributes.get("group_id"):
                try:
                    box = _corners(
                        shape.attributes, f"{self.path}, box of group {shape.attributes['group_id'][:20]}"
                    )
                except EntryError as error:
                    result.stats.leave_out(shape.image, "not usable", str(error))
                else:
                    found[shape.image, shape.attributes["group_id"]] = box
        return found


def _number(text: str | None, where: str) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        raise EntryError(f"{where}: {(text or '')[:40]!r} is not a number") from None


def _corners(attributes: dict[str, str], where: str) -> NDArray[np.float32]:
    values = np.array([_number(attributes.get(key), where) for key in ("xtl", "ytl", "xbr", "ybr")])
    if attributes.get("rotation") not in (None, "0", "0.0", "0.00"):
        raise EntryError(f"{where}: a box that is turned: draw it upright")
    return box_xyxy(values, f"box {values.tolist()}", where)


def _points(shape: _Shape, known: list[str], where: str) -> NDArray[np.float32]:
    rows = np.zeros((len(known), 3), np.float32)
    for row, name in enumerate(known):
        text, outside = shape.points.get(name, ("", "1"))
        if outside == "1":
            continue
        x, comma, y = text.partition(",")
        place = _number(x, where), _number(y if comma else None, where)
        if not (np.abs(place) <= 1e6).all():
            raise EntryError(f"{where}: {name} at {text[:40]!r} has no place")
        rows[row] = (*place, 1)
    return rows

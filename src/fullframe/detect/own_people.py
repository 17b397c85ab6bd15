"""People that the user gives instead of detections: boxes, keypoints, tracks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.geometry.box import box_from_keypoints
from fullframe.io.annotations.annotation_file import AnnotatedPerson, AnnotationFile
from fullframe.io.annotations.keypoint_names import COCO17, reordered
from fullframe.io.annotations.photo_matching import Unmatched, match_photos, path_parts, split_path
from fullframe.io.annotations.photo_transform import SizeError, photo_transform
from fullframe.io.annotations.reader import read_annotations
from fullframe.io.image import Photo

MOST_PEOPLE = 1000
"""In one photo: a body for each must fit into memory."""


@dataclass
class GivenPeople:
    """The N people of one photo.

    Attributes:
        boxes: (N, 4) float32 x1, y1, x2, y2 px of the upright photo, reaching into it.
        scores: (N,) float32, 0 to 1.
        keypoints: (N, 17, 3) float32 COCO-17: x, y px, confidence 0 to 1; None for a detector to find.
        track_ids: (N,) int64, -1 where none is given.
        notes: what was converted, and who was left out and why.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32] | None
    track_ids: NDArray[np.int64]
    notes: list[str] = field(default_factory=list)

    def arguments(self) -> dict[str, Any]:
        """Boxes, scores and keypoints if there are any, named as for `fullframe.Recoverer`."""
        found = {"boxes": self.boxes, "scores": self.scores}
        return found if self.keypoints is None else found | {"keypoints": self.keypoints}


class OwnPeople:
    """The people of any number of photos, from a file of boxes, of keypoints, or both.

    Args:
        boxes: what is used for boxes, or None.
        keypoints: what is used for keypoints, and for boxes unless `boxes` is given; or None.
        photos: all photos that will be asked about: which of them a name means depends on the others.
    """

    def __init__(
        self, boxes: AnnotationFile | None, keypoints: AnnotationFile | None, photos: Sequence[Path] = ()
    ) -> None:
        self._files = [file for file in (boxes, keypoints) if file is not None]
        self._boxes, self._keypoints = boxes, keypoints
        self._images = [
            dict(zip(photos, match_photos(photos, file.images), strict=True)) for file in self._files
        ]

    def for_photo(self, photo: Photo) -> GivenPeople:
        """The people of one photo.

        Raises:
            ValueError: if a file does not know the photo, or several photos could be meant; if the photo has
                another size than was annotated; if none of its entries can be used, or the two files speak of
                different people. The message names files and remedy.
        """
        found = [self._of_file(file, number, photo) for number, file in enumerate(self._files)]
        notes = [note for each in found for note in each.notes]
        people = found[0] if len(found) == 1 else self._paired(found[0], found[1], photo)
        if len(people.boxes) > MOST_PEOPLE:
            raise ValueError(
                f"{self._files[0].path} has {len(people.boxes)} people for {photo.path}; "
                f"the limit is {MOST_PEOPLE}"
            )
        keypoints = people.keypoints if self._keypoints is not None else None
        return GivenPeople(people.boxes, people.scores, keypoints, people.track_ids, notes)

    def _of_file(self, file: AnnotationFile, number: int, photo: Photo) -> "_Placed":
        path = Path(photo.path)
        image = self._images[number].get(path)
        if image is None:
            (image,) = match_photos([path], file.images)
        if isinstance(image, Unmatched):
            raise ValueError(f"{file.path} has no entry for {photo.path}: {image}")
        named = file.images[image]
        _refuse_other_photo(path, named.name, file.path)
        placed = _place(file, image, photo.size, photo.orientation, photo.path, file is self._keypoints)
        if not _same_path(named.name, path):
            placed.notes.append(f"taken from {named.name} in {file.path.name}")
        return placed

    def _paired(self, boxes: "_Placed", keypoints: "_Placed", photo: Photo) -> "_Placed":
        assert self._boxes is not None and self._keypoints is not None
        ids = [person.id for person in boxes.people], [person.id for person in keypoints.people]
        if None not in ids[0] and len(set(ids[0])) == len(ids[0]) and set(ids[0]) == set(ids[1]):
            order = [ids[1].index(number) for number in ids[0]]
        elif len(ids[0]) == len(ids[1]) and not boxes.left_out and not keypoints.left_out:
            order = list(range(len(ids[0])))
        else:
            raise ValueError(
                f"{self._boxes.path} has {len(ids[0])} people for {photo.path}, {self._keypoints.path} has "
                f"{len(ids[1])}: give the same people, in the same order or with the same ids, in both"
            )
        assert keypoints.keypoints is not None
        boxes.keypoints = keypoints.keypoints[order]
        return boxes


def read_own_people(
    boxes: str | Path | None, keypoints: str | Path | None, photos: Sequence[Path] = ()
) -> OwnPeople | None:
    """Read what the user gives with --boxes and --keypoints; None for neither.

    Args:
        photos: all photos that will be asked about.

    Raises:
        OSError, ValueError: see `read_annotations`; also for a file of keypoints that has none.
    """
    if boxes is None and keypoints is None:
        return None
    of_keypoints = None if keypoints is None else read_annotations(keypoints)
    if of_keypoints is not None and of_keypoints.people and not of_keypoints.keypoint_names:
        raise ValueError(
            f"{keypoints} has no keypoints ({of_keypoints.summary()}): give it as boxes, or add them"
        )
    return OwnPeople(None if boxes is None else read_annotations(boxes), of_keypoints, photos)


@dataclass
class _Placed:
    people: list[AnnotatedPerson]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]  # (N, 17, 3); all 0 for those who have none
    track_ids: NDArray[np.int64]
    left_out: int
    notes: list[str]


def _place(
    file: AnnotationFile,
    image: int,
    size: tuple[int, int],
    orientation: int,
    photo: str,
    need_keypoints: bool,
) -> _Placed:
    """The people of an image in px of the upright photo; those who cannot be used are left out."""
    try:
        transform = photo_transform(file.images[image].size, size, orientation, file.normalized)
    except SizeError as error:
        raise ValueError(f"{photo}: {error} ({file.path})") from error
    problems = list(file.stats.problems.get(image, ()))
    entries = file.people_of(image)
    people, boxes, keypoints = [], [], []
    for person in entries:
        points: NDArray[np.float32] = np.zeros((17, 3), np.float32)
        if person.keypoints is not None:
            points = reordered(transform.points(person.keypoints), file.keypoint_names, COCO17)
        elif need_keypoints:
            problems.append(f"{person.entry} has no keypoints: add them, or remove the entry")
            continue
        box = transform.boxes(person.box) if person.box is not None else None
        if box is None:
            (box,) = box_from_keypoints(points[None], threshold=0.0)
            if not np.isfinite(box).all():
                problems.append(
                    f"{person.entry}: fewer than 2 keypoints have a confidence above 0: add a bbox"
                )
                continue
        if (box[:2] >= size).any() or (box[2:] <= 0).any():
            problems.append(f"{person.entry}: the box {box.round(1).tolist()} lies outside the photo")
            continue
        people.append(person)
        boxes.append(box)
        keypoints.append(points)
    reasons, total = file.stats.reasons(image), len(entries) + file.stats.count(image)
    left_out = total - len(people)
    notes = [transform.note] if transform.note else []
    if not people and problems:
        raise ValueError(f"{photo}: none of its entries in {file.path} can be used ({total}); {problems[0]}")
    if not people:
        why = f"0 of {total} entries in {file.path.name} are people: {reasons}" if total else ""
        notes.append(why or f"{file.path.name} names nobody in it")
    elif left_out:
        first = f"; {problems[0]}" if problems else ""
        notes.append(f"{left_out} of {total} entries left out ({reasons or 'not usable'}{first})")
    placed = _Placed(
        people,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([person.score for person in people], np.float32),
        np.array(keypoints, np.float32).reshape(-1, 17, 3),
        np.array([-1 if p.track_id is None else p.track_id for p in people], np.int64),
        left_out,
        notes,
    )
    if file.images[image].size is None and not file.normalized:
        _refuse_other_size(placed, size, orientation, photo, file.path)
    return placed


def _refuse_other_size(
    placed: _Placed, size: tuple[int, int], orientation: int, photo: str, path: Path
) -> None:
    """Where the file does not say what size it is about: people must not reach far beyond the photo."""
    beyond = np.array(size) * (1.02 if orientation >= 5 else 1.1) + 2
    drawn = [box for box, person in zip(placed.boxes, placed.people, strict=True) if person.box is not None]
    seen = placed.keypoints[..., 2] > 0
    points = placed.keypoints[seen][:, :2]
    if (np.array(drawn).reshape(-1, 4)[:, 2:] > beyond).any() or (
        len(points) and (points > beyond).any(axis=1).mean() > (0.02 if orientation >= 5 else 0.2)
    ):
        raise ValueError(
            f"{photo}: {path} has people beyond its {size[0]} x {size[1]} px: annotated at another resolution"
            + (", or before it was turned by EXIF" if orientation >= 5 else ", or boxes are x1, y1, x2, y2")
            + "; give 'images' with width and height"
        )


def _same_path(name: str, photo: Path) -> bool:
    """Whether all that a file says of a photo's path is so; a name may lack its suffix."""
    parts, own = path_parts(name), path_parts(str(photo))
    return not parts or (parts[0] in (own[0], photo.stem.lower()) and parts[1:] == own[1 : len(parts)])


def _refuse_other_photo(photo: Path, name: str, path: Path) -> None:
    """Refuse people of camA/1.jpg for camB/1.jpg where both exist."""
    parts = split_path(name)
    if len(parts) < 2 or len(name) > 1000:
        return
    for folder in photo.resolve().parents:
        other = folder.joinpath(*parts)
        if other.is_file():
            if not other.samefile(photo):
                raise ValueError(f"{path} has no entry for {photo}: it is about {other}")
            return

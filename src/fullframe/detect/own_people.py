"""People that the user gives instead of detections: boxes, keypoints, tracks."""

import hashlib
import logging
import os
import re
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
from fullframe.io.annotations.photo_transform import SizeError, are_upside_down, photo_transform
from fullframe.io.annotations.read import annotations_digest, read_annotations
from fullframe.io.annotations.untrusted import printable
from fullframe.io.image import Photo

_log = logging.getLogger(__name__)

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
        for file in self._files:
            for problem in file.stats.problems.get(-1, [])[:3]:  # of no photo that will be asked about
                _log.warning(problem)
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
        people = found[0] if len(found) == 1 else self._paired(found[0], found[1], photo.path)
        if len(people.boxes) > MOST_PEOPLE:
            raise ValueError(
                f"{self._files[0].path} has {len(people.boxes)} people for {photo.path}; "
                f"the limit is {MOST_PEOPLE}"
            )
        keypoints = people.keypoints if self._keypoints is not None else None
        return GivenPeople(people.boxes, people.scores, keypoints, people.track_ids, notes)

    def for_video(
        self, video: str | Path, original_size: tuple[int, int], size: tuple[int, int], only: bool = True
    ) -> "VideoPeople":
        """The people of a video's frames.

        Args:
            original_size: (width, height) px of the upright frames of the file.
            size: (width, height) px of the frames as they are processed.
            only: whether no other video is asked about: its people then need not be marked by its name.

        Raises:
            ValueError: if a file has no frames, or not for this video, or of another size; names the remedy.
        """
        frames = [_frames_of(file, str(video), only) for file in self._files]
        return VideoPeople(self, frames, str(video), original_size, size)

    def digest(self) -> str:
        """What results depend on: SHA-256 of the files' content."""
        parts = [annotations_digest(file.path) for file in self._files]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _of_file(self, file: AnnotationFile, number: int, photo: Photo) -> "_Placed":
        path = Path(photo.path)
        image = self._images[number].get(path)
        if image is None:
            (image,) = match_photos([path], file.images)
        if isinstance(image, Unmatched):
            raise ValueError(f"{file.path} has no entry for {photo.path}: {image}")
        named = file.images[image]
        _refuse_other_photo(path, named.name, file.path)
        placed = _place(
            file, image, named.size, photo.size, photo.orientation, photo.path, file is self._keypoints
        )
        if not _same_path(named.name, path):
            placed.notes.append(f"taken from {printable(named.name)} in {file.path.name}")
        return placed

    def _paired(self, boxes: "_Placed", keypoints: "_Placed", photo: str) -> "_Placed":
        assert self._boxes is not None and self._keypoints is not None
        ids = [person.id for person in boxes.people], [person.id for person in keypoints.people]
        if None not in ids[0] and len(set(ids[0])) == len(ids[0]) and set(ids[0]) == set(ids[1]):
            order = [ids[1].index(number) for number in ids[0]]
        elif len(ids[0]) == len(ids[1]) and not boxes.left_out and not keypoints.left_out:
            order = list(range(len(ids[0])))
        else:
            raise ValueError(
                f"{self._boxes.path} has {len(ids[0])} people for {photo}, {self._keypoints.path} has "
                f"{len(ids[1])}: give the same people, in the same order or with the same ids, in both"
            )
        assert keypoints.keypoints is not None
        boxes.keypoints = keypoints.keypoints[order]
        return boxes


class VideoPeople:
    """The people of the frames of one video, see `OwnPeople.for_video`.

    Attributes:
        has_tracks: whether the file says who is who; those without a track are then left out.
        has_keypoints: whether keypoints are given.
    """

    def __init__(
        self,
        own: OwnPeople,
        frames: list[dict[int, int]],
        video: str,
        original_size: tuple[int, int],
        size: tuple[int, int],
    ) -> None:
        self._own, self._frames, self._video = own, frames, video
        self._original_size, self._size = original_size, size
        self.has_keypoints = own._keypoints is not None
        people = [p for index in frames[0].values() for p in own._files[0].people_of(index)]
        self.has_tracks = any(person.track_id is not None for person in people)
        tracks = {person.track_id for person in people} - {None}
        tracked = f"{len(tracks)} tracks" if self.has_tracks else "no tracks: people are tracked"
        _log.info(
            f"{video}: {len(people)} boxes in {len(frames[0])} frames of {own._files[0].path}, {tracked}"
        )
        lacking = sum(person.track_id is None for person in people) if self.has_tracks else 0
        if lacking:
            _log.warning(f"{own._files[0].path}: {lacking} boxes without a track among others are left out")
        for index in list(frames[0].values())[:1]:  # another size must end this before it begins
            annotated = own._files[0].images[index].size
            try:
                photo_transform(annotated or original_size, size, normalized=own._files[0].normalized)
            except SizeError as error:
                raise ValueError(f"{video}: {error} ({own._files[0].path})") from error
        self._refuse_if_none_can_be_used()

    def _refuse_if_none_can_be_used(self) -> None:
        """Raises ValueError if the file has people, but in no frame anybody whom the frame can show."""
        problem = ""
        for index, image in self._frames[0].items():
            if not self._own._files[0].people_of(image):
                continue
            try:
                self._placed(0, index)
            except ValueError as error:
                problem = problem or str(error)
            else:
                return
        if problem:
            raise ValueError(problem)

    def _placed(self, number: int, frame: int) -> "_Placed":
        """The people of a file in a frame that it names; ValueError if none of them can be used."""
        file, image = self._own._files[number], self._frames[number][frame]
        annotated = file.images[image].size or self._original_size
        label = f"{self._video}, frame {frame}"
        return _place(file, image, annotated, self._size, 1, label, file is self._own._keypoints)

    def digest(self) -> str:
        """What results depend on."""
        return self._own.digest()

    @property
    def last(self) -> int:
        """The last frame with people, -1 for none."""
        return max(self._frames[0], default=-1)

    def frame(self, index: int) -> GivenPeople:
        """The people of a frame, in px of the processed frame; nobody where the file names none.

        A track is there once; `track_ids` is -1 where the files have no tracks.
        """
        found = []
        for number, frames in enumerate(self._frames):
            if index not in frames:
                return _nobody(self.has_keypoints)
            try:
                found.append(self._placed(number, index))
            except ValueError:  # none of its entries can be used
                return _nobody(self.has_keypoints)
        people = found[0] if len(found) == 1 else self._own._paired(found[0], found[1], f"frame {index}")
        ids = people.track_ids
        first = np.zeros(len(ids), bool)
        first[np.unique(ids, return_index=True)[1]] = True
        keep = (ids >= 0) & first if self.has_tracks else np.ones(len(ids), bool)
        keep[MOST_PEOPLE:] = False
        keypoints = people.keypoints[keep] if self.has_keypoints else None
        return GivenPeople(people.boxes[keep], people.scores[keep], keypoints, ids[keep])


def _nobody(with_keypoints: bool) -> GivenPeople:
    keypoints = np.zeros((0, 17, 3), np.float32) if with_keypoints else None
    return GivenPeople(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), keypoints, np.zeros(0, np.int64)
    )


def _frames_of(file: AnnotationFile, video: str, only: bool) -> dict[int, int]:
    """Index of the image of each frame of a video."""
    groups: dict[str, dict[int, int]] = {}
    for index, image in enumerate(file.images):
        name, frame = image.name, image.frame
        if frame is None:
            # AlphaPose calls a video's frames 0.jpg, 1.jpg ..., CVAT frame_000000.
            pattern = (
                r"(\d{1,15})\.\w+"
                if file.format == "AlphaPose results"
                else r"(?:.*/)?frame_(\d{6})(?:\.\w+)?"
            )
            numbered = re.fullmatch(pattern, name)
            if numbered is None:
                continue
            name, frame = "", int(numbered[1])
        elif file.format in ("OpenPose", "YOLO"):  # <video>_<number>
            name = re.sub(r"_\d+$", "", name)
        groups.setdefault(name.lower(), {}).setdefault(frame, index)
    if not groups:
        raise ValueError(
            f"{file.path} ({file.format}) does not say which frame of {video} its people are in: give MOT "
            "(.txt) or JSON by frame"
        )
    stem = Path(video).stem.lower()
    if stem in groups:
        return groups[stem]
    if len(groups) == 1 and only:
        return next(iter(groups.values()))
    named = ", ".join(sorted(groups)[:3]) or "none"
    raise ValueError(
        f"{file.path}: which frames are of {video}? It names {named}: give each video its own file"
    )


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
    annotated: tuple[int, int] | None,
    size: tuple[int, int],
    orientation: int,
    photo: str,
    need_keypoints: bool,
) -> _Placed:
    """The people of an image in px of the upright photo; those who cannot be used are left out."""
    entries = file.people_of(image)
    posed = [person.keypoints for person in entries if person.keypoints is not None]
    upside_down = are_upside_down(posed, file.keypoint_names)
    try:
        transform = photo_transform(annotated, size, orientation, file.normalized, upside_down)
    except SizeError as error:
        raise ValueError(f"{photo}: {error} ({file.path})") from error
    problems = list(file.stats.problems.get(image, ()))
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
    if annotated is None and not file.normalized:
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
    if len(parts) < 2:
        return
    for folder in photo.resolve().parents:
        other = folder.joinpath(*parts)
        if os.path.isfile(other):  # False, and no error, for a name that is too long
            if not other.samefile(photo):
                raise ValueError(f"{path} has no entry for {photo}: it is about {other}")
            return

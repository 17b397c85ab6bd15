"""What a file of annotations holds, whatever its format."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.io.annotations.untrusted import printable


@dataclass(frozen=True)
class AnnotatedImage:
    """A photo, or a frame of a video, that a file is about.

    Attributes:
        name: as the file writes it, with "/" between folders; without suffix where the file gives none. "" if
            it is known by its number alone.
        number: the file's id, where that is a number.
        frame: 0 for the first frame of a video; None for a photo.
        size: (width, height) px that was annotated; None where the file does not say.
    """

    name: str = ""
    number: int | None = None
    frame: int | None = None
    size: tuple[int, int] | None = None


@dataclass
class AnnotatedPerson:
    """A person in one image.

    Attributes:
        image: index into AnnotationFile.images.
        entry: where it stands, for messages.
        box: (4,) float32 x1, y1, x2, y2, or None.
        keypoints: (K, 3) float32 x, y and confidence 0 to 1, of AnnotationFile.keypoint_names; or None.
        score: 0 to 1.
        id: the file's own, or None.
        track_id: the same for one person in all frames; None where the file does not say.
    """

    image: int
    entry: str
    box: NDArray[np.float32] | None
    keypoints: NDArray[np.float32] | None
    score: float = 1.0
    id: int | None = None
    track_id: int | None = None


@dataclass
class ReadStats:
    """What was used of a file, what was not, and why.

    Attributes:
        notes: what was converted or taken for granted.
        left_out: how many entries were left out for each reason, by index of the image (-1 for none).
        problems: what to do about those that are broken, by index of the image.
    """

    notes: list[str] = field(default_factory=list)
    left_out: dict[int, Counter[str]] = field(default_factory=dict)
    problems: dict[int, list[str]] = field(default_factory=dict)

    def leave_out(self, image: int, reason: str, problem: str = "") -> None:
        """Count an entry that is not used; `problem` says what to do about it, if there is something."""
        self.left_out.setdefault(image, Counter())[printable(reason)] += 1
        if problem:
            self.problems.setdefault(image, []).append(printable(problem))

    def count(self, image: int) -> int:
        """How many entries of an image were left out."""
        return self.left_out.get(image, Counter()).total()

    def messages(self) -> list[str]:
        """What to do about all entries that are broken."""
        return [problem for image in sorted(self.problems) for problem in self.problems[image]]

    def reasons(self, image: int | None = None) -> str:
        """Why entries were left out, of one image or of all: "12 car, 1 crowd"; "" for none."""
        counts = self.left_out.get(image, Counter()) if image is not None else Counter[str]()
        for each in self.left_out.values() if image is None else ():
            counts.update(each)
        shown = [f"{count} {reason}" for reason, count in counts.most_common(5)]
        return ", ".join(shown + ["..."] * (len(counts) > 5))


@dataclass
class AnnotationFile:
    """The people of a file, or folder of files.

    Attributes:
        path: of the file or folder.
        format: its name in `read.FORMATS`.
        images: all that the file names, those without people too.
        people: in the file's order.
        keypoint_names: what the rows of the keypoints are, from `keypoint_names.KNOWN_NAMES`; () for none.
        normalized: whether x and y are fractions of the image's width and height, not px.
        stats: what was left out.
    """

    path: Path
    format: str
    images: list[AnnotatedImage]
    people: list[AnnotatedPerson]
    keypoint_names: tuple[str, ...] = ()
    normalized: bool = False
    stats: ReadStats = field(default_factory=ReadStats)

    @cached_property
    def _by_image(self) -> dict[int, list[AnnotatedPerson]]:
        found: dict[int, list[AnnotatedPerson]] = {}
        for person in self.people:
            found.setdefault(person.image, []).append(person)
        return found

    def people_of(self, image: int) -> list[AnnotatedPerson]:
        """The people of one image, in the file's order."""
        return self._by_image.get(image, [])

    def summary(self) -> str:
        """One line: format, how many people and images, and what was left out."""
        people, images = len(self.people), len(self.images)
        line = (
            f"{self.path}: {self.format}, {people} {'person' if people == 1 else 'people'} in "
            f"{images} {'image' if images == 1 else 'images'}"
        )
        reasons = self.stats.reasons()
        return f"{line}; left out: {reasons}" if reasons else line

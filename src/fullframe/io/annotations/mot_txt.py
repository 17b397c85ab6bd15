"""Boxes and tracks of a video in the format of the MOT Challenge.

Format: motchallenge.net/instructions and arXiv:1906.04567: a line for each box, frame, id, left, top, width,
height, confidence, and in ground truth class and visibility. Frames count from 1; an id of -1 is no track. In
ground truth a confidence of 0 means "ignore", and classes 1, 2 and 7 are people.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.io.annotations.annotation_file import AnnotatedImage, AnnotatedPerson, AnnotationFile
from fullframe.io.annotations.untrusted import EntryError, box_xyxy

_PEOPLE = (-1, 0, 1, 2, 7)
"""Classes: none given, a detector's first, pedestrian, person on vehicle, static person."""
_MOST_FRAMES = 10**8


def looks_like_mot(text: str) -> bool:
    """Whether the first line has at least six numbers, separated by commas or blanks."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    try:
        return len([float(value) for value in first.replace(",", " ").split()]) >= 6
    except ValueError:
        return False


def read_mot(text: str, path: Path) -> AnnotationFile:
    """The people of a video; one image for each frame that has a line."""
    result = AnnotationFile(path, "MOT", [], [])
    rows: list[tuple[str, NDArray[np.float64]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{path}, line {number}"
        try:
            values = np.array([float(value) for value in line.replace(",", " ").split()[:10]])
            if len(values) < 6 or not np.isfinite(values[:7]).all():
                raise ValueError
            if (
                values[0] < 0
                or values[0] > _MOST_FRAMES
                or values[0] != int(values[0])
                or abs(values[1]) >= 2**53
            ):
                raise ValueError
        except ValueError:
            problem = (
                f"{where}: expected frame, id, left, top, width, height, confidence; found {line[:60]!r}"
            )
            result.stats.leave_out(-1, "not usable", problem)
            continue
        rows.append((where, values))
    first = int(min((values[0] for _, values in rows), default=1) > 0)
    if rows and not first:
        result.stats.notes.append("frames count from 0 (in the MOT Challenge they count from 1)")
    truth = len(rows) > 0 and all(len(v) >= 9 and v[6] in (0, 1) and v[7] >= 1 for _, v in rows)
    frames: dict[int, int] = {}
    taken: set[tuple[int, int]] = set()
    for where, values in rows:
        frame, track = int(values[0]) - first, int(values[1])
        if frame not in frames:
            frames[frame] = len(result.images)
            result.images.append(AnnotatedImage(frame=frame))
        image = frames[frame]
        kind = int(values[7]) if len(values) > 7 and abs(values[7]) < 1e6 else -1
        if truth and values[6] == 0:
            result.stats.leave_out(image, "marked as ignored")
        elif kind not in _PEOPLE:
            result.stats.leave_out(image, f"of another class ({kind})")
        elif track >= 0 and (frame, track) in taken:
            result.stats.leave_out(
                image, "not usable", f"{where}: the id {track} stands twice in frame {frame + first}"
            )
        else:
            x, y, width, height = values[2:6]
            try:
                box = box_xyxy(np.array([x, y, x + width, y + height]), f"box {values[2:6].tolist()}", where)
            except EntryError as error:
                result.stats.leave_out(image, "not usable", str(error))
                continue
            taken.add((frame, track))
            confidence = float(values[6]) if len(values) > 6 and values[6] >= 0 else 1.0
            result.people.append(
                AnnotatedPerson(
                    image, where, box, None, score=min(confidence, 1), track_id=track if track >= 0 else None
                )
            )
    return result

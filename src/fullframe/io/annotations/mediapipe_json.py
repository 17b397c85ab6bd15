"""Pose landmarks of MediaPipe, saved as JSON.

Format: ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker and the reference of
PoseLandmarkerResult and NormalizedLandmark: for each pose 33 landmarks {x, y, z, visibility, presence}, x and
y as fractions of the image's width and height. They stand under "landmarks" (JavaScript), "pose_landmarks"
(Python) or, for one person, "poseLandmarks" (the older Pose). A file is about the photo of its own name; a
list of such objects is a video, frame by frame.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.io.annotations.annotation_file import AnnotatedImage, AnnotatedPerson, AnnotationFile
from fullframe.io.annotations.keypoint_names import ORDERS, order_from_list
from fullframe.io.annotations.untrusted import EntryError, confidences, numbers, whole_number

KEYS = ("landmarks", "pose_landmarks", "poseLandmarks")


def is_mediapipe(content: Any) -> bool:
    """Whether a parsed JSON file looks like it."""
    first = content[0] if isinstance(content, list) and content else content
    return isinstance(first, dict) and any(key in first for key in KEYS)


def read_mediapipe(files: dict[Path, Any], path: Path) -> AnnotationFile:
    """The people of one photo, or one video, for each file.

    Args:
        files: their contents.
        path: the file, or the folder of all.
    """
    order = order_from_list("MediaPipe")
    result = AnnotationFile(path, "MediaPipe", [], [], order.names, normalized=True)
    result.stats.notes.append(str(order.note))
    for source, content in files.items():
        frames = content if isinstance(content, list) else [content]
        for row, item in enumerate(frames):
            image, place = len(result.images), str(source)
            if isinstance(content, list):
                given = whole_number(item.get("frame")) if isinstance(item, dict) else None
                frame = row if given is None else given
                result.images.append(AnnotatedImage(source.stem, frame=frame))
                place += f", entry {row}"
            else:
                result.images.append(AnnotatedImage(source.stem))
            poses = next((item[key] for key in KEYS if key in item), None) if isinstance(item, dict) else None
            if not isinstance(poses, list):
                result.stats.leave_out(image, "not usable", f"{place}: expected an object with {KEYS[0]}")
                continue
            for index, pose in enumerate([poses] if poses and isinstance(poses[0], dict) else poses):
                where = f"{place}, pose {index}"
                try:
                    points, _ = confidences(_landmarks(pose, where)[list(order.rows)])
                except EntryError as error:
                    result.stats.leave_out(image, "not usable", str(error))
                else:
                    result.people.append(AnnotatedPerson(image, where, None, points))
    return result


def _landmarks(pose: Any, where: str) -> NDArray[np.float64]:
    count = len(ORDERS["MediaPipe"])
    if not isinstance(pose, list) or len(pose) != count or not all(isinstance(p, dict) for p in pose):
        raise EntryError(f"{where}: expected {count} landmarks {{x, y, visibility}}")
    rows = [numbers([p.get("x"), p.get("y"), p.get("visibility", 1.0)], 3, "landmark", where) for p in pose]
    points = np.array(rows)
    points[np.isnan(points[:, 2]), 2] = 1  # null where the model says nothing
    if (np.abs(points[:, :2]) > 10).any():
        raise EntryError(f"{where}: x and y must be fractions of the photo's width and height, not px")
    return points

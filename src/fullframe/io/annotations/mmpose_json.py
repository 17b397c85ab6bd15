"""MMPose's predictions: `MMPoseInferencer(..., pred_out_dir=...)` and the demos' `--save-predictions`.

Format: mmpose/apis/inferencers/base_mmpose_inferencer.py and mmpose/structures/utils.py of open-mmlab/mmpose
1.x. A photo's file <photo>.json is a list of {"keypoints": [[x, y]], "keypoint_scores": [], "bbox": [[x1, y1,
x2, y2]], "bbox_score"}; a video's is a list of {"frame_id", "instances": [the same]}; the demos' files are
objects with "meta_info" (names of the points) and "instance_info" (one of the two).
"""

from pathlib import Path
from typing import Any

import numpy as np

from fullframe.io.annotations.annotation_file import AnnotatedImage, AnnotatedPerson, AnnotationFile
from fullframe.io.annotations.keypoint_names import KeypointOrder, order_from_count, order_from_names
from fullframe.io.annotations.untrusted import (
    EntryError,
    box_xyxy,
    confidences,
    number,
    numbers,
    track_number,
    whole_number,
)


def is_mmpose(content: Any) -> bool:
    """Whether a parsed JSON file looks like it."""
    if isinstance(content, dict):
        return "instance_info" in content
    first = content[0] if isinstance(content, list) and content else None
    if isinstance(first, list):  # older versions wrap the list of a photo
        first = first[0] if first else None
    return isinstance(first, dict) and ("keypoint_scores" in first or "instances" in first)


def read_mmpose(files: dict[Path, Any], path: Path) -> AnnotationFile:
    """The people of one photo, or one video, for each file.

    Args:
        files: their contents.
        path: the file, or the folder of all.
    """
    result = AnnotationFile(path, "MMPose", [], [])
    order: KeypointOrder | None = None
    for source, content in files.items():
        if isinstance(content, dict):
            order = order or _named_order(content.get("meta_info"), source)
            content = content.get("instance_info")
        if isinstance(content, list) and len(content) == 1 and isinstance(content[0], list):
            content = content[0]
        items = content if isinstance(content, list) else []
        video = any(isinstance(item, dict) and "instances" in item for item in items)
        image = len(result.images)
        if not video:
            result.images.append(AnnotatedImage(source.stem))
            groups = [(image, f"{source}, person ", items)]
        else:
            groups = []
            for row, item in enumerate(items):
                frame = whole_number(item.get("frame_id")) if isinstance(item, dict) else None
                people = item.get("instances") if isinstance(item, dict) else None
                if frame is None or frame < 0 or not isinstance(people, list):
                    problem = f"{source}, entry {row}: expected frame_id and instances"
                    result.stats.leave_out(-1, "not usable", problem)
                    continue
                groups.append((len(result.images), f"{source}, frame_id {frame}, person ", people))
                result.images.append(AnnotatedImage(source.stem, frame=frame))
        for image, place, people in groups:
            for index, entry in enumerate(people):
                try:
                    order = _add(entry, image, f"{place}{index}", order, result)
                except EntryError as error:
                    result.stats.leave_out(image, "not usable", str(error))
    if order is not None:
        result.keypoint_names = order.names
        if order.note:
            result.stats.notes.append(order.note)
    return result


def _named_order(meta: Any, source: Path) -> KeypointOrder | None:
    names = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    if not isinstance(names, dict) or not names:
        return None
    ordered = [names.get(str(index)) for index in range(len(names))]
    if not all(isinstance(name, str) for name in ordered):
        raise ValueError(f"{source}: keypoint_id2name must give each number from 0 a name")
    try:
        return order_from_names([str(name) for name in ordered], "named in meta_info")
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _add(
    entry: Any, image: int, where: str, order: KeypointOrder | None, result: AnnotationFile
) -> KeypointOrder:
    if not isinstance(entry, dict) or not isinstance(entry.get("keypoints"), list):
        raise EntryError(f"{where}: expected an object with keypoints")
    places, scores = entry["keypoints"], entry.get("keypoint_scores")
    if any(isinstance(place, list) and len(place) == 3 for place in places[:1]):
        raise EntryError(f"{where}: these keypoints are 3D; give those of the 2D estimator")
    count = len(places)
    if order is None:
        try:
            order = order_from_count(count)
        except ValueError as error:
            raise EntryError(f"{where}: {error}") from error
    if count != order.total:
        raise EntryError(f"{where}: {count} keypoints where others have {order.total}")
    rows = [numbers(place, 2, "keypoint", where) for place in places]
    seen = numbers(scores, count, "keypoint_scores", where) if scores is not None else np.ones(count)
    points, _ = confidences(np.column_stack((np.array(rows), seen))[list(order.rows)])
    box = entry.get("bbox")
    if isinstance(box, list) and len(box) == 1 and isinstance(box[0], list):
        (box,) = box
    corners = None
    if box:
        values = numbers(box, 4, "bbox", where)
        corners = box_xyxy(values, f"bbox {values.tolist()} (x1, y1, x2, y2)", where)
    score = entry.get("bbox_score", 1.0)
    if isinstance(score, list) and len(score) == 1:
        (score,) = score
    track = track_number(entry.get("track_id"))
    person = AnnotatedPerson(
        image,
        where,
        corners,
        points,
        score=min(max(number(score, "bbox_score", where), 0), 1),
        track_id=track,
    )
    result.people.append(person)
    return order

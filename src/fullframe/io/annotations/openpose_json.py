"""OpenPose's JSON, one file a photo or frame: `--write_json`.

Format: doc/02_output.md of CMU-Perceptual-Computing-Lab/openpose: {"people": [{"pose_keypoints_2d": [x, y,
confidence, ...]}]} in a file <photo>_keypoints.json or <video>_<frame, 12 digits>_keypoints.json. AlphaPose
writes it too (--format open), and as {"bodies": [{"joints": ...}]} (--format cmu).
"""

import re
from pathlib import Path
from typing import Any

from fullframe.io.annotations.annotation_file import AnnotatedImage, AnnotatedPerson, AnnotationFile
from fullframe.io.annotations.keypoint_names import order_from_list
from fullframe.io.annotations.untrusted import EntryError, confidences, numbers, whole_number

_KEYS = ("pose_keypoints_2d", "pose_keypoints", "joints")
_ORDERS = {25: "OpenPose BODY_25", 18: "OpenPose COCO-18", 17: "COCO"}


def read_openpose(files: dict[Path, Any], path: Path) -> AnnotationFile:
    """The people of one photo or frame for each file.

    Args:
        files: their contents.
        path: the file, or the folder of all.
    """
    result = AnnotationFile(path, "OpenPose", [], [])
    order = None
    largest, least = 0.0, 0.0
    for source, content in files.items():
        stem = source.stem.removesuffix("_keypoints")
        frame = re.search(r"_(\d{12})$", stem)
        image = len(result.images)
        result.images.append(AnnotatedImage(stem, frame=int(frame[1]) if frame else None))
        people = content.get("people", content.get("bodies"))
        for index, entry in enumerate(people if isinstance(people, list) else []):
            where = f"{source}, person {index}"
            try:
                values = (
                    next((entry[key] for key in _KEYS if key in entry), None)
                    if isinstance(entry, dict)
                    else None
                )
                flat = numbers(values, None, _KEYS[0], where)
                if not len(flat):
                    raise EntryError(f"{where}: no {_KEYS[0]}")
                count = len(flat) / 3
                if count not in _ORDERS or (order is not None and count != order.total):
                    raise EntryError(
                        f"{where}: {len(flat)} numbers in {_KEYS[0]}; expected 3 for each of the 25 points "
                        "of BODY_25 (or the 18 of COCO), the same in all files"
                    )
                order = order or order_from_list(_ORDERS[int(count)])
                points, _ = confidences(flat.reshape(-1, 3)[list(order.rows)])
            except EntryError as error:
                result.stats.leave_out(image, "not usable", str(error))
                continue
            seen = points[points[:, 2] > 0, :2]
            largest, least = max(largest, seen.max(initial=0)), min(least, seen.min(initial=0))
            ids = entry.get("person_id")
            track = whole_number(ids[0]) if isinstance(ids, list) and len(ids) == 1 else None
            track = None if track is None or track < 0 else track
            result.people.append(AnnotatedPerson(image, where, None, points, track_id=track))
    if order is not None:
        result.keypoint_names = order.names
        if order.note:
            result.stats.notes.append(order.note)
        if largest <= 1:
            if least < 0:
                raise ValueError(
                    f"{path}: coordinates from -1 to 1: run OpenPose with --keypoint_scale 0 (px)"
                )
            if largest > 0:
                result.normalized = True
                result.stats.notes.append("its coordinates are fractions of the photo's width and height")
    return result

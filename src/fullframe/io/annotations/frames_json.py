"""People of a video by frame, as JSON of no particular program.

Either a list of people, each with "frame" (0 is the first) beside COCO's keys, or an object with a list of
people for each frame: {"0": [{"track_id": 3, "bbox": [x, y, width, height], "keypoints": [...], "score"}]},
also under "frames".
"""

from pathlib import Path
from typing import Any

from fullframe.io.annotations.annotation_file import AnnotatedImage, AnnotationFile
from fullframe.io.annotations.coco_json import read_coco
from fullframe.io.annotations.untrusted import whole_number

_KEYS = ("frame", "frame_id", "frame_index")


def is_frames(content: Any) -> bool:
    """Whether a parsed JSON file looks like it."""
    if isinstance(content, dict):
        if "frames" in content and isinstance(content["frames"], (list, dict)):
            return True
        return bool(content) and all(key.isdecimal() and isinstance(content[key], list) for key in content)
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and _frame_of(first) is not None and "image_id" not in first


def read_frames(content: Any, path: Path) -> AnnotationFile:
    """The people of a video, read as COCO's whose images are the frames."""
    if isinstance(content, dict):
        content = content.get("frames", content)
    entries: list[Any] = []
    frames: dict[int, int] = {}
    bad = 0
    for key, item in content.items() if isinstance(content, dict) else enumerate(content):
        listed = isinstance(content, list)
        frame = (
            _frame_of(item) if listed and isinstance(item, dict) else None if listed else whole_number(key)
        )
        people = item
        if listed and isinstance(item, dict):
            people = next(
                (item[k] for k in ("people", "boxes", "detections", "objects") if k in item), [item]
            )
        if frame is None or frame < 0 or not isinstance(people, list):
            bad += 1
            continue
        frames.setdefault(frame, len(frames))
        for person in people:
            entries.append({**person, "image_id": frame} if isinstance(person, dict) else person)
    images = [{"id": frame, "file_name": f"frame {frame}", "frame_id": frame} for frame in frames]
    result = read_coco({"images": images, "annotations": entries}, path)
    result.format = "JSON by frame"
    result.images = [AnnotatedImage(frame=image.frame) for image in result.images]
    if bad:
        result.stats.leave_out(-1, "without a frame", f"{path}: {bad} entries without a frame from 0 on")
    return result


def _frame_of(entry: dict[str, Any]) -> int | None:
    return next((whole_number(entry[key]) for key in _KEYS if key in entry), None)

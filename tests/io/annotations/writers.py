"""Each format as its program writes it, for tests: people in px in, a file or folder out."""

import json
from pathlib import Path

import numpy as np

from fullframe.io.annotations.keypoint_names import COCO17, ORDERS

SIZE = (640, 480)
NAME = "photo_1.jpg"


def person_entries(people, k=3):
    """COCO's annotations of keypoints (N, 17, 3), where confidence 1 is written as visibility 2."""
    entries = []
    for number, points in enumerate(people):
        box = box_of(points)
        entries.append(
            {
                "id": number + 10, "image_id": 5, "category_id": 1, "iscrowd": 0,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "keypoints": [v for x, y, c in points.tolist() for v in (x, y, 2 if c == 1 else c)],
            }
        )  # fmt: skip
    return entries


def box_of(points):
    """x1, y1, x2, y2 a little around the points that are seen."""
    seen = points[points[:, 2] > 0, :2]
    low, high = seen.min(axis=0) - 2, seen.max(axis=0) + 2
    return [float(v) for v in (*low, *high)]


def in_order(points, key):
    """COCO's points (17, 3) in the order of another list, zeros for those it has more."""
    rows = [points[COCO17.index(name)] if name in COCO17 else np.zeros(3) for name in ORDERS[key]]
    return np.array(rows)


def _json(folder: Path, name: str, content) -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def coco(folder, people):
    images = [{"id": 5, "file_name": NAME, "width": SIZE[0], "height": SIZE[1]}]
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO17), "skeleton": []}]
    content = {"images": images, "annotations": person_entries(people), "categories": categories}
    return _json(folder, "person_keypoints.json", content)


def coco_results(folder, people):
    entries = [{**e, "file_name": NAME, "score": 0.5} for e in person_entries(people)]
    return _json(folder, "results.json", entries)


def wholebody(folder, people):
    entries = person_entries([in_order(points, "COCO-WholeBody") for points in people])
    images = [{"id": 5, "file_name": NAME, "width": SIZE[0], "height": SIZE[1]}]
    return _json(folder, "wholebody.json", {"images": images, "annotations": entries})


def halpe(folder, people):
    entries = person_entries([in_order(points, "Halpe-26") for points in people])
    images = [{"id": 5, "file_name": NAME, "width": SIZE[0], "height": SIZE[1]}]
    return _json(folder, "halpe.json", {"images": images, "annotations": entries})


def alphapose(folder, people):
    entries = []
    for number, points in enumerate(people):
        x1, y1, x2, y2 = box_of(points)
        entries.append(
            {"image_id": NAME, "category_id": 1, "keypoints": points.reshape(-1).tolist(), "score": 3.0,
             "box": [x1, y1, x2 - x1, y2 - y1], "idx": [number + 1]}
        )  # fmt: skip
    return _json(folder, "alphapose-results.json", entries)


def openpose(folder, people):
    listed = [
        {"person_id": [-1], "pose_keypoints_2d": in_order(points, "OpenPose BODY_25").reshape(-1).tolist(),
         "face_keypoints_2d": [], "hand_left_keypoints_2d": []}
        for points in people
    ]  # fmt: skip
    return _json(folder, f"{Path(NAME).stem}_keypoints.json", {"version": 1.3, "people": listed})


def openpose_coco(folder, people):
    listed = [{"pose_keypoints": in_order(p, "OpenPose COCO-18").reshape(-1).tolist()} for p in people]
    return _json(folder, f"{Path(NAME).stem}_keypoints.json", {"version": 0.1, "people": listed})


def openpose_normalized(folder, people):
    scaled = [points / [*SIZE, 1] for points in people]
    return openpose(folder, scaled)


def mmpose(folder, people):
    listed = [
        {"keypoints": points[:, :2].tolist(), "keypoint_scores": points[:, 2].tolist(),
         "bbox": [box_of(points)], "bbox_score": 0.75}
        for points in people
    ]  # fmt: skip
    return _json(folder, f"{Path(NAME).stem}.json", listed)


def mediapipe(folder, people):
    poses = [
        [
            {"x": x / SIZE[0], "y": y / SIZE[1], "z": 0.1, "visibility": c, "presence": 1}
            for x, y, c in in_order(points, "MediaPipe").tolist()
        ]
        for points in people
    ]
    return _json(folder, f"{Path(NAME).stem}.json", {"landmarks": poses, "worldLandmarks": []})


def label_studio(folder, people):
    results = []
    for number, points in enumerate(people):
        x1, y1, x2, y2 = (v / SIZE[i % 2] * 100 for i, v in enumerate(box_of(points)))
        common = {
            "original_width": SIZE[0],
            "original_height": SIZE[1],
            "image_rotation": 0,
            "to_name": "img",
        }
        value = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1, "rotation": 0}
        results.append(
            {**common, "id": f"box{number}", "type": "rectanglelabels", "from_name": "person",
             "value": {**value, "rectanglelabels": ["person"]}}
        )  # fmt: skip
        for row, (x, y, c) in enumerate(points.tolist()):
            if c:
                place = {"x": x / SIZE[0] * 100, "y": y / SIZE[1] * 100, "width": 0.5}
                results.append(
                    {**common, "id": f"{number}_{row}", "type": "keypointlabels", "from_name": "kp",
                     "parentID": f"box{number}", "value": {**place, "keypointlabels": [COCO17[row]]}}
                )  # fmt: skip
    task = {
        "id": 1, "data": {"img": f"/data/upload/3/23082be9-{NAME}"},
        "annotations": [{"id": 2, "was_cancelled": False, "result": results}], "predictions": [],
    }  # fmt: skip
    return _json(folder, "project-1.json", [task])


def cvat(folder, people):
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "<version>1.1</version>",
        f'<image id="0" name="default/{NAME}" width="{SIZE[0]}" height="{SIZE[1]}">',
    ]  # fmt: skip
    for number, points in enumerate(people):
        x1, y1, x2, y2 = box_of(points)
        corners = f'xtl="{x1!r}" ytl="{y1!r}" xbr="{x2!r}" ybr="{y2!r}"'
        lines.append(f'<box label="person" occluded="0" {corners} z_order="0" group_id="{number + 1}"></box>')
        lines.append(f'<skeleton label="person" source="manual" z_order="0" group_id="{number + 1}">')
        for name, (x, y, c) in zip(COCO17, points.tolist(), strict=True):
            outside = int(not c)
            lines.append(
                f'<points label="{name}" outside="{outside}" occluded="0" points="{x!r},{y!r}"></points>'
            )
        lines.append("</skeleton>")
    path = folder / "annotations.xml"
    path.write_text("\n".join([*lines, "</image>", "</annotations>"]))
    return path


def yolo(folder, people):
    labels = folder / "labels" / "train"
    labels.mkdir(parents=True)
    lines = []
    for points in people:
        x1, y1, x2, y2 = box_of(points)
        box = [(x1 + x2) / 2 / SIZE[0], (y1 + y2) / 2 / SIZE[1], (x2 - x1) / SIZE[0], (y2 - y1) / SIZE[1]]
        values = [v for x, y, c in points.tolist() for v in (x / SIZE[0], y / SIZE[1], 2 if c == 1 else c)]
        lines.append(" ".join(repr(v) for v in [0, *box, *values]))
    (labels / f"{Path(NAME).stem}.txt").write_text("\n".join(lines) + "\n")
    (folder / "data.yaml").write_text("kpt_shape: [17, 3]\nnames:\n  0: person\n  1: car\n")
    return folder / "labels"


WRITERS = (
    coco, coco_results, wholebody, halpe, alphapose, openpose, openpose_coco, openpose_normalized, mmpose,
    mediapipe, label_studio, cvat, yolo,
)  # fmt: skip
WITH_BOXES = (coco, coco_results, wholebody, halpe, alphapose, mmpose, label_studio, cvat, yolo)
"""The programs that write a box."""

"""Results as JSON: everything but the meshes, readable without fullframe."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.export.tracks import joints
from fullframe.io.atomic import atomic_path
from fullframe.results.clip import CLIP_CONVENTIONS, Clip
from fullframe.results.people import CONVENTIONS, People


def write_json(people: People, path: str | Path) -> None:
    """Write boxes, keypoints, pose, shape, translation, 3D joints and the camera; numbers to 6 decimals.

    Raises:
        ValueError: if a number is not finite: JSON cannot express it.
    """
    pose, reprojection = _axis_angle(people.pose), _plain_or_none(people.reprojection)
    uncertainty = _plain_or_none(people.uncertainty)
    result = {
        "format": "fullframe people 1",
        "conventions": CONVENTIONS | _POSE,
        "image": people.image,
        "orientation": people.orientation,
        "body": people.body,
        "model": people.model,
        "camera": people.camera.to_dict(),
        "keypoint_names": JOINT_SETS["coco17"].names,
        "joint_names": JOINT_SETS["smpl24"].names,
        "people": [
            {
                "track_id": int(people.track_ids[i]),
                "score": _plain(people.scores[i]),
                "box": _plain(people.boxes[i]),
                "keypoints": _plain(people.keypoints[i]),
                "pose": _plain(pose[i]),
                "betas": _plain(people.betas[i]),
                "translation": _plain(people.translation[i]),
                "joints": _plain(people.joints[i]),
                "reprojection": reprojection[i],
                "reliable": bool(people.reliable[i]),
                "uncertainty": uncertainty[i],
            }
            for i in range(len(people))
        ],
    }
    _write(result, path)


def write_clip_json(clip: Clip, body: BodyModel, path: Path) -> list[Path]:
    """Write what a Clip holds and the 3D joints, each person's values as lists over the frames they are in.

    People are in each frame's camera frame; numbers to 6 decimals. An unknown ground, reprojection error or
    uncertainty is null, and so is the rotation of a camera that stands still.

    Raises:
        ValueError: the body is not the clip's, or a number is not finite: JSON cannot express it.
    """
    places = joints(clip, body)
    values = {
        "detected": clip.detected.tolist(),
        "scores": _plain(clip.scores),
        "boxes": _plain(clip.boxes),
        "keypoints": _plain(clip.keypoints),
        "pose": _plain(_axis_angle(clip.pose)),
        "translation": _plain(clip.translation),
        "contacts": clip.contacts.tolist(),
        "reprojection": _plain_or_none(clip.reprojection),
        "reliable": clip.reliable.tolist(),
        "uncertainty": _plain_or_none(clip.uncertainty),
        "joints": _plain(places),
    }
    result = {
        "format": "fullframe clip 1",
        "conventions": CLIP_CONVENTIONS | _POSE | _CAMERA,
        "video": clip.video,
        "body": clip.body,
        "model": clip.model,
        "camera": clip.camera.to_dict(),
        "camera_rotation": _turns(clip.camera_rotation) if clip.camera_turns else None,
        "ground": clip.ground.tolist() if np.isfinite(clip.ground).all() else None,
        "keypoint_names": JOINT_SETS["coco17"].names,
        "joint_names": JOINT_SETS["smpl24"].names,
        "times": _plain(clip.times),
        "people": [
            {"track_id": track, "betas": _plain(clip.betas[rows[0]]), "frames": clip.frames[rows].tolist()}
            | {name: [value[row] for row in rows] for name, value in values.items()}
            for track, rows in clip.tracks()
        ],
    }
    _write(result, path)
    return [Path(path)]


_POSE = {"pose": "axis-angle vectors in radians; " + CONVENTIONS["pose"]}
_CAMERA = {"camera_rotation": "axis-angle vectors R " + CLIP_CONVENTIONS["camera_rotation"]}


def _turns(rotations: NDArray[np.float64]) -> Any:
    """Rotations (F, 3, 3) as axis-angle vectors (F, 3)."""
    return _plain(Rotation.from_matrix(rotations).as_rotvec())


def _axis_angle(pose: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rotation matrices (N, 24, 3, 3) to axis-angle vectors (N, 24, 3); N may be 0."""
    vectors = Rotation.from_matrix(pose.reshape(-1, 3, 3)).as_rotvec() if len(pose) else np.empty(0)
    return vectors.reshape(-1, 24, 3)


def _write(result: dict[str, Any], path: str | Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(result, allow_nan=False), encoding="utf-8")


def _plain(values: NDArray[np.floating[Any]]) -> Any:
    return np.round(np.asarray(values, np.float64), 6).tolist()


def _plain_or_none(values: NDArray[np.float32]) -> list[Any]:
    """Values (N, ...) of N people, None for those that are not known."""
    known = [bool(np.isfinite(value).all()) for value in values]
    return [value if k else None for value, k in zip(_plain(np.nan_to_num(values)), known, strict=True)]

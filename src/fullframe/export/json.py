"""People as JSON: everything but the meshes, readable without fullframe."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fullframe.body.joints import JOINT_SETS
from fullframe.files import atomic_path
from fullframe.people import CONVENTIONS, People


def write_json(people: People, path: str | Path) -> None:
    """Write boxes, keypoints, pose, shape, translation, 3D joints and the camera; numbers to 6 decimals.

    Raises:
        ValueError: if a number is not finite: JSON has no word for it.
    """
    vectors = Rotation.from_matrix(people.pose.reshape(-1, 3, 3)).as_rotvec() if len(people) else np.empty(0)
    pose = vectors.reshape(-1, 24, 3)
    result = {
        "format": "fullframe people 1",
        "conventions": CONVENTIONS | {"pose": "axis-angle vectors in radians; " + CONVENTIONS["pose"]},
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
            }
            for i in range(len(people))
        ],
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(result, allow_nan=False), encoding="utf-8")


def _plain(values: NDArray[np.floating[Any]]) -> Any:
    return np.round(np.asarray(values, np.float64), 6).tolist()

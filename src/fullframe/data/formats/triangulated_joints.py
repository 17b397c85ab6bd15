"""Truth made of triangulated joints: samples with `coco17` joints in the camera's frame."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.body.joint_sets import COCO17_LIMBS, JOINT_SETS
from fullframe.data.clip_frame import ClipFrame
from fullframe.data.sample import Sample
from fullframe.geometry.box import clip_boxes
from fullframe.geometry.camera import Camera, project_points

LIMBS = JOINT_SETS["coco17"].names[COCO17_LIMBS]
"""The twelve joints that every keypoint detector and every triangulation has."""

MARKERS = {f"{name[0].upper()}{name.partition('_')[2].capitalize()}": name for name in LIMBS} | {
    "Nose": "nose"
}
"""Names of OpenPose's BODY_25 and of Pose2Sim's skeletons (COCO_17, HALPE_26, BODY_25, ...) to ours."""

MARGIN, MARGIN_TOP = 0.12, 0.19
"""How far a box reaches beyond limbs and nose, in sides of the box around them: bodies are larger than their
joints, and the head above the nose is larger still."""


def coco17_joints(points: NDArray[np.floating], markers: Sequence[str]) -> NDArray[np.float32]:
    """Rows of coco17 (17, 4): x, y, z and validity, from points (K, 3) with marker names; NaN is unknown."""
    joints = np.zeros((len(JOINT_SETS["coco17"]), 4), np.float32)
    for point, marker in zip(points, markers, strict=True):
        if marker in MARKERS and np.isfinite(point).all():
            joints[JOINT_SETS["coco17"].names.index(MARKERS[marker])] = (*point, 1)
    return joints


def limb_box(keypoints: NDArray[np.floating]) -> NDArray[np.float64]:
    """The box (4,) x1, y1, x2, y2 px around limbs and nose (K, 2), with MARGIN and MARGIN_TOP."""
    low, high = keypoints.min(axis=0), keypoints.max(axis=0)
    width, height = high - low
    margin = np.array([-MARGIN * width, -MARGIN_TOP * height, MARGIN * width, MARGIN * height])
    return np.concatenate((low, high)) + margin


def limb_sample(
    image: str | Path | ClipFrame, camera: Camera, joints: NDArray[np.float32], name: str,
    sequence: str, frame: int,
) -> Sample:  # fmt: skip
    """A person of whom joints (17, 4) of coco17 are known, in the camera's frame in metres.

    The box is `limb_box`, cut to the image as detected boxes are.

    Raises:
        ValueError: fewer than two joints are known, or the person is not in the image.
    """
    known = joints[:, 3] > 0
    pixels = project_points(joints[:, :3].astype(np.float64), camera)
    keypoints = np.where(known[:, None], np.c_[pixels, known], 0).astype(np.float32)
    if known.sum() < 2:
        raise ValueError(f"{name}: fewer than two joints are known")
    box = clip_boxes(limb_box(keypoints[known, :2])[None], camera.size)[0]
    return Sample(
        image,
        camera,
        box,
        keypoints={"coco17": keypoints},
        joints={"coco17": joints},
        name=name,
        sequence=sequence,
        frame=frame,
    )

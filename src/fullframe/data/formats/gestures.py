"""The sample of real people with 3D truth that comes with fullframe: clips of a woman who acts out words."""

from pathlib import Path

import numpy as np

from fullframe.assets import GESTURES
from fullframe.data.formats.triangulated_joints import coco17_joints, limb_sample
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera


def gestures() -> list[Sample]:
    """160 frames of 7 clips (CC0 1.0), with joints that were triangulated from three calibrated cameras.

    The distortion of the lens is undone in the images; cameras are the true ones.
    """
    with np.load(GESTURES / "truth.npz", allow_pickle=False) as truth:
        camera = Camera.from_intrinsics(truth["intrinsics"], tuple(truth["size"].tolist()))
        markers, images, joints = truth["names"].tolist(), truth["images"].tolist(), truth["joints"]
    samples = []
    for image, points in zip(images, joints, strict=True):
        clip, _, frame = Path(image).stem.partition("_")
        path = GESTURES / image
        samples.append(
            limb_sample(path, camera, coco17_joints(points, markers), f"{image}#0", clip, int(frame))
        )
    return samples

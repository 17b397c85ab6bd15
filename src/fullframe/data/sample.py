"""One person in one full image: what every dataset reader and the synthetic generator yield."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.data.clip_frame import ClipFrame
from fullframe.geometry.camera import Camera

_PIXELS, _METRES = 1e7, 1e4


class LabelError(ValueError):
    """A label that nothing can be learned from; the message names the person and the label."""


@dataclass
class Sample:
    """A person, where they are in the full image, and what is known about them.

    Pixels are those of the upright full image. What is not known is None, or has confidence or validity 0.

    Attributes:
        image: path of the image, RGB uint8 pixels (H, W, 3), or a frame of a video; of the full image, or of
            the window of it that `window` describes.
        camera: of the full image.
        box: (4,) float32 x1, y1, x2, y2 px around the person, not enlarged; may reach beyond the image.
        window: (x, y, scale): the full image's pixel (x, y) + scale * p is shown at pixel p of `image`.
        keypoints: joint set (a key of JOINT_SETS) to (K, 3) float32 x, y px and confidence 0 to 1.
        joints: joint set to (K, 4) float32 x, y, z in metres in the camera frame, and validity 0 or 1. Where
            the distance is unknown, they are relative to an arbitrary origin.
        pose: (24, 3, 3) float32 rotations, the root's in the camera frame.
        betas: (B,) float32.
        translation: (3,) float32 metres, added to posed vertices and joints.
        body: name of the body that pose, betas and translation belong to, as in body.BODY_NAMES.
        kid: weight of AGORA's kid template in the shape, 0 for adults.
        name: of the person, unique in the data set, for reports: "sequence/image#person".
        sequence: the clip or group that this is part of.
        frame: number of the frame in the sequence.
    """

    image: str | Path | NDArray[np.uint8] | ClipFrame
    camera: Camera
    box: NDArray[np.float32]
    window: tuple[float, float, float] = (0.0, 0.0, 1.0)
    keypoints: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    joints: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    pose: NDArray[np.float32] | None = None
    betas: NDArray[np.float32] | None = None
    translation: NDArray[np.float32] | None = None
    body: str = "open"
    kid: float = 0.0
    name: str = ""
    sequence: str = ""
    frame: int = 0

    def check(self) -> None:
        """Refuses labels that are not finite, or far beyond any photo or body.

        Raises:
            LabelError: the message names person and label.
        """
        for name, values, most in self._labels():
            size = float(np.abs(values).max(initial=0))
            if not size <= most:
                found = "numbers that are not finite" if not math.isfinite(size) else f"{size:g}"
                raise LabelError(f"{self.name or self.image}: {name} holds {found}; the limit is {most:g}")

    def _labels(self) -> Iterator[tuple[str, NDArray[np.floating], float]]:
        """Name, numbers and largest possible size of each label that is known."""
        camera = self.camera
        yield "the box", self.box, _PIXELS
        yield "the camera", np.array((*camera.focal, *camera.principal_point)), _PIXELS
        yield "the window", np.array(self.window), _PIXELS
        for kind, sets, most in (("keypoints", self.keypoints, _PIXELS), ("joints", self.joints, _METRES)):
            for joint_set, points in sets.items():
                confidence = points[:, -1]
                yield f"the confidence of {kind} {joint_set}", confidence, 1.001
                yield f"{kind} {joint_set}", points[confidence != 0, :-1], most
        for name, known, most in (
            ("pose", self.pose, 1.01),
            ("betas", self.betas, 1e3),
            ("translation", self.translation, _METRES),
        ):
            if known is not None:
                yield name, known, most

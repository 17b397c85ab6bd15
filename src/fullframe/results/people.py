"""People: the one result object that every renderer, exporter and evaluator takes."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel
from fullframe.geometry.camera import Camera
from fullframe.io.atomic import load_npz, save_npz
from fullframe.results.checks import (
    INTEGER,
    METRES,
    PERSON,
    SHARE,
    UNCERTAINTY,
    Array,
    check_arrays,
    check_texts,
    known_arrays,
)

CONVENTIONS = {
    "axes": "camera frame: x right, y down, z forward (OpenCV)",
    "units": "metres; pixels of the upright full image",
    "boxes": "x1, y1, x2, y2 px",
    "keypoints": "COCO-17, x px, y px, confidence 0 to 1; as detected or given",
    "pose": "local rotation of each of SMPL's 24 joints; the root's is in the camera frame",
    "betas": "shape coefficients of the body named here",
    "translation": "added to posed vertices and joints: pelvis = rest pelvis + translation",
    "reprojection": "root mean square distance of joints to keypoints over the box's longer side",
    "reliable": "enough keypoints, a body that agrees with them, a plausible distance and stature",
    "uncertainty": "standard deviation of each joint along the camera's axes, metres, of its place from the "
    "mean of shoulders, elbows, wrists, hips, knees and ankles",
}
"""What the numbers of a result mean; written into every file."""


@dataclass
class People:
    """The N people of one image, all in the camera frame of the full image. N may be 0.

    Attributes:
        boxes: (N, 4) float32, x1, y1, x2, y2 px.
        scores: (N,) float32, 0 to 1: of detected people the score of the box times the mean confidence of the
            keypoints, else the score that was given, or 1.
        track_ids: (N,) int64, identity across frames; 0 ... N-1 in a single photo.
        keypoints: (N, 17, 3) float32, detected COCO-17 keypoints: x, y px, confidence (all 0 if none).
        pose: (N, 24, 3, 3) float32, local rotations of SMPL's joints, root in the camera frame.
        betas: (N, B) float32, shape of the body named in `body`.
        translation: (N, 3) float32, metres.
        vertices: (N, V, 3) float32, camera frame, metres.
        joints: (N, 24, 3) float32, SMPL's joints in the camera frame, metres.
        faces: (F, 3) int32, triangles shared by all.
        camera: the full image's intrinsics and where they come from.
        body: name of the body model.
        model: name of the model that estimated the people.
        image: path of the image, "" where there is none.
        orientation: the EXIF orientation that was undone before anything else; 1 for none.
        reprojection: (N,) float32, root mean square distance of the body's joints to the keypoints, as a
            share of the box's longer side; NaN if unknown.
        reliable: (N,) bool, whether there are enough keypoints, the body agrees with them, and its distance
            and stature are plausible.
        uncertainty: (N, 24, 3) float32, metres: standard deviation of each joint along the camera's axes, of
            its place from the mean of shoulders, elbows, wrists, hips, knees and ankles; NaN if unknown.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    track_ids: NDArray[np.int64]
    keypoints: NDArray[np.float32]
    pose: NDArray[np.float32]
    betas: NDArray[np.float32]
    translation: NDArray[np.float32]
    vertices: NDArray[np.float32]
    joints: NDArray[np.float32]
    faces: NDArray[np.int32]
    camera: Camera
    body: str
    model: str
    image: str = ""
    orientation: int = 1
    reprojection: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    reliable: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    uncertainty: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 24, 3), np.float32))

    def __post_init__(self) -> None:
        if len(self.boxes) and not len(self.reprojection) and not len(self.reliable):  # unknown
            self.reprojection = np.full(len(self.boxes), np.nan, np.float32)
            self.reliable = np.zeros(len(self.boxes), bool)
        if len(self.uncertainty) == 0:
            self.uncertainty = np.full((len(self.boxes), 24, 3), np.nan, np.float32)
        for name, wanted in _ARRAYS.items():
            value = np.asarray(getattr(self, name), dtype=wanted.dtype)
            tail = wanted.shape[1:]
            if value.ndim != len(tail) + 1 or any(
                t not in (-1, s) for t, s in zip(tail, value.shape[1:], strict=True)
            ):
                raise ValueError(
                    f"People.{name} has shape {value.shape}; expected (N, {', '.join(map(str, tail))})"
                )
            if name != "faces" and len(value) != len(self.boxes):
                raise ValueError(f"People.{name} holds {len(value)} people, People.boxes {len(self.boxes)}")
            setattr(self, name, value)

    @classmethod
    def posed(cls, body: BodyModel, **values: Any) -> "People":
        """People with the meshes of their bodies.

        Args:
            body: of its betas.
            values: all other attributes but vertices, joints, faces and body.
        """
        with torch.inference_mode():
            state = body(*(torch.from_numpy(values[name]) for name in ("betas", "pose", "translation")))
        return cls(
            vertices=state.vertices.numpy(),
            joints=state.joints.numpy(),
            faces=body.faces.numpy(),
            body=body.name,
            **values,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> "People":
        """Some of the people: a slice, a mask or a list of indices."""
        if isinstance(index, (int, np.integer)):
            index = [index]
        return People(**{n: v[index] if n in _PER_PERSON else v for n, v in self._values().items()})

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def save(self, path: str | Path) -> None:
        """Write one .npz that `People.load` reads back without loss, and numpy alone can read."""
        values = self._values()
        header = {name: values.pop(name) for name in _HEADER}
        header |= {"camera": values.pop("camera").to_dict(), "conventions": CONVENTIONS}
        save_npz(path, values, header)

    @classmethod
    def load(cls, path: str | Path) -> "People":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is not a result of fullframe, or holds impossible numbers; the message
                names the file and the array.
        """
        with load_npz(path, "a People file") as values:
            check_texts(values, ("body", "model", "image"))
            check_arrays(values, known_arrays(values, _ARRAYS))
            if values["orientation"] not in range(1, 9):
                raise ValueError(f"orientation must be 1 to 8, not {str(values['orientation'])[:100]}")
            values["camera"] = Camera.from_dict(values["camera"])
            people = cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
            if len(np.unique(people.track_ids)) < len(people):
                raise ValueError("track_ids holds an id twice")
            if people.faces.size and people.faces.max() >= people.vertices.shape[1] and len(people):
                raise ValueError(f"faces names vertices that do not exist: {people.faces.max()}")
            return people


_HEADER = ("body", "model", "image", "orientation")
_ARRAYS = {
    **PERSON,
    "keypoints": PERSON["keypoints"]._replace(shape=(-1, 17, 3)),
    "scores": Array(np.float32, (-1,), *SHARE),
    "track_ids": Array(np.int64, (-1,), *INTEGER),
    "vertices": Array(np.float32, (-1, -1, 3), -METRES, METRES),
    "joints": Array(np.float32, (-1, 24, 3), -METRES, METRES),
    "faces": Array(np.int32, (-1, 3), 0),
    "reprojection": Array(np.float32, (-1,), 0, nan=True),
    "reliable": Array(np.bool_, (-1,)),
    "uncertainty": UNCERTAINTY,
}
_PER_PERSON = set(_ARRAYS) - {"faces"}

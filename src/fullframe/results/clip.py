"""Clip: the people of a video, one row per person and frame."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
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
from fullframe.results.people import CONVENTIONS, People

CLIP_CONVENTIONS = {
    **CONVENTIONS,
    "rows": "one per person and frame, by frame and then by track id",
    "times": "seconds from the first frame",
    "camera_rotation": "of each frame: R @ x of its camera frame is x in that of its shot's first frame",
    "ground": "(n, d) with n . x + d = 0 on the ground and n its unit normal that points up, in the first "
    "frame's camera frame; NaN if unknown",
}


@dataclass
class Clip:
    """The people of F frames in N rows, all in the camera frame of their full image. N may be 0.

    Attributes:
        times: (F,) float64, seconds from the first frame, ascending.
        frames: (N,) int64, the frame of each row, 0 to F - 1; ascending.
        track_ids: (N,) int64, identity across frames; ascending within a frame.
        detected: (N,) bool; False where a gap of the detector was filled.
        boxes: (N, 4) float32, x1, y1, x2, y2 px.
        scores: (N,) float32, 0 to 1, as in People; without keypoints the score of the box; 0 in filled gaps.
        keypoints: (N, 17, 3) float32, COCO-17: x, y px, confidence (all 0 if none).
        pose: (N, 24, 3, 3) float32, local rotations of SMPL's joints, root in the camera frame.
        betas: (N, B) float32, shape of the body named in `body`; the same in all rows of a track.
        translation: (N, 3) float32, metres.
        contacts: (N, 2) bool, left and right foot stand on the ground.
        ground: (4,) float64, (n, d): n . x + d = 0 on the ground, n points up, in the world; NaN if unknown.
        reprojection: (N,) float32, root mean square distance of the body's joints to the keypoints, as a
            share of the box's longer side; NaN if unknown, as in filled gaps.
        reliable: (N,) bool, whether there are enough keypoints, the body agrees with them, and its distance
            and stature are plausible.
        uncertainty: (N, 24, 3) float32, metres: standard deviation of each joint along the camera's axes, of
            its place from the mean of shoulders, elbows, wrists, hips, knees and ankles; NaN if unknown, as
            in filled gaps.
        camera_rotation: (F, 3, 3) float64, from each frame's camera frame to the world: the camera frame of
            its shot's first frame. The camera only turns; identity where it stands still.
        camera: the intrinsics of all frames.
        body: name of the body model.
        model: name of the model that estimated the people.
        video: path or address of the video, "" where there is none.
    """

    times: NDArray[np.float64]
    frames: NDArray[np.int64]
    track_ids: NDArray[np.int64]
    detected: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    pose: NDArray[np.float32]
    betas: NDArray[np.float32]
    translation: NDArray[np.float32]
    camera: Camera
    body: str
    model: str
    contacts: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 2), bool))
    ground: NDArray[np.float64] = field(default_factory=lambda: np.full(4, np.nan))
    camera_rotation: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3, 3)))
    reprojection: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    reliable: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    uncertainty: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 24, 3), np.float32))
    video: str = ""

    def __post_init__(self) -> None:
        if len(self.contacts) == 0:
            self.contacts = np.zeros((len(self.frames), 2), bool)
        if len(self.camera_rotation) == 0:
            self.camera_rotation = np.tile(np.eye(3), (len(self.times), 1, 1))
        rows = len(self.frames)
        if not len(self.reprojection) and not len(self.reliable):  # unknown
            self.reprojection, self.reliable = np.full(rows, np.nan, np.float32), np.zeros(rows, bool)
        if len(self.uncertainty) == 0:
            self.uncertainty = np.full((rows, 24, 3), np.nan, np.float32)
        for name, array in _ARRAYS.items():
            value = np.asarray(getattr(self, name), dtype=array.dtype)
            wanted = (rows, *array.shape[1:]) if name in ROWS else array.shape
            if value.ndim != len(wanted) or any(
                w not in (-1, v) for w, v in zip(wanted, value.shape, strict=True)
            ):
                raise ValueError(f"Clip.{name} has shape {value.shape}; expected {wanted}")
            setattr(self, name, value)
        if len(self.camera_rotation) != len(self.times):
            raise ValueError(
                f"Clip.camera_rotation is of {len(self.camera_rotation)} frames, not {len(self.times)}"
            )
        order = np.lexsort((self.track_ids, self.frames))
        if not np.array_equal(order, np.arange(rows)):
            raise ValueError("the rows of a Clip must be sorted by frame, then by track id")
        if not ((np.diff(self.frames) > 0) | (np.diff(self.track_ids) > 0)).all():
            raise ValueError("a Clip has a track id twice in a frame")
        if len(self.frames) and not 0 <= self.frames[0] <= self.frames[-1] < len(self.times):
            raise ValueError(
                f"a Clip of {len(self.times)} frames has rows of frames {self.frames[0]} to {self.frames[-1]}"
            )

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.frames)

    @property
    def num_frames(self) -> int:
        return len(self.times)

    @property
    def fps(self) -> float:
        """Frames per second, on average; 30 for fewer than two times."""
        duration = self.times[-1] - self.times[0] if len(self.times) else 0
        return float((len(self.times) - 1) / duration) if duration > 0 else 30.0

    def rows_of(self, frame: int) -> slice:
        """The rows of one frame."""
        first, last = np.searchsorted(self.frames, (frame, frame + 1))
        return slice(int(first), int(last))

    def tracks(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Each track id with its rows, in time order."""
        for track in np.unique(self.track_ids).tolist():
            yield track, np.flatnonzero(self.track_ids == track)

    def take(self, rows: NDArray[Any] | slice) -> "Clip":
        """Some of the rows (a mask, indices in ascending order or a slice); all frames stay."""
        return Clip(**{n: v[rows] if n in ROWS else v for n, v in self._values().items()})

    @property
    def camera_turns(self) -> bool:
        """Whether the camera turns in any frame."""
        return bool((self.camera_rotation != np.eye(3)).any())

    @property
    def camera_angles(self) -> NDArray[np.float64]:
        """(F,) degrees by which the camera is turned from its shot's first frame."""
        cosine = (np.trace(self.camera_rotation, axis1=1, axis2=2) - 1) / 2
        return np.degrees(np.arccos(np.clip(cosine, -1, 1)))

    def in_world(self, body: BodyModel) -> "Clip":
        """The clip as if the first frame's camera had stood still: itself where it did.

        Args:
            body: the one named in `body`, with as many betas.
        """
        if not self.camera_turns:
            return self
        clip = self.rotated(self.camera_rotation, body)
        clip.camera_rotation = np.tile(np.eye(3), (self.num_frames, 1, 1))
        return clip

    def rotated(self, rotations: NDArray[np.float64], body: BodyModel) -> "Clip":
        """The people in cameras that are turned from those of the clip; in the world, they stay.

        Args:
            rotations: (F, 3, 3), from each frame's camera frame to the new one.
            body: the one named in `body`, with as many betas.
        """
        with torch.inference_mode():
            root = body.rest_joints(torch.from_numpy(self.betas))[:, 0].double().numpy()
        turn = rotations[self.frames]
        pose = self.pose.copy()
        pose[:, 0] = turn @ pose[:, 0]
        translation = np.einsum("nij,nj->ni", turn, root + self.translation) - root
        return replace(
            self,
            pose=pose,
            translation=translation.astype(np.float32),
            # As if errors along the axes were independent.
            uncertainty=np.sqrt(np.einsum("nij,nkj->nki", turn**2, self.uncertainty**2)),
            camera_rotation=self.camera_rotation @ rotations.swapaxes(1, 2),
        )

    def people(self, frame: int, body: BodyModel) -> People:
        """The people of one frame with their meshes.

        Args:
            body: the one named in `body`, with as many betas.
        """
        rows = self.rows_of(frame)
        return People.posed(
            body,
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            track_ids=self.track_ids[rows],
            keypoints=self.keypoints[rows],
            pose=self.pose[rows],
            betas=self.betas[rows],
            translation=self.translation[rows],
            camera=self.camera,
            model=self.model,
            image=self.video,
            reprojection=self.reprojection[rows],
            reliable=self.reliable[rows],
            uncertainty=self.uncertainty[rows],
        )

    def _values(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def save(self, path: str | Path) -> None:
        """Write one .npz that `Clip.load` reads back without loss, and numpy alone can read."""
        values = self._values()
        header = {name: values.pop(name) for name in _HEADER}
        header |= {"camera": values.pop("camera").to_dict(), "conventions": CLIP_CONVENTIONS}
        save_npz(path, values, header)

    @classmethod
    def load(cls, path: str | Path) -> "Clip":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is not a clip of fullframe, or holds impossible numbers; the message names
                the file and the array.
        """
        with load_npz(path, "a clip") as values:
            check_texts(values, _HEADER)
            check_arrays(values, known_arrays(values, _ARRAYS))
            if (np.diff(values["times"]) < 0).any():
                raise ValueError("times must ascend")
            values["camera"] = Camera.from_dict(values["camera"])
            return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})


_HEADER = ("body", "model", "video")
# Those of ROWS have one entry per row.
_ARRAYS = {
    **PERSON,
    "keypoints": PERSON["keypoints"]._replace(shape=(-1, 17, 3)),
    "times": Array(np.float64, (-1,), -1e9, 1e9),
    "frames": Array(np.int64, (-1,), *INTEGER),
    "track_ids": Array(np.int64, (-1,), *INTEGER),
    "detected": Array(np.bool_, (-1,)),
    "scores": Array(np.float32, (-1,), *SHARE),
    "contacts": Array(np.bool_, (-1, 2)),
    "reprojection": Array(np.float32, (-1,), 0, nan=True),
    "reliable": Array(np.bool_, (-1,)),
    "uncertainty": UNCERTAINTY,
    "ground": Array(np.float64, (4,), -METRES, METRES, nan=True),
    "camera_rotation": Array(np.float64, (-1, 3, 3), -1.01, 1.01),
}
ROWS = set(_ARRAYS) - {"times", "ground", "camera_rotation"}
"""Names of the attributes that have one entry per row."""


def clip_of(people: People) -> Clip:
    """The people of a photo as a clip of one frame; `video` is the photo's path."""
    order = np.argsort(people.track_ids, kind="stable")
    return Clip(
        times=np.zeros(1),
        frames=np.zeros(len(people), np.int64),
        detected=np.ones(len(people), bool),
        camera=people.camera,
        body=people.body,
        model=people.model,
        video=people.image,
        **{name: getattr(people, name)[order] for name in sorted(ROWS - {"frames", "detected", "contacts"})},
    )

"""The results of single frames of a video, before postprocessing, and their storage."""

import json
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from fullframe.geometry.camera import Camera
from fullframe.io.workdir import WorkDir
from fullframe.recovery.camera_motion import Turns
from fullframe.results.clip import Clip

CHUNK = 64
"""Frames per shard: what a killed run loses at most."""


@dataclass
class FrameResults:
    """The results of F consecutive frames: D boxes, one row each, sorted by frame.

    Attributes:
        times: (F,) float64 s.
        cuts: (C,) int64, frames that begin a new shot.
        frames: (D,) int64, counted from the first frame of the video, like `cuts`.
        track_ids: (D,) int64; -1 for a box of no confirmed track, whose body is all zero.
        boxes: (D, 4) float32 px.
        scores: (D,) float32.
        keypoints: (D, 17, 3) float32; all 0 where none were detected.
        pose: (D, 24, 3, 3) float32.
        betas: (D, B) float32.
        translation: (D, 3) float32 m.
        uncertainty: (D, 24, 3) float32 m, as in People.
        keyframes, rotations, unexplained, links, link_rotations: how the camera turned, as in `Turns`.
    """

    times: NDArray[np.float64]
    cuts: NDArray[np.int64]
    frames: NDArray[np.int64]
    track_ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    pose: NDArray[np.float32]
    betas: NDArray[np.float32]
    translation: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    keyframes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    rotations: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3, 3)))
    unexplained: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    links: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    link_rotations: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3, 3)))

    def __post_init__(self) -> None:
        frames = len(self.times)
        if not len(self.keyframes):  # a camera that stands still
            self.keyframes = np.zeros(frames, np.int64)
            self.rotations = np.tile(np.eye(3), (frames, 1, 1))
            self.unexplained = np.full(frames, np.nan)

    @property
    def turns(self) -> Turns:
        return Turns(self.keyframes, self.rotations, self.unexplained, self.links, self.link_rotations)

    @classmethod
    def joined(cls, parts: "list[FrameResults]") -> "FrameResults":
        """The results of consecutive parts of a video, at least one.

        Empties the list: hours of people should not be in memory twice.
        """
        joined = cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})
        parts.clear()
        return joined

    def to_clip(self, camera: Camera, body: str, model: str, video: str) -> Clip:
        """The people of confirmed tracks, unsmoothed."""
        rows = np.flatnonzero(self.track_ids >= 0)
        rows = rows[np.lexsort((self.track_ids[rows], self.frames[rows]))]
        columns = (
            "frames", "track_ids", "boxes", "scores", "keypoints", "pose", "betas", "translation",
            "uncertainty",
        )  # fmt: skip
        return Clip(
            times=self.times,
            detected=np.ones(len(rows), bool),
            camera=camera,
            body=body,
            model=model,
            video=video,
            **{name: getattr(self, name)[rows] for name in columns},
        )


class FrameStore:
    """The results of a video in a WorkDir, chunk by chunk, while it is being analysed."""

    def __init__(self, work: WorkDir, chunk: int = CHUNK) -> None:
        self._shards = work.shards("frames", size=chunk)
        self._end = work.state("end.json")

    @property
    def is_begun(self) -> bool:
        """Whether a chunk is done."""
        return self._shards.is_done(0)

    def load(self) -> list[FrameResults]:
        """The chunks that are done, from the first one on."""
        chunks: list[FrameResults] = []
        while self._shards.is_done(start := len(chunks) * self._shards.size):
            chunks.append(FrameResults(**self._shards.load(start)))
        return chunks

    def add(self, index: int, results: FrameResults) -> None:
        """Save a chunk."""
        self._shards.save(index * self._shards.size, vars(results))

    def finish(self, frames: int, skipped: int) -> None:
        """The video is analysed to its end: it has so many frames, and broken ones that were skipped."""
        self._end.save(json.dumps({"frames": frames, "skipped": skipped}).encode())

    def skipped(self, chunks: list[FrameResults]) -> int | None:
        """The number of skipped frames if `chunks` are the whole video, else None."""
        end = self._end.load(_parse_end)
        return end["skipped"] if end and end["frames"] == sum(len(chunk.times) for chunk in chunks) else None


def _parse_end(content: bytes) -> dict[str, int]:
    end = json.loads(content)
    if not isinstance(end, dict) or not {"frames", "skipped"} <= end.keys():
        raise ValueError("it lacks frames and skipped")
    return end

"""The results of single frames of a video, before they become motion, and their files."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.geometry.camera import Camera
from fullframe.io.atomic import atomic_path, write_npz
from fullframe.results.clip import Clip

CHUNK = 64
"""Frames per file: what a killed run loses at most."""


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

    def save(self, path: Path) -> None:
        """Write one .npz atomically."""
        write_npz(path, {f.name: getattr(self, f.name) for f in fields(self)}, compress=False)

    @classmethod
    def load(cls, path: Path) -> "FrameResults":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is damaged; the message names it.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{f.name: file[f.name] for f in fields(cls)})
        except Exception as error:
            raise ValueError(f"{path} is damaged: remove the folder {path.parent} and run again") from error

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
        columns = ("frames", "track_ids", "boxes", "scores", "keypoints", "pose", "betas", "translation")
        return Clip(
            times=self.times,
            detected=np.ones(len(rows), bool),
            camera=camera,
            body=body,
            model=model,
            video=video,
            **{name: getattr(self, name)[rows] for name in columns},
        )


class Work:
    """The folder that holds an unfinished run: its request, and the rows of every CHUNK frames so far.

    Args:
        folder: made if absent. If it holds another request's run, that is thrown away.
        request: what the rows depend on, as JSON knows it.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        wanted = json.dumps(dict(request), indent=1, sort_keys=True)
        note = folder / "request.json"
        if not note.is_file() or note.read_text(encoding="utf-8") != wanted:
            self.clear(folder)
            folder.mkdir(exist_ok=True)
            with atomic_path(note) as temporary:
                temporary.write_text(wanted, encoding="utf-8")
        self._end = folder / "analysed.json"

    @property
    def skipped(self) -> int | None:
        """Broken frames of the video, once it is analysed to its end; before that None."""
        return json.loads(self._end.read_text())["skipped"] if self._end.is_file() else None

    def finish(self, skipped: int) -> None:
        """The video is analysed to its end."""
        with atomic_path(self._end) as temporary:
            temporary.write_text(json.dumps({"skipped": skipped}))

    def add(self, index: int, results: FrameResults) -> None:
        results.save(self._path(index))

    def chunks(self) -> list[FrameResults]:
        """What there is, from the first chunk on."""
        found: list[FrameResults] = []
        while (path := self._path(len(found))).is_file():
            found.append(FrameResults.load(path))
        return found

    @staticmethod
    def clear(folder: Path) -> None:
        """Remove what this class and the overlay put into a folder, and the folder if that is all."""
        own = re.compile(r"\.?(\d{6}|request|analysed|overlay)(\.[0-9a-f]{8})?\.(npz|json|mp4)")
        for file in folder.iterdir():
            if own.fullmatch(file.name):
                file.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06}.npz"

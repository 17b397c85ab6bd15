"""What the analysis of a video finds, kept in files so that a run that was stopped goes on where it was."""

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
"""Frames in a file: what a killed run loses at most."""


@dataclass
class Rows:
    """What was found in F frames that follow one another: D boxes, one row each, by frame.

    Attributes:
        times: (F,) float64 s.
        cuts: (C,) int64, frames that begin another shot.
        frames: (D,) int64, counted from the first frame of the video, like `cuts`.
        track_ids: (D,) int64; -1 for a box that is not believed, which has no body: all zero.
        boxes: (D, 4) float32 px.
        scores: (D,) float32.
        keypoints: (D, 17, 3) float32; all 0 if they were not asked for.
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
        """Write one .npz, whole or not at all."""
        write_npz(path, {f.name: getattr(self, f.name) for f in fields(self)}, compress=False)

    @classmethod
    def load(cls, path: Path) -> "Rows":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is damaged; the message names it.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{f.name: file[f.name] for f in fields(cls)})
        except Exception as error:
            raise ValueError(f"{path} is damaged: remove the folder {path.parent} and run again") from error


def join(parts: list[Rows]) -> Rows:
    """The rows of parts of a video that follow one another; at least one part.

    Empties the list: hours of people are not to be in memory twice.
    """
    joined = Rows(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Rows)})
    parts.clear()
    return joined


def raw_clip(rows: Rows, camera: Camera, body: str, model: str, video: str) -> Clip:
    """The people that are believed, as they were found."""
    believed = np.flatnonzero(rows.track_ids >= 0)
    believed = believed[np.lexsort((rows.track_ids[believed], rows.frames[believed]))]
    columns = ("frames", "track_ids", "boxes", "scores", "keypoints", "pose", "betas", "translation")
    return Clip(
        times=rows.times,
        detected=np.ones(len(believed), bool),
        camera=camera,
        body=body,
        model=model,
        video=video,
        **{name: getattr(rows, name)[believed] for name in columns},
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

    def add(self, index: int, rows: Rows) -> None:
        rows.save(self._path(index))

    def chunks(self) -> list[Rows]:
        """What there is, from the first chunk on."""
        found: list[Rows] = []
        while (path := self._path(len(found))).is_file():
            found.append(Rows.load(path))
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

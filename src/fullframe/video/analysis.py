"""First look at a video: who is where in every frame, with a body for each, as the network sees them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.geometry.box import PersonBox
from fullframe.geometry.camera import Camera
from fullframe.models import Bodies
from fullframe.models.cliff import locate
from fullframe.models.predict import cut_crops, predict_crops
from fullframe.motion.cuts import CutFinder
from fullframe.motion.tracker import Tracker
from fullframe.recovery import Recoverer
from fullframe.video.pipeline import ahead, frames_ahead, in_order
from fullframe.video.reader import Frame, VideoReader
from fullframe.video.rows import CHUNK, Rows

BATCH = 8
"""People that a network or fit takes at a time: more take as long each, and more memory."""


@dataclass
class Found:
    """The N people that a detector finds in a frame."""

    frame: Frame
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]


class Watcher:
    """Takes what was found frame by frame, says who is who and collects a body for each person.

    Bodies are computed for BATCH people at a time, so the last ones are there only after `take`.
    """

    def __init__(self, recoverer: Recoverer, camera: Camera, fps: float) -> None:
        self._recoverer, self._camera = recoverer, camera
        self._tracker, self._cuts = Tracker(fps), CutFinder()
        self._begin()

    def _begin(self) -> None:
        self._times: list[float] = []
        self._cut_frames: list[int] = []
        self._people: list[_Person] = []
        self._without_body: list[_Person] = []

    def see(self, found: Found, known: bool = False) -> None:
        """Take in a frame; of one that is already known, only who is who is remembered."""
        frame = found.frame
        cut = self._cuts.is_cut(frame.image)
        if cut:
            self._tracker.cut()
        ids = self._tracker.update(frame.time, found.boxes, found.scores, frame.image)
        if known:
            return
        self._times.append(frame.time)
        if cut:
            self._cut_frames.append(frame.index)
        seen = zip(ids.tolist(), found.boxes, found.scores, found.keypoints, strict=True)
        for row in seen:
            person = _Person(frame.index, *row)
            self._people.append(person)
            if person.track_id >= 0:
                if self._recoverer.network is not None:
                    person.box, crops = cut_crops(self._recoverer.network, frame.image, person.xyxy[None])
                    person.crop = crops[0]
                self._without_body.append(person)
        if len(self._without_body) >= BATCH:
            self._recover()

    def take(self) -> Rows:
        """The rows of the frames since the last call."""
        self._recover()
        people, betas = self._people, self._recoverer.body.num_betas
        rows = Rows(
            times=np.array(self._times),
            cuts=np.array(self._cut_frames, np.int64),
            frames=np.array([p.frame for p in people], np.int64),
            track_ids=np.array([p.track_id for p in people], np.int64),
            boxes=_stack([p.xyxy for p in people], (4,)),
            scores=_stack([p.score for p in people], ()),
            keypoints=_stack([p.keypoints for p in people], (17, 3)),
            pose=_stack([p.pose for p in people], (24, 3, 3)),
            betas=_stack([p.betas for p in people], (betas,)),
            translation=_stack([p.translation for p in people], (3,)),
        )
        self._begin()
        return rows

    def _recover(self) -> None:
        people, self._without_body = self._without_body, []
        for start in range(0, len(people), BATCH):
            some = people[start : start + BATCH]
            bodies = self._bodies(some)
            for person, pose, betas, translation in zip(some, *bodies, strict=True):
                person.pose, person.betas, person.translation, person.crop = pose, betas, translation, None

    def _bodies(self, people: "list[_Person]") -> Bodies:
        network, fitter = self._recoverer.network, self._recoverer.fitter
        bodies = None
        if network is not None:
            crops = np.stack([p.crop for p in people if p.crop is not None])
            boxes = [p.box for p in people if p.box is not None]
            box = PersonBox(*(np.concatenate(each) for each in zip(*boxes, strict=True)))
            bodies = predict_crops(network, crops, locate(box, self._camera))
        if fitter is not None:
            keypoints = np.stack([p.keypoints for p in people])
            xyxy = np.stack([p.xyxy for p in people])
            bodies = fitter.fit(keypoints, xyxy, self._camera, start=bodies).bodies
        assert bodies is not None
        return bodies


def _zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


@dataclass
class _Person:
    frame: int
    track_id: int
    xyxy: NDArray[np.float32]
    score: np.float32
    keypoints: NDArray[np.float32]
    crop: NDArray[np.uint8] | None = None
    box: PersonBox | None = None
    pose: NDArray[np.float32] = field(default_factory=partial(_zeros, 24, 3, 3))
    betas: NDArray[np.float32] | None = None
    translation: NDArray[np.float32] = field(default_factory=partial(_zeros, 3))


def _stack(values: list, shape: tuple[int, ...]) -> NDArray[np.float32]:
    filled = [_zeros(*shape) if value is None else value for value in values]
    return np.array(filled, np.float32).reshape(len(values), *shape)


def find(recoverer: Recoverer, frame: Frame) -> Found:
    """The people of a frame; with keypoints if bodies are fitted to them, which takes longer."""
    boxes, scores = recoverer.detector.boxes(frame.image)
    keypoints = _zeros(len(boxes), 17, 3)
    if recoverer.fitter is not None and len(boxes):
        keypoints = recoverer.detector.keypoints(frame.image, boxes)
    return Found(frame, boxes, scores, keypoints)


def analyse(
    recoverer: Recoverer,
    video: VideoReader,
    camera: Camera,
    known: list[Rows],
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[Rows, bool]]:
    """Look at all frames, several at a time.

    Frames of chunks that are known are only read, for the tracker's memory: the rest is found as if the run
    had never stopped.

    Args:
        known: the first chunks, from an earlier run.
        stop: asked after each frame.
        progress: called with the number of frames that are done.

    Yields:
        The rows of CHUNK frames each, from the first unknown frame on, and whether they are the last; those
        are of fewer frames or none. After `stop` said so, those until then, and they are not called the last.
    """
    watcher = Watcher(recoverer, camera, video.fps)
    first = sum(len(rows.times) for rows in known)

    def look(frame: Frame) -> Found:
        return _recall(known, frame) if frame.index < first else find(recoverer, frame)

    waiting = frames_ahead(video.size)
    frames = ahead(video, waiting)
    results = in_order(look, frames, torch.get_num_threads(), waiting)
    try:
        for index, found in enumerate(results):
            watcher.see(found, known=index < first)
            progress(index + 1)
            if stop():
                yield watcher.take(), False
                return
            if index >= first and (index + 1) % CHUNK == 0:
                yield watcher.take(), False
        yield watcher.take(), True
    finally:
        results.close()
        frames.close()


def _recall(known: list[Rows], frame: Frame) -> Found:
    rows = known[frame.index // CHUNK]
    here = slice(*np.searchsorted(rows.frames, (frame.index, frame.index + 1)))
    return Found(frame, rows.boxes[here], rows.scores[here], rows.keypoints[here])

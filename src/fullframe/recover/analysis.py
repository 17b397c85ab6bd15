"""First look at a video: who is where in every frame, with a body for each, as the network sees them."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.geometry.box import PersonBox
from fullframe.geometry.camera import Camera
from fullframe.models import Bodies
from fullframe.models.base import box_to_bbox_info
from fullframe.models.predict import cut_crops, predict_crops
from fullframe.recover.frame_results import CHUNK, Rows
from fullframe.recover.photo import Recoverer
from fullframe.recover.shots import ShotBoundaryDetector
from fullframe.recover.tracker import Tracker
from fullframe.video.prefetch import ahead, frames_ahead, ordered_map
from fullframe.video.reader import Frame, VideoReader

BATCH = 4
"""People that a network or fit takes at a time. More take as long each, and more memory."""
BETWEEN = 0.09
"""Seconds in which people move so evenly that only at the end it is looked where they are."""


@dataclass(frozen=True)
class View:
    """A frame, and what is to be done with it.

    Attributes:
        frame: of the video.
        cut: whether it begins another shot.
        look: whether people are looked for in it; else they are where the views before and after say.
    """

    frame: Frame
    cut: bool
    look: bool


@dataclass
class Found:
    """The N people that a detector finds in a frame."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]


def plan(frames: Iterable[Frame], between: float, most: int) -> Iterator[View]:
    """Say where shots begin and where to look for people: in the first and last frame of each shot and of
    every CHUNK frames, and else so that no look is further from the one before than is told.

    Args:
        between: seconds; 0 to look at every frame.
        most: frames.
    """
    cuts = ShotBoundaryDetector()
    now: View | None = None
    looked: Frame | None = None
    for frame in frames:
        cut = cuts.is_cut(frame.image)
        if now is not None:
            far = looked is None or frame.time - looked.time > between or frame.index - looked.index > most
            if far or now.cut or cut or (now.frame.index + 1) % CHUNK == 0:
                now, looked = replace(now, look=True), now.frame
            yield now
        now = View(frame, cut, look=False)
    if now is not None:
        yield replace(now, look=True)


class VideoTracker:
    """Takes what was found frame by frame, says who is who and collects a body for each person.

    Bodies are computed for BATCH people at a time, so the last ones are there only after `take`.
    """

    def __init__(self, recoverer: Recoverer, camera: Camera, fps: float) -> None:
        self._recoverer, self._camera = recoverer, camera
        self._tracker = Tracker(fps)
        self._last: list[_Person] = []
        self._begin()

    def _begin(self) -> None:
        self._times: list[float] = []
        self._cuts: list[int] = []
        self._between: list[Frame] = []
        self._people: list[_Person] = []
        self._without_body: list[_Person] = []

    def see(self, view: View, found: Found | None, known: bool = False) -> None:
        """Take in a frame.

        Args:
            found: None if it was not looked at.
            known: of this frame only who is who is to be remembered.
        """
        frame = view.frame
        if not known:
            self._times.append(frame.time)
            if view.cut:
                self._cuts.append(frame.index)
            if found is None:
                self._between.append(frame)
        if found is None:
            return
        if view.cut:
            self._tracker.cut()
        ids = self._tracker.update(frame.time, found.boxes, found.scores, frame.image)
        rows = zip(ids.tolist(), found.boxes, found.scores, found.keypoints, strict=True)
        people = [_Person(frame.index, frame.time, *row) for row in rows]
        if not known:
            pairs = [(p, q) for p in self._last for q in people if p.track_id == q.track_id >= 0]
            for passed in self._between:
                for before, after in pairs:
                    self._add(_between(before, after, passed), passed)
            for person in people:
                self._add(person, frame)
        self._between, self._last = [], people

    def _add(self, person: "_Person", frame: Frame) -> None:
        self._people.append(person)
        if person.track_id < 0:
            return
        network = self._recoverer.network
        if network is not None:
            person.box, crops = cut_crops(network, frame.image, person.xyxy[None])
            person.crop = crops[0]
        self._without_body.append(person)
        if len(self._without_body) == BATCH:
            self._recover()

    def take(self) -> Rows:
        """The rows of the frames since the last call."""
        self._recover()
        people, betas = self._people, self._recoverer.body.num_betas
        rows = Rows(
            times=np.array(self._times),
            cuts=np.array(self._cuts, np.int64),
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
        if not people:
            return
        for person, pose, betas, translation in zip(people, *self._bodies(people), strict=True):
            person.pose, person.betas, person.translation, person.crop = pose, betas, translation, None

    def _bodies(self, people: "list[_Person]") -> Bodies:
        network, fitter = self._recoverer.network, self._recoverer.fitter
        bodies = None
        if network is not None:
            crops = np.stack([p.crop for p in people if p.crop is not None])
            boxes = [p.box for p in people if p.box is not None]
            box = PersonBox(*(np.concatenate(each) for each in zip(*boxes, strict=True)))
            bodies = predict_crops(network, crops, box_to_bbox_info(box, self._camera))
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
    time: float
    track_id: int
    xyxy: NDArray[np.float32]
    score: np.float32
    keypoints: NDArray[np.float32]
    crop: NDArray[np.uint8] | None = None
    box: PersonBox | None = None
    pose: NDArray[np.float32] = field(default_factory=partial(_zeros, 24, 3, 3))
    betas: NDArray[np.float32] | None = None
    translation: NDArray[np.float32] = field(default_factory=partial(_zeros, 3))


def _between(before: _Person, after: _Person, frame: Frame) -> _Person:
    """Someone in a frame that was not looked at, from the looks around it."""
    share = np.float32((frame.time - before.time) / (after.time - before.time))
    xyxy = before.xyxy + share * (after.xyxy - before.xyxy)
    score = before.score + share * (after.score - before.score)
    return _Person(frame.index, frame.time, before.track_id, xyxy, score, _zeros(17, 3))


def _stack(values: list, shape: tuple[int, ...]) -> NDArray[np.float32]:
    filled = [_zeros(*shape) if value is None else value for value in values]
    return np.array(filled, np.float32).reshape(len(values), *shape)


def find(recoverer: Recoverer, frame: Frame) -> Found:
    """The people of a frame; with keypoints if bodies are fitted to them, which takes longer."""
    boxes, scores = recoverer.detector.boxes(frame.image)
    keypoints = _zeros(len(boxes), 17, 3)
    if recoverer.fitter is not None and len(boxes):
        keypoints = recoverer.detector.keypoints(frame.image, boxes)
    return Found(boxes, scores, keypoints)


def analyse(
    recoverer: Recoverer,
    video: VideoReader,
    camera: Camera,
    known: list[Rows],
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda done: None,
) -> Generator[tuple[Rows, bool], None, None]:
    """See all frames, several at a time.

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
    watcher = VideoTracker(recoverer, camera, video.fps)
    first = sum(len(rows.times) for rows in known)

    def look(view: View) -> tuple[View, Found | None]:
        if not view.look:
            return view, None
        index = view.frame.index
        return view, _recall(known, index) if index < first else find(recoverer, view.frame)

    waiting = frames_ahead(video.size)
    # Bodies are fitted to keypoints, which are found by looking only.
    views = ahead(plan(video, 0 if recoverer.fitter else BETWEEN, waiting), waiting)
    results = ordered_map(look, views, torch.get_num_threads(), waiting)
    try:
        for index, (view, found) in enumerate(results):
            watcher.see(view, found, known=index < first)
            progress(index + 1)
            if stop():
                yield watcher.take(), False
                return
            if index >= first and (index + 1) % CHUNK == 0:
                yield watcher.take(), False
        yield watcher.take(), True
    finally:
        results.close()
        views.close()


def _recall(known: list[Rows], frame: int) -> Found:
    rows = known[frame // CHUNK]
    here = slice(*np.searchsorted(rows.frames, (frame, frame + 1)))
    return Found(rows.boxes[here], rows.scores[here], rows.keypoints[here])

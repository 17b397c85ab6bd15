"""The first pass over a video: people are detected and tracked, and the network recovers a body for each."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.detect.find_people import find_people
from fullframe.detect.own_people import VideoPeople
from fullframe.geometry.box import PersonBox
from fullframe.geometry.camera import Camera
from fullframe.io.progress import Progress, silent
from fullframe.models import Bodies
from fullframe.models.crop_regressor import box_to_bbox_info
from fullframe.models.predict import cut_crops, predict_crops
from fullframe.recovery.camera_motion import CameraMotion
from fullframe.recovery.frame_results import CHUNK, FrameResults
from fullframe.recovery.photo import Recoverer
from fullframe.recovery.plausibility import bounded
from fullframe.recovery.shots import ShotBoundaryDetector
from fullframe.recovery.tracker import Tracker
from fullframe.video.prefetch import ordered_map, prefetch, prefetch_depth
from fullframe.video.reader import Frame, VideoReader

BATCH_SIZE = 16
"""People per pass of the network and the fit, which takes less than half as long for each as with four."""
MAX_INTERPOLATION_S = 0.11
"""Longest time between two detections: in frames between them, boxes and keypoints are interpolated."""
STAGE = "finding people"


@dataclass(frozen=True)
class PlannedFrame:
    """A frame and how it is to be processed.

    Attributes:
        frame: of the video.
        is_cut: whether it begins a new shot.
        detect: whether people are detected in it; else they are interpolated.
    """

    frame: Frame
    is_cut: bool
    detect: bool


@dataclass
class Detections:
    """The N people detected in a frame: boxes (N, 4) px, scores (N,) and keypoints (N, 17, 3) px.

    track_ids (N,) only where they are given instead of found by the tracker.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    track_ids: NDArray[np.int64] | None = None


def plan_detections(frames: Iterable[Frame], max_gap_s: float, max_gap_frames: int) -> Iterator[PlannedFrame]:
    """Find the shots and choose the frames for detection: the first and last of each shot and of every CHUNK
    frames, and between them so many that no gap is longer than allowed.

    Args:
        max_gap_s: longest time between two detections, s; 0 for detection in every frame.
        max_gap_frames: the same in frames.
    """
    shots = ShotBoundaryDetector()
    current: PlannedFrame | None = None
    detected: Frame | None = None
    for frame in frames:
        is_cut = shots.is_cut(frame.image)
        if current is not None:
            far = (
                detected is None
                or frame.time - detected.time > max_gap_s
                or frame.index - detected.index > max_gap_frames
            )
            if far or current.is_cut or is_cut or (current.frame.index + 1) % CHUNK == 0:
                current, detected = replace(current, detect=True), current.frame
            yield current
        current = PlannedFrame(frame, is_cut, detect=False)
    if current is not None:
        yield replace(current, detect=True)


def detect(recoverer: Recoverer, frame: Frame) -> Detections:
    """Detect the people of a frame; their keypoints too, if bodies are fitted to them."""
    if recoverer.fitter is None:
        boxes, scores = recoverer.detector.boxes(frame.image)
        return Detections(boxes, scores, _zeros(len(boxes), 17, 3))
    # Empty frames are common, and cost as little as possible.
    return Detections(*find_people(recoverer.detector, frame.image, empty_looks=False))


def given_detections(recoverer: Recoverer, frame: Frame, own: VideoPeople) -> Detections:
    """The people that the user gives for a frame; keypoints are detected if bodies are fitted to them."""
    given = own.frame(frame.index)
    keypoints = given.keypoints
    if keypoints is None:
        keypoints = _zeros(len(given.boxes), 17, 3)
        if recoverer.fitter is not None and len(given.boxes):
            keypoints = recoverer.detector.keypoints(frame.image, given.boxes)
    return Detections(given.boxes, given.scores, keypoints, given.track_ids if own.has_tracks else None)


class VideoTracker:
    """Tracks people frame by frame and recovers a body for each.

    Bodies are computed in batches of BATCH_SIZE people, the last incomplete one in `flush`.
    """

    def __init__(self, recoverer: Recoverer, camera: Camera, fps: float) -> None:
        self._recoverer, self._camera = recoverer, camera
        self._tracker = Tracker(fps)
        self._camera_motion = CameraMotion(camera)
        self._last: list[_TrackedPerson] = []
        self._clear()

    def _clear(self) -> None:
        self._camera_motion.clear()
        self._times: list[float] = []
        self._cuts: list[int] = []
        self._interpolated: list[Frame] = []
        self._people: list[_TrackedPerson] = []
        self._pending: list[_TrackedPerson] = []

    def update(self, planned: PlannedFrame, detections: Detections | None, known: bool = False) -> None:
        """Process the next frame.

        Args:
            detections: None in a frame without detection.
            known: the frame's results exist already: only the tracker's state is updated.
        """
        frame = planned.frame
        boxes = None if detections is None else detections.boxes
        self._camera_motion.update(frame.image, boxes, planned.is_cut)
        if known:
            self._camera_motion.clear()
        else:
            self._times.append(frame.time)
            if planned.is_cut:
                self._cuts.append(frame.index)
            if detections is None:
                self._interpolated.append(frame)
        if detections is None:
            return
        if planned.is_cut:
            self._tracker.reset()
        ids = detections.track_ids
        if ids is None:
            ids = self._tracker.update(frame.time, detections.boxes, detections.scores, frame.image)
        rows = zip(ids.tolist(), detections.boxes, detections.scores, detections.keypoints, strict=True)
        people = [_TrackedPerson(frame.index, frame.time, *row) for row in rows]
        if not known:
            pairs = [(p, q) for p in self._last for q in people if p.track_id == q.track_id >= 0]
            for between in self._interpolated:
                for before, after in pairs:
                    self._add(_interpolate(before, after, between), between)
            for person in people:
                self._add(person, frame)
        self._interpolated, self._last = [], people

    def flush(self) -> FrameResults:
        """The results of the frames since the last call."""
        self._recover_pending()
        people, num_betas = self._people, self._recoverer.body.num_betas
        results = FrameResults(
            times=np.array(self._times),
            cuts=np.array(self._cuts, np.int64),
            frames=np.array([p.frame for p in people], np.int64),
            track_ids=np.array([p.track_id for p in people], np.int64),
            boxes=_stack([p.xyxy for p in people], (4,)),
            scores=_stack([p.score for p in people], ()),
            keypoints=_stack([p.keypoints for p in people], (17, 3)),
            pose=_stack([p.pose for p in people], (24, 3, 3)),
            betas=_stack([p.betas for p in people], (num_betas,)),
            translation=_stack([p.translation for p in people], (3,)),
            uncertainty=_stack([p.uncertainty for p in people], (24, 3)),
            **vars(self._camera_motion.turns()),
        )
        self._clear()
        return results

    def _add(self, person: "_TrackedPerson", frame: Frame) -> None:
        self._people.append(person)
        if person.track_id < 0:
            return
        network = self._recoverer.network
        if network is not None:
            flat = self._camera.undistort_boxes(person.xyxy[None])
            person.box, crops = cut_crops(network, frame.image, flat, camera=self._camera)
            person.crop = crops[0]
        self._pending.append(person)
        if len(self._pending) == BATCH_SIZE:
            self._recover_pending()

    def _recover_pending(self) -> None:
        people, self._pending = self._pending, []
        if not people:
            return
        bodies, uncertainty = self._bodies(people)
        for person, pose, betas, translation, sigma in zip(people, *bodies, uncertainty, strict=True):
            person.pose, person.betas, person.translation, person.crop = pose, betas, translation, None
            person.uncertainty = sigma

    def _bodies(self, people: "list[_TrackedPerson]") -> tuple[Bodies, NDArray[np.float32]]:
        """Bodies and their uncertainty, see `fit.keypoint_fitter.Fit`."""
        network, fitter = self._recoverer.network, self._recoverer.fitter
        xyxy = self._camera.undistort_boxes(np.stack([p.xyxy for p in people]))
        bodies, uncertainty = None, np.full((len(people), 24, 3), np.nan, np.float32)
        if network is not None:
            crops = np.stack([p.crop for p in people if p.crop is not None])
            boxes = [p.box for p in people if p.box is not None]
            box = PersonBox(*(np.concatenate(each) for each in zip(*boxes, strict=True)))
            bodies = predict_crops(network, crops, box_to_bbox_info(box, self._camera))
        if fitter is not None:
            keypoints = self._camera.undistort_keypoints(np.stack([p.keypoints for p in people]))
            fit = fitter.fit(keypoints, xyxy, self._camera, start=bodies)
            bodies, uncertainty = fit.bodies, fit.uncertainty
        assert bodies is not None
        return bounded(bodies, xyxy, self._camera)[0], uncertainty


def _zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


@dataclass
class _TrackedPerson:
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
    uncertainty: NDArray[np.float32] = field(default_factory=partial(_zeros, 24, 3))


def _interpolate(before: _TrackedPerson, after: _TrackedPerson, frame: Frame) -> _TrackedPerson:
    """A person in a frame without detection, from the detections before and after it."""
    share = np.float32((frame.time - before.time) / (after.time - before.time))
    xyxy = before.xyxy + share * (after.xyxy - before.xyxy)
    score = before.score + share * (after.score - before.score)
    keypoints = before.keypoints + share * (after.keypoints - before.keypoints)
    keypoints[:, 2] = np.minimum(before.keypoints[:, 2], after.keypoints[:, 2])
    return _TrackedPerson(frame.index, frame.time, before.track_id, xyxy, score, keypoints)


def _stack(values: list, shape: tuple[int, ...]) -> NDArray[np.float32]:
    filled = [_zeros(*shape) if value is None else value for value in values]
    return np.array(filled, np.float32).reshape(len(values), *shape)


def analyse(
    recoverer: Recoverer,
    video: VideoReader,
    camera: Camera,
    known: list[FrameResults],
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = silent,
    own: VideoPeople | None = None,
) -> Generator[tuple[FrameResults, bool], None, None]:
    """Process all frames of a video, with detection in several threads.

    Frames with known results are only read, to restore the tracker's state: the results of the others are the
    same as in a run that was never interrupted.

    Args:
        known: the first chunks, from an earlier run.
        stop: called after each frame; True ends the analysis.
        progress: called after each frame.
        own: people given by the user, instead of detection.

    Yields:
        The results of each chunk of CHUNK frames from the first unknown frame on, and whether it is the last
        one, which may have fewer frames or none. If stopped, the frames until then, not marked as the last.
    """
    tracker = VideoTracker(recoverer, camera, video.fps)
    first_unknown = sum(len(chunk.times) for chunk in known)

    def find(planned: PlannedFrame) -> tuple[PlannedFrame, Detections | None]:
        if not planned.detect:
            return planned, None
        index = planned.frame.index
        if index < first_unknown:
            return planned, _known_detections(known, index, own is not None and own.has_tracks)
        if own is not None:
            return planned, given_detections(recoverer, planned.frame, own)
        return planned, detect(recoverer, planned.frame)

    depth = prefetch_depth(video.size)
    # People that are given are where they are given.
    max_gap_s = 0 if own is not None else MAX_INTERPOLATION_S
    planned_frames = prefetch(plan_detections(video, max_gap_s, depth), depth)
    results = ordered_map(find, planned_frames, torch.get_num_threads(), depth)
    try:
        for index, (planned, detections) in enumerate(results):
            tracker.update(planned, detections, known=index < first_unknown)
            progress(STAGE, index + 1, video.num_frames)
            if stop():
                yield tracker.flush(), False
                return
            if index >= first_unknown and (index + 1) % CHUNK == 0:
                yield tracker.flush(), False
        yield tracker.flush(), True
    finally:
        results.close()
        planned_frames.close()


def _known_detections(known: list[FrameResults], frame: int, with_tracks: bool) -> Detections:
    chunk = known[frame // CHUNK]
    rows = slice(*np.searchsorted(chunk.frames, (frame, frame + 1)))
    track_ids = chunk.track_ids[rows] if with_tracks else None
    return Detections(chunk.boxes[rows], chunk.scores[rows], chunk.keypoints[rows], track_ids)

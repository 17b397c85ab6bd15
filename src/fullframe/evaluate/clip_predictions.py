"""Whole clips through the steps of `fullframe run`: tracked, each person with one shape, smoothed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from fullframe.data.clip_frame import ClipFrame
from fullframe.data.sample import Sample
from fullframe.evaluate.predictions import Predictions
from fullframe.geometry.box import iou
from fullframe.geometry.camera import Camera
from fullframe.io.progress import Progress, silent
from fullframe.io.workdir import WorkDir
from fullframe.models.predict import Bodies
from fullframe.recovery.photo import Recoverer
from fullframe.recovery.video import finish_clip
from fullframe.recovery.video_tracker import analyse
from fullframe.results.clip import Clip
from fullframe.video.reader import Frame, VideoReader

CLIP_FILE = "clip.npz"
MIN_IOU = 0.3
"""Of the boxes of a true person and of the one in the result that is compared with them."""


def predict_clips(
    recoverer: Recoverer,
    samples: Sequence[Sample],
    folder: Path,
    request: Mapping[str, Any],
    *,
    enlarge: float,
    workers: int | None = None,
    progress: Progress = silent,
) -> Predictions:
    """Recover the clips that frames are of, with the true camera, and find the people of the frames in them.

    Finished clips are kept, so that the same call resumes after an interruption. People are detected; in each
    frame they are assigned to the true ones by their boxes.

    Args:
        recoverer: the network, on the device to run on, and the fit.
        samples: people in frames (ClipFrame) of clips, ordered by clip.
        folder: a WorkDir of the clips; created if it does not exist.
        request: of the WorkDir.
        enlarge: not used: detected boxes are enlarged as always.
        workers: not used.
        progress: the callback, called with all people who are done.

    Returns:
        Of people who were not found, pose, betas and translation are NaN.

    Raises:
        VideoError: a clip cannot be read.
        WorkError: the folder holds other clips, or is in use.
    """
    parts = []
    with WorkDir(folder, {**request, "people": len(samples)}) as work:
        shards = work.shards(size=1)
        for number, (image, some) in enumerate(_by_clip(samples)):
            if not shards.is_done(number):
                with shards.writing(number) as shard:
                    _recovered(recoverer, image.video, image.camera).save(shard / CLIP_FILE)
            clip = Clip.load(shards.folder(number) / CLIP_FILE)
            parts.append(Predictions.of(some, _matched(clip, some)))
            progress("recovering clips", sum(map(len, parts)), len(samples))
    return Predictions.joined(parts)


def _by_clip(samples: Sequence[Sample]) -> Iterator[tuple[ClipFrame, list[Sample]]]:
    """A frame of each clip and its samples, ordered as they are, without pictures."""
    some: list[Sample] = []
    image: ClipFrame | None = None
    for sample in samples:
        assert isinstance(sample.image, ClipFrame)
        if image is not None and sample.image.video != image.video:
            yield image, some
            some = []
        image = sample.image
        some.append(replace(sample, image=""))
    if image is not None:
        yield image, some


class UndistortedVideo(VideoReader):
    """A video whose frames have the distortion of the lens undone."""

    def __init__(self, source: Path, camera: Camera) -> None:
        super().__init__(source)
        self.camera = camera

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            yield replace(frame, image=self.camera.undistort_image(frame.image))


def _recovered(recoverer: Recoverer, video: Path, camera: Camera) -> Clip:
    with UndistortedVideo(video, camera) as reader:
        parts = [rows for rows, _ in analyse(recoverer, reader, camera.pinhole, [])]
    return finish_clip(recoverer, parts, camera.pinhole, str(video), smooth=True, lock_feet=False)


def _matched(clip: Clip, samples: Sequence[Sample]) -> Bodies:
    """The body of each sample in the clip; NaN where there is none."""
    found = [
        np.full((len(samples), *values.shape[1:]), np.nan, np.float32)
        for values in (clip.pose, clip.betas, clip.translation)
    ]
    frames = np.array([sample.frame for sample in samples])
    for frame in np.unique(frames).tolist():
        people, rows = np.flatnonzero(frames == frame).tolist(), clip.rows_of(frame)
        overlap = iou(np.stack([samples[i].box for i in people]), clip.boxes[rows])
        for person, row in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[person, row] > MIN_IOU:
                for values, bodies in zip(found, (clip.pose, clip.betas, clip.translation), strict=True):
                    values[people[person]] = bodies[rows][row]
    return Bodies(*found)

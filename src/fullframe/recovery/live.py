"""Recovering people live from a camera or stream."""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.geometry.camera import Camera
from fullframe.recovery.frame_results import FrameResults
from fullframe.recovery.photo import UNKNOWN_CAMERA, CameraOptions, Recoverer
from fullframe.recovery.shots import ShotBoundaryDetector
from fullframe.recovery.video import finish_clip
from fullframe.recovery.video_tracker import PlannedFrame, VideoTracker, detect
from fullframe.render import overlay as draw
from fullframe.results.clip import Clip
from fullframe.video.reader import Frame, VideoError, VideoReader
from fullframe.video.writer import VideoWriter

_TYPICAL_FPS = 10.0


def watch(
    recoverer: Recoverer,
    source: str,
    *,
    overlay: Path | None = None,
    show: Callable[[NDArray[np.uint8]], None] = lambda image: None,
    stop: Callable[[], bool] = lambda: False,
    smooth: bool = True,
    lock_feet: bool = False,
    camera_options: CameraOptions = UNKNOWN_CAMERA,
) -> Clip:
    """Recover people from a camera or stream; frames that arrive during processing are dropped.

    Args:
        source: number of a camera, /dev/videoN, or an address.
        overlay: an .mp4 to record what is shown.
        show: called with every processed frame, (H, W, 3) RGB, with its people drawn, unsmoothed.
        stop: called after each frame; True ends the recording.
        smooth, lock_feet: for the returned clip, as for `fullframe.recover_video`.
        camera_options: if unknown, the focal length is the image diagonal.

    Returns:
        The people of the processed frames, with their times of arrival.

    Raises:
        VideoError: if the source cannot be opened, or sends nothing.
    """
    frames = LatestFrameReader(_capture(source))
    first = next(frames, None)
    if first is None:
        raise VideoError(f"{source}: sends no frames")
    size = (first.image.shape[1], first.image.shape[0])
    camera = camera_options.camera(size, source) or Camera.from_diagonal(size)
    names = (recoverer.body.name, recoverer.name, source)
    tracker, shots = VideoTracker(recoverer, camera, _TYPICAL_FPS), ShotBoundaryDetector()
    parts: list[FrameResults] = []
    writer = VideoWriter(overlay, size, _TYPICAL_FPS) if overlay is not None else None
    frame: Frame | None = first
    try:
        while frame is not None:
            planned = PlannedFrame(frame, shots.is_cut(frame.image), detect=True)
            tracker.update(planned, detect(recoverer, frame))
            results = tracker.flush()
            parts.append(results)
            current = replace(results, frames=np.zeros_like(results.frames)).to_clip(camera, *names)
            drawn = draw(frame.image, current.people(0, recoverer.body))
            show(drawn)
            if writer is not None:
                writer.write(drawn, frame.time)
            frame = None if stop() else next(frames, None)
    finally:
        frames.close()
        if writer is not None:
            writer.close()
    return finish_clip(recoverer, parts, camera, source, smooth, lock_feet)


def _capture(source: str) -> Iterator[NDArray[np.uint8]]:
    """Images as they arrive, (H, W, 3) RGB."""
    number = re.fullmatch(r"(?:/dev/video)?(\d+)", source)
    if number is None:
        with VideoReader(source) as reader:
            for frame in reader:
                yield frame.image
        return
    device = cv2.VideoCapture(int(number[1]))
    try:
        if not device.isOpened():
            raise VideoError(f"camera {source}: cannot be opened: is it connected, and not in use?")
        while True:
            good, image = device.read()
            if not good:
                return
            yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        device.release()


class LatestFrameReader:
    """Iterates over the images of a thread: always the latest one, as a frame with its time of arrival."""

    def __init__(self, images: Iterable[NDArray[np.uint8]]) -> None:
        self._images = images
        self._ready = threading.Condition()
        self._latest: tuple[float, NDArray[np.uint8]] | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._index = 0
        self._start: float | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for image in self._images:
                with self._ready:
                    self._latest = time.monotonic(), image
                    self._ready.notify()
                    if self._ended:
                        return
        except BaseException as error:  # raised in the consumer
            self._error = error
        finally:
            with self._ready:
                self._ended = True
                self._ready.notify()

    def __iter__(self) -> "LatestFrameReader":
        return self

    def __next__(self) -> Frame:
        with self._ready:
            self._ready.wait_for(lambda: self._latest is not None or self._ended)
            latest, self._latest = self._latest, None
        if latest is None:
            if self._error is not None:
                raise self._error
            raise StopIteration
        arrived, image = latest
        self._start = arrived if self._start is None else self._start
        self._index += 1
        return Frame(self._index - 1, arrived - self._start, image)

    def close(self) -> None:
        """End the thread after the next image."""
        self._ended = True

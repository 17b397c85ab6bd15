"""People in front of a camera, while they are there."""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullframe.geometry.camera import Camera
from fullframe.recover.analysis import VideoTracker, View, find
from fullframe.recover.frame_results import Rows, raw_clip
from fullframe.recover.photo import Recoverer, camera_from_options
from fullframe.recover.shots import ShotBoundaryDetector
from fullframe.recover.video import finished
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
    show: Callable[[NDArray[np.uint8]], None] = lambda picture: None,
    stop: Callable[[], bool] = lambda: False,
    smooth: bool = True,
    lock_feet: bool = False,
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: ArrayLike | None = None,
) -> Clip:
    """Watch a camera or stream; frames that come while one is worked on are dropped.

    Args:
        source: number of a camera, /dev/videoN, or an address.
        overlay: an .mp4 to write what is shown to.
        show: called with every frame with its people drawn, (H, W, 3) RGB, as the network sees them.
        stop: asked after each frame.
        smooth, lock_feet: of the clip that is returned.
        focal, fov, intrinsics: the camera, else the diagonal.

    Returns:
        The people of the frames that were worked on; times are those of their arrival.

    Raises:
        VideoError: if the source cannot be opened, or sends nothing.
    """
    frames = LatestFrameReader(_camera(source))
    first = next(frames, None)
    if first is None:
        raise VideoError(f"{source}: sends no picture")
    size = (first.image.shape[1], first.image.shape[0])
    camera = camera_from_options(size, focal, fov, intrinsics) or Camera.from_diagonal(size)
    names = (recoverer.body.name, recoverer.name, source)
    watcher, cuts = VideoTracker(recoverer, camera, _TYPICAL_FPS), ShotBoundaryDetector()
    parts: list[Rows] = []
    writer = VideoWriter(overlay, size, _TYPICAL_FPS) if overlay is not None else None
    frame: Frame | None = first
    try:
        while frame is not None:
            watcher.see(View(frame, cuts.is_cut(frame.image), look=True), find(recoverer, frame))
            rows = watcher.take()
            parts.append(rows)
            now = raw_clip(replace(rows, frames=np.zeros_like(rows.frames)), camera, *names)
            picture = draw(frame.image, now.people(0, recoverer.body))
            show(picture)
            if writer is not None:
                writer.write(picture, frame.time)
            frame = None if stop() else next(frames, None)
    finally:
        frames.close()
        if writer is not None:
            writer.close()
    return finished(recoverer, parts, camera, source, smooth, lock_feet)


def _camera(source: str) -> Iterator[NDArray[np.uint8]]:
    """Pictures as they come, (H, W, 3) RGB."""
    number = re.fullmatch(r"(?:/dev/video)?(\d+)", source)
    if number is None:
        with VideoReader(source) as reader:
            for frame in reader:
                yield frame.image
        return
    device = cv2.VideoCapture(int(number[1]))
    try:
        if not device.isOpened():
            raise VideoError(f"camera {source}: cannot be opened; is it plugged in, and free?")
        while True:
            good, picture = device.read()
            if not good:
                return
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        device.release()


class LatestFrameReader:
    """Iterates over pictures read in a thread, each time the newest, as frames with the time they came."""

    def __init__(self, pictures: Iterable[NDArray[np.uint8]]) -> None:
        self._pictures = pictures
        self._ready = threading.Condition()
        self._waiting: tuple[float, NDArray[np.uint8]] | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._index = 0
        self._start: float | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for picture in self._pictures:
                with self._ready:
                    self._waiting = time.monotonic(), picture
                    self._ready.notify()
                    if self._ended:
                        return
        except BaseException as error:  # to be raised where the frames are taken
            self._error = error
        finally:
            with self._ready:
                self._ended = True
                self._ready.notify()

    def __iter__(self) -> "LatestFrameReader":
        return self

    def __next__(self) -> Frame:
        with self._ready:
            self._ready.wait_for(lambda: self._waiting is not None or self._ended)
            waiting, self._waiting = self._waiting, None
        if waiting is None:
            if self._error is not None:
                raise self._error
            raise StopIteration
        came, picture = waiting
        self._start = came if self._start is None else self._start
        self._index += 1
        return Frame(self._index - 1, came - self._start, picture)

    def close(self) -> None:
        """End the thread after the picture that it waits for."""
        self._ended = True

"""Frames of videos as the images of samples, with the distortion of the lens undone."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.geometry.camera import Camera
from fullframe.io.image import ImageError
from fullframe.video.reader import Frame, VideoReader


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """A frame of a video, decoded when it is read. Reading frames in ascending order is fast.

    Attributes:
        video: path.
        index: 0, 1, ... of the frame.
        camera: with the distortion of its lens.
    """

    video: Path
    index: int
    camera: Camera

    def read(self) -> NDArray[np.uint8]:
        """(H, W, 3) RGB, upright and undistorted.

        Raises:
            VideoError: the video cannot be read.
            ImageError: it has fewer frames.
        """
        return self.camera.undistort_image(_frame(self.video, self.index).image)


@dataclass
class _Position:
    """How far a video has been read."""

    reader: VideoReader
    frame: Frame | None = None

    def advance(self, index: int) -> Frame:
        """The frame `index`, which must not lie before the current one."""
        while self.frame is None or self.frame.index < index:
            self.frame = next(self._frames, None)
            if self.frame is None:
                raise ImageError(f"{self.reader.source}: the video ends before frame {index}")
        return self.frame

    @cached_property
    def _frames(self) -> Iterator[Frame]:
        return iter(self.reader)


_position: _Position | None = None
"""Of the video that was read last in this process."""


def _frame(video: Path, index: int) -> Frame:
    global _position
    at = _position
    if at is None or at.reader.source != str(video) or (at.frame is not None and at.frame.index > index):
        if at is not None:
            at.reader.close()
        _position = at = _Position(VideoReader(video))
    return at.advance(index)

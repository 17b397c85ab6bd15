"""The image behind each frame of a clip: small, and read on demand."""

import os

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.io.image import ImageError, read_photo
from fullframe.results.clip import Clip
from fullframe.video.reader import VideoError, VideoReader

PHOTO_SIDE, VIDEO_SIDE = 1600, 640
"""px, the longer side of images sent to the browser: once for a photo, for every frame of a video."""

# Up to so many seconds ahead, decoding is faster than seeking; encoders set a key frame every few.
_DECODE_AHEAD_S = 2.0


class Backdrops:
    """The images of a clip; only a decoder and the last image are kept in memory.

    Not thread-safe.

    Attributes:
        problem: why there are none, for the user; "" if there are.
    """

    def __init__(self, clip: Clip) -> None:
        self.problem = ""
        self._times, self._camera = clip.times, clip.camera
        self._photo: NDArray[np.uint8] | None = None
        self._video: _SeekingReader | None = None
        try:
            if not clip.video or not os.path.isfile(clip.video):
                self.problem = (
                    f"{clip.video} does not exist any more" if clip.video else "the file is unknown"
                )
            elif clip.num_frames == 1 and (photo := _photo(clip.video)) is not None:
                self._photo = photo
            else:
                self._video = _SeekingReader(clip.video, VIDEO_SIDE)
        except VideoError as error:
            self.problem = str(error)

    def __call__(self, frame: int) -> NDArray[np.uint8] | None:
        """The image of a frame, (H, W, 3) RGB, upright, without distortion; None if there is none."""
        image = self._photo if self._video is None else self._video.at(float(self._times[frame]))
        if image is None or not self._camera.distortion:
            return image
        return self._camera.resized((image.shape[1], image.shape[0])).undistort_image(image)

    def close(self) -> None:
        if self._video is not None:
            self._video.close()


class _SeekingReader(VideoReader):
    """A reader with random access that returns small frames."""

    def __init__(self, path: str, side: int) -> None:
        super().__init__(path)
        width, height = self._coded_size
        scale = min(1.0, side / max(width, height))
        self._coded_size = max(1, round(width * scale)), max(1, round(height * scale))
        self._now = 0.0
        self._image: NDArray[np.uint8] | None = self._upright(self._first)

    def at(self, time: float) -> NDArray[np.uint8] | None:
        """The frame at a time in seconds from the first frame; if it cannot be decoded, the last good one."""
        early = 1e-3
        if not self._now - early <= time <= self._now + _DECODE_AHEAD_S:
            try:
                offset = round((self.start + time) / self._stream.time_base)
                self._container.seek(offset, stream=self._stream, backward=True)
            except OSError:  # not every format supports seeking
                return self._image
            self._frames, self._now = self._decode(), -1.0
        if self._now < time - early:
            for frame in self._frames:
                self._now = (frame.time or 0.0) - self.start
                if self._now >= time - early:
                    self._image = self._upright(frame)
                    break
        return self._image


def _photo(path: str) -> NDArray[np.uint8] | None:
    try:
        image = read_photo(path).pixels
    except ImageError:
        return None
    scale = PHOTO_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

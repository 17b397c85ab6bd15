"""The picture behind each frame of a clip: small, and read only when asked for."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.io.image import ImageError, read_photo
from fullframe.results.clip import Clip
from fullframe.video.reader import VideoError, VideoReader

PHOTO_SIDE, VIDEO_SIDE = 1600, 640
"""px, the longer side of what is sent to the browser: once for a photo, for every frame of a video."""

# Decoding on is quicker than seeking for so many seconds; encoders set a key frame every few.
_AHEAD = 2.0


class Pictures:
    """The pictures of a clip; nothing but a decoder and the last picture is kept in memory.

    Not to be called from two threads at once.

    Attributes:
        problem: why there are none, for the user to read; "" if there are.
    """

    def __init__(self, clip: Clip) -> None:
        self.problem = ""
        self._times = clip.times
        self._photo: NDArray[np.uint8] | None = None
        self._video: _SeekingReader | None = None
        try:
            if not clip.video or not Path(clip.video).is_file():
                self.problem = f"{clip.video} is not there any more" if clip.video else "no picture is known"
            elif clip.num_frames == 1 and (photo := _photo(clip.video)) is not None:
                self._photo = photo
            else:
                self._video = _SeekingReader(clip.video, VIDEO_SIDE)
        except VideoError as error:
            self.problem = str(error)

    def __call__(self, frame: int) -> NDArray[np.uint8] | None:
        """The picture of a frame, (H, W, 3) RGB, upright; None where there is none."""
        if self._video is not None:
            return self._video.at(float(self._times[frame]))
        return self._photo

    def close(self) -> None:
        if self._video is not None:
            self._video.close()


class _SeekingReader(VideoReader):
    """A reader that goes to any time, and makes frames small while it converts them."""

    def __init__(self, path: str, side: int) -> None:
        super().__init__(path)
        width, height = self._coded_size
        scale = min(1.0, side / max(width, height))
        self._coded_size = max(1, round(width * scale)), max(1, round(height * scale))
        self._now = 0.0
        self._image: NDArray[np.uint8] | None = self._upright(self._first)

    def at(self, time: float) -> NDArray[np.uint8] | None:
        """The frame shown at so many seconds from the first; the last good one where none can be decoded."""
        early = 1e-3
        if not self._now - early <= time <= self._now + _AHEAD:
            try:
                offset = round((self.start + time) / self._stream.time_base)
                self._container.seek(offset, stream=self._stream, backward=True)
            except OSError:  # not every kind of file can
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

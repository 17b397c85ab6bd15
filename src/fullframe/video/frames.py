"""Clips of image files: numbered frames, or one animated image."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from fullframe.io.image import ImageError, is_animated, read_photo
from fullframe.video.reader import LONGEST, Frame, VideoError, VideoReader


@dataclass(frozen=True)
class FrameFiles:
    """The frames of a clip.

    Attributes:
        name: of the clip: the folder of the frames, or the animated image.
        files: the frames in order; of an animated image, the one file.
        fps: frames per second.
    """

    name: str
    files: tuple[str, ...]
    fps: float

    def __str__(self) -> str:
        return self.name


def find_frames(photos: Iterable[str], fps: float) -> list[FrameFiles]:
    """The clips among photos: numbered files of one folder, otherwise named alike, and animated images.

    Frames are in the order of their numbers, whatever is missing between them.
    """
    sequences: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    clips = []
    for photo in photos:
        path = Path(photo)
        number = re.fullmatch(r"(.*?)(\d+)", path.stem)
        if is_animated(photo):
            clips.append(FrameFiles(photo, (photo,), fps))
        elif number:
            key = str(path.parent), number[1], path.suffix.lower()
            sequences.setdefault(key, []).append((int(number[2]), photo))
    for (folder, prefix, suffix), numbered in sequences.items():
        if len(numbered) < 2:
            continue
        alone = sum(key[0] == folder and len(others) > 1 for key, others in sequences.items()) == 1
        # The folder's own name, also where it is given as "." or "..".
        named = folder if Path(folder).name not in ("", "..") else str(Path(folder).resolve())
        name = named if alone else str(Path(folder) / f"{prefix or 'frames'}{suffix}")
        clips.append(FrameFiles(name, tuple(photo for _, photo in sorted(numbered)), fps))
    return clips


class FrameReader(VideoReader):
    """As `VideoReader`, of image files. Files that cannot be read are skipped and counted.

    Raises:
        VideoError: if no frame can be read, or one has another size than the first.
    """

    def __init__(self, clip: FrameFiles) -> None:
        self.source, self.fps, self.start, self.has_audio, self.skipped = clip.name, clip.fps, 0.0, False, 0
        self._clip = clip
        first = next(self._images(), None)
        if first is None:
            raise VideoError(f"{clip.name}: not a single frame can be read")
        self.skipped = 0
        height, width = first[1].shape[:2]
        self.original_size = width, height
        scale = min(1.0, LONGEST / max(width, height))
        self.size = max(1, round(width * scale)), max(1, round(height * scale))
        self.num_frames = len(clip.files)
        if len(clip.files) == 1:
            with Image.open(clip.files[0]) as image:
                self.num_frames = getattr(image, "n_frames", 1)

    def _images(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The place of each readable frame in the clip, and its pixels."""
        if len(self._clip.files) == 1:
            with Image.open(self._clip.files[0]) as image:
                for place, frame in enumerate(ImageSequence.Iterator(image)):
                    rgba = frame.convert("RGBA")
                    white = Image.new("RGBA", rgba.size, "white")
                    yield place, np.array(Image.alpha_composite(white, rgba).convert("RGB"))
            return
        for place, file in enumerate(self._clip.files):
            try:
                yield place, read_photo(file).pixels
            except ImageError:
                self.skipped += 1

    def __iter__(self) -> Iterator[Frame]:
        self.skipped = 0
        for index, (place, pixels) in enumerate(self._images()):
            if pixels.shape[1::-1] != self.original_size:
                raise VideoError(
                    f"{self.source}: frame {place} is {pixels.shape[1]} x {pixels.shape[0]} px, the first "
                    f"{self.original_size[0]} x {self.original_size[1]}: these are not frames of one clip"
                )
            if self.size != self.original_size:
                pixels = np.asarray(cv2.resize(pixels, self.size, interpolation=cv2.INTER_AREA), np.uint8)
            yield Frame(index, place / self.fps, pixels)

    def close(self) -> None:
        """Nothing stays open."""


def open_video(video: str | Path | FrameFiles) -> VideoReader:
    """A reader of a video file or of frames."""
    return FrameReader(video) if isinstance(video, FrameFiles) else VideoReader(video)

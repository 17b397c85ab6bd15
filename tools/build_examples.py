"""Makes the examples of `fullframe app`: a photo and a clip with their results, in src/fullframe/assets/demo.

    python tools/build_examples.py [SQUATS]

SQUATS is pose_squats.mp4 of github.com/tensorflow/tfjs-models: its first seconds become squats.mp4. Without
it, only the results are made again, as they should be when the models change.
"""

import sys
from dataclasses import replace
from pathlib import Path

import cv2

from fullframe.assets import EXAMPLE_CLIP, EXAMPLE_PHOTO
from fullframe.io.image import read_photo, write_jpeg
from fullframe.recovery.outputs import photo_files, video_files
from fullframe.recovery.photo import Recoverer
from fullframe.recovery.video import process
from fullframe.render import overlay
from fullframe.results.clip import clip_of
from fullframe.video.reader import VideoReader
from fullframe.video.writer import VideoWriter

SECONDS, SIZE = 8, (406, 720)


def main(squats: Path | None) -> None:
    if squats is not None:
        with VideoReader(squats) as reader, VideoWriter(EXAMPLE_CLIP, SIZE, reader.fps) as writer:
            for frame in reader:
                if frame.time < SECONDS:
                    writer.write(cv2.resize(frame.image, SIZE, interpolation=cv2.INTER_AREA), frame.time)
    recoverer = Recoverer()
    photo = read_photo(EXAMPLE_PHOTO)
    people = recoverer(photo)
    files = photo_files(EXAMPLE_PHOTO.with_suffix(""), ("overlay", "npz"))
    write_jpeg(files["overlay"], overlay(photo.pixels, people))
    replace(clip_of(people), video=EXAMPLE_PHOTO.name).save(files["npz"])
    files = video_files(EXAMPLE_CLIP.with_suffix(""), ("overlay", "npz"))
    clip = process(recoverer, EXAMPLE_CLIP, overlay=files["overlay"]).clip
    replace(clip, video=EXAMPLE_CLIP.name).save(files["npz"])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)

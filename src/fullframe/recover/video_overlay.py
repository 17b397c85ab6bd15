"""The people of a clip drawn over its video."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import av
import torch

from fullframe.body.model import BodyModel
from fullframe.render import overlay
from fullframe.results.clip import Clip
from fullframe.video.prefetch import ahead, frames_ahead, ordered_map
from fullframe.video.reader import Frame, VideoReader
from fullframe.video.writer import VideoWriter, to_yuv


def write_overlay(
    clip: Clip,
    body: BodyModel,
    video: VideoReader,
    path: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Draw everyone over every frame and write an .mp4 with the video's sound.

    The file is playable whatever ends this, except for the death of the process.

    Args:
        clip: of this video; where it has fewer frames, the overlay has too.
        body: the one named in the clip.
        stop: asked after each frame.
        progress: called with the number of frames written.

    Returns:
        The number of frames written.
    """

    def draw(frame: Frame) -> tuple[float, av.VideoFrame]:
        return frame.time, to_yuv(overlay(frame.image, clip.people(frame.index, body)))

    waiting = frames_ahead(video.size)
    frames = ahead(islice(video, clip.num_frames), waiting)
    drawn = ordered_map(draw, frames, torch.get_num_threads(), waiting)
    done = 0
    try:
        with VideoWriter(path, video.size, video.fps, video) as writer:
            for time, picture in drawn:
                writer.write(picture, time)
                done += 1
                progress(done)
                if stop():
                    break
    finally:
        drawn.close()
        frames.close()
    return done

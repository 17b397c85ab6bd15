"""Drawing the people of a clip over its video."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import av
import torch

from fullframe.body.body_model import BodyModel
from fullframe.io.progress import Progress, silent
from fullframe.render import overlay
from fullframe.results.clip import Clip
from fullframe.video.prefetch import ordered_map, prefetch, prefetch_depth
from fullframe.video.reader import Frame, VideoReader
from fullframe.video.writer import VideoWriter, to_yuv

STAGE = "drawing the overlay"


def write_overlay(
    clip: Clip,
    body: BodyModel,
    video: VideoReader,
    path: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = silent,
) -> int:
    """Draw the people over every frame and write an .mp4 with the video's sound.

    The file is playable after an exception or stop too.

    Args:
        clip: of this video; if it has fewer frames, so has the overlay.
        body: the one named in the clip.
        stop: called after each frame; True ends the file there.
        progress: called after each frame.

    Returns:
        The number of frames written.
    """

    def draw(frame: Frame) -> tuple[float, av.VideoFrame]:
        return frame.time, to_yuv(overlay(frame.image, clip.people(frame.index, body)))

    depth = prefetch_depth(video.size)
    frames = prefetch(islice(video, clip.num_frames), depth)
    drawn = ordered_map(draw, frames, torch.get_num_threads(), depth)
    done = 0
    try:
        with VideoWriter(path, video.size, video.fps, video) as writer:
            for time, picture in drawn:
                writer.write(picture, time)
                done += 1
                progress(STAGE, done, clip.num_frames)
                if stop():
                    break
    finally:
        drawn.close()
        frames.close()
    return done

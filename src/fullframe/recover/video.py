"""From a video to the people in it, and to the same video with them drawn."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from fullframe.geometry.camera import Camera
from fullframe.motion import finish
from fullframe.recover.analysis import analyse
from fullframe.recover.frame_results import CHUNK, Rows, Work, join, raw_clip
from fullframe.recover.photo import Recoverer, camera_from_options
from fullframe.recover.video_overlay import write_overlay
from fullframe.results.clip import Clip
from fullframe.video.prefetch import trim_malloc
from fullframe.video.reader import VideoReader

Progress = Callable[[str, int, int | None], None]
"""Told what is done ("people" or "overlay"), how many frames are done, and of how many or None."""


@dataclass
class Result:
    """What became of a video.

    Attributes:
        clip: the people, as far as the video was analysed.
        analysed: whether that is to its end.
        frames: how many the file said it has; None if it did not.
        skipped: broken frames that were left out.
        drawn: frames in the overlay; None if none was asked for.
        complete: whether nothing was stopped on the way.
    """

    clip: Clip
    analysed: bool
    frames: int | None
    skipped: int
    drawn: int | None = None
    complete: bool = True


def process(
    recoverer: Recoverer,
    video: str | Path,
    *,
    overlay: Path | None = None,
    work: Path | None = None,
    smooth: bool = True,
    lock_feet: bool = False,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = lambda doing, done, total: None,
    **told: Any,
) -> Result:
    """Find the people of a video with a model that is loaded. Arguments are those of `recover_video`, and:

    Args:
        work: is not removed; see `Work.clear`.
        stop: asked after each frame. Once it says so, the analysis ends and what there is of it is finished
            and drawn; where it says so while that is drawn, the overlay ends there.
        progress: called after each frame.
        told: focal, fov or intrinsics, in px of the upright original.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(video))
        camera, total = clip_camera(reader, **told), reader.num_frames
        kept = stack.enter_context(_work_folder(work, overlay, _request(recoverer, video, camera)))
        parts, skipped = kept.chunks(), kept.skipped
        analysed = skipped is not None
        if skipped is None:
            found = analyse(
                recoverer, reader, camera, list(parts), stop, lambda done: progress("people", done, total)
            )
            stack.callback(found.close)  # before the reader, from which its threads read
            for rows, last in found:
                if last or len(rows.times) == CHUNK:
                    kept.add(len(parts), rows)
                parts.append(rows)
                analysed = last
            skipped = reader.skipped
            if analysed:
                kept.finish(skipped)
        reader.close()
        trim_malloc()
        clip = finished(recoverer, parts, camera, _whole_name(video), smooth, lock_feet)
        result = Result(clip, analysed, total, skipped, complete=analysed)
        if overlay is not None:
            # Who stopped the analysis wants to see what was found so far.
            stop_drawing = stop if analysed else _never
            result.drawn = _draw(clip, recoverer, video, overlay, kept.folder, stop_drawing, progress)
            result.complete &= not stop_drawing()
        return result


def recover_video(
    video: str | Path,
    *,
    overlay: str | Path | None = None,
    work: str | Path | None = None,
    smooth: bool = True,
    lock_feet: bool = False,
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: ArrayLike | None = None,
    model: str | Path | None = None,
    refine: bool = False,
    body: str = "open",
    body_path: str | Path | None = None,
    detector: str = "builtin",
) -> Clip:
    """The people of a video: tracked, each with one shape, smoothed, in the camera of the full frame.

    Args:
        video: path or address.
        overlay: an .mp4 to write: the video with everyone drawn, and its sound.
        work: a folder that keeps what was found while this runs. Called again after a crash with the same
            arguments, it goes on from there; at the end the folder is removed.
        smooth: smooth motions; off, people are as the network saw them frame by frame.
        lock_feet: keep feet that stand on the ground in their place.
        focal, fov, intrinsics: the camera, as for `fullframe.recover`; else the frame's diagonal is taken.
        model, refine, body, body_path, detector: as for `fullframe.Recoverer`.

    Raises:
        fullframe.video.reader.VideoError: if the file cannot be read or has no video.
        ValueError: for impossible cameras, or files that do not go together.
    """
    result = process(
        Recoverer(model, refine, body, body_path, detector),
        video,
        overlay=None if overlay is None else Path(overlay),
        work=None if work is None else Path(work),
        smooth=smooth,
        lock_feet=lock_feet,
        focal=focal,
        fov=fov,
        intrinsics=intrinsics,
    )
    if work is not None:
        Work.clear(Path(work))
    return result.clip


def clip_camera(video: VideoReader, **told: Any) -> Camera:
    """The camera of a video's frames: told for the original size, or by its diagonal."""
    camera = camera_from_options(video.original_size, **told) or Camera.from_diagonal(video.original_size)
    if video.size == video.original_size:
        return camera
    across, down = (new / old for new, old in zip(video.size, video.original_size, strict=True))
    focal, center = camera.focal, camera.principal_point
    return replace(
        camera,
        focal=(focal[0] * across, focal[1] * down),
        principal_point=(center[0] * across, center[1] * down),
        size=video.size,
    )


def finished(
    recoverer: Recoverer, parts: list[Rows], camera: Camera, video: str, smooth: bool, lock_feet: bool
) -> Clip:
    """The result from the rows of each part of a video, in order.

    The list of parts is emptied, see `join`.
    """
    cuts = [cut for part in parts for cut in part.cuts.tolist()]
    return finish(
        raw_clip(join(parts), camera, recoverer.body.name, recoverer.name, video),
        recoverer.body,
        smooth=smooth,
        lock_feet=lock_feet,
        cuts=cuts,
    )


def _draw(
    clip: Clip,
    recoverer: Recoverer,
    video: str | Path,
    overlay: Path,
    folder: Path,
    stop: Callable[[], bool],
    progress: Progress,
) -> int:
    """Write the overlay under its name once it is whole, or stopped."""
    unfinished = folder / "overlay.mp4"
    with VideoReader(video) as again:
        drawn = write_overlay(
            clip,
            recoverer.body,
            again,
            unfinished,
            stop=stop,
            progress=lambda done: progress("overlay", done, clip.num_frames),
        )
    if drawn:
        os.replace(unfinished, overlay)
    return drawn


def _never() -> bool:
    return False


def _whole_name(video: str | Path) -> str:
    """With its folder, so that results find it from everywhere; an address stays as it is."""
    path = Path(video)
    return str(path.resolve()) if path.is_file() else str(video)


def _request(recoverer: Recoverer, video: str | Path, camera: Camera) -> dict[str, Any]:
    """All that the rows depend on."""
    from fullframe import __version__

    card = getattr(recoverer.network, "card", None)
    path = Path(video)
    file = path.stat() if path.is_file() else None
    return {
        "video": _whole_name(video),
        "bytes": file.st_size if file else None,
        "changed": file.st_mtime if file else None,
        "camera": camera.to_dict(),
        "model": recoverer.name,
        "weights": card.sha256 if card else None,
        "body": recoverer.body.name,
        "detector": recoverer.detector.name,
        "version": __version__,
    }


@contextmanager
def _work_folder(folder: Path | None, overlay: Path | None, request: dict[str, Any]) -> Iterator[Work]:
    if folder is not None:
        yield Work(folder, request)
        return
    # Beside the overlay, so that the finished one only changes its name.
    temporary = Path(tempfile.mkdtemp(prefix=".fullframe_", dir=None if overlay is None else overlay.parent))
    try:
        yield Work(temporary / "work", request)
    finally:
        shutil.rmtree(temporary)

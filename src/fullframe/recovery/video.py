"""Recovering the people of a video."""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fullframe.detect.find_people import body_scores
from fullframe.detect.own_people import OwnPeople, VideoPeople
from fullframe.fit import fit_clip
from fullframe.geometry.camera import Camera
from fullframe.io.atomic import remove, remove_abandoned, temporary_path
from fullframe.io.progress import Progress, silent
from fullframe.io.workdir import WorkDir
from fullframe.motion.postprocess import postprocess
from fullframe.motion.shape import Height
from fullframe.motion.trajectories import shots
from fullframe.recovery.camera_motion import MOVES, close_rotations, unexplained_motion
from fullframe.recovery.frame_results import CHUNK, FrameResults, FrameStore
from fullframe.recovery.photo import UNKNOWN_CAMERA, CameraOptions, Recoverer, read_camera_options
from fullframe.recovery.plausibility import check_clip
from fullframe.recovery.video_overlay import write_overlay
from fullframe.recovery.video_tracker import analyse
from fullframe.results.clip import Clip
from fullframe.video.frames import FrameFiles, open_video
from fullframe.video.prefetch import trim_malloc
from fullframe.video.reader import VideoReader

_log = logging.getLogger(__name__)


@dataclass
class VideoResult:
    """The result of a video.

    Attributes:
        clip: the people, as far as the video was analysed.
        analysed: whether it was analysed to its end.
        frames: number of frames according to the file; None if it does not say.
        skipped: number of broken frames that were left out.
        drawn: number of frames in the overlay; None without one.
        complete: False if `stop` ended the analysis or the overlay early.
    """

    clip: Clip
    analysed: bool
    frames: int | None
    skipped: int
    drawn: int | None = None
    complete: bool = True


def process(
    recoverer: Recoverer,
    video: str | Path | FrameFiles,
    camera_options: CameraOptions = UNKNOWN_CAMERA,
    *,
    overlay: Path | None = None,
    work: Path | None = None,
    restart: bool = False,
    smooth: bool = True,
    lock_feet: bool = False,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = silent,
    own: OwnPeople | None = None,
    own_is_for_this_alone: bool = True,
    finish: Callable[[VideoResult], None] = lambda result: None,
) -> VideoResult:
    """Recover the people of a video with models that are loaded. Arguments as for `recover_video`, and:

    Args:
        video: or its frames as files.
        camera_options: in px of the original upright frames.
        work: removed once `finish` has returned, unless `stop` ended the work early.
        restart: remove the results of other arguments in `work` instead of raising WorkError.
        stop: called after each frame. Once it returns True, the analysis ends, and the frames analysed so far
            are finished and drawn; if it returns True only during drawing, the overlay ends there.
        progress: called after each frame.
        own: boxes, tracks or keypoints given by the user, instead of detected ones. Their tracks are kept.
        own_is_for_this_alone: `own` is about no other video.
        finish: writes the results; while it does, no other command can use `work`.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(open_video(video))
        camera, total = clip_camera(reader, camera_options), reader.num_frames
        given = None
        if own is not None:
            given = own.for_video(str(video), reader.original_size, reader.size, own_is_for_this_alone)
        request = _request(recoverer, video, camera) | ({} if given is None else {"people": given.digest()})
        folder = stack.enter_context(_work_dir(work, overlay, request, restart))
        store = FrameStore(folder, CHUNK)
        parts = store.load()
        if parts:
            _log.info("%s: resuming after frame %d", video, sum(len(part.times) for part in parts))
        else:
            stack.callback(_remove_unless_begun, folder, store)
        skipped = store.skipped(parts)
        analysed = skipped is not None
        if skipped is None:
            chunks = analyse(recoverer, reader, camera, list(parts), stop, progress, given)
            stack.callback(chunks.close)  # before the reader, which its threads read from
            for results, last in chunks:
                if last or len(results.times) == CHUNK:
                    store.add(len(parts), results)
                parts.append(results)
                analysed = last
            skipped = reader.skipped
            if analysed:
                store.finish(sum(len(part.times) for part in parts), skipped)
        reader.close()
        trim_malloc()
        clip = finish_clip(recoverer, parts, camera, _full_name(video), smooth, lock_feet, given, progress)
        if given is not None and analysed and given.last >= clip.num_frames:
            _log.warning(
                f"{video} has {clip.num_frames} frames, its people are given up to frame {given.last}"
            )
        result = VideoResult(clip, analysed, total, skipped, complete=analysed)
        if overlay is not None:
            # After a stopped analysis, its results are drawn to their end.
            stop_drawing = stop if analysed else lambda: False
            unfinished = folder.path / "overlay.mp4"
            with open_video(video) as again:
                result.drawn = write_overlay(
                    clip, recoverer.body, again, unfinished, stop=stop_drawing, progress=progress
                )
            if result.drawn:
                os.replace(unfinished, overlay)
            result.complete &= not stop_drawing()
        finish(result)
        if result.complete:
            folder.remove()
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
    vertical_fov: float | None = None,
    camera: str | Path | None = None,
    model: str | Path | None = None,
    refine: bool = True,
    body: str = "open",
    body_path: str | Path | None = None,
    detector: str = "builtin",
    height: Height | None = None,
) -> Clip:
    """The people of a video: tracked, each with one shape, smoothed, in the camera of the full frame.

    Args:
        video: path or address.
        overlay: .mp4 file to write: the video with its people drawn, and its sound.
        work: folder for unfinished results, new or empty. After a crash, the same call resumes from it; it is
            removed at the end.
        smooth: smooth motions and fit them to the keypoints of all frames; without it, poses are those of
            each frame.
        lock_feet: keep feet that stand on the ground in place.

    `focal`, `fov`, `intrinsics`, `vertical_fov` and `camera` are those of `fullframe.recover`; without them
    the focal length is the diagonal of the frame. `model`, `refine`, `body`, `body_path`, `detector` and
    `height` are arguments of `fullframe.Recoverer`.

    Raises:
        fullframe.video.reader.VideoError: if the file cannot be read or has no video.
        fullframe.io.workdir.WorkError: if `work` holds other files, or the results of other arguments.
        ValueError: for impossible cameras, or files that do not match.
    """
    result = process(
        Recoverer(model, refine, body, body_path, detector, height),
        video,
        read_camera_options(focal, fov, intrinsics, vertical_fov, camera),
        overlay=None if overlay is None else Path(overlay),
        work=None if work is None else Path(work),
        smooth=smooth,
        lock_feet=lock_feet,
    )
    return result.clip


def clip_camera(video: VideoReader, options: CameraOptions = UNKNOWN_CAMERA) -> Camera:
    """The camera of a video's frames; `options` are for their original size."""
    known = options.camera(video.original_size, str(video.source))
    return (known or Camera.from_diagonal(video.original_size)).resized(video.size)


def finish_clip(
    recoverer: Recoverer,
    parts: list[FrameResults],
    camera: Camera,
    video: str,
    smooth: bool,
    lock_feet: bool,
    own: VideoPeople | None = None,
    progress: Progress = silent,
) -> Clip:
    """The postprocessed clip of the consecutive parts of a video, with reprojection errors and reliability.

    The list of parts is emptied, see `FrameResults.joined`.

    Args:
        own: the people given by the user, if they were: their tracks and scores are kept.
        progress: of the fit to the keypoints of all frames.
    """
    keep_tracks = own is not None and own.has_tracks
    cuts = [cut for part in parts for cut in part.cuts.tolist()]
    results = FrameResults.joined(parts)
    clip = results.to_clip(camera, recoverer.body.name, recoverer.name, video)
    clip.camera_rotation = close_rotations(results.turns, shots(clip, cuts))
    if (unexplained := unexplained_motion(results.turns)) > MOVES:
        _log.warning(
            f"{video}: the camera moves, or the background does: turning does not explain {unexplained:.0%} "
            "of the background's motion, so that paths and ground in the world are not reliable"
        )
    if own is None:
        seen = clip.keypoints[..., 2].any(axis=1)
        clip.scores = np.where(seen, body_scores(clip.scores, clip.keypoints), clip.scores)
    fitter = recoverer.fitter
    clip = postprocess(
        clip,
        recoverer.body,
        smooth=smooth,
        lock_feet=lock_feet,
        cuts=cuts,
        keep_tracks=keep_tracks,
        height=recoverer.height,
        fit=None if fitter is None else partial(fit_clip, fitter, progress=progress),
    )
    return check_clip(recoverer.body, clip)


def _full_name(video: str | Path | FrameFiles) -> str:
    """The absolute path, so that the clip can be opened from anywhere; an address as it is."""
    path = Path(str(video))
    return str(path.resolve()) if path.exists() else str(video)


def _request(recoverer: Recoverer, video: str | Path | FrameFiles, camera: Camera) -> dict[str, Any]:
    """Everything that the results of frames depend on."""
    paths = [Path(file) for file in (video.files if isinstance(video, FrameFiles) else [str(video)])]
    files = [path.stat() for path in paths if path.is_file()]
    return {
        "video": _full_name(video),
        "bytes": sum(file.st_size for file in files) if files else None,
        "changed": max((file.st_mtime for file in files), default=None),
        "frames": [len(paths), video.fps] if isinstance(video, FrameFiles) else None,
        "camera": camera.to_dict(),
        "model": recoverer.name,
        "weights": recoverer.card.sha256 if recoverer.card else None,
        "body": recoverer.body.name,
        "detector": recoverer.detector.name,
        "results": sorted(field.name for field in fields(FrameResults)),
    }


@contextmanager
def _work_dir(
    path: Path | None, overlay: Path | None, request: dict[str, Any], restart: bool
) -> Iterator[WorkDir]:
    if path is not None:
        with WorkDir(path, request, restart=restart) as work:
            if work.discarded:
                _log.info(
                    "%s: starting over, since the settings differ (%s)", request["video"], work.discarded
                )
            yield work
        return
    if overlay is None:
        with tempfile.TemporaryDirectory() as folder, WorkDir(Path(folder, "work"), request) as work:
            yield work
        return
    # Beside the overlay, so that the finished file only has to be renamed.
    remove_abandoned(overlay.parent)
    temporary = temporary_path(overlay.with_suffix(""))
    try:
        with WorkDir(temporary, request) as work:
            yield work
    finally:
        if temporary.exists():
            remove(temporary)


def _remove_unless_begun(folder: WorkDir, store: FrameStore) -> None:
    """Remove the folder of a video of which not one chunk is done: there is nothing to resume."""
    if folder.path.exists() and not store.is_begun:
        folder.remove()

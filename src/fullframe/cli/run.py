"""The command `fullframe run`."""

import errno
import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from fullframe.cli.console import (
    Interrupt,
    UsageError,
    console,
    loading,
    out_of_memory,
    say,
    show_progress,
    usage_errors,
)
from fullframe.io.progress import Progress, silent
from fullframe.io.text import plural
from fullframe.recovery.inputs import (
    find_inputs,
    is_live,
    is_video,
    left_out_summary,
    parse_height,
    searched_folder,
)
from fullframe.recovery.outputs import (
    PHOTO_OUTPUTS,
    RIGGED,
    VIDEO_OUTPUTS,
    make_writable,
    output_names,
    photo_files,
    video_files,
    write_clip,
    write_photo,
)

if TYPE_CHECKING:
    from fullframe.detect.own_people import GivenPeople, OwnPeople
    from fullframe.io.image import Photo
    from fullframe.io.workdir import Shards
    from fullframe.recovery.photo import CameraOptions, Recoverer
    from fullframe.recovery.video import VideoResult
    from fullframe.results.clip import Clip
    from fullframe.results.people import People
    from fullframe.video.frames import FrameFiles

Rig = Literal["smpl", "mixamo", "unreal", "vrm"]

_PHOTO_DEFAULT, _VIDEO_DEFAULT = ("overlay", "sheet", "npz", "json"), ("overlay", "npz")


def run(
    inputs: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO|VIDEO|FOLDER|GLOB|CAMERA")
    ],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    vertical_fov: float | None = None,
    camera: str | None = None,
    boxes: Path | None = None,
    keypoints: Path | None = None,
    model: str | None = None,
    refine: bool = True,
    body: str = "open",
    body_path: Path | None = None,
    detector: str = "builtin",
    smooth: bool = True,
    lock_feet: bool = False,
    height: str | None = None,
    save: str | None = None,
    rig: Rig = "smpl",
    fps: float | None = None,
    ray: str | None = None,
) -> int:
    """Recover the people of photos and videos as 3D meshes in the camera of the full frame.

    Args:
        inputs: photos, videos, folders of them, or patterns such as 'holiday/*.jpg'; or one camera, shown
            live in the browser: its number (0), /dev/video0, or the address of a stream (rtsp://...).
        out: folder for the results; created if it does not exist.
        focal: focal length in px. Where no camera is given: from EXIF, else the image diagonal.
        fov: horizontal field of view in degrees.
        intrinsics: fx fy cx cy in px.
        vertical_fov: vertical field of view in degrees.
        camera: a calibration with the distortion of the lens: OpenCV's or ROS' .yml, .json, Pose2Sim's .toml,
            Qualisys' .qca.txt, COLMAP's cameras.txt; FILE:NAME for one of several cameras.
        boxes: person boxes instead of detected ones: a file or folder of COCO, MMPose, CVAT, Label Studio,
            YOLO ...; for videos also MOT or JSON by frame. Tracks are kept.
        keypoints: 2D keypoints instead of detected ones: the same, OpenPose, AlphaPose, MediaPipe ...
        model: cliff-lite (the default), hmr-lite or imphmr-lite, which are built in, a trained network
            (.safetensors), or keypoint-fit (the default for SMPL): bodies fitted to 2D keypoints.
        refine: fit the bodies of the network to the 2D keypoints; --no-refine is faster and less accurate.
        body: open (built in) or smpl; smpl-neutral, -male, -female if the file name does not say which.
        body_path: your SMPL file, .npz or .pkl; default: the one that fullframe doctor finds.
        detector: builtin, torchvision, rtmlib or transformers.
        smooth: videos: smooth motions over time.
        lock_feet: videos: keep feet that stand on the ground in place.
        height: the person's in metres, 1.75, or 0:1.75,1:1.62 by track id: it sets the scale of everything.
        save: files to write, separated by commas. Photos: overlay, sheet, npz, json (the default), glb, bvh,
            obj, ply. Videos: overlay, npz (the default), json, csv, glb, bvh, usd, smpl,
            trc, mot, angles.
        rig: skeleton in glb and bvh: names, rest pose and axes of the bones.
        fps: frames per second: numbered photos of a folder, and animated images, are frames of a clip.
        ray: share photos and videos among the workers of a Ray cluster: local (the cores of this computer),
            auto (the cluster that it belongs to), or host:port of one. The same command resumes.
    """
    with usage_errors():
        if ray is not None:  # the workers have other working directories
            inputs, out = tuple(map(_absolute, inputs)), out.absolute()
            model, body_path = model and _absolute(model), body_path and body_path.absolute()
        request = _plan(inputs, out, save, rig, fps, (boxes, keypoints, body_path, model, camera))
        heights = None if height is None else parse_height(height)

        # torch takes seconds to import: only once the request is known to make sense.
        from fullframe.detect.own_people import read_own_people
        from fullframe.io.atomic import remove_abandoned
        from fullframe.recovery.photo import Recoverer, read_camera_options

        cameras = read_camera_options(focal, fov, intrinsics, vertical_fov, camera)
        make_writable(out)
        for folder in {out, *(stem.parent for stem in request.stems.values())}:
            remove_abandoned(folder)
        own = read_own_people(boxes, keypoints, [Path(photo) for photo in request.photos])
        with loading():
            recoverer = Recoverer(model, refine, body, body_path, detector, heights)
        runner = _Runner(request, recoverer, cameras, smooth, lock_feet, own)
        if request.live is not None:
            if ray is not None:
                raise UsageError("--ray is for photos and videos, not for cameras and streams")
            runner.run_live(request.live)
            return 0
        if ray is not None:
            finished = runner.run_shared(ray, (model, refine, body, body_path, detector, heights))
            return runner.report_failures() if finished else 130
    if runner.run_photos() and runner.run_videos():
        return runner.report_failures()
    return 130


def _absolute(name: str) -> str:
    """The absolute path of a file, folder or pattern; addresses and the names of models as they are."""
    path = os.path.expanduser(name)
    if "://" in name or not (glob.has_magic(path) or os.path.lexists(path)):
        return name
    return os.path.abspath(path)


@dataclass(frozen=True)
class _Request:
    """The inputs, and the kinds and names of the files to write."""

    photos: list[str]
    videos: "list[str | FrameFiles]"
    live: str | None
    out: Path
    stems: dict[str, Path]
    photo_kinds: tuple[str, ...]
    video_kinds: tuple[str, ...]
    rig: Rig
    left_out: dict[str, str]


def _plan(
    inputs: tuple[str, ...],
    out: Path,
    save: str | None,
    rig: Rig,
    fps: float | None,
    given: tuple[Path | str | None, ...],
) -> _Request:
    """Check what can be checked without loading a model.

    Args:
        given: further input files: annotations, body, network.
    """
    if not inputs:
        raise UsageError("name at least one photo, video, folder or pattern")
    found = find_inputs(inputs)
    names = found.names
    live = [name for name in names if is_live(name)]
    if live and len(names) > 1:
        raise UsageError(f"{live[0]} is a camera or stream and must be the only input")
    videos: list[str | FrameFiles] = [name for name in names if name not in live and is_video(name)]
    photos = [name for name in names if name not in live and name not in videos]
    if fps is not None:
        clips = _clips(photos, fps)
        videos += clips
        photos = [name for name in photos if all(name not in clip.files for clip in clips)]
    boxes, keypoints, *_ = given
    if (boxes or keypoints) and live:
        raise UsageError("--boxes and --keypoints are for photos and videos, not for cameras")
    photo_kinds, video_kinds = _output_kinds(save, bool(photos), bool(videos or live))
    if rig != "smpl" and not {*photo_kinds, *video_kinds} & {*RIGGED}:
        raise UsageError(f"--rig {rig} is for files with a skeleton: name them with --save glb or --save bvh")
    if out.resolve() in {folder.resolve() for pattern in inputs if (folder := searched_folder(pattern))}:
        # The next run would take the pictures written by this one as photos.
        raise UsageError(f"the output folder {out} is the folder of the inputs; choose another with -o")
    stems = {name: out / stem for name, stem in output_names([*photos, *map(str, videos), *live]).items()}
    files = [file for name in photos for file in photo_files(stems[name], photo_kinds).values()]
    files += [file for name in videos for file in video_files(stems[str(name)], video_kinds).values()]
    read = {Path(path).resolve() for path in (*names, *given) if path is not None}
    for file in files:
        if file.resolve() in read:
            raise UsageError(f"the result {file} would overwrite an input; choose another folder with -o")
    left_out = {name: why for name, why in found.left_out.items() if Path(name).resolve() not in read}
    left_out.pop(str(out), None)
    source = live[0] if live else None
    return _Request(photos, videos, source, out, stems, photo_kinds, video_kinds, rig, left_out)


def _clips(photos: list[str], fps: float) -> "list[FrameFiles]":
    from fullframe.video.frames import find_frames

    if not 0 < fps <= 1000:
        raise UsageError(f"--fps takes frames per second, more than 0 and up to 1000; got {fps:g}")
    clips = find_frames(photos, fps)
    if not clips:
        raise UsageError("--fps is for numbered photos of a folder and animated images; there are none")
    return clips


def _output_kinds(save: str | None, photos: bool, videos: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The kinds of files for each photo and for each video.

    Args:
        save: the option --save.
        photos, videos: which inputs there are; each kind must fit one of them.
    """
    if save is None:
        return _PHOTO_DEFAULT, _VIDEO_DEFAULT
    kinds = tuple(dict.fromkeys(part.strip() for part in save.split(",") if part.strip()))
    if not kinds or not set(kinds) <= {*PHOTO_OUTPUTS, *VIDEO_OUTPUTS}:
        raise UsageError(
            f"--save takes any of {','.join(PHOTO_OUTPUTS)} for photos and {','.join(VIDEO_OUTPUTS)} for "
            f"videos; got {save!r}"
        )
    photo_kinds = tuple(kind for kind in kinds if photos and kind in PHOTO_OUTPUTS)
    video_kinds = tuple(kind for kind in kinds if videos and kind in VIDEO_OUTPUTS)
    for kind in kinds:
        if kind not in photo_kinds + video_kinds:
            only, others = ("photos", VIDEO_OUTPUTS) if kind in PHOTO_OUTPUTS else ("videos", PHOTO_OUTPUTS)
            raise UsageError(f"--save {kind} is for {only}; take any of {','.join(others)}")
    if "usd" in video_kinds and find_spec("pxr") is None:
        raise UsageError("--save usd needs usd-core: pip install 'fullframe[usd]'")
    if "angles" in video_kinds and find_spec("matplotlib") is None:
        raise UsageError("--save angles needs matplotlib: pip install 'fullframe[evaluate]'")
    return photo_kinds, video_kinds


@dataclass
class _Runner:
    """Processes the inputs one after another; a failed one does not stop the others."""

    request: _Request
    recoverer: Any  # a Recoverer; None on the way to a worker, which loads its own
    camera: "CameraOptions"
    smooth: bool
    lock_feet: bool
    own: "OwnPeople | None"
    failures: list[str] = field(default_factory=list)
    given: "dict[str, GivenPeople]" = field(default_factory=dict)  # of each photo

    def run_photos(self) -> bool:
        """Write the results of all photos; False if interrupted."""
        photos = self.request.photos
        done = found = 0
        with show_progress(disable=len(photos) < 2) as progress:
            try:
                for number, outcome in enumerate(self.photo_outcomes(photos), 1):
                    self._report(outcome)
                    done, found = done + (not outcome.failed), found + outcome.people
                    progress("photos", number, len(photos))
            except KeyboardInterrupt:
                finished = f"after {done} of {plural(len(photos), 'photo')}"
                say(f"{finished}; their results are in {self.request.out}", "interrupted ", "yellow")
                return False
        if done:
            say(f"{plural(found, 'person', 'people')} in {plural(done, 'photo')} -> {self.request.out}")
        return True

    def photo_outcomes(self, photos: Sequence[str]) -> "Iterator[_Outcome]":
        """Write the results of photos, one after the other."""
        from fullframe.recovery.photo import recover_photos

        for path, result in recover_photos(self.recoverer, photos, self._read_photo):
            try:
                if isinstance(result, Exception):
                    raise result
                photo, people = result
                written = self._write_photo(path, photo, people)
            except Exception as error:
                yield self._failure(path, error)
            else:
                text = _photo_summary(people, self.given.get(path), photo.exif_problem, written)
                if note := self._missing_people(set(people.track_ids.tolist())):
                    text += f"\n{path}: {note}"
                yield _Outcome(text, len(people), [str(file) for file in written])

    def _read_photo(self, path: str) -> "tuple[Photo, dict[str, Any]]":
        from fullframe.io.image import read_photo

        photo = read_photo(path)
        arguments: dict[str, Any] = {"camera_options": self.camera}
        if self.own is not None:
            self.given[path] = self.own.for_photo(photo)
            arguments |= self.given[path].arguments()
        return photo, arguments

    def _write_photo(self, path: str, photo: "Photo", people: "People") -> list[Path]:
        files = photo_files(self.request.stems[path], self.request.photo_kinds)
        return write_photo(people, self.recoverer.body, photo.pixels, files, self.request.rig)

    def run_videos(self) -> bool:
        """Write the results of all videos; False if interrupted."""
        from fullframe.video.prefetch import limit_malloc_arenas

        videos = self.request.videos
        if videos:
            limit_malloc_arenas()
        message = (
            "finishing and writing the frames analysed so far; press Ctrl-C again to quit now. "
            "Re-run the command to resume"
        )
        with Interrupt(message) as interrupt:
            for number, video in enumerate(videos, 1):
                try:
                    complete = self._run_video(video, interrupt)
                except KeyboardInterrupt:
                    say(f"{video}: re-run the command to resume", "interrupted ", "yellow")
                    return False
                except Exception as error:
                    self._report(self._failure(str(video), error))
                else:
                    if not complete:
                        return False
                if interrupt.requested and number < len(videos):
                    say(f"{plural(len(videos) - number, 'video')} not processed", "interrupted ", "yellow")
                    return False
        return True

    def _run_video(self, video: "str | FrameFiles", interrupt: Interrupt) -> bool:
        """Write the results of a video; False if an interrupt left frames out."""
        with show_progress() as progress:
            result, written = self._recover_video(video, lambda: interrupt.requested, progress)
        self._report(self._video_outcome(video, result, written))
        return result.complete

    def _recover_video(
        self, video: "str | FrameFiles", stop: Callable[[], bool], progress: Progress
    ) -> "tuple[VideoResult, list[Path]]":
        """Write `<stem>_overlay.mp4`, `<stem>.npz`, ...

        Unfinished results are kept in a hidden folder beside the files.
        """
        from fullframe.recovery.video import process

        stem = self.request.stems[str(video)]
        files = video_files(stem, self.request.video_kinds)
        overlay = files.pop("overlay", None)
        work = stem.with_name(f".{stem.name}_work")
        written: list[Path] = []

        def finish(result: "VideoResult") -> None:
            progress("writing files", 0, None)
            written.extend(write_clip(result.clip, self.recoverer.body, files, self.request.rig))

        result = process(
            self.recoverer, video, self.camera, overlay=overlay, work=work, restart=True,
            smooth=self.smooth, lock_feet=self.lock_feet, stop=stop,
            progress=progress, own=self.own, own_is_for_this_alone=len(self.request.videos) == 1,
            finish=finish,
        )  # fmt: skip
        if overlay is not None and result.drawn:
            written.insert(0, overlay)
        return result, written

    def _video_outcome(
        self, video: "str | FrameFiles", result: "VideoResult", written: list[Path]
    ) -> "_Outcome":
        text = _video_summary(str(video), result, self.own is not None, written)
        tracks = set(result.clip.track_ids.tolist())
        for note in (_late_entries(result.clip), self._missing_people(tracks)):
            if note:
                text += f"\n{video}: {note}"
        return _Outcome(text, len(tracks), [str(file) for file in written])

    def video_outcomes(self, videos: "Sequence[str | FrameFiles]") -> "Iterator[_Outcome]":
        """Write the results of videos, one after the other."""
        for video in videos:
            try:
                outcome = self._video_outcome(video, *self._recover_video(video, lambda: False, silent))
            except Exception as error:
                outcome = self._failure(str(video), error)
            yield outcome

    def run_shared(self, address: str, models: tuple[Any, ...]) -> bool:
        """Write the results of all photos and videos on a Ray cluster; False if interrupted.

        What is done is recorded in a hidden folder of the results, which is removed once everything is done
        without a failure.

        Args:
            address: see io.ray_workers.
            models: arguments of Recoverer, for the workers.
        """
        from fullframe.io.ray_workers import ray_workers
        from fullframe.io.workdir import WorkDir

        request, found, folder = self.request, [0, 0], self.request.out / ".fullframe_ray"
        try:
            with (
                WorkDir(folder, self._fingerprint(), restart=True) as work,
                ray_workers(address) as workers,
                show_progress() as progress,
            ):
                for stage, names, size in (("photos", request.photos, SHARD), ("videos", request.videos, 1)):
                    shards = work.shards(stage, size=size, count=len(names))
                    missing = [
                        (start, end)
                        for start, end in shards.spans
                        if not _is_whole(shards, start, names[start:end])
                    ]
                    done = [span for span in shards.spans if span not in missing]
                    task = _SharedTask(replace(self, recoverer=None), models, stage, names, shards)
                    finished = 0
                    for spans in (done, workers(task, missing)):
                        for start, end in spans:
                            for outcome in _load_outcomes(shards, start):
                                self._report(outcome)
                                found = [found[0] + (not outcome.failed), found[1] + outcome.people]
                                if outcome.failed:  # is tried again by the same command
                                    shards.invalidate([start])
                            finished += end - start
                            progress(stage, finished, len(names))
                if not self.failures:
                    work.remove()
        except KeyboardInterrupt:
            say("re-run the command to resume", "interrupted ", "yellow")
            return False
        if found[0]:
            say(f"{plural(found[1], 'person', 'people')} in {plural(found[0], 'input')} -> {request.out}")
        return True

    def _fingerprint(self) -> dict[str, Any]:
        """Everything that the results depend on, but the content of the inputs."""
        names = "\n".join([*self.request.photos, *map(str, self.request.videos)])
        return {
            "inputs": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest(),
            "photos": self.request.photo_kinds,
            "videos": self.request.video_kinds,
            "rig": self.request.rig,
            "height": repr(self.recoverer.height),
            "camera": repr(self.camera),
            "smooth": self.smooth,
            "lock_feet": self.lock_feet,
            "model": self.recoverer.name,
            "weights": self.recoverer.card.sha256 if self.recoverer.card else None,
            "body": self.recoverer.body.name,
            "detector": self.recoverer.detector.name,
            "people": None if self.own is None else self.own.digest(),
        }

    def run_live(self, source: str) -> None:
        """Recover the people in front of a camera, shown in the browser, until Ctrl-C or the stream's end."""
        from fullframe.recovery.live import watch
        from fullframe.view.mjpeg_server import MjpegServer

        stem = self.request.out / f"live_{datetime.now():%Y%m%d_%H%M%S}"
        files = video_files(stem, self.request.video_kinds)
        overlay = files.pop("overlay", None)
        message = "writing what was recorded; press Ctrl-C again to quit now"
        with Interrupt(message) as interrupt, MjpegServer() as server:
            say(f"live at {server.address}, on this computer only; Ctrl-C stops and writes the results to "
                f"{self.request.out}")  # fmt: skip
            clip = watch(
                self.recoverer, source, overlay=overlay, show=server.show, stop=lambda: interrupt.requested,
                smooth=self.smooth, lock_feet=self.lock_feet, camera_options=self.camera,
            )  # fmt: skip
            with console.status("writing files"):
                written = write_clip(clip, self.recoverer.body, files, self.request.rig)
        if overlay is not None:
            written.insert(0, overlay)
        say(f"{source}: {_people_of(clip)} -> {_names(written)}")

    def _missing_people(self, tracks: set[int]) -> str:
        """The people whose height is given but who are not there; empty if there are none."""
        height = self.recoverer.height
        missing = sorted(set(height) - tracks) if isinstance(height, Mapping) else []
        if not missing:
            return ""
        there = ", ".join(map(str, sorted(tracks))) or "none"
        return f"--height names {', '.join(map(str, missing))}, who is not there; track ids are {there}"

    def _report(self, outcome: "_Outcome") -> None:
        if outcome.failed:
            self.failures.append(outcome.text)
            say(outcome.text, "failed ", "red")
        else:
            say(outcome.text)

    def _failure(self, name: str, error: Exception) -> "_Outcome":
        reason = out_of_memory(error) or str(error) or type(error).__name__
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            reason = f"no space left in {self.request.out}: free some and re-run the command"
        return _Outcome(reason if reason.startswith(name) else f"{name}: {reason}", failed=True)

    def report_failures(self) -> int:
        """Repeat all failures at the end, and name the files left out; returns the exit status."""
        if self.failures:
            photos, videos = self.request.photos, self.request.videos
            what = "photos" if not videos else "videos" if not photos else "inputs"
            say(f"{len(self.failures)} of {len(photos) + len(videos)} {what} failed:", style="red")
            for reason in self.failures:
                say(f"  {reason}")
        if self.request.left_out:
            say(left_out_summary(self.request.left_out), style="yellow")
        return 1 if self.failures else 0


@dataclass(frozen=True)
class _Outcome:
    """What became of an input: a message, the number of people and the files, or the reason of a failure; and
    the state of the input by which a change is noticed."""

    text: str
    people: int = 0
    files: list[str] = field(default_factory=list)
    failed: bool = False
    state: str = ""


SHARD = 8
"""Photos that a worker processes at a time."""
_OUTCOMES = "outcomes.json"


@dataclass
class _SharedTask:
    """Writes the results of some photos or videos, in any process."""

    runner: _Runner
    models: tuple[Any, ...]
    stage: str
    names: "Sequence[str | FrameFiles]"
    shards: "Shards"

    def __call__(self, start: int, end: int) -> None:
        runner = replace(self.runner, recoverer=_load_recoverer(*self.models))
        write: Any = runner.photo_outcomes if self.stage == "photos" else runner.video_outcomes
        names = self.names[start:end]
        states = [_state(name) for name in names]
        outcomes = [
            vars(outcome) | {"state": state} for outcome, state in zip(write(names), states, strict=True)
        ]
        with self.shards.writing(start) as folder:
            (folder / _OUTCOMES).write_text(json.dumps(outcomes), encoding="utf-8")


_recoverers: "dict[str, Recoverer]" = {}


def _load_recoverer(*arguments: Any) -> "Recoverer":
    """Once in each process."""
    from fullframe.recovery.photo import Recoverer

    key = repr(arguments)
    if key not in _recoverers:
        _recoverers[key] = Recoverer(*arguments)
    return _recoverers[key]


def _load_outcomes(shards: "Shards", start: int) -> list[_Outcome]:
    content = json.loads((shards.folder(start) / _OUTCOMES).read_text(encoding="utf-8"))
    return [_Outcome(**values) for values in content]


def _is_whole(shards: "Shards", start: int, names: "Sequence[str | FrameFiles]") -> bool:
    """Whether a shard is done, of inputs as they are now, and its files are there; else it is removed."""
    if not shards.is_done(start):
        return False
    outcomes = _load_outcomes(shards, start)
    same = [outcome.state for outcome in outcomes] == [_state(name) for name in names]
    if same and all(os.path.exists(file) for outcome in outcomes for file in outcome.files):
        return True
    shards.invalidate([start])
    return False


def _state(name: "str | FrameFiles") -> str:
    """Changes with the files of an input."""
    found = []
    for file in [name] if isinstance(name, str) else name.files:
        state = os.stat(file) if os.path.exists(file) else None
        found.append(f"{state.st_size} {state.st_mtime_ns}" if state else "")
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def _photo_summary(
    people: "People", given: "GivenPeople | None", exif_problem: str, files: list[Path]
) -> str:
    number = plural(len(people), "person", "people") if len(people) or given else "no person found"
    if unreliable := int((~people.reliable).sum()):
        number += f" ({unreliable} unreliable)"
    number = "; ".join([number, *(given.notes if given else [])])
    source = people.camera.source
    if source == "diagonal" and exif_problem:
        source += f"; EXIF's is not used: {exif_problem}"
    camera = f"focal {people.camera.focal[0]:.0f} px ({source})"
    upright = f", turned upright (EXIF orientation {people.orientation})" if people.orientation != 1 else ""
    return f"{people.image}: {number}, {camera}{upright} -> {_names(files)}"


def _video_summary(video: str, result: "VideoResult", given: bool, written: list[Path]) -> str:
    clip = result.clip
    parts = [_people_of(clip, given), f"focal {clip.camera.focal[0]:.0f} px ({clip.camera.source})"]
    if clip.camera_turns:
        parts.append(f"the camera turns by up to {clip.camera_angles.max():.0f} degrees")
    if result.skipped:
        parts.append(f"{plural(result.skipped, 'broken frame')} skipped")
    if not result.analysed:
        parts.append(f"stopped at frame {clip.num_frames} of {result.frames or '?'}")
    elif result.frames and clip.num_frames + result.skipped < 0.95 * result.frames:
        parts.append(f"the file ends early: it should have {plural(result.frames, 'frame')}")
    if result.drawn is not None and result.drawn < clip.num_frames:
        parts.append(f"the overlay ends after {plural(result.drawn, 'frame')}")
    if not result.complete:
        parts.append("re-run the command to resume")
    return f"{video}: {', '.join(parts)} -> {_names(written)}"


def _people_of(clip: "Clip", given: bool = False) -> str:
    number = len(set(clip.track_ids.tolist()))
    people = plural(number, "person", "people") if number or given else "no person found"
    text = f"{people} in {plural(clip.num_frames, 'frame')}"
    # Filled gaps, and clips without keypoints, are compared with nothing.
    compared = clip.reprojection == clip.reprojection
    if unreliable := int((compared & ~clip.reliable).sum()):
        text += f" ({unreliable} of {plural(int(compared.sum()), 'body', 'bodies')} unreliable)"
    return text


def _late_entries(clip: "Clip") -> str:
    """When people come into the clip who are not there from its first frame on."""
    entries = {track: clip.times[clip.frames[rows[0]]] - clip.times[0] for track, rows in clip.tracks()}
    late = [f"person {track} enters at {time:.2f} s" for track, time in entries.items() if time > 0]
    more = f", and {len(late) - 5} more later" if len(late) > 5 else ""
    return ", ".join(late[:5]) + more


def _names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files) or "no files"

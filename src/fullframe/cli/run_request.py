"""What `fullframe run` is asked for: checked before anything is loaded."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fullframe.cli.console import UsageError
from fullframe.recovery.inputs import find_inputs, is_live, is_video, searched_folder
from fullframe.recovery.outputs import (
    PHOTO_OUTPUTS,
    RIGGED,
    VIDEO_OUTPUTS,
    output_names,
    photo_files,
    video_files,
)

if TYPE_CHECKING:
    from fullframe.video.frames import FrameFiles

Rig = Literal["smpl", "mixamo", "unreal", "vrm"]

_PHOTO_DEFAULT, _VIDEO_DEFAULT = ("overlay", "sheet", "npz", "json"), ("overlay", "npz")


@dataclass(frozen=True)
class Request:
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


def plan(
    inputs: tuple[str, ...],
    out: Path,
    save: str | None,
    rig: Rig,
    fps: float | None,
    given: tuple[Path | str | None, ...],
) -> Request:
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
    return Request(photos, videos, source, out, stems, photo_kinds, video_kinds, rig, left_out)


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

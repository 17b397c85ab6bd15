"""What is written for a photo or video, and where."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from fullframe.cli.console import UsageError

PHOTO_OUTPUTS = ("overlay", "sheet", "npz", "json", "glb", "obj", "ply")
VIDEO_OUTPUTS = ("overlay", "npz", "json", "csv", "glb", "bvh", "usd", "smpl")
_PHOTO_DEFAULT, _VIDEO_DEFAULT = ("overlay", "sheet", "npz", "json"), ("overlay", "npz")


def choose(save: str | None, photos: bool, videos: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The kinds of files for each photo and for each video.

    Args:
        save: kinds separated by commas; None for the usual ones.
        photos, videos: what there is; a kind must fit one of them.

    Raises:
        UsageError: for an unknown kind, or one that nothing can be saved as.
    """
    if save is None:
        return _PHOTO_DEFAULT, _VIDEO_DEFAULT
    kinds = tuple(dict.fromkeys(part.strip() for part in save.split(",") if part.strip()))
    if not kinds or not set(kinds) <= {*PHOTO_OUTPUTS, *VIDEO_OUTPUTS}:
        raise UsageError(
            f"--save takes any of {','.join(PHOTO_OUTPUTS)} for photos and {','.join(VIDEO_OUTPUTS)} for "
            f"videos; got {save!r}"
        )
    of_photos = tuple(kind for kind in kinds if photos and kind in PHOTO_OUTPUTS)
    of_videos = tuple(kind for kind in kinds if videos and kind in VIDEO_OUTPUTS)
    useless = [kind for kind in kinds if kind not in of_photos + of_videos]
    if useless:
        only, of = (("videos", VIDEO_OUTPUTS), ("photos", PHOTO_OUTPUTS))[useless[0] in PHOTO_OUTPUTS]
        raise UsageError(
            f"--save {useless[0]} is for {only}; take any of "
            f"{','.join(PHOTO_OUTPUTS if of is VIDEO_OUTPUTS else VIDEO_OUTPUTS)}"
        )
    if "usd" in of_videos and find_spec("pxr") is None:
        raise UsageError("--save usd needs usd-core: pip install 'fullframe[usd]'")
    return of_photos, of_videos


def photo_files(stem: Path, kinds: Iterable[str]) -> dict[str, Path]:
    """The files of one photo's results: `<stem>_overlay.jpg`, `<stem>_sheet.jpg`, `<stem>.npz`, ..."""
    pictures = ("overlay", "sheet")
    return {k: stem.with_name(f"{stem.name}_{k}.jpg" if k in pictures else f"{stem.name}.{k}") for k in kinds}


def video_files(stem: Path, kinds: Iterable[str]) -> dict[str, Path]:
    """The files of one video's results: `<stem>_overlay.mp4`, `<stem>.npz`, ..."""
    return {
        k: stem.with_name(f"{stem.name}_{k}.mp4" if k == "overlay" else f"{stem.name}.{k}") for k in kinds
    }


def make_writable(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        UsageError: if that, or writing into it, is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise UsageError(f"cannot make the output folder {folder}: {error.strerror}") from error
    if not writable:
        raise UsageError(f"the output folder {folder} is not writable; choose another with -o")

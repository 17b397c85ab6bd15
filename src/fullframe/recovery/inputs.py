"""Finding photos, videos and streams from paths, folders, glob patterns and addresses."""

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv"}
    | {".3gp", ".ogv", ".y4m"}
)
"""Suffixes of files to find in a folder. A file with another suffix is a video if it can be decoded."""

_OF_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})


@dataclass
class Inputs:
    """What was found.

    Attributes:
        names: photos, videos, cameras and addresses, in order.
        left_out: files and folders in the folders and patterns searched that are none of these, and why.
    """

    names: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def is_live(name: str) -> bool:
    """Whether a name is a camera (0, 1, ... or /dev/videoN) or the address of a stream, not of a file."""
    if "://" in name:
        return Path(urlparse(name).path).suffix.lower() not in VIDEO_SUFFIXES
    return bool(re.fullmatch(r"\d+|/dev/video\d+", name)) and not os.path.isfile(name)


def is_video(name: str) -> bool:
    """Whether a file or address is a video rather than a photo, or a file that is neither."""
    from fullframe.io.image import RAW_SUFFIXES, is_photo

    suffix = Path(urlparse(name).path if "://" in name else name).suffix.lower()
    if not os.path.isfile(name):
        return suffix in VIDEO_SUFFIXES
    if suffix in RAW_SUFFIXES or is_photo(name):
        return False
    if suffix in VIDEO_SUFFIXES:
        return True
    from fullframe.video.reader import VideoReader

    try:
        VideoReader(name).close()
    except Exception:  # whatever it is, `read_photo` says what is wrong with it
        return False
    return True


def find_inputs(patterns: Iterable[str]) -> Inputs:
    """The photos and videos given by paths, folders, patterns and addresses, without duplicates.

    Raises:
        ValueError: if a pattern matches nothing, or a folder contains no photo or video.
    """
    found: dict[str, str] = {}
    inputs = Inputs()
    for pattern in patterns:
        if not pattern:
            raise ValueError("an input is empty: give the name of a photo, video or folder")
        if "://" in pattern or is_live(pattern):
            found.setdefault(pattern, pattern)
            continue
        # The functions of os.path take every name; those of pathlib raise for some, such as ~name.jpg.
        path = os.path.expanduser(pattern)
        if not os.path.isdir(path) and (os.path.lexists(path) or not glob.has_magic(pattern)):
            # A missing file fails later and alone, so that the other inputs are processed.
            found.setdefault(os.path.realpath(path), path)
            continue
        folder = os.path.isdir(path)
        names = (
            [os.path.join(path, n) for n in os.listdir(path)] if folder else glob.glob(path, recursive=True)
        )
        why_not = {name: _why_left_out(name) for name in sorted(names) if not _is_hidden(name)}
        if not folder:  # a pattern with ** matches folders on its way
            why_not = {name: why for name, why in why_not.items() if not os.path.isdir(name)}
        left_out = {name: why for name, why in why_not.items() if why}
        if len(left_out) == len(why_not):
            nothing = "no photos or videos in this folder" if folder else "no file matches"
            raise ValueError(f"{pattern}: {left_out_summary(left_out) if left_out else nothing}")
        inputs.left_out |= left_out
        for name in why_not:
            if name not in left_out:
                found.setdefault(os.path.realpath(name), name)
    inputs.names = list(found.values())
    return inputs


def parse_height(text: str) -> float | dict[int, float]:
    """Heights in metres: 1.75 of everybody, or 0:1.75,1:1.62 by track id.

    Raises:
        ValueError: the text is neither, or no person is of such a height.
    """
    from fullframe.motion.shape import check_height

    height: float | dict[int, float]
    try:
        if ":" in text:
            pairs = [part.split(":") for part in text.split(",")]
            height = {int(track): float(metres) for track, metres in pairs}
            if len(height) < len(pairs):
                raise ValueError
        else:
            height = float(text)
    except ValueError as error:
        raise ValueError(
            f"--height takes metres, 1.75, or metres by track id, 0:1.75,1:1.62; got {text!r}"
        ) from error
    check_height(height)
    return height


def left_out_summary(left_out: dict[str, str]) -> str:
    """In one line: how many files were left out, and the first of them with the reasons."""
    shown = [f"{os.path.basename(name) or name} ({why})" for name, why in list(left_out.items())[:_SHOWN]]
    if len(left_out) > _SHOWN:
        shown.append(f"and {len(left_out) - _SHOWN} more")
    return f"{len(left_out)} {'file' if len(left_out) == 1 else 'files'} left out: {', '.join(shown)}"


_SHOWN = 20


def searched_folder(pattern: str) -> Path | None:
    """The folder that `find_inputs` searches for a folder or pattern; None for a file, camera or address."""
    path = os.path.expanduser(pattern)
    if os.path.isdir(path):
        return Path(path)
    magic = glob.has_magic(pattern) and not os.path.lexists(path) and "://" not in pattern
    return Path(path).parent if magic else None


def _is_hidden(name: str) -> bool:
    base = os.path.basename(name)
    return base.startswith(".") or base.lower() in _OF_SYSTEMS


def _why_left_out(name: str) -> str:
    """Why a file found in a folder is no input; empty if it is one."""
    from fullframe.io.image import PHOTO_SUFFIXES, RAW_SUFFIXES, is_photo

    if os.path.isdir(name):
        return "a folder: name it too"
    if not os.path.isfile(name):
        return "a broken link" if os.path.islink(name) else "not a file"
    suffix = os.path.splitext(name)[1].lower()
    if suffix in RAW_SUFFIXES:
        return "a raw file of a camera: convert it to JPEG or TIFF"
    if suffix in PHOTO_SUFFIXES | VIDEO_SUFFIXES or is_photo(name) or (not suffix and is_video(name)):
        return ""
    return "not a photo or video"

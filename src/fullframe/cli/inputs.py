"""What the user names: photos, videos, folders and patterns of them, cameras and streams."""

import glob
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlparse

from fullframe.cli.console import UsageError

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv"}
    | {".3gp", ".ogv", ".y4m"}
)
"""File endings that a folder is searched for. A file with another ending is a video if it can be played."""


def is_live(name: str) -> bool:
    """Whether this is a camera (0, 1, ... or /dev/videoN) or the address of a stream, not of a file."""
    if "://" in name:
        return Path(urlparse(name).path).suffix.lower() not in VIDEO_SUFFIXES
    return bool(re.fullmatch(r"\d+|/dev/video\d+", name)) and not Path(name).is_file()


def is_video(name: str) -> bool:
    """Whether a file or address is a video rather than a photo."""
    suffix = Path(urlparse(name).path if "://" in name else name).suffix.lower()
    if suffix in VIDEO_SUFFIXES or suffix in PHOTO_SUFFIXES or not Path(name).is_file():
        return suffix in VIDEO_SUFFIXES
    from PIL import Image

    from fullframe.video.reader import VideoError, VideoReader

    try:
        with Image.open(name):
            return False
    except OSError:
        pass
    try:
        VideoReader(name).close()
    except VideoError:
        return False
    return True


def find_inputs(patterns: Iterable[str]) -> list[str]:
    """The photos and videos that paths, folders, glob patterns and addresses name, in order and each once.

    Raises:
        UsageError: if a pattern matches nothing, or a folder holds no photo or video.
    """
    found: dict[str | Path, str] = {}
    for pattern in patterns:
        if "://" in pattern or is_live(pattern):
            found.setdefault(pattern, pattern)
            continue
        path = Path(pattern).expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if _is_input(p))
            if not inside:
                raise UsageError(f"{path}: no photos or videos in this folder")
        elif path.exists() or not glob.has_magic(pattern):
            # A missing file is reported with the failures, so that it does not stop the others.
            inside = [path]
        else:
            inside = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())
            if not inside:
                raise UsageError(f"{pattern}: no file matches")
        for file in inside:
            found.setdefault(file.resolve(), str(file))
    return list(found.values())


def searched_folder(pattern: str) -> Path | None:
    """The folder that is searched for what a folder or pattern names; None for a file, camera or address."""
    path = Path(pattern).expanduser()
    if path.is_dir():
        return path
    return path.parent if glob.has_magic(pattern) and not path.exists() and "://" not in pattern else None


def _is_input(path: Path) -> bool:
    suffixes = PHOTO_SUFFIXES | VIDEO_SUFFIXES
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def output_names(inputs: Iterable[str]) -> dict[str, str]:
    """A file name stem for the results of each input; inputs of the same name stay apart."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for number, name in enumerate(inputs):
        path = Path(urlparse(name).path if "://" in name else name)
        stem = path.stem or "video"
        choices = (stem, f"{path.parent.resolve().name}_{stem}", f"{stem}_{path.suffix[1:]}")
        numbered = (f"{stem}_{i}" for i in range(2, number + 3))
        # Without regard to case, since some file systems have none.
        names[name] = next(choice for choice in (*choices, *numbered) if choice.lower() not in taken)
        taken.add(names[name].lower())
    return names

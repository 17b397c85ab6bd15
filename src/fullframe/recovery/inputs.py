"""Finding photos, videos and streams from paths, folders, glob patterns and addresses."""

import glob
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlparse

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv"}
    | {".3gp", ".ogv", ".y4m"}
)
"""Suffixes of files to find in a folder. A file with another suffix is a video if it can be decoded."""


def is_live(name: str) -> bool:
    """Whether a name is a camera (0, 1, ... or /dev/videoN) or the address of a stream, not of a file."""
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
    """The photos and videos given by paths, folders, patterns and addresses, in order, without duplicates.

    Raises:
        ValueError: if a pattern matches nothing, or a folder contains no photo or video.
    """
    found: dict[str | Path, str] = {}
    for pattern in patterns:
        if "://" in pattern or is_live(pattern):
            found.setdefault(pattern, pattern)
            continue
        path = Path(pattern).expanduser()
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if _is_input(p))
            if not files:
                raise ValueError(f"{path}: no photos or videos in this folder")
        elif path.exists() or not glob.has_magic(pattern):
            # A missing file fails later and alone, so that the other inputs are processed.
            files = [path]
        else:
            files = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())
            if not files:
                raise ValueError(f"{pattern}: no file matches")
        for file in files:
            found.setdefault(file.resolve(), str(file))
    return list(found.values())


def searched_folder(pattern: str) -> Path | None:
    """The folder that `find_inputs` searches for a folder or pattern; None for a file, camera or address."""
    path = Path(pattern).expanduser()
    if path.is_dir():
        return path
    return path.parent if glob.has_magic(pattern) and not path.exists() and "://" not in pattern else None


def _is_input(path: Path) -> bool:
    suffixes = PHOTO_SUFFIXES | VIDEO_SUFFIXES
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()

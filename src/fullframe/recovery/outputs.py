"""The files that are written for a photo or video: their names and contents."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

if TYPE_CHECKING:  # imported where files are written: names alone need no torch
    import numpy as np
    from numpy.typing import NDArray

    from fullframe.body.body_model import BodyModel
    from fullframe.results.clip import Clip
    from fullframe.results.people import People

PHOTO_OUTPUTS = ("overlay", "sheet", "npz", "json", "glb", "bvh", "obj", "ply")
VIDEO_OUTPUTS = ("overlay", "npz", "json", "csv", "glb", "bvh", "usd", "smpl", "trc", "mot", "angles")
"""Kinds of files for a photo and for a video."""
RIGGED = ("glb", "bvh")
"""Those of them that have a skeleton in the rig of one's choice."""


_LONGEST_STEM = 160
"""Bytes. File systems take 255, of which temporary names and kinds of results need some, and other names
of the same stem."""


def output_names(inputs: Iterable[str]) -> dict[str, str]:
    """A file name stem for the results of each input; inputs of the same name get different stems.

    Bytes of a name that are not UTF-8 become "_": other programs, FFmpeg among them, cannot open such names.
    Names that leave no room for what is added to them are cut.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for number, name in enumerate(inputs):
        path = Path(urlparse(name).path if "://" in name else name)
        stem, folder, suffix = (
            re.sub("[\ud800-\udfff]", "_", part)
            for part in (path.stem or "video", os.path.basename(os.path.realpath(path.parent)), path.suffix)
        )
        stem = stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
        choices = (stem, f"{folder[: _LONGEST_STEM // 8]}_{stem}", f"{stem}_{suffix[1:9]}")
        numbered = (f"{stem}_{i}" for i in range(2, number + 3))
        # Compared without case: some file systems ignore it.
        names[name] = next(choice for choice in (*choices, *numbered) if choice.lower() not in taken)
        taken.add(names[name].lower())
    return names


def photo_files(stem: Path, kinds: Iterable[str]) -> dict[str, Path]:
    """The files of one photo by kind: `<stem>_overlay.jpg`, `<stem>_sheet.jpg`, `<stem>.npz`, ..."""
    pictures = ("overlay", "sheet")
    return {k: stem.with_name(f"{stem.name}_{k}.jpg" if k in pictures else f"{stem.name}.{k}") for k in kinds}


def video_files(stem: Path, kinds: Iterable[str]) -> dict[str, Path]:
    """The files of one video by kind: `<stem>_overlay.mp4`, `<stem>.npz`, ..."""
    return {
        k: stem.with_name(f"{stem.name}_{k}.mp4" if k == "overlay" else f"{stem.name}.{k}") for k in kinds
    }


def make_writable(folder: Path) -> None:
    """Create a folder for results.

    Raises:
        ValueError: if that, or writing into it, is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise ValueError(f"cannot create the output folder {folder}: {error.strerror}") from error
    if not writable:
        raise ValueError(f"the output folder {folder} is not writable; choose another")


def write_photo(
    people: "People",
    body: "BodyModel",
    pixels: "NDArray[np.uint8]",
    files: Mapping[str, Path],
    rig: str = "smpl",
) -> list[Path]:
    """Write the results of one photo, each file atomically, and as many of them as can be written.

    Args:
        body: the people's.
        pixels: (H, W, 3) RGB of the photo.
        files: as `photo_files` returns them.
        rig: the skeleton in GLB and BVH, a name of `fullframe.export.RIGS`.

    Returns:
        The files; some kinds have one for each person.

    Raises:
        Exception: the first error, once the other files are written.
    """
    from fullframe.export import EXPORTERS, write_clip_bvh, write_glb
    from fullframe.io.image import write_jpeg
    from fullframe.render import overlay, sheet
    from fullframe.results.clip import clip_of

    pictures = {"overlay": overlay, "sheet": sheet}
    written: list[Path] = []

    def write(kind: str, path: Path) -> None:
        if kind == "glb":
            written.extend(write_glb(people, body, path, rig))
        elif kind == "bvh":
            written.extend(write_clip_bvh(clip_of(people), body, path, rig))
        else:
            if kind in pictures:
                write_jpeg(path, pictures[kind](pixels, people))
            else:
                EXPORTERS[kind](people, path)
            written.append(path)

    _each(write, files)
    return written


def write_clip(clip: "Clip", body: "BodyModel", files: Mapping[str, Path], rig: str = "smpl") -> list[Path]:
    """Write the results of one video, each file atomically, and as many of them as can be written.

    Args:
        files: as `video_files` returns them, without the overlay.
        rig: the skeleton in GLB and BVH, a name of `fullframe.export.RIGS`.

    Returns:
        The files; some kinds have one for each person.

    Raises:
        Exception: the first error, once the other files are written.
    """
    from fullframe.export import CLIP_EXPORTERS

    written: list[Path] = []

    def write(kind: str, path: Path) -> None:
        export = CLIP_EXPORTERS[kind]
        written.extend(export(clip, body, path, rig) if kind in RIGGED else export(clip, body, path))

    _each(write, files)
    return written


def _each(write: Callable[[str, Path], None], files: Mapping[str, Path]) -> None:
    errors = []
    for kind, path in files.items():
        try:
            write(kind, path)
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]

"""Recovering the people of an uploaded file, and writing the downloads."""

import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from fullframe.export import CLIP_EXPORTERS
from fullframe.io.image import read_photo
from fullframe.io.progress import Progress
from fullframe.recovery.outputs import photo_files, video_files, write_photo
from fullframe.recovery.photo import Recoverer
from fullframe.recovery.video import process
from fullframe.results.clip import Clip, clip_of


@dataclass
class UploadResult:
    """The result of an upload.

    Attributes:
        clip: the people; its `video` is the uploaded file.
        files: for download.
    """

    clip: Clip
    files: list[Path]


def recover_upload(recoverer: Recoverer, file: Path, name: str, progress: Progress) -> UploadResult:
    """Recover the people of a photo or clip and write the downloads beside it.

    Args:
        file: the upload; its suffix distinguishes photos and clips.
        name: the user's file name; the downloads get its stem.
        progress: may raise to cancel.

    Raises:
        ValueError: if the file cannot be read; the message is for the user.
    """
    stem = file.with_name(re.sub(r"[^\w.-]+", "_", Path(name).stem).strip("._")[:60] or "result")
    recover = _recover_clip if file.suffix in (".mp4", ".mkv", ".avi") else _recover_photo
    return recover(recoverer, file, name, stem, progress)


def _recover_photo(
    recoverer: Recoverer, file: Path, name: str, stem: Path, progress: Progress
) -> UploadResult:
    progress("finding people", 0, None)
    photo = read_photo(file)
    people = recoverer(photo)
    progress("writing files", 0, None)
    files = photo_files(stem, ("overlay", "npz", "glb"))
    write_photo(replace(people, image=name), recoverer.body, photo.pixels, files)
    return UploadResult(clip_of(people), list(files.values()))


def _recover_clip(
    recoverer: Recoverer, file: Path, name: str, stem: Path, progress: Progress
) -> UploadResult:
    files = video_files(stem, ("overlay", "npz", "glb", "bvh"))
    clip = process(recoverer, file, overlay=files["overlay"], progress=progress).clip
    progress("writing files", 0, None)
    named = replace(clip, video=name)
    for kind in ("npz", "glb"):
        CLIP_EXPORTERS[kind](named, recoverer.body, files[kind])
    parts = CLIP_EXPORTERS["bvh"](named, recoverer.body, files.pop("bvh"))
    if parts:  # one file per person
        files["bvh"] = stem.with_name(f"{stem.name}_bvh.zip")
        with zipfile.ZipFile(files["bvh"], "w", zipfile.ZIP_DEFLATED) as archive:
            for part in parts:
                archive.write(part, part.name)
    return UploadResult(clip, list(files.values()))

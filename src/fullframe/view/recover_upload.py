"""From an uploaded file to the files that can be downloaded."""

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fullframe.cli.outputs import photo_files, video_files
from fullframe.cli.run_photos import write_outputs
from fullframe.export import CLIP_EXPORTERS
from fullframe.io.image import read_photo
from fullframe.recover.photo import Recoverer
from fullframe.recover.video import process
from fullframe.results.clip import Clip
from fullframe.view.results import clip_of

Progress = Callable[[str, float | None], None]
"""Told what is being done, and how much of it is, 0 to 1; None if that is not known."""


@dataclass
class Recovered:
    """What came of an upload.

    Attributes:
        clip: the people; its `video` is the uploaded file.
        files: what is offered for download.
    """

    clip: Clip
    files: list[Path]


def recover_upload(recoverer: Recoverer, file: Path, name: str, progress: Progress) -> Recovered:
    """Find the people of a photo or clip and write the downloads beside it.

    Args:
        file: the upload, of an ending that tells photos and clips apart.
        name: what the user called it; the downloads get its stem.
        progress: may raise to stop the work.

    Raises:
        ValueError: if the file cannot be read; the message is for the user.
    """
    stem = file.with_name(re.sub(r"[^\w.-]+", "_", Path(name).stem).strip("._")[:60] or "result")
    work = _recover_clip if file.suffix in (".mp4", ".mkv", ".avi") else _recover_photo
    return work(recoverer, file, name, stem, progress)


def _recover_photo(recoverer: Recoverer, file: Path, name: str, stem: Path, progress: Progress) -> Recovered:
    progress("Looking for people", None)
    photo = read_photo(file)
    people = recoverer(photo)
    progress("Writing files", None)
    files = photo_files(stem, ("overlay", "npz", "glb"))
    write_outputs(replace(people, image=name), photo.pixels, files)
    return Recovered(clip_of(people), list(files.values()))


def _recover_clip(recoverer: Recoverer, file: Path, name: str, stem: Path, progress: Progress) -> Recovered:
    doing = {"people": "Looking for people", "overlay": "Drawing them"}
    files = video_files(stem, ("overlay", "npz", "glb", "bvh"))
    clip = process(
        recoverer,
        file,
        overlay=files["overlay"],
        progress=lambda what, done, total: progress(doing[what], done / total if total else None),
    ).clip
    progress("Writing files", None)
    named = replace(clip, video=name)
    for kind in ("npz", "glb"):
        CLIP_EXPORTERS[kind](named, recoverer.body, files[kind])
    parts = CLIP_EXPORTERS["bvh"](named, recoverer.body, files.pop("bvh"))
    if parts:  # one for each person
        files["bvh"] = stem.with_name(f"{stem.name}_bvh.zip")
        with zipfile.ZipFile(files["bvh"], "w", zipfile.ZIP_DEFLATED) as archive:
            for part in parts:
                archive.write(part, part.name)
    return Recovered(clip, list(files.values()))

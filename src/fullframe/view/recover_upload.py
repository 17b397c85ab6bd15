"""Recovering the people of an uploaded file, and writing the downloads."""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fullframe.export import RIGS
from fullframe.io.image import read_photo
from fullframe.io.progress import Progress
from fullframe.recovery.outputs import (
    PHOTO_OUTPUTS,
    VIDEO_OUTPUTS,
    photo_files,
    video_files,
    write_clip,
    write_photo,
)
from fullframe.recovery.photo import CameraOptions, Recoverer
from fullframe.recovery.video import process
from fullframe.results.clip import Clip, clip_of

FILES = {"photo": PHOTO_OUTPUTS, "clip": tuple(k for k in VIDEO_OUTPUTS if k != "usd" or find_spec("pxr"))}
"""Kinds of files that can be written for each, without those that need an extra."""
_FILES = tuple(dict.fromkeys((*FILES["photo"], *FILES["clip"])))


@dataclass(frozen=True)
class Choices:
    """The options of `fullframe run` that the page offers.

    Attributes:
        fov: horizontal field of view in degrees; None: from the file, else the image diagonal.
        lock_feet: for clips.
        rig: skeleton in GLB and BVH.
        save: kinds of files; those that a photo or a clip does not have are left out.
    """

    fov: float | None = None
    lock_feet: bool = False
    rig: str = "smpl"
    save: tuple[str, ...] = ("overlay", "npz", "glb", "bvh")

    @classmethod
    def from_message(cls, values: Mapping[str, Any]) -> "Choices":
        """The choices that a browser sends.

        Raises:
            ValueError: for anything that the page does not send, or an impossible camera; the message is for
                the visitor.
        """
        fov, save, rig = values.get("fov"), values.get("save"), values.get("rig", "smpl")
        if rig not in tuple(RIGS):
            raise ValueError("Choose a skeleton that fullframe knows.")
        if not isinstance(save, list) or not set(map(str, save)) <= set(_FILES):
            raise ValueError("Choose files to save that fullframe can write.")
        if fov is not None and not (isinstance(fov, int | float) and 1 <= fov <= 170):
            raise ValueError("The camera angle must be from 1 to 170 degrees.")
        kinds = tuple(kind for kind in _FILES if kind in save)
        return cls(fov, values.get("lockFeet") is True, rig, kinds)


@dataclass
class UploadResult:
    """The result of an upload.

    Attributes:
        clip: the people; its `video` is the uploaded file.
        picture: the photo or clip with the bodies.
        files: for download.
    """

    clip: Clip
    picture: Path
    files: list[Path]


def is_clip(file: Path) -> bool:
    """Whether an upload is a clip, by the suffix that `check_upload` gives."""
    return file.suffix in (".mp4", ".mkv", ".avi")


def recover_upload(
    recoverer: Recoverer, file: Path, name: str, choices: Choices, progress: Progress
) -> UploadResult:
    """Recover the people of a photo or clip and write the downloads beside it.

    Args:
        file: the upload; its suffix distinguishes photos and clips.
        name: the user's file name; the downloads get its stem.
        progress: may raise to cancel.

    Raises:
        ValueError: if the file cannot be read; the message is for the user.
    """
    stem = file.with_name(re.sub(r"[^\w.-]+", "_", Path(name).stem).strip("._")[:60] or "result")
    recover = _recover_clip if is_clip(file) else _recover_photo
    return recover(recoverer, file, name, stem, choices, progress)


def _recover_photo(
    recoverer: Recoverer, file: Path, name: str, stem: Path, choices: Choices, progress: Progress
) -> UploadResult:
    progress("finding people", 0, None)
    photo = read_photo(file)
    people = recoverer(photo, fov=choices.fov)
    progress("writing files", 0, None)
    kinds = [kind for kind in choices.save if kind in PHOTO_OUTPUTS]
    files = photo_files(stem, dict.fromkeys(("overlay", *kinds)))  # the page shows the overlay
    named = replace(people, image=name)
    written: list[Path] = []
    for kind, path in files.items():
        parts = write_photo(named, recoverer.body, photo.pixels, {kind: path}, choices.rig)
        if kind in kinds:
            written += _packed(parts, stem, kind)
    return UploadResult(clip_of(people), files["overlay"], written)


def _recover_clip(
    recoverer: Recoverer, file: Path, name: str, stem: Path, choices: Choices, progress: Progress
) -> UploadResult:
    kinds = [kind for kind in choices.save if kind in VIDEO_OUTPUTS]
    files = video_files(stem, dict.fromkeys(("overlay", *kinds)))
    camera = CameraOptions(fov=choices.fov)
    picture = files.pop("overlay")
    clip = process(
        recoverer, file, camera, overlay=picture, lock_feet=choices.lock_feet, progress=progress
    ).clip
    progress("writing files", 0, None)
    written = [picture] if "overlay" in kinds else []
    for kind, path in files.items():
        parts = write_clip(replace(clip, video=name), recoverer.body, {kind: path}, choices.rig)
        written += _packed(parts, stem, kind)
    return UploadResult(clip, picture, written)


def _packed(files: list[Path], stem: Path, kind: str) -> list[Path]:
    """The files of one kind, several people's in one archive."""
    if len(files) < 2:
        return files
    path = stem.with_name(f"{stem.name}_{kind}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
    return [path]

"""Reading the results of `fullframe run` as clips: a photo is a clip of one frame."""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from fullframe.body import BodyModel, load_body
from fullframe.io.npz import require_regular_file
from fullframe.results.clip import Clip, clip_of
from fullframe.results.people import People


def find_results(path: Path) -> list[Path]:
    """The files of results in a folder, sorted by name, or the file itself; other .npz files are ignored.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if a folder holds no result, or it is a pipe, device or loop of links; names it.
    """
    if not os.path.lexists(path):
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_dir():
        require_regular_file(path)
        return [path]
    found = [file for file in sorted(path.glob("*.npz")) if file.is_file() and _kind(file)]
    if not found:
        raise ValueError(
            f"{path}: no .npz of `fullframe run` in this folder; was it run with --save but without npz?"
        )
    return found


def load_clip(path: Path) -> Clip:
    """The clip in a file of results, or its photo as a clip of one frame.

    Raises:
        ValueError: if the file is not a result of fullframe; the message names it.
    """
    return Clip.load(path) if _kind(path) is Clip else clip_of(People.load(path))


@lru_cache(maxsize=4)
def body_named(name: str, path: Path | None, num_betas: int) -> BodyModel:
    """The body of a result, loaded once for all pages.

    Raises:
        fullframe.body.BodyFileError: if its file is missing.
    """
    return load_body(name, path if name != "open" else None, num_betas)


def _kind(path: Path) -> type[Clip] | type[People] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = set(file.files)
    except Exception:  # any error means that it is not a result
        return None
    if not {"header", "pose", "translation"} <= names:
        return None
    return Clip if "times" in names else People

"""Photos, one after another."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.cli.console import count
from fullframe.export import EXPORTERS
from fullframe.io.image import read_photo, write_jpeg
from fullframe.recover.photo import Recoverer
from fullframe.render import overlay, sheet
from fullframe.results.people import People


def run_photo(recoverer: Recoverer, photo: str, files: dict[str, Path], **given: Any) -> tuple[int, str]:
    """Recover the people of a photo and write the files.

    Args:
        given: camera, boxes and keypoints, as for the recoverer.

    Returns:
        How many people were found, and a line for the user.
    """
    picture = read_photo(photo)
    people = recoverer(picture, **given)
    write_outputs(people, picture.pixels, files)
    return len(people), _summary(people, files.values())


def write_outputs(people: People, pixels: NDArray[np.uint8], files: dict[str, Path]) -> None:
    """Write results of one photo, each file whole or not at all."""
    pictures = {"overlay": overlay, "sheet": sheet}
    for kind, path in files.items():
        if kind in pictures:
            write_jpeg(path, pictures[kind](pixels, people))
        else:
            EXPORTERS[kind](people, path)


def _summary(people: People, files: Iterable[Path]) -> str:
    number = count(len(people), "person", "people") if len(people) else "no person found"
    camera = f"focal {people.camera.focal[0]:.0f} px ({people.camera.source})"
    upright = f", turned upright (EXIF orientation {people.orientation})" if people.orientation != 1 else ""
    return f"{people.image}: {number}, {camera}{upright} -> {', '.join(file.name for file in files)}"

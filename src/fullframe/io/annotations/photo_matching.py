"""Which of the images that a file of annotations names is which photo."""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from urllib.parse import unquote, urlparse

from fullframe.io.annotations.annotation_file import AnnotatedImage
from fullframe.io.annotations.untrusted import printable

_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""Label Studio writes these before the name of a file that is uploaded."""
_COCO = re.compile(r"^(?:COCO_\w+_)?(\d{12})$")
"""COCO's photos: 000000000785.jpg, COCO_val2014_000000000785.jpg in the year 2014."""


class Unmatched(ValueError):
    """Why a photo has no image in the file; the message names neither.

    Args:
        images: indices of those that it could be, but not surely.
    """

    def __init__(self, message: str, images: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.images = tuple(images)


def split_path(name: str) -> list[str]:
    """Folders and file name of a path written on any system, or of an address; only what goes down."""
    if "://" in name:
        name = unquote(urlparse(name).path)
    parts = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/")).split("/")
    return [part for part in parts if part not in ("", ".", "..")]


def path_parts(name: str) -> tuple[str, ...]:
    """Folders and file name of a path written on any system, in lower case, last first.

    >>> path_parts("C:\\\\data\\\\camA\\\\000001.JPG")
    ('000001.jpg', 'cama', 'data')
    """
    return tuple(part.lower() for part in reversed(split_path(name)))


def match_photos(photos: Sequence[PurePath], images: Sequence[AnnotatedImage]) -> list[int | Unmatched]:
    """The image of each photo: that whose path agrees with the photo's in most parts from the end.

    The file names must be equal but for their case; a name without suffix stands for a photo with any. An
    image that has a number alone belongs to the photo that is named by that number, and COCO's own photos
    keep theirs in both of their names. An image belongs to one photo at most.

    Returns:
        For each photo an index into `images`, or why there is none or several.
    """
    names = [path_parts(image.name) for image in images]
    candidates: dict[str | int, list[int]] = {}
    for index, (image, parts) in enumerate(zip(images, names, strict=True)):
        for key in _image_keys(image, parts):
            candidates.setdefault(key, []).append(index)

    found: list[int | Unmatched] = []
    depth: list[int] = []  # how many parts of the path agree
    for photo in photos:
        parts = path_parts(str(photo))
        known: list[int] = []
        for key in _photo_keys(parts):
            if key in candidates:
                known = candidates[key]
                break
        agreeing = [_agreeing(parts, names[index]) for index in known]
        best = [index for index, much in zip(known, agreeing, strict=True) if much == max(agreeing)]
        depth.append(max(agreeing, default=0))
        if len(best) == 1:
            found.append(best[0])
        elif best:
            shown = ", ".join(_shown(images[index]) for index in best[:3])
            found.append(
                Unmatched(
                    f"{len(best)} images could be meant ({shown}): give file_name with its folders, "
                    "each image once",
                    best,
                )
            )
        else:
            found.append(Unmatched(_nothing_found(images)))
    return _one_photo_each(found, depth, photos, images)


def find_photos(folder: Path, images: Sequence[AnnotatedImage]) -> list[str | Unmatched]:
    """The photo of each image in a folder or below: its path in the folder, with "/" between folders.

    Where there is none, the path that the image names, so that it can be missed by that name; why, where
    several could be meant.
    """
    names = ["/".join(split_path(image.name)) or f"photo number {image.number}" for image in images]
    found: list[str | Unmatched] = list(names)
    if len(set(names)) == len(names) and all(os.path.isfile(folder / name) for name in names):
        return found
    photos = sorted(path for path in folder.rglob("*") if path.is_file())
    results = match_photos(photos, images)
    for unmatched in results:
        if isinstance(unmatched, Unmatched):
            for index in unmatched.images:
                found[index] = unmatched
    for photo, result in zip(photos, results, strict=True):
        if isinstance(result, int):
            found[result] = photo.relative_to(folder).as_posix()
    return found


def _one_photo_each(
    found: list[int | Unmatched],
    depth: list[int],
    photos: Sequence[PurePath],
    images: Sequence[AnnotatedImage],
) -> list[int | Unmatched]:
    claims: dict[int, list[int]] = {}
    for row, index in enumerate(found):
        if isinstance(index, int):
            claims.setdefault(index, []).append(row)
    for index, rows in claims.items():
        most = max(depth[row] for row in rows)
        nearest = [row for row in rows if depth[row] == most]
        for row in rows if len(nearest) > 1 else [row for row in rows if row not in nearest]:
            others = [
                str(photos[other]) for other in (nearest if row not in nearest else rows) if other != row
            ]
            found[row] = Unmatched(
                f"{_shown(images[index])} matches {others[0]} as well"
                + (" and better" if row not in nearest else "")
                + ": give file_name with its folders",
                [index],
            )
    return found


def _image_keys(image: AnnotatedImage, parts: tuple[str, ...]) -> list[str | int]:
    if not parts:
        return [] if image.number is None else [image.number]
    keys: list[str | int] = [parts[0]]
    stem = PurePath(parts[0]).stem
    if _UPLOADED.match(parts[0]):
        keys.append(_UPLOADED.sub("", parts[0]))
    if coco := _COCO.match(stem.upper()):
        keys.append(int(coco[1]))
    return keys


def _photo_keys(parts: tuple[str, ...]) -> list[str | int]:
    """What the photo may be called, the surest first."""
    if not parts:
        return []
    stem = PurePath(parts[0]).stem
    keys: list[str | int] = [parts[0], stem]
    if coco := _COCO.match(stem.upper()):
        keys.append(int(coco[1]))
    elif stem.isascii() and stem.isdecimal() and len(stem) < 19:
        keys.append(int(stem))
    return keys


def _agreeing(photo: tuple[str, ...], image: tuple[str, ...]) -> int:
    """In how many parts two paths agree from the end; the file names do."""
    much = 1
    for a, b in zip(photo[1:], image[1:], strict=False):
        if a != b:
            break
        much += 1
    return much


def _shown(image: AnnotatedImage) -> str:
    return printable(image.name[:200]) if image.name else f"number {image.number}"


def _nothing_found(images: Sequence[AnnotatedImage]) -> str:
    if not images:
        return "it names no images"
    named = [image for image in images if image.name]
    if not named:
        return (
            "it has numbers for images, and no names: photos must be named by that number "
            "(000000000785.jpg for 785), or give file_name, or 'images' with id and file_name"
        )
    shown = ", ".join(_shown(image) for image in named[:3]) + (" ..." if len(named) > 3 else "")
    return f"it names {shown}; a photo without people must be named too"

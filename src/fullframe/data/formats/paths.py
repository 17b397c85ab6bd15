"""Finding the files of data sets."""

from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from fullframe.io.image import ImageError
from fullframe.io.npz import NotRegularFileError, require_regular_file


def need(root: Path, *names: str, where: str) -> None:
    """Check that a folder and the files or folders in it exist.

    Args:
        root: the folder, or a file without `names`.
        names: what must be in it.
        where: from where the data set is downloaded.

    Raises:
        FileNotFoundError: names everything that is missing, where it was looked for and where to get it.
    """
    missing = [name for name in names if not (root / name).exists()]
    if missing or not root.exists():
        if root.exists() and len(missing) > 1:
            what = f"{root} lacks {', '.join(missing)}"
        elif len(missing) == 1:
            what = f"{root / missing[0]} is missing"
        else:
            what = f"{root} is missing" + (f" ({', '.join(missing)})" if missing else "")
        raise FileNotFoundError(f"{what}: download it from {where}")


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) px of the upright image, from its header alone.

    Raises:
        ImageError: the file is missing or not an image.
    """
    try:
        require_regular_file(path)
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except NotRegularFileError as error:
        raise ImageError(str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image that can be read") from error
    except Exception as error:  # Pillow raises many kinds of error for damaged files
        raise ImageError(f"{path}: damaged or unreadable image: {error or type(error).__name__}") from error
    return (height, width) if turned else (width, height)

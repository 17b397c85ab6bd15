"""From the pixels that were annotated to those of the upright photo."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Upright x, y of the unturned x, y, with the unturned width w and height h, by EXIF orientation:
# rows of (x, y, w, h, 1). The last column: the last pixel of w pixels is w - 1.
_TURNS = {
    3: ((-1, 0, 1, 0, -1), (0, -1, 0, 1, -1)),
    4: ((1, 0, 0, 0, 0), (0, -1, 0, 1, -1)),
    5: ((0, 1, 0, 0, 0), (1, 0, 0, 0, 0)),
    6: ((0, -1, 0, 1, -1), (1, 0, 0, 0, 0)),
    7: ((0, -1, 0, 1, -1), (-1, 0, 1, 0, -1)),
    8: ((0, 1, 0, 0, 0), (-1, 0, 1, 0, -1)),
}


class SizeError(ValueError):
    """The annotated image is not the photo; the message says why, without the names of either."""


@dataclass(frozen=True)
class PhotoTransform:
    """An affine map into the upright photo.

    Attributes:
        matrix: (2, 3), px of the photo from coordinates of the file.
        note: what a user should know about it; "" where nothing is changed.
    """

    matrix: NDArray[np.float64]
    note: str = ""

    def points(self, keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keypoints (..., 3) in the photo; those without confidence stay as they are."""
        moved = keypoints[..., :2] @ self.matrix[:, :2].T + self.matrix[:, 2]
        moved = np.where(keypoints[..., 2:] > 0, moved, keypoints[..., :2])
        return np.concatenate((moved, keypoints[..., 2:]), axis=-1).astype(np.float32)

    def boxes(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (..., 4) x1, y1, x2, y2 in the photo."""
        corners = boxes.reshape(*boxes.shape[:-1], 2, 2) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.concatenate((corners.min(axis=-2), corners.max(axis=-2)), axis=-1).astype(np.float32)


def photo_transform(
    annotated: tuple[int, int] | None,
    photo: tuple[int, int],
    orientation: int = 1,
    normalized: bool = False,
    upside_down: bool = False,
) -> PhotoTransform:
    """How coordinates of a file become those of the upright photo.

    Annotations made on a photo's unturned pixels, as their width and height show, are turned with it. Of
    orientations 2 to 4, which keep width and height, only people upside down are evidence. Annotations of
    another resolution are scaled if width and height have the same ratio.

    Args:
        annotated: (width, height) px that the file names; None: it names none, and the photo's are meant.
        photo: (width, height) px of the upright photo.
        orientation: the EXIF orientation that was undone, 1 to 8.
        normalized: the file's coordinates are fractions of width and height.
        upside_down: the people of the file are, see `are_upside_down`.

    Raises:
        SizeError: if it cannot be the same image.
    """
    width, height = annotated or photo
    units = np.diag([width, height, 1.0]) if normalized else np.eye(3)
    turn, note = np.eye(3)[:2], ""
    if orientation >= 5:
        unturned = (width, height) != photo and _same_ratio((height, width), photo)
    else:
        unturned = orientation in (3, 4) and upside_down
    if unturned:
        rows = np.array(_TURNS[orientation], np.float64)
        turn = np.concatenate((rows[:, :2], rows[:, 2:] @ [[width], [height], [1]]), axis=1)
        if orientation >= 5:
            width, height = height, width
        note = "annotated before it was turned by its EXIF orientation: turned alike"
    elif orientation in (2, 3, 4):
        note = f"taken as annotated upright: the file cannot say (EXIF orientation {orientation})"
    if (width, height) != photo:
        if not _same_ratio((width, height), photo):
            swapped = (height, width) == photo
            raise SizeError(
                f"{photo[0]} x {photo[1]} px upright, but annotated as {width} x {height} px"
                + (": turned since" if swapped else ": cut, padded or another photo")
                + "; give the photo that was annotated, or mend width and height"
            )
        scale = np.array(photo) / (width, height)
        turn = scale[:, None] * turn
        note = f"{note}; " * bool(note) + (
            f"annotated at {width} x {height} px, scaled to {photo[0]} x {photo[1]}"
        )
    return PhotoTransform(turn @ units, note)


def are_upside_down(people: Iterable[NDArray[np.float32]], names: Sequence[str]) -> bool:
    """Whether more people have their hips above their shoulders than below.

    Args:
        people: (K, 3) x, y and confidence of each.
        names: of the K keypoints.
    """
    rows = [[i for i, name in enumerate(names) if part in name] for part in ("shoulder", "hip")]
    votes = 0.0
    for points in people:
        shoulders, hips = (points[part][points[part][:, 2] > 0, 1] for part in rows)
        if len(shoulders) and len(hips):
            votes += np.sign(shoulders.mean() - hips.mean())
    return votes > 0


def _same_ratio(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether one size is the other at another resolution, up to rounding of its shorter side's pixels."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= 0.5 * max(*a, *b) + 1e-9

"""What the readers share: lazily made samples, checked arrays, boxes and windows."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullframe.data.formats.paths import need
from fullframe.data.sample import Sample
from fullframe.geometry.box import LABEL_ENLARGE
from fullframe.io.npz import read_npz


class Part(Protocol):
    """A piece of a data set, such as one person of one clip."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample: ...


class SampleSequence(Sequence[Sample]):
    """The samples of several parts, one part after the other; each is made on access."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = [part for part in parts if len(part)]
        self._ends = list(accumulate(len(part) for part in self.parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Raises ImageError for an image that cannot be read."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]
        number = bisect_right(self._ends, index)
        part = self.parts[number]
        return part.sample(index - self._ends[number] + len(part))


def matching(folder: Path, pattern: str, where: str) -> list[Path]:
    """The paths in a folder that match a pattern, sorted; at least one.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it matches.
    """
    need(folder, where=where)
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder / pattern} is missing: download it from {where}")
    return found


def read_rows(path: Path, required: Sequence[str], optional: Sequence[str], where: str) -> dict[str, Any]:
    """Arrays of an .npz file with a row for each person; other keys are not read.

    Joints and poses become float32, so that a list of 300,000 people fits into memory.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is damaged, holds pickled objects under these keys, lacks a required key, or its arrays
            differ in length.
    """
    need(path, where=where)
    try:
        arrays = {key: _compact(array) for key, array in read_npz(path, required, optional).items()}
    except (OSError, ValueError) as error:
        raise ValueError(f"{error}; download it again from {where}") from error
    lengths = {key: array.shape[:1] for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: its arrays differ in length: {lengths}; download it again from {where}")
    return arrays


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    large = array.dtype == np.float64 and array.size > 16 * len(array) if array.ndim else False
    return array.astype(np.float32) if large else array


def shaped(path: Path, key: str, array: ArrayLike, *shape: int | None) -> NDArray[Any]:
    """The array, if it is made of numbers and has this shape; None stands for any length.

    Raises:
        ValueError: otherwise.
    """
    checked: NDArray[Any] = np.asarray(array)
    fits = checked.ndim == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, checked.shape, strict=True)
    )
    if not fits or checked.dtype.kind not in "fiub":
        expected = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"{path}: {key} is {checked.dtype} {checked.shape}, expected numbers ({expected})")
    return checked


def reduced_window(full: tuple[int, int], stored: tuple[int, int], path: Path) -> tuple[float, float, float]:
    """Sample.window of an image that is stored smaller than the full one that its labels are in.

    Pixels are centres of squares, so those of an image reduced k times lie at k (p + 1/2) - 1/2.

    Args:
        full, stored: (width, height) px.

    Raises:
        ValueError: the stored image has another shape.
    """
    factor = full[0] / stored[0]
    if abs(stored[1] * factor - full[1]) > factor:
        raise ValueError(
            f"{path}: {stored[0]} x {stored[1]} px, but its labels are for {full[0]} x {full[1]} px or a "
            "reduced copy of that shape; use the image as it was released"
        )
    return (factor - 1) / 2, (factor - 1) / 2, factor


def tight_box(points: NDArray[Any]) -> NDArray[np.float32]:
    """x1, y1, x2, y2 (4,) around points (K, 2), at least 1 px wide and high; NaN for no points."""
    if not len(points):
        return np.full(4, np.nan, np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    spare: NDArray[Any] = np.maximum(1 - (high - low), 0) / 2
    return np.concatenate((low - spare, high + spare)).astype(np.float32)


def window_box(center: NDArray[Any], scale: float, aspect: float) -> NDArray[np.float32]:
    """The box (4,) whose window, enlarged by 1.2, is the one given by `center` and `scale` of a list.

    Args:
        center: (2,) px.
        scale: height of the window in px / 200.
        aspect: height / width of the window.
    """
    half = 100 * scale / LABEL_ENLARGE * np.array([1 / aspect, 1])
    return np.concatenate((center - half, center + half)).astype(np.float32)


def with_confidence(points: NDArray[Any], confidence: NDArray[Any] | float = 1.0) -> NDArray[np.float32]:
    """Points (K, D) with a last column of confidence or validity: (K, D + 1)."""
    column: NDArray[Any] = np.broadcast_to(confidence, len(points))[:, None]
    return np.concatenate((points, column), axis=1).astype(np.float32)


def points17_to_j24(points: NDArray[Any]) -> NDArray[np.float32]:
    """The 17 joints of Human3.6M and MPI-INF-3DHP (K = 17, D) among j24's, with validity: (24, D + 1).

    In the order of `h36m17`; "jaw" and "head" are MPI-INF-3DHP's head and head top (SPIN).
    """
    out = np.zeros((24, points.shape[1] + 1), np.float32)
    out[list(J24_OF_17)] = with_confidence(points)
    return out


J24_OF_17 = (14, 3, 4, 5, 2, 1, 0, 16, 12, 17, 18, 9, 10, 11, 8, 7, 6)

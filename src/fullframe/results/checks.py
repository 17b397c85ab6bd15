"""What the arrays in a file of results may hold."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fullframe.body.body_model import BODY_NAMES

MAX_BETAS = 300
"""Shape coefficients of the largest SMPL files."""
PIXELS, METRES = 1e7, 1e4
"""Bounds of coordinates, far beyond those of any photo."""


class Array(NamedTuple):
    """An array of a file.

    Attributes:
        dtype: to which its own must be convertible without changing the kind of number.
        shape: -1 is free.
        low, high: of its numbers.
        nan: whether some may be NaN, for unknown.
    """

    dtype: Any
    shape: tuple[int, ...]
    low: float = -np.inf
    high: float = np.inf
    nan: bool = False


SHARE = (0, 1.001)  # rounding
INTEGER = (-(2.0**53), 2.0**53)
PERSON = {
    "boxes": Array(np.float32, (-1, 4), -PIXELS, PIXELS),
    "keypoints": Array(np.float32, (-1, -1, 3), -PIXELS, PIXELS),
    "pose": Array(np.float32, (-1, 24, 3, 3), -1.01, 1.01),
    "betas": Array(np.float32, (-1, -1), -1e3, 1e3),
    "translation": Array(np.float32, (-1, 3), -METRES, METRES),
}
"""Arrays with a row per person that all results have."""
UNCERTAINTY = Array(np.float32, (-1, 24, 3), 0, METRES, nan=True)


def check_arrays(values: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Check the arrays of a file.

    Args:
        values: by name, with others.
        arrays: that must be among them.

    Raises:
        ValueError: one is missing, or is not as described; the message names it.
    """
    for name, wanted in arrays.items():
        if name not in values:
            raise ValueError(f"it lacks {name}")
        value = np.asarray(values[name])
        texts = [np.dtype(dtype).kind == "U" for dtype in (value.dtype, wanted.dtype)]
        if not np.can_cast(value.dtype, wanted.dtype, "same_kind") or texts[0] != texts[1]:
            raise ValueError(f"{name} is of type {value.dtype}; expected {np.dtype(wanted.dtype).name}")
        if value.ndim != len(wanted.shape) or any(
            w not in (-1, v) for w, v in zip(wanted.shape, value.shape, strict=True)
        ):
            raise ValueError(f"{name} has shape {value.shape}; expected {wanted.shape}, -1 for any")
        if name == "betas" and not 1 <= value.shape[1] <= MAX_BETAS:
            raise ValueError(f"betas has {value.shape[1]} coefficients; expected 1 to {MAX_BETAS}")
        if value.size == 0 or value.dtype.kind not in "iuf":
            continue
        least, most = (
            (np.fmin.reduce(value, axis=None), np.fmax.reduce(value, axis=None))
            if wanted.nan
            else (value.min(), value.max())
        )
        if wanted.nan and np.isnan(least):  # all are unknown
            continue
        if not wanted.low <= least <= most <= wanted.high:
            found = "NaN" if np.isnan(least) else f"{least:g} to {most:g}"
            raise ValueError(f"{name} holds {found}; expected {wanted.low:g} to {wanted.high:g}")
    if "keypoints" in arrays:
        check_arrays({"confidences": values["keypoints"][..., 2]}, _CONFIDENCES)


def known_arrays(values: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Those that a file must have: older results have no uncertainty."""
    return {name: array for name, array in arrays.items() if name in values or name != "uncertainty"}


def check_texts(values: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Raises ValueError unless these values are text, and that of "body" the name of a body."""
    for name in names:
        if not isinstance(values.get(name), str):
            raise ValueError(f"{name} must be text, not {str(values.get(name))[:100]}")
    if "body" in names and values["body"] not in BODY_NAMES:
        raise ValueError(f"body must be one of {', '.join(BODY_NAMES)}, not {values['body'][:100]!r}")


_CONFIDENCES = {"confidences": Array(np.float32, (-1, -1), *SHARE)}

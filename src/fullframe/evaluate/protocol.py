"""A protocol: the people of a benchmark, how they are measured, and published results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullframe.data.sample import Sample
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import Predictions, predict
from fullframe.geometry.box import LABEL_ENLARGE


class Published(NamedTuple):
    """A line of a published table.

    Attributes:
        model: its name, and its training data where that matters.
        values: numbers by the names that Scores.values has.
    """

    model: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Scores:
    """What a protocol measured.

    Names give the unit: "MPJPE mm".

    Attributes:
        values: the numbers of the table; NaN for what cannot be measured, of which the notes say why.
        people: (N,) per person, NaN for who was not measured.
        joints: (N,) errors of each joint per person, in the unit of the first value; NaN if not measured.
        medians: names in `people` whose medians are reported too.
        notes: what a reader must know about the numbers.
    """

    values: dict[str, float]
    people: dict[str, NDArray[np.float64]]
    joints: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    medians: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """A benchmark.

    Attributes:
        title: of the report.
        open: reads the samples below the data set's folder; FileNotFoundError or ValueError name what
            is missing. Where samples have an attribute `notes`, it goes into the report.
        measure: computes the scores.
        options: what else decides about the numbers (boxes, joints, ground truth), for the report.
        published: lines to compare with.
        regressors: joint sets that `measure` regresses from bodies of every kind.
        extras: writes further files into the output folder and returns notes about them.
        needs_root: whether the data must be downloaded.
        enlarge: factor on the boxes before crops are cut.
        by_sequence: intervals draw whole sequences instead of people.
        predict: recovers the people, with the arguments of `predictions.predict`.
    """

    title: str
    open: Callable[[Path], Sequence[Sample]]
    measure: Callable[[Predictions, BodyCache], Scores]
    options: Mapping[str, str]
    published: tuple[Published, ...] = ()
    regressors: tuple[str, ...] = ()
    extras: Callable[[Predictions, BodyCache, Path], list[str]] | None = None
    needs_root: bool = True
    enlarge: float = LABEL_ENLARGE
    by_sequence: bool = False
    predict: Callable[..., Predictions] = predict


def means(people: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """The mean of each column over the values that are not NaN; NaN if all are."""
    return {name: mean(values) for name, values in people.items()}


def mean(values: NDArray[np.float64]) -> float:
    """The mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")

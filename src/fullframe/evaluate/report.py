"""Scores as tables: Markdown, JSON and CSV."""

import csv
import io
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullframe.evaluate.metrics import bootstrap
from fullframe.evaluate.protocol import Protocol, Scores, mean
from fullframe.io.atomic import atomic_path

ANGLES = (0.0, 8.0, 16.0, 24.0, math.inf)
"""Edges of the off-axis bins, degrees."""


class Estimate(NamedTuple):
    """A number and its 95 % interval; the ends are NaN where there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value) or math.isnan(self.low):
            return number(self.value)
        return f"{number(self.value)} ±{number((self.high - self.low) / 2)}"


@dataclass(frozen=True)
class Bin:
    """The people whose boxes lie at similar angles from the optical axis.

    Attributes:
        name: "0 to 8", ...; "all" for everyone.
        people: how many.
        values: an estimate for each measured column.
    """

    name: str
    people: int
    values: dict[str, Estimate]


@dataclass(frozen=True)
class Report:
    """The results of one model on one benchmark.

    Attributes:
        benchmark: key of PROTOCOLS.
        model: what the predictions are of: name, sha256, body, data.
        people: how many were predicted.
        protocol: of the benchmark.
        scores: its results.
        bins: of off-axis angles.
        joints: the mean error of each joint.
        notes: of the scores and of further files.
    """

    benchmark: str
    model: Mapping[str, str]
    people: int
    protocol: Protocol
    scores: Scores
    bins: Sequence[Bin] = field(default_factory=list)
    joints: Mapping[str, Estimate] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """The tables and facts as a page."""
        out = io.StringIO()
        out.write(f"# {self.protocol.title}\n\n")
        for title, rows in self.tables():
            out.write(f"{title}\n\n" + markdown_table(rows) + "\n")
        out.writelines(f"- {line}\n" for line in (*self.facts(), *self.notes))
        return out.getvalue()

    def json(self) -> str:
        """Everything, for programs; what could not be measured is null."""
        content = {
            "benchmark": self.benchmark,
            "model": dict(self.model),
            "people": self.people,
            "options": dict(self.protocol.options),
            "values": self.scores.values,
            "off_axis_degrees": [
                {"bin": b.name, "people": b.people, **{k: v._asdict() for k, v in b.values.items()}}
                for b in self.bins
            ],
            "joints": {name: estimate._asdict() for name, estimate in self.joints.items()},
            "published": [{"model": p.model, **p.values} for p in self.protocol.published],
            "notes": list(self.notes),
        }
        return json.dumps(_without_nan(content), indent=2) + "\n"

    def facts(self) -> list[str]:
        """Lines on how the numbers were measured."""
        facts = {"people": f"{self.people}", **self.protocol.options}
        if "people" in self.protocol.options:
            facts["people"] = f"{self.people}: {self.protocol.options['people']}"
        facts = {"model": f"{self.model['name']}, {self.model['body']} body", **facts}
        if "data" in self.model:
            facts["trained on"] = self.model["data"]
        return [f"{name}: {text}" for name, text in facts.items()]

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """Titles and rows, of which the first is the head and the second that of the model."""
        names = list(self.scores.values)
        rows = [["model", *names], [self.model["name"], *map(number, self.scores.values.values())]]
        for published in self.protocol.published:
            rows.append([published.model, *(_shown(published.values, name) for name in names)])
        tables = [(self.protocol.title, rows)]
        if self.bins:
            columns = list(self.bins[0].values)
            angles = [["off-axis degrees", "people", *columns]]
            angles += [[b.name, f"{b.people}", *map(str, b.values.values())] for b in self.bins]
            tables.append(
                (
                    "By the angle of the box's centre from the optical axis (± half of the 95 % interval)",
                    angles,
                )
            )
        if self.joints:
            joints = [["joint", "mean error"]]
            joints += [[name.replace("_", " "), str(estimate)] for name, estimate in self.joints.items()]
            tables.append(("By joint", joints))
        return tables


def estimate(
    values: NDArray[np.float64],
    clusters: NDArray | None = None,
    statistic: Callable[..., Any] = np.mean,
) -> Estimate:
    """A statistic of values (N,), of which NaN are left out, and its interval, see `metrics.bootstrap`."""
    known = ~np.isnan(values)
    if not known.any():
        return Estimate(math.nan, math.nan, math.nan)
    some = None if clusters is None else clusters[known]
    return Estimate(float(statistic(values[known])), *bootstrap(values[known], statistic, clusters=some))


def joint_estimates(scores: Scores, clusters: NDArray | None = None) -> dict[str, Estimate]:
    """The mean error of each joint."""
    return {name: estimate(errors, clusters) for name, errors in scores.joints.items()}


def off_axis_bins(scores: Scores, angles: NDArray[np.float64], clusters: NDArray | None = None) -> list[Bin]:
    """Means of the columns per person, and medians where the protocol wants them, by off-axis angle.

    Args:
        scores: of N people.
        angles: (N,) degrees.
        clusters: (N,) what people belong to, such as their video. Without it intervals are by bootstrap over
            people, and too narrow where people of one video resemble each other.
    """
    masks = {"all": np.ones(len(angles), bool)}
    for low, high in itertools.pairwise(ANGLES):
        name = f"{low:.0f} to {high:.0f}" if math.isfinite(high) else f"over {low:.0f}"
        masks[name] = (angles >= low) & (angles < high)
    bins = []
    for name, mask in masks.items():
        values: dict[str, Estimate] = {}
        for column, people in scores.people.items():
            some = None if clusters is None else clusters[mask]
            values[column] = estimate(people[mask], some)
            if column in scores.medians:
                values[f"{column}, median"] = estimate(people[mask], some, np.median)
        bins.append(Bin(name, int(mask.sum()), values))
    return bins


def write_sequences(path: Path, scores: Scores, sequences: NDArray[np.str_]) -> None:
    """A CSV with the mean of each column for each sequence, and how many people it has."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "people", *scores.people])
        for sequence in np.unique(sequences).tolist():
            inside = sequences == sequence
            row = [mean(column[inside]) for column in scores.people.values()]
            values = ["" if math.isnan(value) else f"{value:.3f}" for value in row]
            writer.writerow([sequence or "all", int(inside.sum()), *values])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, of which the first row is the head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def number(value: float) -> str:
    """A number as tables show it."""
    return "n/a" if math.isnan(value) else f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}"


def _shown(values: Mapping[str, float], name: str) -> str:
    return number(values[name]) if name in values else ""


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value

import csv
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from fullframe.cli.evaluate import print_report
from fullframe.evaluate.protocol import Protocol, Published, Scores, mean
from fullframe.evaluate.report import (
    Estimate,
    Report,
    joint_estimates,
    markdown_table,
    number,
    off_axis_bins,
    write_sequences,
)


@pytest.fixture
def scores() -> Scores:
    people = {
        "MPJPE mm": np.array([10.0, 20, 30, 40, 1000, np.nan]),
        "turn deg": np.array([1.0, 2, 9, 4, 5, 6]),
        "PVE mm": np.full(6, np.nan),
    }
    joints = {"left_knee": np.array([1.0, 2, 3, np.nan, 4, 5])}
    return Scores({k: mean(v) for k, v in people.items()}, people, joints, ("turn deg",), ("why",))


ANGLES = np.array([0, 7.999, 8, 16, 24, 60])


@pytest.fixture
def report(scores) -> Report:
    protocol = Protocol(
        "A benchmark",
        lambda root: [],
        lambda predictions, bodies: scores,
        {"boxes": "true [px]", "people": "everyone"},
        (Published("HMR", {"MPJPE mm": 130.0}), Published("Other", {})),
    )
    model = {"name": "cliff", "sha256": "0", "body": "open", "data": "synth"}
    return Report(
        "x", model, 6, protocol, scores, off_axis_bins(scores, ANGLES), joint_estimates(scores), scores.notes
    )


def test_bins_by_hand(scores):
    bins = {b.name: b for b in off_axis_bins(scores, ANGLES)}
    assert {name: b.people for name, b in bins.items()} == {
        "all": 6, "0 to 8": 2, "8 to 16": 1, "16 to 24": 1, "over 24": 2,
    }  # fmt: skip
    assert bins["0 to 8"].values["MPJPE mm"].value == 15
    assert bins["over 24"].values["MPJPE mm"].value == 1000  # who is not measured does not count
    assert bins["all"].values["turn deg"].value == pytest.approx(4.5)
    assert bins["all"].values["turn deg, median"].value == 4.5
    assert "MPJPE mm, median" not in bins["all"].values
    assert math.isnan(bins["all"].values["PVE mm"].value)
    low, high = bins["all"].values["turn deg"][1:]
    assert 1 < low < 4.5 < high < 9


def test_intervals_over_clusters_are_those_of_the_clusters(scores):
    """Two clips of three people each: the mean over people is that of one clip twice, or of both."""
    clusters = np.array(["a", "a", "a", "b", "b", "b"])
    found = off_axis_bins(scores, ANGLES, clusters)[0].values["turn deg"]
    assert found == (4.5, 4, 5)
    # Nobody of two clips is left between 0 and 8 degrees: no interval.
    assert str(off_axis_bins(scores, ANGLES, clusters)[1].values["turn deg"]) == "1.50"


def test_joints_have_intervals(scores):
    estimate = joint_estimates(scores)["left_knee"]
    assert estimate.value == 3 and 1 < estimate.low < 3 < estimate.high < 5
    assert joint_estimates(scores, np.array([*"aaabbb"]))["left_knee"] == (3, 2, 4.5)


def test_sequences_are_averaged_apart(scores, tmp_path):
    write_sequences(tmp_path / "a.csv", scores, np.array(["b", "a", "b", "a", "", "b"]))
    rows = list(csv.reader((tmp_path / "a.csv").open()))
    assert rows == [
        ["sequence", "people", "MPJPE mm", "turn deg", "PVE mm"],
        ["all", "1", "1000.000", "5.000", ""],
        ["a", "2", "30.000", "3.000", ""],
        ["b", "3", "20.000", "5.333", ""],
    ]


def test_json_has_null_for_what_is_unknown(report):
    content = json.loads(report.json())
    assert content["values"]["PVE mm"] is None
    assert content["values"]["MPJPE mm"] == 220
    assert content["off_axis_degrees"][1]["MPJPE mm"]["value"] == 15
    assert content["published"][0] == {"model": "HMR", "MPJPE mm": 130.0}
    assert content["notes"] == ["why"]
    assert content["joints"]["left_knee"]["value"] == 3


def test_markdown_has_our_numbers_above_the_published(report):
    text = report.markdown()
    assert "| cliff | 220.0 | 4.50 | n/a |\n| HMR | 130.0 |  |  |\n| Other |  |  |  |\n" in text
    assert "- people: 6: everyone\n" in text
    assert "- trained on: synth\n" in text
    assert text.endswith("- why\n")
    assert "| left knee | 3.00 ±" in text


def test_console_shows_brackets_and_fits(report):
    out = io.StringIO()
    print_report(report, Console(file=out, width=80))
    text = out.getvalue()
    assert "boxes: true [px]" in text
    assert "220.0" in text and "n/a" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("value", "text"), [(9.994, "9.99"), (9.996, "10.0"), (123.44, "123.4"), (0, "0.00"), (math.nan, "n/a")]
)
def test_numbers(value, text):
    assert number(value) == text


def test_estimates():
    assert str(Estimate(72.04, 71.0, 73.5)) == "72.0 ±1.25"
    assert str(Estimate(72.04, math.nan, math.nan)) == "72.0"
    assert str(Estimate(math.nan, math.nan, math.nan)) == "n/a"


def test_markdown_table():
    assert markdown_table([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"

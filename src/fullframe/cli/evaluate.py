"""The command `fullframe evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from fullframe.evaluate.report import Report


def evaluate(
    benchmark: Annotated[str, tyro.conf.Positional],
    /,
    *,
    model: str = "cliff-lite",
    refine: bool = False,
    root: Path | None = None,
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    workers: int | None = None,
) -> int:
    """Measure a model on a benchmark and print its table beside the published one.

    Predictions are written first, so that a killed run can be resumed; numbers, charts and the worst people
    are made from them.

    Args:
        benchmark: 3dpw, 3dpw-occ, h36m-p1, h36m-p2, agora, emdb, mpi-inf-3dhp, coco, lspet, gestures,
            pose2sim, pose2sim-clips, synth or synth-occluded.
        model: cliff-lite, hmr-lite or imphmr-lite, which are built in, a trained network (.safetensors), or
            keypoint-fit.
        refine: fit the network's bodies to detected keypoints, as fullframe run does by default.
        root: folder of the data set; docs/guides/evaluate.md lists the files in it. gestures and the
            synthetic ones need none.
        out: folder for predictions and results; by default evaluation/<benchmark>-<model>-<checksum>.
        workers: processes that read images; by default none on a CPU, with a GPU one per core.
    """
    from fullframe.cli.console import say, show_progress, usage_errors
    from fullframe.evaluate.benchmark import evaluate_model
    from fullframe.models.checkpoint import read_card
    from fullframe.recovery.photo import FIT

    with usage_errors():
        if out is None:
            # Networks of the same name differ in their content.
            parts = [benchmark, Path(model).stem, *([] if model == FIT else [read_card(model).sha256[:8]])]
            out = Path("evaluation") / "-".join(parts + ["refine"] * refine)
        with show_progress() as progress:
            report = evaluate_model(
                benchmark, model, root, out, refine=refine, workers=workers, progress=progress
            )
    print_report(report, Console(highlight=False))
    say(f"written to {out}")
    return 0


def print_report(report: "Report", console: Console) -> None:
    """The tables of a report, in colour if the console supports it."""
    for title, rows in report.tables():
        console.print(Text(title, "bold"))
        table = Table(box=box.SIMPLE_HEAD)
        for position, heading in enumerate(rows[0]):
            table.add_column(Text(heading), justify="right" if position else "left", overflow="fold")
        for row in rows[1:]:
            table.add_row(*map(Text, row), style="bold" if row is rows[1] else "")
        console.print(table)
    for line in (*report.facts(), *report.notes):
        console.print(Text(line), soft_wrap=True)

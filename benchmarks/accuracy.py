"""The table of docs/benchmarks.md: shipped networks, and others, on real photos and on synth-val.

    python benchmarks/accuracy.py [NAME.safetensors ...] [--out FOLDER]

Ground-truth boxes, the network alone. coco_dev: PCK@0.1 of the box's longer side, over the labelled joints of
people with at least 12 of them and 100 px of height. lspet val: photos that are never trained on, PCK@0.1 of
the box and PCK@0.2 of the torso. synth-val: 2000 synthetic people; ± is half of the 95 % interval. Photos
come from the folder that FULLFRAME_SHARED names (default: shared/ beside the repository).

Predictions are kept in --out, so that a stopped run goes on.
"""

import argparse
import hashlib
from importlib import resources
from pathlib import Path

from common import photos_folder
from rich.console import Console
from rich.progress import Progress

from fullframe.evaluate.evaluation import evaluate_model
from fullframe.evaluate.protocols.synth import ROTATION
from fullframe.evaluate.report import Report, markdown_table

SYNTH = ("MPJPE mm", "PA-MPJPE mm", "PVE mm", ROTATION, f"{ROTATION}, median")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, help="further checkpoints (.safetensors)")
    parser.add_argument("--out", type=Path, default=Path("evaluation/accuracy"))
    arguments = parser.parse_args()
    photos = photos_folder()
    roots = {"coco": photos / "coco_dev", "lspet": photos / "lspet", "synth": None}
    table = [["model", "coco_dev PCK@0.1", "lspet val PCK@0.1", "lspet val PCK@0.2 torso", *SYNTH]]
    angles = [["model", "off-axis degrees", "people", *SYNTH]]
    models = [*shipped(), *arguments.models]
    if not models:
        raise SystemExit("no weights are shipped yet: name a checkpoint (.safetensors)")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for model in models:
            reports = {}
            for benchmark, root in roots.items():
                task = progress.add_task(f"{model.stem}, {benchmark}", total=None)
                # Checkpoints of the same name are told apart by their place.
                place = hashlib.sha256(str(model.resolve()).encode()).hexdigest()[:8]
                reports[benchmark] = evaluate_model(
                    benchmark,
                    model,
                    root,
                    arguments.out / f"{model.stem}-{place}" / benchmark,
                    advance=lambda done, total, task=task: progress.update(task, completed=done, total=total),
                )
                progress.remove_task(task)
            table.append(row(model.stem, reports))
            for group in reports["synth"].bins:
                estimates = [str(group.values[name]) for name in SYNTH]
                angles.append([model.stem, group.name, str(group.people), *estimates])
    print(markdown_table(table))
    print("synth-val by the angle of the box's centre from the optical axis:\n")
    print(markdown_table(angles))


def shipped() -> list[Path]:
    """The checkpoints that the package comes with."""
    with resources.as_file(resources.files("fullframe") / "assets") as assets:
        return sorted(assets.glob("weights/*.safetensors"))


def row(name: str, reports: dict[str, Report]) -> list[str]:
    """A line of the table."""
    coco, lspet = (reports[benchmark].scores.values for benchmark in ("coco", "lspet"))
    shares = (coco["PCK@0.1 %"], lspet["PCK@0.1 %"], lspet["PCK@0.2 torso %"])
    everyone = reports["synth"].bins[0].values
    return [name, *(f"{share / 100:.3f}" for share in shares), *(str(everyone[column]) for column in SYNTH)]


if __name__ == "__main__":
    main()

"""The accuracy table of docs/benchmarks.md: every shipped model, and others, on real people and on synth-val.

    python benchmarks/accuracy.py [NAME.safetensors ...] [--sets gestures pairs ...] [--out FOLDER]

Ground-truth boxes. coco: photos of coco_dev, PCK@0.1 of the box's longer side, over the labelled joints of
people with at least 12 of them and 100 px of height. lspet: photos that are never trained on, PCK@0.1 of the
box and PCK@0.2 of the torso. gestures: real people with 3D truth, which come with fullframe. pairs: real
people in twos and threes with 3D truth, who often hide each other; also by how many of the twelve joints of
the limbs another person or the picture's edge hides. synth: synth-val, 2000 synthetic people.
± is half of the 95 % interval; of gestures whole clips are drawn for it.

keypoint-fit sees the keypoints of the built-in detector; networks are measured alone and with --refine, the
fit that starts from their result. coco, lspet and pairs come from the folder that FULLFRAME_SHARED names
(default: shared/ beside this); sets that are not there are skipped.

Predictions are kept in --out, so that a stopped run can be resumed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import tyro
from common import PAIRS, PHOTOS, hidden_joints, protocol_of
from numpy.typing import NDArray
from rich.progress import Progress

from fullframe.assets import WEIGHTS
from fullframe.data.sample import Sample
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import Predictions, load_predictor, predict
from fullframe.evaluate.protocol import Protocol, Scores
from fullframe.evaluate.protocols.shared import LIMB_COLUMNS
from fullframe.evaluate.protocols.synth import ROTATION
from fullframe.evaluate.report import estimate, markdown_table, off_axis_bins
from fullframe.models.checkpoint import read_card
from fullframe.recovery.photo import FIT

Set = Literal["coco", "lspet", "gestures", "pairs", "synth"]
SETS: tuple[Set, ...] = ("coco", "lspet", "gestures", "pairs", "synth")
FOLDERS = {"coco": PHOTOS / "coco_dev", "lspet": PHOTOS / "lspet", "pairs": PAIRS}
COLUMNS = {
    "coco": "coco_dev PCK@0.1",
    "lspet": "lspet val PCK@0.1 / @0.2 torso",
    "gestures": "gestures MPJPE / centred / PA mm, torso deg",
    "pairs": "pairs MPJPE / centred / PA mm, torso deg",
    "synth": "synth-val PA-MPJPE mm",
}
HIDDEN = {"none": (0, 1), "1 to 3": (1, 4), "4 or more": (4, 13), "6 or more": (6, 13)}
"""Groups of pairs by joints that are hidden: from, and less than."""
SYNTH = ("MPJPE mm", "PA-MPJPE mm", "PVE mm", ROTATION, f"{ROTATION}, median")


class Found(NamedTuple):
    """What a model predicts for a set, and its scores."""

    predictions: Predictions
    scores: Scores
    protocol: Protocol


def main(
    models: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME.safetensors")] = (),
    sets: tuple[Set, ...] = SETS,
    out: Path = Path("evaluation/accuracy"),
) -> None:
    for name in sets:
        if name in FOLDERS and not FOLDERS[name].is_dir():
            print(
                f"{name}: skipped, since {FOLDERS[name]} is absent; FULLFRAME_SHARED names its data/ folder"
            )
    chosen = [name for name in sets if name not in FOLDERS or FOLDERS[name].is_dir()]
    protocols = {name: protocol_of(name) for name in chosen}
    samples = {name: protocols[name].open(FOLDERS.get(name, Path())) for name in chosen}
    rows = {FIT: (FIT, False)}
    for path in (*sorted(WEIGHTS.glob("*.safetensors")), *models):
        rows |= {path.stem: (str(path), False), f"{path.stem} --refine": (str(path), True)}
    table = [["model", *(COLUMNS[name] for name in chosen)]]
    synth = [["model", *SYNTH]]
    angles = [["off-axis degrees", "people", "model", *SYNTH]]
    hidden = [["joints hidden", "people", "model", *LIMB_COLUMNS, "MPJPE mm less the network's"]]
    alone: dict[str, NDArray[np.float64]] = {}
    count = hidden_joints(samples["pairs"]).sum(1) if "pairs" in chosen else np.zeros(0)
    for row, (model, refine) in rows.items():
        found = {name: measured(name, protocols[name], samples[name], model, refine, out) for name in chosen}
        table.append([row, *(cell(name, found[name]) for name in chosen)])
        for name, (low, high) in HIDDEN.items() if "pairs" in found else ():
            some = (count >= low) & (count < high)
            people = {column: values[some] for column, values in found["pairs"].scores.people.items()}
            shown = [str(estimate(people[column])) for column in LIMB_COLUMNS]
            if not refine:
                alone[name] = people["MPJPE mm"]
            shown.append(str(estimate(people["MPJPE mm"] - alone[name])) if refine else "")
            hidden.append([name, str(some.sum()), row, *shown])
        if "synth" in found:
            bins = off_axis_bins(found["synth"].scores, found["synth"].predictions.off_axis)
            synth.append([row, *(str(bins[0].values[column]) for column in SYNTH)])
            for group in bins:
                values = (str(group.values[column]) for column in SYNTH)
                angles.append([group.name, str(group.people), row, *values])
    print(markdown_table(table))
    if "pairs" in chosen:
        print("pairs by joints that are hidden:\n")
        print(markdown_table([hidden[0], *sorted(hidden[1:], key=lambda row: list(HIDDEN).index(row[0]))]))
    if "synth" in chosen:
        print("synth-val:\n")
        print(markdown_table(synth))
        print("synth-val by the angle of the box's centre from the optical axis:\n")
        print(markdown_table(angles))


def measured(
    name: Set, protocol: Protocol, samples: Sequence[Sample], model: str, refine: bool, out: Path
) -> Found:
    """The predictions of a model, made unless they are in its folder, and their scores."""
    # Checkpoints of the same name differ in their content.
    digest = FIT if model == FIT else read_card(model).sha256
    folder = out / (FIT if model == FIT else f"{Path(model).stem}-{digest[:8]}") / f"{name}{'-fit' * refine}"
    with Progress(transient=True) as progress:
        task = progress.add_task(f"{Path(model).stem}, {name}", total=len(samples))
        predictions = predict(
            load_predictor(model, refine),
            samples,
            folder,
            {"model": digest, "refine": refine, "benchmark": name},
            enlarge=protocol.enlarge,
            progress=lambda stage, done, total: progress.update(task, completed=done),
        )
    return Found(predictions, protocol.measure(predictions, BodyCache("open")), protocol)


def cell(name: Set, found: Found) -> str:
    """What the table shows of a set."""
    scores = found.scores
    if name == "coco":
        return f"{scores.values['PCK@0.1 %'] / 100:.3f}"
    if name == "lspet":
        return f"{scores.values['PCK@0.1 %'] / 100:.3f} / {scores.values['PCK@0.2 torso %'] / 100:.3f}"
    clusters = found.predictions.sequences if found.protocol.by_sequence else None
    columns = ("PA-MPJPE mm",) if name == "synth" else LIMB_COLUMNS
    shown = [str(estimate(np.asarray(scores.people[column]), clusters)) for column in columns]
    return " / ".join(shown[:3]) + "".join(f", {text}" for text in shown[3:])


if __name__ == "__main__":
    tyro.cli(main)

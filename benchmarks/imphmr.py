"""What each part of ImpHMR brings: trains it part by part, like its baselines, and measures all alike.

    python benchmarks/imphmr.py configs/ablation.toml data.lspet.weight=0.2 data.lspet.path=FOLDER
    python benchmarks/imphmr.py configs/imphmr-lite.toml --only HMR "+ consistency = ImpHMR" "ImpHMR, gated"

All share one frozen encoder, or with `--features 0` train their own, and see the same people
in the same order, for each seed. With configs/imphmr-lite.toml all start from one trained HMR. Measured are
synth-val, synth-val behind occluders, gestures, pairs and labelled COCO photos
where there are any (see benchmarks/common.py), how far apart what is inferred from other directions is from
the turned result, and what a forward pass costs. The same command resumes. Writes
imphmr.md and imphmr.csv (a line for each number with its interval) into the folder: the means over seeds, and
how far they are from others' for the same people.

The consistency between views is learned from people without 3D labels: without such a source (lspet, coco or
labels) that row is left out.
"""

import csv
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch
import tyro
from common import PAIRS, SHARED, protocol_of
from torch.utils.flop_counter import FlopCounterMode
from variants import (
    Options,
    chosen,
    configure,
    difference,
    mean_over_seeds,
    measure,
    opened,
    shared_encoder,
    train,
)

from fullframe.evaluate.protocol import Scores
from fullframe.evaluate.protocols.shared import LIMB_COLUMNS
from fullframe.evaluate.report import Estimate, estimate, markdown_table, number
from fullframe.io.atomic import atomic_path
from fullframe.models import CropRegressor, ImpHMR, load_model
from fullframe.models.imphmr.volume import rotate_root
from fullframe.train.config import read_config
from fullframe.train.validation import hold_out

PAPER = {
    "network.bbox_info_input": False,
    "network.full_frame_loss": False,
    "network.feature_gate": False,
}
ALONE = {"loss.novel_view.consistent_pose": 0.0, "loss.novel_view.consistent_betas": 0.0}
CONSISTENCY = "+ consistency = ImpHMR"
GATED = "ImpHMR, gated"

VARIANTS: dict[str, dict[str, Any]] = {
    "HMR": {"network.model": "hmr", **PAPER},
    "+ field": {"network.model": "imphmr", **PAPER, "network.view_range": 0.0},
    "+ imagination": {"network.model": "imphmr", **PAPER, **ALONE, "loss.novel_view.silhouette": 0.0},
    "+ silhouettes": {"network.model": "imphmr", **PAPER, **ALONE},
    CONSISTENCY: {"network.model": "imphmr", **PAPER},
    GATED: {"network.model": "imphmr", **PAPER, "network.feature_gate": True},
    "CLIFF": {"network.model": "cliff", "network.bbox_info_input": True, "network.full_frame_loss": True},
    "ImpHMR with CLIFF's switches": {
        "network.model": "imphmr",
        "network.bbox_info_input": True,
        "network.full_frame_loss": True,
    },
    "ImpHMR, directions up to 30 degrees": {"network.model": "imphmr", **PAPER, "network.view_range": 30.0},
    "ImpHMR, directions up to 90 degrees": {"network.model": "imphmr", **PAPER, "network.view_range": 90.0},
    **{
        f"ImpHMR, map of {size} px": {"network.model": "imphmr", **PAPER, "network.field_size": size}
        for size in (8, 16, 32)
    },
}

AGAINST = {
    "+ imagination": ("HMR", "+ field"),
    "+ silhouettes": ("HMR", "+ imagination"),
    CONSISTENCY: ("HMR", "+ silhouettes", "+ field"),
    GATED: ("HMR", CONSISTENCY),
    "ImpHMR with CLIFF's switches": ("CLIFF",),
    "ImpHMR, directions up to 30 degrees": ("HMR", CONSISTENCY),
    "ImpHMR, directions up to 90 degrees": ("HMR", CONSISTENCY),
}
"""What each is compared with, person by person; the others with HMR."""

SHOWN = {
    "synth": ("MPJPE mm", "PA-MPJPE mm", "PVE mm"),
    "synth-occluded": ("MPJPE mm", "PA-MPJPE mm", "PVE mm"),
    "gestures": LIMB_COLUMNS,
    "pairs": LIMB_COLUMNS,
    "coco": ("PCK@0.1 % per person",),
}


def main(
    common: tyro.conf.OmitArgPrefixes[Options],
    out: Path = Path("runs/imphmr"),
    seeds: int = 2,
    people: int = 2000,
    only: tuple[str, ...] = (),
) -> None:
    """Train and measure.

    Args:
        out: folder of the runs and results.
        seeds: trainings of each variant.
        people: measured on, of each benchmark.
        only: names of variants; all if none.
    """
    base = read_config(common.config, common.settings)
    wanted = {name: VARIANTS[name] for name in chosen(only, VARIANTS)}
    if not (any(source.weight > 0 for source in base.data.values())) and wanted.pop(CONSISTENCY, None):
        print(f"without {CONSISTENCY}: everyone in the data has 3D labels; add a [data.NAME] without")
    # The size that all others have stands in the rows above.
    wanted.pop(f"ImpHMR, map of {base.network.field_size} px", None)
    if not wanted:
        raise SystemExit("nothing is left to train")
    shared = shared_encoder(common)
    found: dict[str, dict[str, Estimate | float]] = {}
    apart: dict[str, dict[str, Estimate | float]] = {}
    scored: dict[str, dict[str, Scores]] = {}
    for name, changes in wanted.items():
        if changes["network.model"] != "imphmr":
            changes = changes | {"distillation": 0}
        runs = [configure(common, out, name, seed, shared | changes) for seed in range(seeds)]
        paths = [train(run) for run in runs]
        scored[name] = score(paths, people)
        found[name] = {
            **errors(scored[name]),
            **agreement(paths, people),
            **cost(load_model(paths[0]).network),
        }
        for other in AGAINST.get(name, ("HMR",)):
            if name != other and other in scored:
                less = {key: difference(each, scored[other][key]) for key, each in scored[name].items()}
                apart[f"{name} less {other}"] = errors(less)
        write(found, apart, out, seeds)
    print((out / "imphmr.md").read_text(encoding="utf-8"))


def score(paths: list[Path], people: int) -> dict[str, Scores]:
    """Everyone's errors, the mean over seeds, on each benchmark there is."""
    coco = SHARED / "data" / "photos" / "coco_dev"
    roots = {"synth": None, "synth-occluded": None, "gestures": None, "pairs": PAIRS, "coco": coco}
    return {
        benchmark: mean_over_seeds([measure(path, benchmark, root, people)[0] for path in paths])
        for benchmark, root in roots.items()
        if root is None or root.is_dir()
    }


def errors(of: dict[str, Scores]) -> dict[str, Estimate | float]:
    """Means over people, with their intervals."""
    values: dict[str, Estimate | float] = {}
    for benchmark, scores in of.items():
        clusters = None
        if protocol_of(benchmark).by_sequence:
            clusters = np.array([sample.sequence for sample in opened(benchmark, None, None)])
        for column in SHOWN[benchmark]:
            values[f"{benchmark} {column}"] = estimate(scores.people[column], clusters)
    return values


@torch.inference_mode()
def agreement(paths: list[Path], people: int) -> dict[str, Estimate | float]:
    """Median angle between what is inferred from other directions and the canonical result turned there.

    Of the root, and the mean of the other joints', from 90, 180 and 270 degrees. Without imagination no one
    asked the network for these views.
    """
    roots, others = [], []
    for path in paths:
        model = load_model(path).network
        if not isinstance(model, ImpHMR):
            return {}
        samples = opened("synth", None, people)
        batch = hold_out(samples, 200, model.crop).batch
        for start in range(0, len(batch), 20):
            crops, bbox_info = (
                model.prepare(batch.crops[start : start + 20]),
                batch.bbox_info[start : start + 20],
            )
            canonical = model(crops, bbox_info).pose
            for degrees in (90.0, 180.0, 270.0):
                phi = torch.full((len(crops),), math.radians(degrees))
                imagined = model.imagine(crops, bbox_info, phi).prediction.pose
                angles = roma.rotmat_geodesic_distance(imagined, rotate_root(canonical, phi)).rad2deg()
                roots.append(angles[:, 0])
                others.append(angles[:, 1:].mean(1))
    root, joints = (float(torch.cat(angles).median()) for angles in (roots, others))
    return {"views apart, root deg": root, "views apart, joints deg": joints}


def cost(model: CropRegressor, repeats: int = 10) -> dict[str, Estimate | float]:
    """Of one person at inference: billions of multiplications, and the least time on one thread."""
    crops, bbox_info = torch.zeros(1, 3, *model.crop), torch.zeros(1, 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 1):  # the first one allocates
            start = time.perf_counter()
            model(crops, bbox_info)
            times.append(time.perf_counter() - start)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(crops, bbox_info)
    torch.set_num_threads(threads)
    return {"GMAC": counter.get_total_flops() / 2e9, "ms": 1e3 * min(times[1:])}


def write(
    found: dict[str, dict[str, Estimate | float]],
    apart: dict[str, dict[str, Estimate | float]],
    out: Path,
    seeds: int,
) -> None:
    """The tables and the numbers behind them, of what is measured so far."""
    tables = [_table(found, f"network ({seeds} seeds)")]
    if apart:
        tables.append(_table(apart, "of the same people"))
    with atomic_path(out / "imphmr.md") as temporary:
        temporary.write_text("\n".join(tables), encoding="utf-8")
    with atomic_path(out / "imphmr.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["network", "measure", "value", "low", "high"])
        for name, values in (found | apart).items():
            for column, value in values.items():
                low, high = (value.low, value.high) if isinstance(value, Estimate) else (np.nan, np.nan)
                mean = value.value if isinstance(value, Estimate) else value
                writer.writerow([name, column, mean, *("" if np.isnan(x) else x for x in (low, high))])


def _table(of: dict[str, dict[str, Estimate | float]], title: str) -> str:
    columns = list(dict.fromkeys(column for values in of.values() for column in values))
    rows = [[title, *columns]]
    for name, values in of.items():
        rows.append([name, *(_shown(values[column]) if column in values else "" for column in columns)])
    return markdown_table(rows)


def _shown(value: Estimate | float) -> str:
    return str(value) if isinstance(value, Estimate) else number(value)


if __name__ == "__main__":
    tyro.cli(main)

"""What each part of CLIFF contributes: trains HMR, its two halves, CLIFF and the ray-relative variant alike.

    python benchmarks/ablation.py configs/ablation.toml --out runs/ablation

All five share one frozen encoder, which was trained on heatmaps of joints, so that they can be trained
without a GPU. With `--features 0` each trains an encoder of its own. All see the same people in the same
order, for each seed; then synth-val measures them. The same command resumes. Writes ablation.md and
ablation.png into the folder: errors over everyone and by the angle between a
person and the camera's axis, the mean over seeds of each person's error; how far they are from HMR's for the
same people; all with 95 % intervals by bootstrap over people; and each seed's own.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tyro
from variants import Options, configure, difference, mean_over_seeds, measure, shared_encoder, train

from fullframe.evaluate.report import Bin, markdown_table, off_axis_bins
from fullframe.io.atomic import atomic_path

matplotlib.use("Agg")
import matplotlib.pyplot as plt

VARIANTS: dict[str, dict[str, Any]] = {
    "HMR": {"network.model": "hmr", "network.bbox_info_input": False, "network.full_frame_loss": False},
    "bbox_info input only": {"network.model": "cliff", "network.full_frame_loss": False},
    "full-frame loss only": {"network.model": "cliff", "network.bbox_info_input": False},
    "CLIFF": {"network.model": "cliff"},
    "ray-relative CLIFF": {"network.model": "ray"},
}


def main(
    common: tyro.conf.OmitArgPrefixes[Options], out: Path = Path("runs/ablation"), seeds: int = 2
) -> None:
    """Train and measure.

    Args:
        out: folder of the runs and results.
        seeds: trainings of each variant.
    """
    shared = shared_encoder(common)
    measured = {
        (name, seed): measure(train(configure(common, out, name, seed, shared | changes)))
        for seed in range(seeds)
        for name, changes in VARIANTS.items()
    }
    angles = measured["HMR", 0][1]
    means = {name: mean_over_seeds([measured[name, seed][0] for seed in range(seeds)]) for name in VARIANTS}
    bins = {name: off_axis_bins(scores, angles) for name, scores in means.items()}
    apart = {name: off_axis_bins(difference(scores, means["HMR"]), angles) for name, scores in means.items()}
    del apart["HMR"]
    alone = {
        f"{name}, seed {seed}": off_axis_bins(scores, angles)[:1]
        for (name, seed), (scores, _) in measured.items()
    }
    tables = [
        markdown_table(rows(of, title))
        for title, of in (
            (f"network ({seeds} seeds)", bins),
            ("less HMR, of the same people", apart),
            ("network", alone),
        )
    ]
    table = "\n".join(tables)
    with atomic_path(out / "ablation.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    print(table)
    plot(bins, out / "ablation.png")


def rows(bins: dict[str, list[Bin]], title: str) -> list[list[str]]:
    """A heading, then a row for each bin and variant."""
    columns = list(next(iter(bins.values()))[0].values)
    found = [["degrees off the axis", "people", title, *columns]]
    for position, bin_ in enumerate(next(iter(bins.values()))):
        for name, of_variant in bins.items():
            values = of_variant[position].values
            found.append([bin_.name, str(bin_.people), name, *(str(values[column]) for column in columns)])
    return found


def plot(bins: dict[str, list[Bin]], path: Path) -> None:
    """Root rotation error and MPJPE by angle."""
    columns = list(next(iter(bins.values()))[0].values)
    shown = [c for c in columns if "rotation" in c] + [c for c in columns if c.startswith("MPJPE")]
    figure, axes = plt.subplots(1, len(shown), figsize=(5.5 * len(shown), 4), constrained_layout=True)
    for axis, column in zip(np.atleast_1d(axes), shown, strict=True):
        for number, (name, of_variant) in enumerate(bins.items()):
            angles = [b for b in of_variant if b.name != "all"]
            values = np.array([b.values[column] for b in angles])
            x = np.arange(len(angles)) + 0.08 * (number - 2)
            spread = np.abs(values[:, 1:] - values[:, :1]).T
            axis.errorbar(x, values[:, 0], spread, marker="o", capsize=3, label=name)
        axis.set_xticks(range(len(angles)), [b.name for b in angles])
        axis.set_xlabel("degrees off the camera's axis")
        axis.set_ylabel(column)
        axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


if __name__ == "__main__":
    tyro.cli(main)

"""Logs of a run: tables, tensorboard curves, messages."""

import csv
import json
import logging
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullframe.data.batch import Batch
from fullframe.io.atomic import atomic_path, write_npz
from fullframe.io.image import write_jpeg
from fullframe.io.progress import Progress, silent
from fullframe.models import Prediction

_log = logging.getLogger(__name__)


class Table:
    """A CSV file with one row for a number of samples; rows after `samples` are cut off."""

    def __init__(self, path: Path, samples: int) -> None:
        self.path = path
        self.columns: list[str] = []
        if path.exists():
            header, rows = self._read()
            self._write(header, [row for row in rows if int(row["samples"]) <= samples])

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row; the first key is `samples`. Rows before a column that is new are empty there."""
        if not row.keys() <= set(self.columns):
            rows = self._read()[1] if self.columns else []
            self._write(list(dict.fromkeys([*self.columns, *row])), rows)
        texts = {name: str(v) if isinstance(v, int) else f"{v:.6g}" for name, v in row.items()}
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(texts)

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return list(reader.fieldnames or ()), list(reader)

    def _write(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        self.columns = columns
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


class Record:
    """Tables, tensorboard, messages and progress of a run in a folder, from `samples` on.

    Args:
        folder: of the run.
        samples: seen so far; what an interrupted run recorded after that is dropped.
        total: samples of the whole run.
        progress: its stage is "training".
    """

    def __init__(self, folder: Path, samples: int, total: int, progress: Progress = silent) -> None:
        from torch.utils.tensorboard import SummaryWriter  # seconds to import

        self.folder = folder
        self.losses = Table(folder / "losses.csv", samples)
        self.validation = Table(folder / "validation.csv", samples)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=samples + 1 if samples else None)
        self.progress, self.total = progress, total
        self._last = (time.perf_counter(), samples)
        self._steps: list[Mapping[str, float]] = []

    def step(self, samples: int, values: Mapping[str, float]) -> None:
        """Values of one step: losses, gradient norm, learning rate; `training` records their means."""
        self._steps.append(values)
        self.progress("training", min(samples, self.total), self.total)

    def training(self, samples: int) -> None:
        """Record the means of the steps since the last call, if there are any."""
        if not self._steps:
            return
        values = {name: sum(row[name] for row in self._steps) / len(self._steps) for name in self._steps[0]}
        self._steps.clear()
        now, (then, before) = time.perf_counter(), self._last
        self._last = (now, samples)
        rate = (samples - before) / max(now - then, 1e-9)
        self.losses.add({"samples": samples, "samples_per_second": rate, **values})
        for name, value in values.items():
            self.board.add_scalar(f"train/{name}", value, samples)
        self.board.add_scalar("train/samples_per_second", rate, samples)
        terms = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
        _log.info("%s", f"{samples:,} people  {rate:.1f}/s  {terms}")

    def validated(self, samples: int, values: Mapping[str, float]) -> None:
        self.validation.add({"samples": samples, **values})
        for name, value in values.items():
            self.board.add_scalar(f"validation/{name}", value, samples)
        _log.info(
            "%s", f"{samples:,} people: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        )

    def preview(self, samples: int, pixels: NDArray[np.uint8]) -> None:
        """Write a preview (H, W, 3) RGB as previews/<samples>.jpg."""
        path = self.folder / "previews" / f"{samples:09d}.jpg"
        path.parent.mkdir(exist_ok=True)
        write_jpeg(path, pixels)
        self.board.add_image("people", pixels, samples, dataformats="HWC")

    def close(self) -> None:
        self.board.close()


def write_broken_batch(path: Path, batch: Batch, prediction: Prediction) -> None:
    """Write a batch and its prediction as .npz: <field>, <field>_<joint set>, predicted_<field>."""
    arrays: dict[str, Tensor] = {f"predicted_{key}": x for key, x in prediction._asdict().items()}
    for name, value in vars(batch).items():
        sets = value.items() if isinstance(value, dict) else ()
        arrays |= {f"{name}_{key}": tensor for key, tensor in sets} or {name: value}
    write_npz(path, {key: tensor.detach().float().cpu().numpy() for key, tensor in arrays.items()})


def write_provenance(folder: Path, samples: int, seen: Mapping[str, int]) -> None:
    """provenance.json: which code on which data."""
    content = {
        "fullframe": version("fullframe"),
        "commit": _commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "samples": samples,
        "seen": dict(seen),
    }
    with atomic_path(folder / "provenance.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _commit() -> str | None:
    """The git commit of this code, with "+" where files were changed since; None outside of a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # Of this very file: an installed package may lie in the checkout of something else.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.SubprocessError):
        return None

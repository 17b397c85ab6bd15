"""What a run leaves behind for people to look at: tables, curves, messages."""

import csv
import json
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fullframe.cli.console import console, say
from fullframe.io.atomic import atomic_path
from fullframe.io.image import write_jpeg


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
    """Tables, tensorboard and console of a run in a folder, from `samples` on.

    Args:
        folder: of the run.
        samples: seen so far; what an interrupted run recorded after that is dropped.
        total: samples of the whole run.
    """

    def __init__(self, folder: Path, samples: int, total: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # seconds to import

        self.folder = folder
        self.losses = Table(folder / "losses.csv", samples)
        self.validation = Table(folder / "validation.csv", samples)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=samples + 1 if samples else None)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} / {task.total:,.0f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(
            *columns,
            console=console,
            transient=True,
            speed_estimate_period=120,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("training", total=total, completed=samples)
        self.progress.start()
        self._last = (time.perf_counter(), samples)

    def advance(self, samples: int) -> None:
        self.progress.update(self.task, completed=samples)

    def training(self, samples: int, rows: Sequence[Mapping[str, float]]) -> None:
        """The means of the steps since the last call: losses, gradient norm, learning rate."""
        values = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        now, (then, before) = time.perf_counter(), self._last
        self._last = (now, samples)
        rate = (samples - before) / max(now - then, 1e-9)
        self.losses.add({"samples": samples, "samples_per_second": rate, **values})
        for name, value in values.items():
            self.board.add_scalar(f"train/{name}", value, samples)
        self.board.add_scalar("train/samples_per_second", rate, samples)
        terms = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
        self.progress.update(self.task, description=f"loss {values['loss']:.4g}  {rate:.0f}/s")
        say(f"{samples:,} people  {rate:.1f}/s  {terms}")

    def validated(self, samples: int, values: Mapping[str, float]) -> None:
        self.validation.add({"samples": samples, **values})
        for name, value in values.items():
            self.board.add_scalar(f"validation/{name}", value, samples)
        say(f"{samples:,} people: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def picture(self, samples: int, pixels: NDArray[np.uint8]) -> None:
        """Keep a picture (H, W, 3) RGB as pictures/<samples>.jpg."""
        path = self.folder / "pictures" / f"{samples:09d}.jpg"
        path.parent.mkdir(exist_ok=True)
        write_jpeg(path, pixels)
        self.board.add_image("people", pixels, samples, dataformats="HWC")

    def close(self) -> None:
        self.progress.stop()
        self.board.close()


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

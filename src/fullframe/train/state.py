"""The state of a training run in one file, from which it goes on as if nothing had happened.

A file is what torch.save writes and then its SHA-256, so that damage of any kind is noticed. The file before
the last one is kept under another name. Files are read without executing anything in them.
"""

import hashlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from fullframe.io.atomic import atomic_path
from fullframe.models import CropRegressor

STATE, PREVIOUS = "state.pt", "state.previous.pt"
_FORMAT = 1
_DIGEST = hashlib.sha256().digest_size


class StateError(ValueError):
    """A state that cannot be gone on from; the message names the file and the remedy."""


@dataclass
class State:
    """What changes during training. Random numbers are not among it: they follow from seed and samples.

    Attributes:
        model: the network that is trained.
        average: a copy with running averages of its weights and statistics.
        optimizer: Adam or AdamW of the model.
        samples: people seen.
        seen: the same by source.
    """

    model: CropRegressor
    average: CropRegressor
    optimizer: Optimizer
    samples: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    def pack(self, config: dict[str, Any], light: bool = False) -> dict[str, Any]:
        """Everything as tensors and plain values.

        The light form is for moving runs between machines: 2 bytes a weight instead of 16. It keeps the
        averaged weights, matrices and kernels in half precision; training goes on from them. Of Adam's state
        it keeps the second moments as means over rows and columns, whose product stands for the matrix
        (Shazeer and Stern, "Adafactor", ICML 2018), and not the first, which are renewed within ten steps.
        """
        packed = {"format": _FORMAT, "config": config, "samples": self.samples, "seen": dict(self.seen)}
        if not light:
            return packed | {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        average = {
            name: tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
            for name, tensor in self.average.state_dict().items()
        }
        moments = [
            (state["step"], *factor(state["exp_avg_sq"])) if (state := self.optimizer.state.get(p)) else None
            for p in self._parameters()
        ]
        return packed | {"average": average, "moments": moments}

    def unpack(self, packed: dict[str, Any]) -> None:
        """Take everything from `pack`, of either form."""
        self.samples, self.seen = packed["samples"], dict(packed["seen"])
        self.average.load_state_dict(packed["average"])
        self.model.load_state_dict(packed.get("model", packed["average"]))
        if "optimizer" in packed:
            # Moments come from the file, rates and decay from the configuration.
            own = [{**group, "params": None} for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(packed["optimizer"])
            for group, settings in zip(self.optimizer.param_groups, own, strict=True):
                group.update({**settings, "params": group["params"]})
            return
        for p, moments in zip(self._parameters(), packed["moments"], strict=True):
            if moments:
                step, rows, columns = moments
                self.optimizer.state[p] = {
                    "step": step.to(p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": product(rows, columns)
                    .to(p)
                    .view_as(p)
                    .clone(memory_format=torch.preserve_format),
                }

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


def generator_seed(*numbers: int) -> int:
    """A seed of 64 bits for torch out of several numbers, such as a run's seed and how far it is."""
    words = np.random.SeedSequence(numbers).generate_state(2)
    return int(words[0]) << 32 | int(words[1])


def factor(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A non-negative tensor (R, ...) as means over its rows (R, 1) and columns (1, C)."""
    flat = matrix.flatten(1) if matrix.ndim > 1 else matrix[:, None]
    return flat.mean(1, keepdim=True), flat.mean(0, keepdim=True)


def product(rows: Tensor, columns: Tensor) -> Tensor:
    """The matrix (R, C) of these means if it has rank one; else the nearest in I-divergence (Adafactor)."""
    return rows * columns / rows.mean().clamp(min=1e-38)


def save_state(folder: Path, packed: dict[str, Any]) -> Path:
    """Write folder/state.pt; the one before becomes state.previous.pt.

    Raises:
        OSError: if it cannot be written (a full disk, say); the file before is then untouched.
    """
    path = folder / STATE
    for left in folder.glob(f".{path.stem}.*{path.suffix}"):  # by a run that was killed while it wrote
        left.unlink(missing_ok=True)
    buffer = io.BytesIO()
    torch.save(packed, buffer)
    content = buffer.getbuffer()
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            file.write(content)
            file.write(hashlib.sha256(content).digest())
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, folder / PREVIOUS)
    return path


def load_state(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The last good state in a folder, or None if there is none yet, and warnings about damaged ones.

    Raises:
        StateError: if there are files but none is good.
    """
    warnings: list[str] = []
    for name in (STATE, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            return read_state(path), warnings
        except StateError as error:
            warnings.append(str(error))
    if warnings:
        raise StateError("; ".join(warnings) + f"; empty {folder} to begin anew")
    return None, warnings


def read_state(path: Path) -> dict[str, Any]:
    """The content of one file.

    Raises:
        StateError: if it is damaged or of another version.
    """
    content = path.read_bytes()
    if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise StateError(f"{path} is damaged")
    packed = torch.load(io.BytesIO(content[:-_DIGEST]), map_location="cpu", weights_only=True)
    if packed["format"] != _FORMAT:
        raise StateError(f"{path} was written by another version of fullframe; go on with that one")
    return packed

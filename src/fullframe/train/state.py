"""The state of a training run in one file, from which it is resumed exactly.

The file is an io.workdir.StateFile: what torch.save writes, with a checksum, and the file before it. It is
read without executing anything in it.
"""

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from fullframe.io.workdir import StateFile, WorkError
from fullframe.models import CropRegressor
from fullframe.train.config import ConfigError, TrainConfig, flatten

STATE = "state.pt"
_FORMAT = 1


@dataclass
class State:
    """What changes during training. Random numbers are not part of it: they follow from seed and samples.

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

    def pack(self, config: TrainConfig) -> dict[str, Any]:
        """Everything as tensors and plain values.

        The form of `config.light_checkpoint` is for moving runs between machines: 2 bytes a weight instead
        of 16. It keeps the averaged weights, matrices and kernels in half precision; training continues from
        them. Of Adam's state it keeps the second moments as means over rows and columns, whose product
        approximates the matrix (Shazeer and Stern, "Adafactor", ICML 2018), and not the first, which are
        renewed within ten steps.
        """
        packed = {
            "format": _FORMAT,
            "config": flatten(asdict(config)),
            "samples": self.samples,
            "seen": dict(self.seen),
        }
        if not config.light_checkpoint:
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

    def restore(
        self, packed: dict[str, Any], config: TrainConfig, folder: Path
    ) -> dict[str, tuple[Any, Any]]:
        """Resume from what `pack` gave.

        Returns:
            settings that changed since: key to their value then and now.

        Raises:
            ConfigError: the run in the folder is of another network.
        """
        before, now = packed["config"], flatten(asdict(config))
        # Keys that are newer than the run do not count.
        changed = {key: (before[key], now[key]) for key in now if key in before and before[key] != now[key]}
        names = ("model", "body", "frozen_stages", "freeze_encoder", *config.network.model_options)
        if fixed := [key for key in changed if key in {f"network.{name}" for name in names}]:
            differences = ", ".join(f"its {key} is {changed[key][0]}, not {changed[key][1]}" for key in fixed)
            raise ConfigError(
                f"{folder} holds a run of another network: {differences}; choose another folder as `out`"
            )
        self.unpack(packed)
        return changed

    def unpack(self, packed: dict[str, Any]) -> None:
        """Restore what `pack` gave, in either form."""
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


def save_state(folder: Path, packed: dict[str, Any]) -> Path:
    """Write folder/state.pt; the one before becomes state.previous.pt.

    Raises:
        OSError: if it cannot be written (a full disk, say); the file before is then untouched.
    """
    file = StateFile(folder / STATE)
    for left in folder.glob(f".{file.path.stem}.*{file.path.suffix}"):  # by a run that was killed as it wrote
        left.unlink(missing_ok=True)
    buffer = io.BytesIO()
    torch.save(packed, buffer)
    file.save(buffer.getbuffer())
    return file.path


def load_state(folder: Path) -> dict[str, Any] | None:
    """The last undamaged state in a folder, or None if there is none yet. Warns of a damaged file.

    Raises:
        WorkError: if there are files, but all are damaged or of another version.
    """
    content = StateFile(folder / STATE).load()
    if content is None:
        return None
    packed = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if packed["format"] != _FORMAT:
        raise WorkError(f"{folder / STATE} was written by another version of fullframe; resume with that one")
    return packed


def generator_seed(*numbers: int) -> int:
    """A seed of 64 bits for torch out of several numbers, such as a run's seed and the samples seen."""
    words = np.random.SeedSequence(numbers).generate_state(2)
    return int(words[0]) << 32 | int(words[1])


def factor(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A non-negative tensor (R, ...) as means over its rows (R, 1) and columns (1, C)."""
    flat = matrix.flatten(1) if matrix.ndim > 1 else matrix[:, None]
    return flat.mean(1, keepdim=True), flat.mean(0, keepdim=True)


def product(rows: Tensor, columns: Tensor) -> Tensor:
    """The matrix (R, C) of these means if it has rank one; else the nearest in I-divergence (Adafactor)."""
    return rows * columns / rows.mean().clamp(min=1e-38)

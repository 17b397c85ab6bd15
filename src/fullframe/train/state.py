"""The state of a training run in one file, from which it is resumed exactly.

The file is an io.workdir.StateFile: what torch.save writes, with a checksum, and the file before it. It is
read without executing anything in it.
"""

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from fullframe.io.torch_file import check_adam, check_tensors, load_torch
from fullframe.io.workdir import StateFile
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
        changed = _changed(packed, config)
        if fixed := [key for key in changed if key in _fixed(config)]:
            differences = ", ".join(f"its {key} is {changed[key][0]}, not {changed[key][1]}" for key in fixed)
            raise ConfigError(
                f"{folder} holds a run of another network: {differences}; choose another folder as `out`"
            )
        self.unpack(packed)
        return changed

    def check(self, packed: dict[str, Any], config: TrainConfig) -> None:
        """Raises ValueError unless `restore` can resume from this, or says why it is of another network."""
        if missing := [key for key in ("config", "samples", "seen", "average") if key not in packed]:
            raise ValueError(f"it lacks {', '.join(missing)}")
        seen = packed["seen"]
        if not isinstance(packed["config"], dict) or not isinstance(seen, dict):
            raise ValueError("its config and seen are not dictionaries")
        for number in (packed["samples"], *seen.values()):
            if type(number) is not int or not 0 <= number < 2**53:
                raise ValueError(f"its number of people is {str(number)[:100]}")
        if _changed(packed, config).keys() & _fixed(config):
            return
        check_tensors(packed["average"], self.average.state_dict(), "average")
        if "optimizer" in packed:
            check_tensors(packed.get("model"), self.model.state_dict(), "model")
            check_adam(packed["optimizer"], self.optimizer)
            return
        moments = packed.get("moments")
        if not isinstance(moments, list) or len(moments) != len(self._parameters()):
            raise ValueError("its moments are of other parameters")
        for number, (found, p) in enumerate(zip(moments, self._parameters(), strict=True)):
            if found is None:
                continue
            if not isinstance(found, tuple) or len(found) != 3:
                raise ValueError(f"its moments of parameter {number} are damaged")
            names, wanted = ("step", "rows", "columns"), (torch.zeros(()), *factor(p.detach()))
            of_found, of_wanted = (dict(zip(names, some, strict=True)) for some in (found, wanted))
            check_tensors(of_found, of_wanted, f"moments of parameter {number}")

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


def load_state(
    folder: Path, check: Callable[[dict[str, Any]], None] = lambda packed: None
) -> dict[str, Any] | None:
    """The last usable state in a folder, or None if there is none yet. Warns of a file that is not.

    Args:
        folder: of the run.
        check: raises ValueError for a state that cannot be resumed from.

    Raises:
        WorkError: if there are files, but none can be used.
    """

    def parse(content: bytes) -> dict[str, Any]:
        packed = load_torch(content)
        if not isinstance(packed, dict) or "format" not in packed:
            raise ValueError("it is not the state of a run")
        if packed["format"] != _FORMAT:
            raise ValueError("it was written by another version of fullframe; resume with that one")
        check(packed)
        return packed

    return StateFile(folder / STATE).load(parse)


def _changed(packed: dict[str, Any], config: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Settings that differ from those of a packed state: its value and the one now.

    Keys that are newer than the run do not count.
    """
    before, now = packed["config"], flatten(asdict(config))
    return {key: (before[key], now[key]) for key in now if key in before and before[key] != now[key]}


def _fixed(config: TrainConfig) -> set[str]:
    """Keys of the configuration that a run cannot change: those of its network."""
    names = ("model", "body", "frozen_stages", "freeze_encoder", *config.network.model_options)
    return {f"network.{name}" for name in names}


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

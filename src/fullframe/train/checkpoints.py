"""Checkpoints of a run and its exported network."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from lightning_fabric import Fabric

from fullframe.data.batch import Batch
from fullframe.models.checkpoint import is_shipped, save_checkpoint
from fullframe.train.config import TrainConfig
from fullframe.train.logs import write_provenance
from fullframe.train.state import State, load_state, save_state

_log = logging.getLogger(__name__)


class Checkpoints:
    """Resumes, saves and exports the state of a run.

    Args:
        fabric: of this process.
        config: of the run.
        state: which changes in training.
        sources: names that Batch.source indexes.
    """

    def __init__(self, fabric: Fabric, config: TrainConfig, state: State, sources: tuple[str, ...]) -> None:
        self.fabric, self.config, self.state, self.sources = fabric, config, state, sources
        self.folder = Path(config.out)
        self._seen = torch.zeros(
            len(sources), dtype=torch.int64
        )  # in this process, since the last checkpoint

    def resume(self) -> bool:
        """Restore the state in the run's folder; False if there is none.

        Raises:
            ConfigError: the run in the folder is of another network.
            WorkError: none of its checkpoints can be used.
        """
        packed = load_state(self.folder, lambda packed: self.state.check(packed, self.config))
        if packed is None:
            return False
        changed = self.state.restore(packed, self.config, self.folder)
        if self.fabric.is_global_zero:
            _log.info("resuming the run in %s after %s people", self.folder, f"{self.state.samples:,}")
            for key, (old, new) in changed.items():
                _log.warning("changed: %s was %s, is %s", key, old, new)
        return True

    def count(self, batch: Batch) -> None:
        """Count the people of this process's batch, by source."""
        self._seen += batch.source.cpu().bincount(minlength=len(self._seen))

    def save(self) -> None:
        """Write a checkpoint; all processes take part.

        Raises:
            OSError: if it cannot be written.
        """
        seen = self._seen.to(self.fabric.device)
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(seen)
        for name, number in zip(self.sources, seen.tolist(), strict=True):
            self.state.seen[name] = self.state.seen.get(name, 0) + number
        self._seen.zero_()
        if self.fabric.is_global_zero:
            try:
                write_provenance(self.folder, self.state.samples, self.state.seen)
                save_state(self.folder, self.state.pack(self.config))
            except OSError as error:
                raise OSError(
                    f"no checkpoint could be written to {self.folder} ({error}); the one before it remains: "
                    "make room and run the same command to resume from it"
                ) from error

    def export(self, body: str, metrics: Mapping[str, float]) -> Path:
        """Write the averaged network with its card."""
        path = self.folder / f"{self.config.network.model}.safetensors"
        network = self.config.network
        shared = network.freeze_encoder and is_shipped(network.encoder_checkpoint)
        seen = ", ".join(f"{number:,} from {name}" for name, number in self.state.seen.items())
        save_checkpoint(
            self.state.average,
            path,
            body=body,
            data=f"{self.state.samples:,} augmented people: {seen}",
            licence=self.config.licence,
            metrics=metrics,
            dtype="fp16",
            encoder_of=network.encoder_checkpoint if shared else "",
        )
        return path

"""Endless training data from several sources: example n is the same in every process and run."""

import itertools
import logging
import math
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from fullframe.data.augment import Augmentation, augment
from fullframe.data.batch import Batch, Example, collate
from fullframe.data.sample import Sample
from fullframe.data.workers import worker_context

MAX_FAILURE_RATE = 0.01
"""A source of which more than this share cannot be read is an error,"""
MIN_DRAWN = 100
"""once this many of its samples were drawn,"""
_CERTAIN = 3
"""and so many standard deviations more failed than that share explains: a few in a row are chance."""

_log = logging.getLogger(__name__)


class DataError(RuntimeError):
    """Too many samples of a source cannot be read."""


class Draw(NamedTuple):
    """Example n of the mixture.

    Attributes:
        example: None if the source gave nothing readable in MIN_DRAWN attempts.
        source: index of the source.
        failures: why earlier attempts were skipped, one message each.
    """

    example: Example | None
    source: int
    failures: tuple[str, ...]


@dataclass
class DrawStats:
    """How many samples of each source were drawn, and which could not be read.

    Attributes:
        drawn: source name to number of attempts, failed ones included.
        failures: source name to messages, in the order of the data; each names its file.
    """

    drawn: dict[str, int] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)

    def add(self, source: str, readable: int, failures: Sequence[str] = ()) -> None:
        """Count readable samples and why others were skipped.

        Raises:
            DataError: at least MIN_DRAWN samples of the source were drawn, and of them failed so many that
                more than MAX_FAILURE_RATE of all are sure to.
        """
        self.drawn[source] = self.drawn.get(source, 0) + readable + len(failures)
        if not failures:
            return
        known = self.failures.setdefault(source, [])
        for message in failures:
            if message not in known:
                _log.warning("skipped a sample of %s: %s", source, message)
            known.append(message)
        expected = MAX_FAILURE_RATE * self.drawn[source]
        if self.drawn[source] >= MIN_DRAWN and len(known) > expected + _CERTAIN * math.sqrt(expected):
            first = "\n  ".join(list(dict.fromkeys(known))[:5])
            raise DataError(
                f"{len(known)} of {self.drawn[source]} samples of {source} cannot be read: fix or remove "
                f"these files, or leave the source out. The first of them:\n  {first}"
            )


class Mixture(Dataset[Draw]):
    """Augmented examples of several sources, by number, without end.

    Example n depends on the seed and on n alone: which source (by weight), which of its samples (all equally
    likely), which augmentation. A resumed run continues with the next number, and processes share the data
    by taking every world-th number. A sample whose image or labels
    cannot be used is replaced by another of its source.

    Args:
        sources: name to samples.
        weights: name to share of the examples, in any unit; the same names as `sources`.
        crop: (height, width) px.
        augmentation: Augmentation.none() for evaluation.
        seed: not negative.
        num_betas: of the batches.
        body: name of the body that the network predicts. The shape of people labelled with another one is
            left out: their betas mean nothing to it.

    Attributes:
        names: of the sources; Batch.source indexes it.
        stats: filled by `loader`.

    Raises:
        ValueError: for weights that are not positive or name another source, or a source without samples.
    """

    def __init__(
        self,
        sources: Mapping[str, Sequence[Sample]],
        weights: Mapping[str, float],
        crop: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
        num_betas: int,
        body: str = "open",
    ) -> None:
        if not sources or set(sources) != set(weights):
            raise ValueError(
                f"weights must name each source once: sources are {sorted(sources)}, weights {dict(weights)}"
            )
        for name, weight in weights.items():
            if not (np.isfinite(weight) and weight > 0):
                raise ValueError(f"the weight of {name} must be positive, got {weight}; or leave it out")
            if not len(sources[name]):
                raise ValueError(f"the source {name} has no samples")
        self.names = tuple(sources)
        self.sources = [sources[name] for name in self.names]
        shares = np.array([weights[name] for name in self.names], np.float64)
        self.weights = shares / shares.sum()
        self.crop = crop
        self.augmentation = augmentation
        self.seed = seed
        self.num_betas = num_betas
        self.body = body
        self.stats = DrawStats()

    def __getitem__(self, number: int) -> Draw:
        """Raises IndexError for a negative number."""
        if number < 0:
            raise IndexError(f"examples are numbered from 0, got {number}")
        rng = np.random.default_rng((self.seed, number))
        source = int(np.searchsorted(np.cumsum(self.weights[:-1]), rng.random(), side="right"))
        samples = self.sources[source]
        failures: list[str] = []
        while len(failures) < MIN_DRAWN:
            index = int(rng.integers(len(samples)))
            try:
                sample = samples[index]
                sample.check()
                if sample.body != self.body:
                    sample = replace(sample, betas=None)
                example = augment(sample, self.crop, rng, self.augmentation)
            except (ValueError, OSError) as error:
                failures.append(str(error))
            else:
                return Draw(replace(example, source=source), source, tuple(failures))
        return Draw(None, source, tuple(failures))


def loader(
    mixture: Mixture, batch_size: int, start: int = 0, rank: int = 0, world: int = 1, workers: int = 0
) -> Iterator[Batch]:
    """Batches of the mixture in the order of the numbers, without end; the same for any number of workers.

    Process `rank` of `world` gets the numbers n >= start with n % world == rank; the processes' batches
    together are those of a single one with batch_size * world. Skipped samples are logged and counted in
    mixture.stats.

    Args:
        mixture: of the examples.
        batch_size: of this process.
        start: the first number, the same in all processes.
        rank, world: which process this is, of how many.
        workers: processes that prepare batches; 0 prepares them in this one.

    Raises:
        ValueError: for an impossible batch_size, start, rank or world.
        DataError: while iterating, once too many samples of a source cannot be read.
    """
    if batch_size < 1 or start < 0 or not 0 <= rank < world:
        raise ValueError(
            "expected batch_size >= 1, start >= 0 and 0 <= rank < world, "
            f"got {batch_size}, {start}, {rank} of {world}"
        )
    return _batches(mixture, batch_size, start + (rank - start) % world, world, workers)


def _batches(mixture: Mixture, batch_size: int, first: int, step: int, workers: int) -> Iterator[Batch]:
    batches: DataLoader[Draw] = DataLoader(
        mixture,
        batch_sampler=_Numbers(first, step, batch_size),
        num_workers=workers,
        collate_fn=_Collate(mixture.num_betas),
        worker_init_fn=_init_worker,
        multiprocessing_context=worker_context() if workers else None,
    )
    for batch, counts in batches:
        for source, readable, failures in counts:
            mixture.stats.add(mixture.names[source], readable, failures)
        if batch is None:
            last = next(failures[-1] for _, readable, failures in counts if not readable)
            raise DataError(f"{MIN_DRAWN} samples of one source in a row cannot be read: {last}")
        yield batch


@dataclass(frozen=True)
class _Numbers:
    """Lists of batch_size numbers: first, first + step, ..."""

    first: int
    step: int
    batch_size: int

    def __iter__(self) -> Iterator[list[int]]:
        numbers = itertools.count(self.first, self.step)
        while True:
            yield list(itertools.islice(numbers, self.batch_size))


@dataclass(frozen=True)
class _Collate:
    num_betas: int

    def __call__(self, draws: Sequence[Draw]) -> tuple[Batch | None, list[tuple[int, int, tuple[str, ...]]]]:
        examples = [draw.example for draw in draws if draw.example is not None]
        counts = [(draw.source, int(draw.example is not None), draw.failures) for draw in draws]
        return collate(examples, self.num_betas) if len(examples) == len(draws) else None, counts


def _init_worker(_: int) -> None:
    """One thread per worker, and signals for the main process only.

    Ctrl-C and the SIGTERM of `timeout`, Slurm or systemd reach all processes, while the main process may
    need their data to finish a step.
    """
    cv2.setNumThreads(0)  # not 1: after a fork, that waits forever for the parent's threads
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

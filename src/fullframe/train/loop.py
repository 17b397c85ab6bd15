"""The training loop: in one process or many, resumed after any interruption."""

import copy
import functools
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from lightning_fabric import Fabric
from timm.layers import convert_sync_batchnorm

from fullframe.body.body_model import BodyModel
from fullframe.data.batch import Batch
from fullframe.data.mixture import DataError
from fullframe.io.progress import Progress, silent
from fullframe.io.workdir import FolderLock
from fullframe.models import CropRegressor, ImpHMR, Prediction, load_model
from fullframe.train.build import build_network, build_objective, build_optimizer, learning_rate
from fullframe.train.checkpoints import Checkpoints
from fullframe.train.config import ConfigError, TrainConfig, write_config
from fullframe.train.distillation import distil
from fullframe.train.distributed import all_reduce_mean, any_process, launch
from fullframe.train.ema import EMA
from fullframe.train.feature_cache import open_feature_cache
from fullframe.train.interrupt import StopRequest, TrainError, dead_workers_as_errors
from fullframe.train.logs import Record, write_broken_batch
from fullframe.train.pretraining import pretrain_regressor
from fullframe.train.previews import draw_batch
from fullframe.train.state import State, generator_seed

Batches = Callable[[int, int, int], Iterator[Batch]]
"""(start, rank, world) to this process's batches from example `start` on, see data.mixture.loader."""

Validate = Callable[[CropRegressor], Mapping[str, float]]
"""Metrics of a network in evaluation mode."""

_WAIT_S = 30.0
"""The data-loader workers of a run that was killed have its lock until they notice."""

_log = logging.getLogger(__name__)


def fit(
    config: TrainConfig,
    body: BodyModel,
    batches: Batches,
    sources: tuple[str, ...],
    validate: Validate | None = None,
    progress: Progress = silent,
) -> Path | None:
    """Train until `config.samples` people were seen, the time is up, or Ctrl-C.

    A run in `config.out` is resumed: with the same people, dropout and results as without the interruption.
    At every end there are a checkpoint and the averaged network, `<out>/<model>.safetensors`. Under torchrun,
    each of its processes calls this.

    Args:
        config: of the run.
        body: whose pose and betas are predicted; not changed.
        batches: the data.
        sources: names that Batch.source indexes.
        validate: metrics for the record and for the network's card.
        progress: of each stage, in the first process.

    Returns:
        the trained network's file; None in processes other than the first.

    Raises:
        ConfigError: if `config.out` cannot be a folder, or the run in it is of another network.
        WorkError: if another command uses `config.out`, none of its checkpoints can be used, or a cache is of
            other work.
        TrainError: if the loss is not finite, or a data-loader worker died.
        DataError: if too many samples of a source cannot be read.
        OSError: if the last checkpoint cannot be written.
        KeyboardInterrupt: after Ctrl-C, once everything is saved.
    """
    try:
        Path(config.out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out: {config.out} cannot be made a folder: {error.strerror}") from error
    fabric = launch(config)
    with ExitStack() as stack:
        stack.enter_context(dead_workers_as_errors())  # also while the folder is released
        if fabric.is_global_zero:
            stack.callback(FolderLock(Path(config.out), _WAIT_S).release)
        run = _Run(fabric, config, body, batches, sources, validate, progress)
        # From here on there is something to save.
        with StopRequest() as stop:
            return run.fit(stop)


class _Run:
    """One call of `fit` in one process."""

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        body: BodyModel,
        batches: Batches,
        sources: tuple[str, ...],
        validate: Validate | None,
        progress: Progress,
    ) -> None:
        self.fabric, self.config, self.validate = fabric, config, validate
        self.progress = progress if fabric.is_global_zero else silent
        self.folder, self.started = Path(config.out), time.monotonic()
        if config.threads:
            torch.set_num_threads(config.threads)
        network = build_network(config)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            # Batch statistics over all processes. On CPUs each has its own, and those of the first are saved.
            network = convert_sync_batchnorm(network)
        network.to(fabric.device)
        # One pass over the weights, unless gradient scaling has to come in between.
        optimizer = build_optimizer(config.optim, network, fused=config.precision != "16-mixed")
        self.ema = EMA(network, config.optim.ema)
        self.state = State(network, self.ema.network, optimizer)
        self.checkpoints = Checkpoints(fabric, config, self.state, sources)
        resumed = self.checkpoints.resume()
        # A copy, since validation uses the body on the CPU.
        self.objective = build_objective(config.loss, network, copy.deepcopy(body)).to(fabric.device)
        if config.lifting and not resumed:
            people = batches(0, fabric.global_rank, fabric.world_size)
            pretrain_regressor(network, self.objective, people, config.lifting, config.seed, self.progress)
            self.state.average.load_state_dict(network.state_dict())
            self.checkpoints.save()
        self.batches = batches
        if config.cache.features:
            cache = open_feature_cache(config, network, batches, fabric.autocast, self.progress)
            self.batches = functools.partial(
                cache.batches, config.seed, config.batch_size // fabric.world_size
            )
        if config.distillation and not resumed:
            teacher = load_model(config.network.init_checkpoint).network
            assert isinstance(network, ImpHMR)
            left = distil(network, teacher, self.batches(0, fabric.global_rank, fabric.world_size),
                          config.distillation, fabric.autocast, self.progress)  # fmt: skip
            _log.info("the field renders the features but for %.1f %% of their variance", 100 * left)
            self.state.average.load_state_dict(network.state_dict())
            self.checkpoints.save()
        # The first process's weights become everyone's.
        self.wrapped, self.optimizer = fabric.setup(network, optimizer)
        self.wrapped.mark_forward_method("forward_train")
        self.wrapped.train()
        self.metrics: dict[str, float] = {}

    def fit(self, stop: StopRequest) -> Path | None:
        """Train, validate, save, export."""
        # Data-loader workers are forked here, before threads start that would not survive it.
        stream = self.batches(self.state.samples, self.fabric.global_rank, self.fabric.world_size)
        stream = itertools.chain([next(stream)], stream)
        record = None
        if self.fabric.is_global_zero:
            write_config(self.config, self.folder / "config.toml")
            record = Record(self.folder, self.state.samples, self.config.samples, self.progress)
        try:
            finished = self._train(stream, record, stop)
            self.checkpoints.save()
            if record and finished:
                self._validate(record)
            path = self.checkpoints.export(self.objective.body.name, self.metrics) if record else None
            if record and not finished:
                people = f"{self.state.samples:,} of {self.config.samples:,} people"
                _log.info("stopped after %s; run the same command to resume", people)
        except DataError:
            if self.fabric.world_size == 1:  # saving takes all processes
                self.checkpoints.save()
            raise
        finally:
            if record:
                record.close()
        self.fabric.barrier()
        if stop.requested:
            raise KeyboardInterrupt
        return path

    def _train(self, batches: Iterator[Batch], record: Record | None, stop: StopRequest) -> bool:
        """Steps until the end of the run or a request to stop; False for the latter."""
        config, state = self.config, self.state
        saved = time.monotonic()
        while state.samples < config.samples:
            batch = next(batches).to(self.fabric.device)
            self.checkpoints.count(batch)
            before = state.samples
            prediction, values = self._step(batch)
            if record:
                record.step(state.samples, values)
                self._report(record, before, batch, prediction)

            now = time.monotonic()
            over = stop.requested or (config.minutes > 0 and now - self.started > 60 * config.minutes)
            over, due = any_process(self.fabric, over, now - saved > 60 * config.checkpoint_minutes)
            if over:
                break
            if due:
                try:
                    self.checkpoints.save()
                except OSError as error:
                    _log.error("%s", error)
                saved = time.monotonic()
        if record:
            record.training(state.samples)
        return state.samples >= config.samples

    def _step(self, batch: Batch) -> tuple[Prediction, dict[str, float]]:
        """One step of the optimizer, and its values for the record, averaged over processes."""
        config, state, fabric = self.config, self.state, self.fabric
        mean = functools.partial(all_reduce_mean, fabric)
        # Dropout depends on the samples seen, not on interruptions.
        torch.manual_seed(generator_seed(config.seed, state.samples, fabric.global_rank))
        rate = learning_rate(config, state.samples)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]

        crops = state.model.prepare(batch.crops)
        with fabric.autocast():  # a method other than forward has none of its own in a single process
            output = self.wrapped.forward_train(crops, batch.bbox_info)
        loss, terms = self.objective(state.model, output, batch, mean, state.samples)
        fabric.backward(loss)
        limit = config.optim.grad_clip or math.inf
        norm = fabric.clip_gradients(self.wrapped, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        means = mean(torch.stack((loss.detach(), *terms.values(), torch.as_tensor(norm))))
        values = dict(zip(("loss", *terms, "gradient"), means.tolist(), strict=True))
        # Gradients in half precision overflow now and then; their scaler skips such a step.
        watched = ("loss",) if config.precision == "16-mixed" else ("loss", "gradient")
        if not all(math.isfinite(values[name]) for name in watched):
            file = self.folder / f"broken_{state.samples:09d}_{fabric.global_rank}.npz"
            write_broken_batch(file, batch, output.prediction)
            raise TrainError(
                f"the loss is not finite after {state.samples:,} people "
                f"({', '.join(f'{key} {value:.4g}' for key, value in values.items())}); the batch is in "
                f"{file}. If its labels are sound, try a lower optim.learning_rate, a longer optim.warmup or "
                "precision 32, and run the command again to resume from the last checkpoint"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        if fabric.is_global_zero:
            self.ema.update(state.model, state.samples // config.batch_size)
        state.samples += config.batch_size
        return output.prediction, values | {"learning_rate": rate}

    def _report(self, record: Record, before: int, batch: Batch, prediction: Prediction) -> None:
        """Log, preview and validate, if that is due after this step."""
        config, now = self.config, self.state.samples
        if _passed(config.log_every, before, now):
            record.training(now)
        if _passed(config.preview_every, before, now) and not config.cache.features:
            record.preview(now, draw_batch(batch, prediction, self.objective.body))
        if _passed(config.validate_every, before, now) and now < config.samples:
            self._validate(record)

    def _validate(self, record: Record) -> None:
        if self.validate:
            self.metrics = dict(self.validate(self.state.average))
            record.validated(self.state.samples, self.metrics)


def _passed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return every > 0 and now // every > before // every

"""The training loop: one process or many, stopped and continued at will."""

import copy
import functools
import itertools
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn

from fullframe.body import BodyModel, load_body
from fullframe.cli.console import progress_bar, say
from fullframe.data.batch import Batch
from fullframe.data.mixture import DataError
from fullframe.io.atomic import digest, write_npz
from fullframe.losses.objective import Objective
from fullframe.models import CropRegressor, ImpHMR, Prediction, create_model, load_model
from fullframe.models.batchnorm import freeze_batchnorm
from fullframe.models.checkpoint import save_checkpoint
from fullframe.models.imphmr.losses import ImpHMRObjective
from fullframe.train.config import ConfigError, TrainConfig, write_config
from fullframe.train.feature_cache import FeatureCache
from fullframe.train.lifting import lift
from fullframe.train.logs import Record, write_provenance
from fullframe.train.previews import draw_batch
from fullframe.train.state import State, generator_seed, load_state, save_state

Batches = Callable[[int, int, int], Iterator[Batch]]
"""(start, rank, world) to this process's batches from example `start` on, see data.mixture.loader."""

Validation = Callable[[CropRegressor], Mapping[str, float]]
"""Metrics of a network in evaluation mode."""


_ENCODER = "encoder.net."
"""Begins the names of the encoder's own weights."""


class TrainError(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


def learning_rate(config: TrainConfig, samples: int) -> float:
    """After so many samples: linear warm-up, then half a cosine to 0, or a tenth in the second half."""
    part = min(samples / config.samples, 1)
    fall = (1 + math.cos(math.pi * part)) / 2 if config.schedule == "cosine" else 0.1 ** (part >= 0.5)
    rise = min(1, (samples + config.batch_size) / config.warmup) if config.warmup else 1
    return config.learning_rate * rise * fall


def build_model(config: TrainConfig) -> CropRegressor:
    """The network to begin with.

    Raises:
        ConfigError: if `init` or `encoder_checkpoint` are of another kind than the configuration.
        CheckpointError: if they cannot be used.
        ConnectionError: if ImageNet weights are wanted and cannot be had.
        ValueError: for a crop that the encoder cannot take.
    """
    torch.manual_seed(config.seed)
    model = _whole_model(config)
    if config.encoder_checkpoint:
        encoder = load_model(config.encoder_checkpoint).network.encoder
        if encoder.name != config.encoder or (encoder.joints is None) != (model.encoder.joints is None):
            raise ConfigError(
                f"encoder_checkpoint: {config.encoder_checkpoint} has another encoder or pool "
                f"({encoder.name}) than {config.encoder} with pool {config.pool}"
            )
        model.encoder.load_state_dict(encoder.state_dict())
    return model


def _whole_model(config: TrainConfig) -> CropRegressor:
    if not config.init:
        pretrained = config.pretrained and not config.encoder_checkpoint
        return create_model(config.model, **config.model_options, pretrained=pretrained)
    wanted = create_model(config.model, **config.model_options)
    model = load_model(config.init, config.body).network
    found, expected = ({"model": m.name, **m.options} for m in (model, wanted))
    # Encoders take crops of any size: training on small ones first saves time. Other models have other keys.
    differing = [key for key in expected if key != "crop" and key in found and expected[key] != found[key]]
    if differing:
        raise ConfigError(
            f"init: {config.init} is of another kind: "
            + ", ".join(f"its {key} is {found.get(key)}, not {expected.get(key)}" for key in differing)
        )
    wanted.load_state_dict(model.state_dict())
    return wanted


def build_objective(config: TrainConfig, model: CropRegressor, body: BodyModel) -> Objective:
    """The objective of this kind of network."""
    if isinstance(model, ImpHMR):
        return ImpHMRObjective(body, config.loss_weights, config.loss, config.imphmr_loss_weights)
    return Objective(body, config.loss_weights, config.loss)


def build_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW over all weights that learn; biases and normalisation do not decay.

    Each group has its factor on the learning rate as "factor".
    """
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    groups = []
    for own, factor in ((True, 1.0), (False, config.head_lr_scale)):
        some = [
            p for name, p in model.named_parameters() if p.requires_grad and name.startswith(_ENCODER) == own
        ]
        for params, decay in (
            ([p for p in some if p.ndim > 1], config.weight_decay),
            ([p for p in some if p.ndim <= 1], 0.0),
        ):
            groups.append({"params": params, "weight_decay": decay, "factor": factor})
    # One pass over the weights; gradient scaling needs to come in between.
    return kind(groups, lr=config.learning_rate, fused=config.precision != "16-mixed")


class Average:
    """Keeps a running average of a network: weights, and the statistics of its normalisation.

    Early on the average is over fewer steps, so that the first weights do not linger.
    """

    def __init__(self, model: nn.Module, average: nn.Module, decay: float) -> None:
        pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
        self.floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self.others = [pair for pair in pairs if not pair[0].is_floating_point()]
        self.decay = decay

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """After the step of this number, counted from 0."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        averages, current = (list(x) for x in zip(*self.floats, strict=True))
        torch._foreach_lerp_(averages, current, 1 - decay)
        for kept, now in self.others:
            kept.copy_(now)


def fit(
    config: TrainConfig,
    batches: Batches,
    sources: tuple[str, ...],
    validate: Validation | None = None,
) -> Path | None:
    """Train until `config.samples` people were seen, the time is up, or Ctrl-C.

    A run that `config.out` holds is continued: the same people, dropout and results as if it had not been
    stopped. At every end there are a checkpoint and the averaged network, `<out>/<model>.safetensors`.

    Args:
        config: of the run.
        batches: the data.
        sources: names that Batch.source indexes.
        validate: metrics for the record and for the network's card.

    Returns:
        the trained network's file; None in processes other than the first.

    Raises:
        ConfigError: if `config.out` cannot be a folder, or the run in it is of another network.
        StateError: if all its checkpoints are damaged.
        TrainError: if the loss is not finite, or a process that prepares data is gone.
        DataError: if too many samples of a source cannot be read.
        OSError: if the last checkpoint cannot be written.
        KeyboardInterrupt: after Ctrl-C, once everything is saved.
    """
    try:
        Path(config.out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out: {config.out} cannot be made a folder: {error.strerror}") from error
    fabric = Fabric(
        accelerator="auto",
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp" if config.devices * config.nodes > 1 else "auto",
        precision="32-true" if config.precision == "32" else config.precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    with _data_workers():
        run = _Run(fabric, config, batches, sources, validate)
        # From here on there is something to save.
        with _Stop() as stop:
            return run.go(stop)


@contextmanager
def _data_workers() -> Iterator[None]:
    """Tells when a process that prepares data is gone.

    torch raises it at any moment, in the middle of a step as well, so that nothing there is worth saving.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        # The others come where a batch is handed over.
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise TrainError(
            f"a process that prepares data is gone, perhaps for want of memory ({error!r}); the same command "
            "goes on from the last checkpoint, with fewer workers if you set them"
        ) from error


class _Stop:
    """Turns the first Ctrl-C or SIGTERM into a request; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: object) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Run:
    """One call of `fit` in one process."""

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        batches: Batches,
        sources: tuple[str, ...],
        validate: Validation | None,
    ) -> None:
        self.fabric, self.config, self.sources, self.validate = fabric, config, sources, validate
        self.folder, self.started = Path(config.out), time.monotonic()
        if config.threads:
            torch.set_num_threads(config.threads)
        self.body = load_body(config.body, config.body_path or None, config.num_betas)
        model = build_model(config)
        if config.frozen_statistics:
            freeze_batchnorm(model.encoder.net)
        model.encoder.freeze_stages(config.frozen_stages)
        if config.kept:
            model.encoder.freeze_precomputed()
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            # Batch statistics over all processes. On CPUs each has its own, and the first one's are kept.
            model = convert_sync_batchnorm(model)
        model.to(fabric.device)
        optimizer = build_optimizer(config, model)
        self.state = State(model, copy.deepcopy(model).requires_grad_(False).eval(), optimizer)
        resumed = self._resume()
        self.objective = build_objective(config, model, self.body).to(fabric.device)
        self.drawn = torch.zeros(len(sources), dtype=torch.int64)  # here, since the last checkpoint
        if config.lifting and not resumed:
            self._lift(batches(0, fabric.global_rank, fabric.world_size))
        if config.kept:
            batches = self._kept(batches)
        self.average = Average(model, self.state.average, config.ema)
        # The first process's weights become everyone's.
        self.wrapped, self.optimizer = fabric.setup(model, optimizer)
        self.wrapped.mark_forward_method("forward_train")
        self.wrapped.train()
        self.metrics: dict[str, float] = {}
        self.batches = batches

    def _resume(self) -> bool:
        """Take over the state in the run's folder: whether there is one."""
        packed, warnings = load_state(self.folder)
        for warning in warnings:
            self._tell(f"{warning}; using the checkpoint before it", "yellow")
        if packed is None:
            return False
        before, now = packed["config"], _plain(self.config)
        # Keys that are newer than the run do not count.
        changed = {key: (before[key], now[key]) for key in now if key in before and before[key] != now[key]}
        fixed_keys = ("model", "body", "frozen_stages", *self.config.model_options)
        if fixed := [key for key in changed if key in fixed_keys]:
            differences = ", ".join(f"its {key} is {changed[key][0]}, not {changed[key][1]}" for key in fixed)
            raise ConfigError(
                f"{self.folder} holds a run of another network: {differences}; choose another folder as `out`"
            )
        self.state.unpack(packed)
        self._tell(f"going on in {self.folder} after {self.state.samples:,} people")
        for key, (old, new) in changed.items():
            self._tell(f"changed: {key} was {old}, is {new}", "yellow")
        return True

    def _kept(self, batches: Batches) -> Batches:
        """The same people, as the encoder sees them."""
        config, fabric = self.config, self.fabric
        # Not the seed: runs with others see the same people in another order.
        self._tell(f"the encoder looks at {config.kept:,} people, for {config.kept_folder}")
        data = ("crop", "batch_size", "num_betas", "augment", "stock", "backgrounds", *self.sources)
        made_by = {key: value for key, value in _plain(config).items() if key.startswith(data)}
        for key in ("synth_poses", "labels_file"):
            if made_by.get(key):
                made_by[key] = digest(made_by[key])
        with fabric.rank_zero_first(), progress_bar(disable=not fabric.is_global_zero) as progress:
            task = progress.add_task("maps", total=config.kept)
            kept = FeatureCache(
                Path(config.kept_folder),
                self.state.model,
                batches,
                config.batch_size,
                config.kept,
                made_by,
                lambda done, total: progress.update(task, completed=done),
            )
        return functools.partial(kept.batches, config.seed, config.batch_size // fabric.world_size)

    def _lift(self, batches: Iterator[Batch]) -> None:
        """Teach the regressor what it can learn without pictures, and keep it."""
        config, state = self.config, self.state
        self._tell(f"the regressor learns from the joints of {config.lifting:,} people, before any picture")
        with progress_bar(disable=not self.fabric.is_global_zero) as progress:
            task = progress.add_task("labels", total=None)

            def advance(stage: str, done: int, total: int) -> None:
                progress.update(task, description=stage, completed=done, total=total)

            lift(state.model, self.objective, batches, config.lifting, config.seed, advance)
        state.average.load_state_dict(state.model.state_dict())
        self._save()

    def go(self, stop: _Stop) -> Path | None:
        """Train, validate, save, export."""
        # Data workers are forked here, before threads start that would not survive it.
        stream = self.batches(self.state.samples, self.fabric.global_rank, self.fabric.world_size)
        stream = itertools.chain([next(stream)], stream)
        record = None
        if self.fabric.is_global_zero:
            write_config(self.config, self.folder / "config.toml")
            record = Record(self.folder, self.state.samples, self.config.samples)
        try:
            finished = self._train(stream, record, stop)
            self._save()
            if record and finished:
                self._validate(record)
            path = self._export() if record else None
            if not finished:
                self._tell(
                    f"stopped after {self.state.samples:,} of {self.config.samples:,} people; the same "
                    "command goes on"
                )
        except DataError:
            if self.fabric.world_size == 1:  # saving takes all processes
                self._save()
            raise
        finally:
            if record:
                record.close()
        self.fabric.barrier()
        if stop.requested:
            raise KeyboardInterrupt
        return path

    def _train(self, batches: Iterator[Batch], record: Record | None, stop: _Stop) -> bool:
        """Steps until the end of the run, or until it is to stop: whether the end was reached."""
        config, state = self.config, self.state
        saved = time.monotonic()
        rows: list[dict[str, float]] = []
        while state.samples < config.samples:
            batch = next(batches).to(self.fabric.device)
            self.drawn += batch.source.cpu().bincount(minlength=len(self.drawn))
            before = state.samples
            prediction, values = self._step(batch)
            if record:
                rows.append(values)
                self._report(record, before, rows, batch, prediction)

            now = time.monotonic()
            over = stop.requested or (config.minutes > 0 and now - self.started > 60 * config.minutes)
            due = now - saved > 60 * config.checkpoint_minutes
            over, due = self._agree(over, due)
            if over:
                break
            if due:
                try:
                    self._save()
                except OSError as error:
                    self._tell(str(error), "red")
                saved = time.monotonic()
        if record and rows:
            record.training(state.samples, rows)
        return state.samples >= config.samples

    def _step(self, batch: Batch) -> tuple[Prediction, dict[str, float]]:
        """One step of the optimizer, and what there is to record of it, averaged over processes."""
        config, state, fabric = self.config, self.state, self.fabric
        # Dropout follows from where the run is, not from how it got there.
        torch.manual_seed(generator_seed(config.seed, state.samples, fabric.global_rank))
        rate = learning_rate(config, state.samples)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]

        crops = state.model.prepare(batch.crops)
        with fabric.autocast():  # a method other than forward has none of its own in a single process
            output = self.wrapped.forward_train(crops, batch.bbox_info)
        loss, terms = self.objective(state.model, output, batch, self._mean, state.samples)
        fabric.backward(loss)
        limit = config.grad_clip or math.inf
        norm = fabric.clip_gradients(self.wrapped, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        means = self._mean(torch.stack((loss.detach(), *terms.values(), torch.as_tensor(norm))))
        values = dict(zip(("loss", *terms, "gradient"), means.tolist(), strict=True))
        # Gradients in half precision overflow now and then; their scaler leaves out such a step.
        watched = ("loss",) if config.precision == "16-mixed" else ("loss", "gradient")
        if not all(math.isfinite(values[name]) for name in watched):
            raise TrainError(self._keep(batch, output.prediction, values))
        self.optimizer.step()
        self.optimizer.zero_grad()
        if fabric.is_global_zero:
            self.average.update(state.samples // config.batch_size)
        state.samples += config.batch_size
        return output.prediction, values | {"learning_rate": rate}

    def _report(
        self,
        record: Record,
        before: int,
        rows: list[dict[str, float]],
        batch: Batch,
        prediction: Prediction,
    ) -> None:
        """What is due after this step; `rows` of the steps since the last report are emptied with it."""
        config, now = self.config, self.state.samples
        record.advance(now)
        if _passed(config.log_every, before, now):
            record.training(now, rows)
            rows.clear()
        if _passed(config.picture_every, before, now) and not config.kept:  # that is, if there are pictures
            record.picture(now, draw_batch(batch, prediction, self.objective.body))
        if _passed(config.validate_every, before, now) and now < config.samples:
            self._validate(record)

    def _validate(self, record: Record) -> None:
        if self.validate:
            self.metrics = dict(self.validate(self.state.average))
            record.validated(self.state.samples, self.metrics)

    def _save(self) -> None:
        """A checkpoint; all processes take part.

        Raises:
            OSError: if it cannot be written.
        """
        drawn = self.drawn.to(self.fabric.device)
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(drawn)
        for name, number in zip(self.sources, drawn.tolist(), strict=True):
            self.state.seen[name] = self.state.seen.get(name, 0) + number
        self.drawn.zero_()
        if self.fabric.is_global_zero:
            try:
                write_provenance(self.folder, self.state.samples, self.state.seen)
                save_state(self.folder, self.state.pack(_plain(self.config), self.config.light_checkpoint))
            except OSError as error:
                raise OSError(
                    f"no checkpoint could be written to {self.folder} ({error}); the one before it stays: "
                    "make room, and the same command goes on from it"
                ) from error

    def _export(self) -> Path:
        """The averaged network for use."""
        config, path = self.config, self.folder / f"{self.config.model}.safetensors"
        seen = ", ".join(f"{number:,} from {name}" for name, number in self.state.seen.items())
        save_checkpoint(
            self.state.average,
            path,
            body=self.body.name,
            data=f"{self.state.samples:,} augmented people: {seen}",
            licence=config.licence,
            metrics=self.metrics,
            dtype="fp16",
        )
        return path

    def _keep(self, batch: Batch, prediction: Prediction, values: Mapping[str, float]) -> str:
        """Save a batch that broke the loss; the message about it."""
        name = f"broken_{self.state.samples:09d}_{self.fabric.global_rank}.npz"
        arrays: dict[str, Tensor] = {f"predicted_{key}": x for key, x in prediction._asdict().items()}
        for field in fields(batch):
            value = getattr(batch, field.name)
            sets = value.items() if isinstance(value, dict) else ()
            arrays |= {f"{field.name}_{key}": tensor for key, tensor in sets} or {field.name: value}
        numpy_arrays = {key: tensor.detach().float().cpu().numpy() for key, tensor in arrays.items()}
        write_npz(self.folder / name, numpy_arrays)
        broken = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
        return (
            f"the loss is not finite after {self.state.samples:,} people ({broken}); the batch is in "
            f"{self.folder / name}. If its labels are sound, try a lower learning_rate, a longer warmup or "
            f"precision 32, and go on from the last checkpoint"
        )

    def _mean(self, values: Tensor) -> Tensor:
        """The mean over processes."""
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(values)
            values /= self.fabric.world_size
        return values

    def _agree(self, *wishes: bool) -> list[bool]:
        """What any process wants: each must take part in what follows."""
        return (self._mean(torch.tensor(wishes, dtype=torch.float32, device=self.fabric.device)) > 0).tolist()

    def _tell(self, text: str, style: str = "") -> None:
        if self.fabric.is_global_zero:
            say(text, style=style)


def _passed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return every > 0 and now // every > before // every


def _plain(config: TrainConfig) -> dict[str, Any]:
    """The configuration in types that a state file holds."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}

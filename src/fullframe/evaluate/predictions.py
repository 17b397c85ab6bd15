"""The bodies recovered for all people of a benchmark, kept in files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.crop import plain_crop, read_pixels
from fullframe.data.sample import Sample
from fullframe.data.workers import worker_context
from fullframe.fit import KeypointFitter
from fullframe.geometry.box import LABEL_ENLARGE
from fullframe.io.progress import Progress, silent
from fullframe.io.workdir import Arrays, WorkDir
from fullframe.models.checkpoint import read_card
from fullframe.models.predict import Bodies, predict_crops
from fullframe.recovery.photo import FIT, Recoverer

SHARD = 512
"""People in a file of predictions, the most that a killed run has to repeat."""

BATCH = 32
"""Crops per pass; a part of SHARD."""


class PredictionError(ValueError):
    """Predictions that cannot be made; the message says what to do."""


@dataclass
class Predictions:
    """N people of a benchmark: predicted bodies, and the ground truth where it is known, else NaN or zeros.

    Attributes:
        names, sequences, frames: (N,) as in Sample.
        boxes: (N, 4) x1, y1, x2, y2 px.
        focal, principal_point: (N, 2) px.
        pose: (N, 24, 3, 3) predicted rotations, the root's in the camera frame.
        betas: (N, B) predicted.
        translation: (N, 3) predicted, metres.
        true_bodies: (N,) names of the bodies that the true parameters belong to.
        true_pose: (N, 24, 3, 3).
        true_betas: (N, B').
        true_translation: (N, 3) metres.
        kid: (N,) weight of the kid template in the true shape.
        keypoints: joint set to (N, K, 3), true x, y px and confidence.
        joints: joint set to (N, K, 4), true x, y, z in metres and validity.
    """

    names: NDArray[np.str_]
    sequences: NDArray[np.str_]
    frames: NDArray[np.int64]
    boxes: NDArray[np.float32]
    focal: NDArray[np.float32]
    principal_point: NDArray[np.float32]
    pose: NDArray[np.float32]
    betas: NDArray[np.float32]
    translation: NDArray[np.float32]
    true_bodies: NDArray[np.str_]
    true_pose: NDArray[np.float32]
    true_betas: NDArray[np.float32]
    true_translation: NDArray[np.float32]
    kid: NDArray[np.float32]
    keypoints: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    joints: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_body(self) -> NDArray[np.bool_]:
        """(N,) whose true pose and shape are known."""
        known = np.isfinite(self.true_pose).all(axis=(1, 2, 3)) & np.isfinite(self.true_betas).all(axis=1)
        return known & (self.true_betas.shape[1] > 0)

    @property
    def off_axis(self) -> NDArray[np.float64]:
        """(N,) degrees between the optical axis and the ray through the box's centre."""
        center = (self.boxes[:, :2] + self.boxes[:, 2:]).astype(np.float64) / 2
        return np.degrees(np.arctan(np.linalg.norm((center - self.principal_point) / self.focal, axis=1)))

    @classmethod
    def of(cls, samples: Sequence[Sample], bodies: Bodies) -> "Predictions":
        """From samples and the bodies predicted for them, in the same order."""

        def known(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
            values = (getattr(sample, name) for sample in samples)
            return _stack([np.full(shape, np.nan) if value is None else value for value in values])

        widths = [len(sample.betas) for sample in samples if sample.betas is not None]
        return cls(
            names=np.array([sample.name for sample in samples], np.str_),
            sequences=np.array([sample.sequence for sample in samples], np.str_),
            frames=np.array([sample.frame for sample in samples], np.int64),
            boxes=_stack([sample.box for sample in samples]),
            focal=_stack([sample.camera.focal for sample in samples]),
            principal_point=_stack([sample.camera.principal_point for sample in samples]),
            pose=bodies.pose,
            betas=bodies.betas,
            translation=bodies.translation,
            true_bodies=np.array([sample.body for sample in samples], np.str_),
            true_pose=known("pose", (24, 3, 3)),
            true_betas=known("betas", (max(widths, default=0),)),
            true_translation=known("translation", (3,)),
            kid=np.array([sample.kid for sample in samples], np.float32),
            keypoints=_stack_sets([sample.keypoints for sample in samples], 3),
            joints=_stack_sets([sample.joints for sample in samples], 4),
        )

    @classmethod
    def joined(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """All people of the parts, in order.

        Raises:
            ValueError: if there are no parts.
        """
        values: dict[str, Any] = {}
        for name in (f.name for f in fields(cls)):
            arrays = [getattr(part, name) for part in parts]
            if name in ("keypoints", "joints"):
                values[name] = {
                    key: np.concatenate(
                        [sets.get(key, np.zeros((len(part), *shape), np.float32)) for sets, part in
                         zip(arrays, parts, strict=True)]
                    )
                    for key, shape in {k: v.shape[1:] for sets in arrays for k, v in sets.items()}.items()
                }  # fmt: skip
            else:
                width = max(array.shape[-1] for array in arrays) if name == "true_betas" else None
                values[name] = np.concatenate([_widened(array, width) for array in arrays])
        return cls(**values)

    def to_arrays(self) -> Arrays:
        """Everything as arrays by name; those of joint sets as keypoints/<joint set>, joints/<joint set>."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("keypoints", "joints"):
            arrays |= {f"{name}/{key}": value for key, value in arrays.pop(name).items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Predictions":
        """The inverse of `to_arrays`."""
        values: dict[str, Any] = dict(arrays)
        for name in ("keypoints", "joints"):
            keys = [key for key in arrays if key.startswith(f"{name}/")]
            values[name] = {key.partition("/")[2]: values.pop(key) for key in keys}
        return cls(**values)


def load_predictor(model: str | Path, refine: bool = False) -> Recoverer:
    """A model with the body that it predicts, on the GPU if there is one.

    Args:
        model: "cliff-lite", a checkpoint (.safetensors) with its card, or "keypoint-fit".
        refine: fit the network's bodies to detected keypoints.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        BodyFileError: SMPL is needed and missing.
    """
    recoverer = Recoverer(model, refine, body="open" if str(model) == FIT else read_card(model).body)
    if recoverer.network is not None and torch.cuda.is_available():
        recoverer.network.to("cuda")
    return recoverer


def predict(
    recoverer: Recoverer,
    samples: Sequence[Sample],
    folder: Path,
    request: Mapping[str, Any],
    *,
    enlarge: float = LABEL_ENLARGE,
    workers: int | None = None,
    progress: Progress = silent,
) -> Predictions:
    """Recover every sample in its own box and camera: by a network, by a fit to keypoints, or by both.

    Finished shards of SHARD people are kept, so that the same call resumes after an interruption.

    Args:
        recoverer: the network, on the device to run on, and the fit; keypoints are detected for the fit only.
        samples: the benchmark; images are read one at a time.
        folder: a WorkDir of the predictions; created if it does not exist.
        request: of the WorkDir: model, benchmark, options.
        enlarge: factor on the boxes before the network's crops are cut.
        workers: processes that read images; None for none on a CPU, and one for each core beside a GPU.
        progress: the callback, called with all people who are done.

    Raises:
        PredictionError: a sample cannot be read.
        WorkError: the folder holds other predictions, or is in use.
    """
    with WorkDir(folder, {**request, "people": len(samples)}) as work:
        shards = work.shards(size=SHARD, count=len(samples))
        missing = shards.missing()
        progress("predicting", len(samples) - sum(end - start for start, end in missing), len(samples))
        indices = [index for span in missing for index in range(*span)]
        people: list[Sample] = []
        found: list[Bodies] = []
        for some, bodies in _recover(recoverer, samples, indices, enlarge, workers):
            people += some
            found.append(bodies)
            start, end = missing[0]
            if len(people) == end - start:  # shards consist of whole batches
                shards.save(start, Predictions.of(people, Bodies.joined(found)).to_arrays())
                people, found, missing = [], [], missing[1:]
            left = sum(end - start for start, end in missing) - len(people)
            progress("predicting", len(samples) - left, len(samples))
        parts = [Predictions.from_arrays(shards.load(start)) for start, _ in shards.spans]
    return Predictions.joined(parts)


def _recover(
    recoverer: Recoverer,
    samples: Sequence[Sample],
    indices: Sequence[int],
    enlarge: float,
    workers: int | None,
) -> Iterator[tuple[list[Sample], Bodies]]:
    """Batches of samples without their pixels, and their bodies; arguments as for `predict`."""
    network = recoverer.network
    if workers is None:
        on_gpu = network is not None and next(network.parameters()).device.type == "cuda"
        workers = torch.get_num_threads() if on_gpu else 0
    batches: DataLoader = DataLoader(
        _Inputs(samples, recoverer, enlarge),
        BATCH,
        sampler=indices,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_single_thread,
        # A process forked from one with threads can hang.
        multiprocessing_context=worker_context("spawn") if workers else None,
    )
    if network is not None:
        network.eval()
    for batch in batches:
        if isinstance(batch, Exception):
            raise PredictionError(
                f"{batch}; fix the data set (docs/guides/evaluate.md lists its files), then run this "
                "again: finished predictions are kept"
            )
        bodies = None
        if network is not None:
            bodies = predict_crops(network, np.stack(batch.crop), torch.from_numpy(np.stack(batch.bbox_info)))
        if recoverer.fitter is not None:
            bodies = _fit(recoverer.fitter, np.stack(batch.keypoints), batch.sample, bodies)
        assert bodies is not None
        yield batch.sample, bodies


class _Input(NamedTuple):
    """What is known about a sample, or lists of it about many; None for what is not needed."""

    crop: Any
    """(height, width, 3) uint8."""
    bbox_info: Any
    """(3,) float32, see models.crop_regressor."""
    keypoints: Any
    """(17, 3) COCO-17 as detected, x, y px of the full image and confidence."""
    sample: Any
    """Without its pixels."""


class _Inputs(Dataset):
    """The samples as networks and fits take them; an exception where one cannot be read."""

    def __init__(self, samples: Sequence[Sample], recoverer: Recoverer, enlarge: float) -> None:
        self.samples, self.enlarge = samples, enlarge
        network = recoverer.network
        self.crop = None if network is None else (network.crop, network.crop_method)
        self.detector = None if recoverer.fitter is None else recoverer.detector

    def __getitem__(self, index: int) -> _Input | Exception:
        crop = bbox_info = keypoints = None
        try:
            sample = self.samples[index]
            pixels = read_pixels(sample)
            if self.crop is not None:
                crop, bbox_info = plain_crop(replace(sample, image=pixels), *self.crop, self.enlarge)
            if self.detector is not None:
                corner, scale = np.array(sample.window[:2]), sample.window[2]
                inner = (sample.box.reshape(2, 2) - corner) / scale
                keypoints = self.detector.keypoints(pixels, inner.reshape(1, 4).astype(np.float32))[0]
                keypoints[:, :2] = keypoints[:, :2] * scale + corner
        except (OSError, ValueError) as error:
            return error
        return _Input(crop, bbox_info, keypoints, replace(sample, image=""))


def _collate(items: list[Any]) -> Any:
    for item in items:
        if isinstance(item, Exception):
            return item
    return _Input(*map(list, zip(*items, strict=True)))


def _fit(
    fitter: KeypointFitter, keypoints: NDArray[np.float32], samples: Sequence[Sample], start: Bodies | None
) -> Bodies:
    """Bodies fitted to the keypoints (N, 17, 3), from those of a network if there are any.

    People of one camera are fitted together.
    """
    boxes, cameras = _stack([sample.box for sample in samples]), [sample.camera for sample in samples]
    rows, parts = [], []
    for camera in dict.fromkeys(cameras):
        some = [row for row, each in enumerate(cameras) if each == camera]
        begin = None if start is None else Bodies(*(array[some] for array in start))
        parts.append(fitter.fit(keypoints[some], boxes[some], camera, start=begin).bodies)
        rows += some
    return Bodies(*(array[np.argsort(rows)] for array in Bodies.joined(parts)))


def _single_thread(_: int) -> None:
    """Workers share the cores among themselves."""
    cv2.setNumThreads(1)


def _stack(values: Sequence[Any]) -> NDArray[np.float32]:
    """Arrays of the same shape, or vectors, of which shorter ones are padded with zeros, as one array."""
    arrays = [np.asarray(value, np.float32) for value in values]
    width = max(a.shape[-1] for a in arrays)
    return np.stack([_widened(array, width) for array in arrays])


def _widened(array: NDArray, width: int | None) -> NDArray:
    missing = 0 if width is None else width - array.shape[-1]
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)]) if missing else array


def _stack_sets(
    sets: Sequence[dict[str, NDArray[np.float32]]], columns: int
) -> dict[str, NDArray[np.float32]]:
    """One array for each joint set that any sample has; zeros for samples without it."""
    names = sorted({name for each in sets for name in each})
    empty = {name: np.zeros((len(JOINT_SETS[name]), columns), np.float32) for name in names}
    return {name: _stack([each.get(name, empty[name]) for each in sets]) for name in names}

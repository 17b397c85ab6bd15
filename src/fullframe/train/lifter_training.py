"""Trains the lifter on simulated detections, and on some in pictures, people by the million."""

import csv
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullframe.body.joint_sets import COCO17_LIMBS
from fullframe.geometry.camera import project
from fullframe.io.atomic import atomic_path
from fullframe.io.torch_file import load_torch
from fullframe.models.lifter import (
    LifterNetwork,
    RayEstimate,
    RayFrame,
    own_frame,
    place_of,
    translation_in,
)
from fullframe.synth.detections import FastBody, SimulatedDetections, Simulator

_HIPS = [11, 12]
_CHUNK = 4608


@dataclass(frozen=True)
class LifterWeights:
    """Weights of the losses."""

    rotation: float = 1.0
    joints: float = 8.0
    betas: float = 0.06
    place: float = 1.0
    reprojection: float = 0.5
    uncertainty: float = 0.05


def _rotation_weights() -> Tensor:
    """Of SMPL's joints: the root moves everything, hands and toes are hardly seen."""
    weights = torch.ones(24)
    weights[0] = 4
    weights[[10, 11, 20, 21]] = 0.3
    weights[[22, 23]] = 0.1
    weights[[13, 14, 7, 8]] = 0.5
    return weights / weights.sum()


class LifterLosses:
    """What the lifter's estimates are held to.

    Args:
        weights: of the terms.
    """

    def __init__(self, weights: LifterWeights | None = None) -> None:
        self.weights = weights or LifterWeights()
        self.body = FastBody()
        self._rotations = _rotation_weights()

    def __call__(
        self, estimate: RayEstimate, frame: RayFrame, truth: SimulatedDetections
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its terms, unweighted."""
        pose = torch.cat(((frame.rotation.mT @ truth.pose[:, 0])[:, None], truth.pose[:, 1:]), 1)
        translation = (frame.rotation.mT @ truth.translation[..., None])[..., 0]
        joints = truth.joints @ frame.rotation
        found = self.body(estimate.betas, estimate.pose)[0]
        squared = (estimate.pose - pose).square().sum((2, 3))
        apart = found - joints
        hips = apart - apart[:, _HIPS].mean(1, keepdim=True)
        limbs = apart - apart[:, COCO17_LIMBS].mean(1, keepdim=True)
        place = place_of(frame, translation)
        error = 0.5 * (_length(hips).mean(1) + _length(limbs).mean(1))
        seen = self.projected(joints, translation, frame)
        drawn = self.projected(found, translation_in(frame, estimate.place), frame)
        # 1 - cos of a turn is a quarter of the squared difference of the matrices.
        turn = 2 * torch.asin((squared.detach() / 8).clamp(max=1).sqrt())
        log_variance = estimate.log_variance
        terms = {
            "rotation": ((squared + 1e-6).sqrt() @ self._rotations).mean(),
            "joints": error.mean(),
            # Absolute: a person who might be a child is an adult, unless keypoints say otherwise. A mean of
            # both would be too small for one and too large for the other.
            "betas": (estimate.betas - truth.betas).abs().mean(),
            "place": (estimate.place - place).abs().clamp(max=4).sum(1).mean(),
            "reprojection": _length(drawn - seen).clamp(max=4).mean(),
            # Three axes, each with this variance.
            "uncertainty": (1.5 * log_variance + turn.square() / (2 * log_variance.exp())).mean(),
        }
        loss = sum((getattr(self.weights, name) * term for name, term in terms.items()), torch.zeros(()))
        return loss, terms

    def projected(self, joints: Tensor, translation: Tensor, frame: RayFrame) -> Tensor:
        """Where joints (N, K, 3) of the keypoints' frame are seen: (N, K, 2), in units of its spread."""
        return project(joints + translation[:, None], 1.0) / frame.spread[:, None, None]


def _length(x: Tensor) -> Tensor:
    return (x.square().sum(-1) + 1e-8).sqrt()


def batches(simulator: Simulator, size: int) -> Iterator[SimulatedDetections]:
    """Detections of `size` people, without end."""
    parts: list[SimulatedDetections] = []
    count = 0
    while True:
        while count < size:
            parts.append(simulator.draw(_CHUNK))
            count += len(parts[-1].betas)
        everyone = SimulatedDetections(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        yield SimulatedDetections(*(tensor[:size] for tensor in everyone))
        parts = [SimulatedDetections(*(tensor[size:] for tensor in everyone))]
        count -= size


def load_detections(folder: Path) -> SimulatedDetections:
    """All people of the files that tools/detect_augmented.py wrote.

    Raises:
        FileNotFoundError: there are none.
    """
    names = SimulatedDetections._fields[:-1]
    parts = [np.load(file) for file in sorted(folder.glob("*.npz"))]
    if not parts:
        raise FileNotFoundError(f"{folder} has no .npz files: make them with tools/detect_augmented.py")
    values = [torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in names]
    visible = torch.ones(values[0].shape[:2], dtype=torch.bool)
    return SimulatedDetections._make([*values, visible])


def mixed(
    simulated: Iterator[SimulatedDetections], detected: SimulatedDetections, count: int, seed: int
) -> Iterator[SimulatedDetections]:
    """Batches of simulated people with `count` at random of those who were detected in pictures."""
    generator = torch.Generator().manual_seed(seed)
    for batch in simulated:
        rows = torch.randint(len(detected.betas), (count,), generator=generator)
        yield SimulatedDetections(*(torch.cat((a, b[rows])) for a, b in zip(batch, detected, strict=True)))


class LifterTrainer:
    """A training run that resumes from its last checkpoint.

    Args:
        folder: of checkpoint.pt and log.csv.
        options: of the LifterNetwork, for a new run.
        rate: learning rate.
        batch: people a step.
        seed: of weights and people.
        decay: of the mean of the weights over steps.
        weights: of the losses.
        poses: (N, 24, 3) to simulate as often as motion capture, see synth.poses.Poses.
        detected: people who were detected in pictures: half of each batch.
    """

    def __init__(
        self,
        folder: Path,
        options: dict[str, Any] | None = None,
        *,
        rate: float = 6e-4,
        batch: int = 1024,
        seed: int = 1,
        decay: float = 0.999,
        weights: LifterWeights | None = None,
        poses: NDArray[np.floating] | None = None,
        detected: SimulatedDetections | None = None,
    ) -> None:
        self.folder, self.rate, self.batch, self.decay = folder, rate, batch, decay
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "checkpoint.pt"
        state = load_torch(self.file.read_bytes()) if self.file.exists() else None
        self.options = state["options"] if state else options or {}
        torch.manual_seed(seed)
        self.net = LifterNetwork(**self.options)
        self.mean = deepcopy(self.net).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.people = self.steps = 0
        if state:
            self.net.load_state_dict(state["raw"])
            self.mean.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.people, self.steps = state["people"], state["steps"]
        self.losses = LifterLosses(weights)
        # Another seed each time: people are never seen twice.
        count = 0 if detected is None else batch // 2
        self.source = batches(Simulator(seed + self.people, extra=poses), batch - count)
        if detected is not None:
            self.source = mixed(self.source, detected, count, seed + self.people)

    def step(self, rate: float) -> dict[str, Tensor]:
        """Learn from one batch."""
        truth = next(self.source)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * min(1, (self.steps + 1) / 500)
        frame = own_frame(truth.keypoints, truth.bbox_info)
        with torch.autocast("cpu", torch.bfloat16):
            estimate = self.net.estimate(frame, truth.keypoints[..., 2])
        loss, terms = self.losses(estimate, frame, truth)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        self.people += self.batch
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.mean.parameters()), list(self.net.parameters()), 1 - keep)
        return {name: term.detach() for name, term in terms.items()}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "options": self.options, "raw": self.net.state_dict(), "ema": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(), "people": self.people, "steps": self.steps,
        }  # fmt: skip
        with atomic_path(self.file) as temporary:
            torch.save(state, temporary)

    def run(
        self,
        people: int,
        measure: Callable[[LifterNetwork], dict[str, float]],
        *,
        every: int = 500_000,
        save_seconds: float = 240,
        cool: bool = False,
    ) -> None:
        """Learn until `people` were seen.

        Args:
            people: in all, of earlier runs too.
            measure: of the mean weights, for the log.
            every: people between lines of the log.
            save_seconds: between checkpoints.
            cool: let the learning rate fall to zero over the rest of the people.
        """
        begin = self.people
        last, count, clock = time.monotonic(), 0, time.monotonic()
        sums: dict[str, Tensor] = {}
        since = self.people
        while self.people < people:
            left = 1 - (self.people - begin) / (people - begin)
            terms = self.step(self.rate * (left if cool else 1))
            sums = {name: sums[name] + term if sums else term for name, term in terms.items()}
            count += 1
            if self.people // every > (self.people - self.batch) // every or self.people >= people:
                speed = (self.people - since) / (time.monotonic() - clock)
                row: dict[str, float] = {"people": self.people, "per_second": round(speed)}
                row |= {name: round(float(value / count), 4) for name, value in sums.items()}
                self._log(row | measure(self.mean.eval()))
                sums, count, clock, since = {}, 0, time.monotonic(), self.people
            if time.monotonic() - last > save_seconds:
                self.save()
                last = time.monotonic()
        self.save()

    def _log(self, row: dict[str, Any]) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

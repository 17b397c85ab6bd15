"""Pre-training of the regressor without images: from the positions of joints in the crop to the body."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from fullframe.body.joint_sets import HEATMAP_SETS, JOINT_SETS
from fullframe.data.batch import Batch
from fullframe.io.progress import Progress, silent
from fullframe.losses.objective import Objective
from fullframe.models.crop_regressor import CropRegressor, TrainOutput
from fullframe.models.heatmap_pool import HeatmapPool

PASSES = 12
"""Epochs over the people, with new noise in each."""
_BATCH = 256
_LEARNING_RATE = 5e-4
_GRAD_CLIP = 50.0

_NOISE = (0.015, 0.12)
_LOST = (0.2, 0.5)
"""Spread of positions, in halves of the crop's height, of detected and of missed joints."""
_MOST_LOST = 0.24


def pretrain_regressor(
    model: CropRegressor,
    objective: Objective,
    batches: Iterator[Batch],
    people: int,
    seed: int,
    progress: Progress = silent,
) -> None:
    """Train the regressor of a network with a HeatmapPool on labels alone.

    Lifting 2D joints costs a thousandth of training on images, which then mainly have to teach where joints
    are (Martinez et al., ICCV 2017, lift true and detected joints). The pool's features of the image itself
    are zero here, and their weights are set to zero.

    Args:
        model: its regressor is trained.
        objective: all terms of the trainer's but for heatmaps.
        batches: of people; those without a known pose are left out.
        people: how many to use.
        seed: of noise and order.
        progress: of collecting labels and of training.
    """
    device = next(model.parameters()).device
    known = _collect(batches, people, progress)
    generator = torch.Generator().manual_seed(seed)
    regressor = model.regressor
    cells = HeatmapPool.features - 3 * known.keypoints["positions"].shape[1]
    with torch.no_grad():
        regressor.fc1.weight[:, :cells] = 0
    optimizer = torch.optim.AdamW(regressor.parameters(), lr=_LEARNING_RATE, weight_decay=1e-3)
    steps = max(1, PASSES * len(known) // _BATCH)
    training = model.training
    regressor.train()
    for step in range(steps):
        part = step / steps
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min(1, 20 * part + 0.01) * (1 + math.cos(math.pi * part)) / 2
        batch = known.take(torch.randint(len(known), (_BATCH,), generator=generator))
        joints = simulate_detection_noise(batch.keypoints.pop("positions"), model.crop, generator).flatten(1)
        features = torch.cat((joints.new_zeros(len(joints), cells), joints), dim=1).to(device)
        batch = batch.to(device)
        output = TrainOutput(model.regress(features, batch.bbox_info))
        loss, _ = objective(model, output, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(regressor.parameters(), _GRAD_CLIP)
        optimizer.step()
        progress("pre-training on joints", step + 1, steps)
    model.train(training)


def simulate_detection_noise(joints: Tensor, crop: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Labels as a network might detect them: (N, J, 3) x, y and spread, as from the pool's soft-argmax.

    Args:
        joints: (N, J, 3) x, y, confidence; a joint without confidence may be anywhere.
        crop: (height, width) px; a joint outside is detected at its border.
    """
    count, number = joints.shape[:2]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    low, high = (math.log(value) for value in _NOISE)
    # Some people are detected better than others, and some of their joints.
    spread = (low + (high - low) * uniform(count, number) + uniform(count, 1) - 0.5).exp()
    lost = uniform(count, number) < _MOST_LOST * uniform(count, 1)
    lost |= joints[..., 2] <= 0
    spread = torch.where(lost, _LOST[0] + (_LOST[1] - _LOST[0]) * uniform(count, number), spread)
    noise = torch.randn((count, number, 2), generator=generator)
    # The mean of a heatmap errs less than its spread says.
    seen = joints[..., :2] + 0.8 * spread[..., None] * noise
    border = torch.tensor((crop[1] / crop[0], 1.0))
    return torch.cat((seen.clamp(-border, border), spread[..., None]), dim=2)


def _collect(batches: Iterator[Batch], people: int, progress: Progress) -> Batch:
    """Labels of people whose pose is known; all joints of HEATMAP_SETS are the keypoints "positions"."""
    parts: list[Batch] = []
    found = 0
    while found < people:
        batch = next(batches)
        some = batch.take(batch.has_pose.nonzero()[:, 0])
        if not len(some):
            continue
        unknown = {name: torch.zeros(len(some), len(JOINT_SETS[name]), 3) for name in HEATMAP_SETS}
        positions = torch.cat([(unknown | some.keypoints)[name] for name in HEATMAP_SETS], dim=1)
        some.crops = some.crops[:, :0]
        some.keypoints, some.joints = (
            _fastest_set(some.keypoints) | {"positions": positions},
            _fastest_set(some.joints),
        )
        parts.append(some)
        found += len(some)
        progress("collecting labels", min(found, people), people)
    return Batch.joined(parts)


def _fastest_set(sets: dict[str, Tensor]) -> dict[str, Tensor]:
    """SMPL's own joints, if they are labelled: others take time to regress and add little."""
    return {"smpl24": sets["smpl24"]} if "smpl24" in sets else sets

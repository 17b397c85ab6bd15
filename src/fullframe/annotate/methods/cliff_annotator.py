"""CLIFF's annotator (Li et al., ECCV 2022, section 3.3): one network, fine-tuned to all people at once.

The pretrained weights are the implicit prior; the initial predictions, which a loss term pulls towards, are
the explicit one.
"""

import io
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.annotate.job import Job, predict
from fullframe.annotate.methods.tuner import Tuner, Tuning
from fullframe.io.torch_file import check_adam, check_tensors, load_torch
from fullframe.io.workdir import StateFile
from fullframe.models.predict import Bodies

SAVE_SECONDS = 60.0
"""Interval of saving, the most that a killed run has to repeat."""


def annotate(job: Job, tuning: Tuning | None = None) -> Bodies:
    """Labels of all people: the network is fine-tuned to all, then predicts all.

    A run that was interrupted resumes from its last state and ends with the same result.

    Raises:
        ValueError: there is no network.
        WorkError: files of an earlier run are damaged.
    """
    network, initial = job.pretrained
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tuner = Tuner(network, job.body, tuning or Tuning(), device)
    steps = tuner.tuning.steps(len(job.crops))
    done, saved = _load(job.state, tuner), time.monotonic()
    while done < steps:
        indices = people_of_step(done, len(job.crops), tuner.tuning.batch_size)
        tuner.step(job.crops, initial, indices, done / steps)
        done += 1
        if done == steps or time.monotonic() - saved >= SAVE_SECONDS:
            _save(job.state, tuner, done)
            saved = time.monotonic()
        job.progress("fine-tuning", done, steps)
    tuned = tuner.network.to(next(network.parameters()).device)  # with `workers`, the CPU
    return predict(tuned, job.crops, job.work, job.progress, job.workers, f"{job.stage}/labels")


def people_of_step(step: int, people: int, batch_size: int) -> NDArray[np.int64]:
    """The indices of a step's batch: each person once per epoch, shuffled in every epoch."""
    size = min(people, batch_size)
    batches = -(-people // size)
    order = np.random.default_rng((0, step // batches)).permutation(people)
    start = step % batches * size
    return order[start : start + size]


def _save(file: StateFile, tuner: Tuner, steps: int) -> None:
    content = {
        "network": tuner.network.state_dict(),
        "optimizer": tuner.optimizer.state_dict(),
        "steps": steps,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    file.save(buffer.getbuffer())


def _load(file: StateFile, tuner: Tuner) -> int:
    """Restore a saved state; the number of steps that it has had."""

    def parse(saved: bytes) -> dict[str, Any]:
        content = load_torch(saved)
        if not isinstance(content, dict) or type(content.get("steps")) is not int:
            raise ValueError("it is not the state of this method")
        check_tensors(content.get("network"), tuner.network.state_dict(), "network")
        check_adam(content.get("optimizer"), tuner.optimizer)
        return content

    content = file.load(parse)
    if content is None:
        return 0
    tuner.network.load_state_dict(content["network"])
    tuner.optimizer.load_state_dict(content["optimizer"])
    return int(content["steps"])

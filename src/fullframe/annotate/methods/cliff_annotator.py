"""CLIFF's annotator (Li et al., ECCV 2022, section 3.3): one network, fine-tuned to everyone at once.

What the pretrained weights know is the implicit prior; its first predictions, to which a term holds the
network, are the explicit one.
"""

import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.annotate.job import Job, Tuner, Tuning, predict
from fullframe.io.atomic import WorkError, atomic_path
from fullframe.models.predict import Bodies

SAVE_SECONDS = 60.0
"""What a killed run has to do again at most."""


def annotate(job: Job, tuning: Tuning | None = None) -> Bodies:
    """Labels of everyone: the network fine-tuned to all, then one pass over all.

    A run that was stopped goes on from its last state, and ends as if it had not been.

    Raises:
        ValueError: there is no network.
        WorkError: a file of an earlier run is damaged.
    """
    network, plain = job.pretrained
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tuner = Tuner(network, job.body, tuning or Tuning(), device)
    steps, state = tuner.tuning.steps(len(job.crops)), job.folder / "state.pt"
    job.folder.mkdir(parents=True, exist_ok=True)
    done, saved = _load(state, tuner), time.monotonic()
    while done < steps:
        indices = people_of_step(done, len(job.crops), tuner.tuning.batch_size)
        tuner.step(job.crops, plain, indices, done / steps)
        done += 1
        if done == steps or time.monotonic() - saved >= SAVE_SECONDS:
            _save(state, tuner, done)
            saved = time.monotonic()
        job.advance("fine-tuning", done, steps)
    tuned = tuner.network.to(next(network.parameters()).device)  # where the workers of the first pass had it
    return predict(tuned, job.crops, job.folder / "labels", job.advance, job.workers)


def people_of_step(step: int, people: int, batch_size: int) -> NDArray[np.int64]:
    """Who is learned from in a step: everyone once in each pass, in an order of its own."""
    size = min(people, batch_size)
    batches = -(-people // size)
    order = np.random.default_rng((0, step // batches)).permutation(people)
    start = step % batches * size
    return order[start : start + size]


def _save(path: Path, tuner: Tuner, steps: int) -> None:
    with atomic_path(path) as temporary:
        content = {
            "network": tuner.network.state_dict(),
            "optimizer": tuner.optimizer.state_dict(),
            "steps": steps,
        }
        torch.save(content, temporary)


def _load(path: Path, tuner: Tuner) -> int:
    """Take over a saved state: how many steps it has had."""
    if not path.is_file():
        return 0
    try:
        content = torch.load(path, map_location=tuner.device, weights_only=True)
        tuner.network.load_state_dict(content["network"])
        tuner.optimizer.load_state_dict(content["optimizer"])
        return int(content["steps"])
    except Exception as error:  # torch has many ways to fail on a damaged file
        raise WorkError(f"{path}: damaged ({error}); remove this file and run the same command") from error

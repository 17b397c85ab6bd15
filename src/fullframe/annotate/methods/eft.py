"""EFT, Exemplar Fine-Tuning (Joo et al., 3DV 2021): the network fine-tuned to one person at a time.

Iterations, learning rate and stop are EFT's. The loss is that of `annotate.cliff`, in the full frame and with
its regulariser, so that the two differ only in whom a network learns from.
"""

import numpy as np

from fullframe.annotate.chunks import Arrays, in_chunks
from fullframe.annotate.job import Job, Tuner, Tuning
from fullframe.models.predict import Bodies, predict_crops

TUNING = Tuning(learning_rate=5e-6, batch_size=1, passes=20, least_steps=0)
GOOD_ENOUGH = 1e-4
"""Mean squared 2D error, in halves of the crop's height, at which a person is done."""
_CHUNK = 16


def annotate(job: Job, tuning: Tuning = TUNING) -> Bodies:
    """Labels of everyone, each from weights of their own.

    Raises:
        ValueError: there is no network.
        WorkError: a file of an earlier run is damaged.
    """
    network, plain = job.pretrained
    crops = job.crops  # what is sent to other processes cannot hold the job's callbacks
    tuner = Tuner(network, job.body, tuning)
    start = [weight.detach().clone() for weight in tuner.weights]

    def label(index: int) -> Bodies:
        person = np.array([index])
        tuner.restart(start)
        for step in range(tuning.passes):
            if tuner.step(crops, plain, person, step / tuning.passes).keypoints < GOOD_ENOUGH:
                break
        return predict_crops(tuner.network, crops.pixels(person), crops.bbox_info(person))

    def make(first: int, end: int) -> Arrays:
        parts = [label(index) for index in range(first, end)]
        return Bodies.joined(parts)._asdict()

    return Bodies(**in_chunks(job.folder / "labels", len(crops), make, job.advance, _CHUNK, job.workers))

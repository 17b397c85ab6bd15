"""EFT, Exemplar Fine-Tuning (Joo et al., 3DV 2021): the network is fine-tuned to one person at a time.

Iterations, learning rate and stopping criterion are EFT's. The loss is that of CLIFF's annotator, in the full
frame and with its regulariser: the two methods differ only in the people that a network is fine-tuned to.
"""

import numpy as np

from fullframe.annotate.job import Job
from fullframe.annotate.methods.tuner import Tuner, Tuning
from fullframe.io.workdir import Arrays
from fullframe.models.predict import Bodies, predict_crops

TUNING = Tuning(learning_rate=5e-6, batch_size=1, passes=20, least_steps=0)
STOP_ERROR = 1e-4
"""Mean squared 2D error, in half crop heights, at which the fine-tuning of a person stops."""
_SHARD_SIZE = 16


def annotate(job: Job, tuning: Tuning = TUNING) -> Bodies:
    """Labels of all people, each from weights of their own.

    Raises:
        ValueError: there is no network.
        WorkError: files of an earlier run are damaged.
    """
    network, initial = job.pretrained
    crops = job.crops  # workers get this without the job, whose callbacks cannot be pickled
    tuner = Tuner(network, job.body, tuning)
    start = [weight.detach().clone() for weight in tuner.weights]

    def label(index: int) -> Bodies:
        person = np.array([index])
        tuner.restart(start)
        for step in range(tuning.passes):
            if tuner.step(crops, initial, person, step / tuning.passes).keypoints < STOP_ERROR:
                break
        return predict_crops(tuner.network, crops.pixels(person), crops.bbox_info(person))

    def make(first: int, end: int) -> Arrays:
        parts = [label(index) for index in range(first, end)]
        return Bodies.joined(parts)._asdict()

    return Bodies(**job.shards(_SHARD_SIZE).compute(make, job.progress, job.workers))

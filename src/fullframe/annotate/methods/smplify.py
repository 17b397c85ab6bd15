"""Fits of parameters, not weights: SMPLify (Bogo et al., ECCV 2016), and the fit of `fullframe run`."""

import numpy as np

from fullframe.annotate.job import Job
from fullframe.fit import KeypointFitter
from fullframe.io.workdir import Arrays
from fullframe.models.lift_people import lifter_of
from fullframe.models.lifter import LifterNetwork
from fullframe.models.predict import Bodies

_SHARD_SIZE = 16


def annotate(job: Job, lifter: LifterNetwork | None = None) -> Bodies:
    """Labels of all people, from the network's predictions, or from scratch without a network.

    Args:
        lifter: fits start from the mean of its bodies and the network's, and are held to them.

    Raises:
        BodyFileError: the body has no regressor for the keypoints.
        WorkError: files of an earlier run are damaged.
    """
    crops, initial = job.crops, job.initial  # workers get these without the job, which cannot be pickled
    fitter = KeypointFitter(job.body, crops.joint_set, lifter=lifter)

    def make(start: int, end: int) -> Arrays:
        cameras = [crops.camera(index) for index in range(start, end)]
        # People with the same camera are fitted together.
        edges = [i for i in range(1, len(cameras)) if cameras[i] != cameras[i - 1]]
        parts = []
        for some in np.split(np.arange(start, end), edges):
            begin = None if initial is None else Bodies(*(values[some] for values in initial))
            camera = crops.camera(int(some[0]))
            parts.append(fitter.fit(crops.keypoints[some], crops.boxes[some], camera, begin).bodies)
        return Bodies.joined(parts)._asdict()

    return Bodies(**job.shards(_SHARD_SIZE).compute(make, job.progress, job.workers))


def annotate_lifted(job: Job) -> Bodies:
    """The same from the lifter's bodies too, where it predicts this body from these keypoints."""
    return annotate(job, lifter_of(job.body, job.crops.joint_set))

"""SMPLify (Bogo et al., ECCV 2016) as in `fullframe.fit`: parameters instead of weights are fitted."""

import numpy as np

from fullframe.annotate.chunks import Arrays, in_chunks
from fullframe.annotate.job import Job
from fullframe.fit import KeypointFitter
from fullframe.models.predict import Bodies

_CHUNK = 16


def annotate(job: Job) -> Bodies:
    """Labels of everyone, from the network's predictions, or from scratch where there is no network.

    Raises:
        BodyFileError: the body has no regressor for the keypoints.
        WorkError: a file of an earlier run is damaged.
    """
    crops, plain = job.crops, job.plain  # what is sent to other processes cannot hold the job's callbacks
    fitter = KeypointFitter(job.body, crops.joint_set)

    def make(start: int, end: int) -> Arrays:
        cameras = [crops.camera(index) for index in range(start, end)]
        # People of one camera are fitted together.
        edges = [i for i in range(1, len(cameras)) if cameras[i] != cameras[i - 1]]
        parts = []
        for some in np.split(np.arange(start, end), edges):
            begin = None if plain is None else Bodies(*(values[some] for values in plain))
            camera = crops.camera(int(some[0]))
            parts.append(fitter.fit(crops.keypoints[some], crops.boxes[some], camera, begin).bodies)
        return Bodies.joined(parts)._asdict()

    return Bodies(**in_chunks(job.folder / "labels", len(crops), make, job.advance, _CHUNK, job.workers))

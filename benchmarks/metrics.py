"""Speed and memory of measuring 35,000 people on bodies of SMPL's size, as 3DPW has them.

    python benchmarks/metrics.py [--people 35000] [--threads 1]

The bodies are made up: SMPL's number of vertices, shape and pose directions, all of them filled. Predictions
are random poses; both they and the truth are posed, joints are regressed, and MPJPE, PA-MPJPE and PVE in both
alignments are computed, a few people at a time. Files of predictions are not part of it.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

from fullframe.body import BodyModel
from fullframe.body.files import BodyData
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocols.shared import mesh_errors

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "body"))
from synthetic_smpl import synthetic_smpl


def smpl_sized() -> BodyModel:
    arrays = {key: np.asarray(value, np.float32) for key, value in synthetic_smpl().items()}
    regressor = np.random.default_rng(0).dirichlet(np.ones(6890), 17).astype(np.float32)
    return BodyModel(
        BodyData(
            "smpl-neutral",
            arrays["v_template"],
            arrays["shapedirs"],
            arrays["posedirs"],
            arrays["J_regressor"],
            arrays["weights"],
            arrays["f"].astype(np.int64),
            regressors={"h36m17": regressor},
        )
    )


class OneBody(BodyCache):
    """The same body under every name."""

    def __init__(self, body: BodyModel) -> None:
        super().__init__("smpl-neutral")
        self.body = body

    def load(self, name: str, num_betas: int) -> BodyModel:
        return self.body


def random_predictions(number: int) -> Predictions:
    generator = torch.Generator().manual_seed(0)

    def poses() -> np.ndarray:
        axes = 0.3 * torch.randn(number * 24, 3, generator=generator)
        return torch.linalg.matrix_exp(_skew(axes)).view(number, 24, 3, 3).numpy()

    rng = np.random.default_rng(0)
    nothing = np.zeros((number, 0), np.float32)
    return Predictions(
        names=np.arange(number).astype(str),
        sequences=np.full(number, "sequence"),
        frames=np.arange(number),
        boxes=np.tile(np.float32([0, 0, 100, 200]), (number, 1)),
        focal=np.full((number, 2), 1000, np.float32),
        principal_point=np.full((number, 2), 500, np.float32),
        pose=poses(),
        betas=rng.normal(size=(number, 10)).astype(np.float32),
        translation=np.zeros((number, 3), np.float32),
        true_bodies=np.full(number, "smpl-neutral"),
        true_pose=poses(),
        true_betas=rng.normal(size=(number, 10)).astype(np.float32),
        true_translation=np.zeros((number, 3), np.float32),
        kid=nothing.sum(axis=1),
    )


def _skew(vectors: torch.Tensor) -> torch.Tensor:
    x, y, z = vectors.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), -1).unflatten(-1, (3, 3))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=35_000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    predictions, bodies = random_predictions(arguments.people), OneBody(smpl_sized())
    start, busy = time.perf_counter(), time.process_time()
    scores = mesh_errors(predictions, bodies)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    assert not any(np.isnan(column).any() for column in scores.people.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    people = f"{arguments.people} people, {arguments.threads} threads"
    print(f"{people}: {seconds:.1f} s ({busy:.1f} s of CPU), peak {peak:.2f} GB")


if __name__ == "__main__":
    main()

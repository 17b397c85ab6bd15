"""Learn the pose prior of the fit from motion capture: src/fullframe/assets/pose_prior.npz.

    python tools/build_pose_prior.py POSES.npz

POSES.npz holds `theta` (N, 24, 3) axis-angle in SMPL's joints with the heading removed from the root, `weight`
(N,) the frequency to sample each with, and `split` (N,), 0 for training. Needs `pip install -e .[assets]`.

Motion capture has few people on chairs, photos have many: a part of the poses gets seated legs, with hips, knees
and ankles drawn from the ranges of sitting (hip flexion 55-115, knee 20-125, abduction -5-30 degrees).
"""

import sys
from pathlib import Path

import numpy as np
import roma
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from fullframe.body.joints import JOINT_SETS

OUT = Path(__file__).parents[1] / "src/fullframe/assets/pose_prior.npz"
SAMPLES, SEATED, COMPONENTS = 24_000, 0.25, 8
EXEMPLARS, SEATED_EXEMPLARS = 1400, 350
L_HIP, R_HIP, L_KNEE, R_KNEE, L_ANKLE, R_ANKLE = 1, 2, 4, 5, 7, 8


def seat(theta: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The same upper bodies, upright or leaning, on seated legs."""
    theta, n = theta.copy(), len(theta)
    degrees = lambda low, high: np.radians(rng.uniform(low, high, n))  # noqa: E731
    theta[:, 0] = 0
    theta[:, 0, 0] = degrees(-20, 25)
    knees_together, hips = degrees(20, 125), degrees(55, 115)
    for hip, knee, ankle, side in ((L_HIP, L_KNEE, L_ANKLE, 1), (R_HIP, R_KNEE, R_ANKLE, -1)):
        flexion = roma.rotvec_to_rotmat(torch.tensor(_about(0, -(hips + degrees(-12, 12)))))
        abduction = roma.rotvec_to_rotmat(torch.tensor(_about(1, side * degrees(-5, 30))))
        theta[:, hip] = roma.rotmat_to_rotvec(abduction @ flexion).numpy()
        theta[:, knee] = _about(0, np.clip(knees_together + degrees(-15, 15), 0.05, 2.4))
        theta[:, ankle] = _about(0, degrees(-25, 15))
    return theta


def _about(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    vector = np.zeros((len(angle), 3))
    vector[:, axis] = angle
    return vector


def mirror(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    return theta[:, JOINT_SETS["smpl24"].flip_permutation] * np.array([1, -1, -1])


def main() -> None:
    rng = np.random.default_rng(0)
    poses = np.load(sys.argv[1])
    train = poses["split"] == 0
    theta = poses["theta"][train].astype(np.float64)
    probability = poses["weight"][train].astype(np.float64)
    probability /= probability.sum()

    def draw(n: int, replace: bool) -> NDArray[np.float64]:
        return theta[rng.choice(len(theta), n, replace=replace, p=probability)]

    seated = int(SAMPLES * SEATED)
    samples = np.concatenate((draw(SAMPLES - seated, True), seat(draw(seated, True), rng)))
    samples = np.concatenate((samples, mirror(samples)))
    body = samples[:, 1:].reshape(len(samples), 69)
    # The regularisation (about 5 degrees) keeps joints that the data never moves from becoming rigid.
    mixture = GaussianMixture(COMPONENTS, reg_covar=0.008, random_state=0, max_iter=200).fit(body)
    low, high = np.quantile(body, (0.002, 0.998), axis=0)

    exemplars = np.concatenate((draw(EXEMPLARS - SEATED_EXEMPLARS, False), seat(draw(SEATED_EXEMPLARS, False), rng)))
    mean = np.zeros((24, 3))
    mean[1:] = (theta[:, 1:] + mirror(theta)[:, 1:]).transpose(1, 2, 0) @ probability / 2
    arrays = {
        "mean_pose": mean.astype(np.float32),
        "means": mixture.means_.astype(np.float32),
        "precisions": mixture.precisions_.astype(np.float32),
        "weights": mixture.weights_.astype(np.float32),
        "low": low.astype(np.float32),
        "high": high.astype(np.float32),
        "exemplars": exemplars.astype(np.float16),
    }
    np.savez_compressed(OUT, **arrays)
    held_out = poses["theta"][~train].astype(np.float64)[:, 1:].reshape(-1, 69)
    print(f"log-likelihood per pose: training {mixture.score(body):.1f}, held-out clips {mixture.score(held_out):.1f}")
    print(f"{OUT}: {OUT.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

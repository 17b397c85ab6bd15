"""Learn the pose prior of the fit from motion capture: src/fullframe/assets/pose_prior.npz.

    python tools/build_pose_prior.py POSES.npz

POSES.npz holds `theta` (N, 24, 3) axis-angle in SMPL's joints with the heading removed from the root,
`weight` (N,) the frequency to sample each with, `split` (N,), 0 for training, `action` and `action_names`.
Needs `pip install -e .[assets]`.

Photos show other things than motion capture does: more people who just stand or sit, fewer who climb and
somersault. So acrobatics weigh less, and a part of the poses gets the legs of someone standing or sitting,
drawn from the ranges of those (sitting: hip flexion 55-115, knee 20-125, abduction -5-30 degrees).
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import roma
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from fullframe.body.joints import JOINT_SETS

OUT = Path(__file__).parents[1] / "src/fullframe/assets/pose_prior.npz"
SAMPLES, EXEMPLARS, COMPONENTS = 24_000, 1600, 8
SEATED, STANDING = 0.25, 0.2  # shares of the above
RARE = (
    "playground_climb",
    "cartwheel",
    "backflip",
    "sideflip",
    "spinkick",
    "roll",
    "getup_faceup",
    "getup_facedown",
)
RARE_WEIGHT = 0.15
LEGS = ((1, 4, 7, 1), (2, 5, 8, -1))  # hip, knee, ankle, and the side's sign
SPINE = (3, 6, 9)


def seat(theta: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The same upper bodies, upright or leaning, on seated legs."""
    degrees = _degrees(rng, len(theta))
    theta = theta.copy()
    theta[:, 0] = _about(0, degrees(-20, 25))
    knees, hips = degrees(20, 125), degrees(55, 115)
    for hip, knee, ankle, side in LEGS:
        flexion = roma.rotvec_to_rotmat(torch.tensor(_about(0, -(hips + degrees(-12, 12)))))
        abduction = roma.rotvec_to_rotmat(torch.tensor(_about(1, side * degrees(-5, 30))))
        theta[:, hip] = roma.rotmat_to_rotvec(abduction @ flexion).numpy()
        theta[:, knee] = _about(0, np.clip(knees + degrees(-15, 15), 0.05, 2.4))
        theta[:, ankle] = _about(0, degrees(-25, 15))
    return theta


def stand(theta: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The same arms on someone who stands: straight back, nearly straight legs."""
    degrees = _degrees(rng, len(theta))
    theta = theta.copy()
    theta[:, 0] = _about(0, degrees(-5, 8))
    theta[:, SPINE] *= 0.3
    for hip, knee, ankle, side in LEGS:
        bend = degrees(0, 15)
        theta[:, hip] = _about(0, degrees(-8, 8) - bend / 2) + _about(2, side * degrees(-2, 12))
        theta[:, knee] = _about(0, bend)
        theta[:, ankle] = _about(0, degrees(-8, 5) - bend / 2)
    return theta


def _degrees(rng: np.random.Generator, count: int) -> Callable[[float, float], NDArray[np.float64]]:
    return lambda low, high: np.radians(rng.uniform(low, high, count))


def _about(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    return angle[:, None] * np.eye(3)[axis]


def mirror(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    return theta[:, JOINT_SETS["smpl24"].flip_permutation] * np.array([1, -1, -1])


def main() -> None:
    rng = np.random.default_rng(0)
    poses = np.load(sys.argv[1])
    train = poses["split"] == 0
    theta = poses["theta"][train].astype(np.float64)
    rare = np.isin(poses["action_names"][poses["action"][train]], RARE)
    probability = poses["weight"][train].astype(np.float64) * np.where(rare, RARE_WEIGHT, 1)
    probability /= probability.sum()

    def draw(count: int, replace: bool) -> NDArray[np.float64]:
        chosen = theta[rng.choice(len(theta), count, replace=replace, p=probability)]
        seated, standing = int(SEATED * count), int(STANDING * count)
        parts = np.split(chosen, (seated, seated + standing))
        return np.concatenate((seat(parts[0], rng), stand(parts[1], rng), parts[2]))

    samples = draw(SAMPLES, replace=True)
    samples = np.concatenate((samples, mirror(samples)))
    body = samples[:, 1:].reshape(len(samples), 69)
    # The regularisation (about 5 degrees) keeps joints that the data never moves from becoming rigid.
    mixture = GaussianMixture(COMPONENTS, reg_covar=0.008, random_state=0, max_iter=200).fit(body)
    low, high = np.quantile(body, (0.002, 0.998), axis=0)

    mean = np.zeros((24, 3))
    mean[1:] = (theta[:, 1:] + mirror(theta)[:, 1:]).transpose(1, 2, 0) @ probability / 2
    arrays = {
        "mean_pose": mean.astype(np.float32),
        "means": mixture.means_.astype(np.float32),
        "precisions": mixture.precisions_.astype(np.float32),
        "weights": mixture.weights_.astype(np.float32),
        "low": low.astype(np.float32),
        "high": high.astype(np.float32),
        "exemplars": draw(EXEMPLARS, replace=False).astype(np.float16),
    }
    np.savez_compressed(OUT, **arrays)
    held_out = poses["theta"][~train].astype(np.float64)[:, 1:].reshape(-1, 69)
    print(
        f"log-likelihood per pose: training {mixture.score(body):.1f}, "
        f"held-out clips {mixture.score(held_out):.1f}"
    )
    print(f"{OUT}: {OUT.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

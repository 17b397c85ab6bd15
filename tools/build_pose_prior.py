"""Learn the pose prior of the fit from motion capture: src/fullframe/assets/pose_prior.npz.

    python tools/build_pose_prior.py POSES.npz

POSES.npz holds `theta` (N, 24, 3) axis-angle in SMPL's joints with the heading removed from the root,
`weight` (N,) the frequency to sample each with, `split` (N,), 0 for training, `action` and `action_names`.
Needs `pip install -e .[assets]`.

Photos show other things than motion capture does: more people who just stand or sit, fewer who climb and
somersault. So acrobatics weigh less, and a part of the poses gets the legs of someone standing or sitting,
as fullframe.synth.poses makes them up.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from fullframe.synth.poses import mirror, seat, stand

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

"""Packs motion capture poses for the synthetic people: src/fullframe/assets/motion.npz.

    python tools/build_motion.py POSES.npz

POSES.npz as for tools/build_pose_prior.py. Acrobatics and playground climbing, which photos show rarely, are
kept at a lower weight.
"""

import sys

import numpy as np
from build_pose_prior import RARE

from fullframe.assets import MOTION

RARE_WEIGHT = 0.3


def main() -> None:
    with np.load(sys.argv[1], allow_pickle=False) as poses:
        rare = np.isin(poses["action_names"][poses["action"]], RARE)
        arrays = {
            "theta": poses["theta"],
            "split": poses["split"],
            "weight": (poses["weight"] * np.where(rare, RARE_WEIGHT, 1)).astype(np.float16),
        }
    out = MOTION
    np.savez_compressed(out, **arrays)
    print(f"{out}: {len(rare)} poses, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

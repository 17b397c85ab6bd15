"""One shape per person, from those of many frames."""

import numpy as np
from numpy.typing import NDArray

from fullframe.body.model import BodyModel
from fullframe.motion.skeleton import blocks, skeletons
from fullframe.results.clip import Clip


def constant_shape(clip: Clip, body: BodyModel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Betas (N, B) that are the same in all rows of a track, and the translation (N, 3) that goes with them.

    A larger body stands farther away, so that it covers the same part of the image.
    """
    betas = clip.betas.copy()
    for _, rows in clip.tracks():
        betas[rows] = robust_mean(clip.betas[rows], clip.scores[rows])
    translation = np.empty_like(clip.translation)
    for some in blocks(len(clip)):
        before = skeletons(body, clip.betas[some], clip.pose[some], clip.translation[some]).joints
        after = skeletons(body, betas[some], clip.pose[some]).joints
        middle_before, middle_after = before.mean(axis=1), after.mean(axis=1)
        spread_before, spread_after = before - middle_before[:, None], after - middle_after[:, None]
        # The scale that takes the old joints best to the new ones; the image stays if all of space is scaled.
        scale = (spread_before * spread_after).sum(axis=(1, 2)) / (spread_before**2).sum(axis=(1, 2))
        translation[some] = scale[:, None] * middle_before - middle_after
    return betas, translation


def robust_mean(values: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weighted mean (D,) of those of N values (N, D) that are not much farther from the median than most.

    Values without any weight all count the same.
    """
    distance = np.linalg.norm(values - np.median(values, axis=0), axis=1)
    usual = distance <= 2 * np.median(distance) + 1e-6
    weights = weights[usual] if weights[usual].sum() > 0 else np.ones(int(usual.sum()), np.float32)
    return np.average(values[usual], axis=0, weights=weights).astype(np.float32)

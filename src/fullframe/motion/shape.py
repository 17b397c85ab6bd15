"""One shape per person, from those of many frames; of a known height if it is given."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel
from fullframe.motion.skeleton import blocks, skeletons
from fullframe.results.clip import Clip

STATURES = (0.5, 2.4)
"""Metres between which a body's height at rest is plausible."""

Height = float | Mapping[int, float]
"""Heights in metres: of everybody, or by track id."""


def check_height(height: Height | None) -> None:
    """Raises ValueError for heights that people do not have, with the likely confusion of units."""
    for metres in height.values() if isinstance(height, Mapping) else [] if height is None else [height]:
        if STATURES[0] <= metres <= STATURES[1]:
            continue
        likely = next((metres / k for k in (10, 100, 1000) if 1 <= metres / k <= STATURES[1]), None)
        perhaps = f"; did you mean {likely:g}?" if likely else ""
        raise ValueError(
            f"a height of {metres:g} m is no person's: heights are in metres, from {STATURES[0]} to "
            f"{STATURES[1]}{perhaps}"
        )


def constant_shape(
    clip: Clip, body: BodyModel, height: Height | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Betas (N, B) that are the same in all rows of a track, and the translation (N, 3) that goes with them.

    A larger body stands farther away, so that it covers the same part of the image.

    Args:
        height: of the people it names; see `with_height`.
    """
    betas = clip.betas.copy()
    for _, rows in clip.tracks():
        betas[rows] = robust_mean(clip.betas[rows], clip.scores[rows])
    betas = with_height(body, betas, clip.track_ids, height)
    return betas, keep_in_view(body, clip.pose, clip.translation, clip.betas, betas)


def with_height(
    body: BodyModel, betas: NDArray[np.float32], track_ids: NDArray[np.int64], height: Height | None
) -> NDArray[np.float32]:
    """Betas (N, B) of bodies that are as tall at rest as said, from sole to crown.

    The first beta is changed, which is stature in the open body and most of it in SMPL; the others stay, and
    with them what makes this body differ from others of its height.

    Args:
        track_ids: (N,) of the bodies.
        height: those of people without one are not changed.

    Raises:
        ValueError: the body's first beta hardly changes its height.
    """
    result = betas.copy()
    if height is None:
        return result
    vertical, dirs = body.data.template[:, 1], body.data.shape_dirs[:, 1, : body.num_betas]
    done: dict[tuple[float, bytes], NDArray[np.float32]] = {}
    for row, track in enumerate(track_ids.tolist()):
        metres = height.get(track) if isinstance(height, Mapping) else height
        if metres is None:
            continue
        key = metres, betas[row].tobytes()  # the same in all rows of a track
        if key not in done:
            shape = betas[row].astype(np.float64)
            for _ in range(20):  # the crown and the sole may become other vertices
                y = vertical + dirs @ shape
                crown, sole = y.argmax(), y.argmin()
                slope = dirs[crown, 0] - dirs[sole, 0]
                if abs(slope) < 0.01:
                    raise ValueError(f"the first beta of the body {body.name} is not its stature")
                shape[0] += (metres - (y[crown] - y[sole])) / slope
            done[key] = shape.astype(np.float32)
        result[row] = done[key]
    return result


def keep_in_view(
    body: BodyModel,
    pose: NDArray[np.float32],
    translation: NDArray[np.float32],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Translations (N, 3) with which bodies of other betas cover the same part of the image.

    Args:
        pose: (N, 24, 3, 3).
        translation: (N, 3) metres, of the bodies as they were.
        before, after: (N, B) betas as they were and as they are.
    """
    moved = np.empty_like(translation)
    for some in blocks(len(moved)):
        old = skeletons(body, before[some], pose[some], translation[some]).joints
        new = skeletons(body, after[some], pose[some]).joints
        middle_old, middle_new = old.mean(axis=1), new.mean(axis=1)
        spread_old, spread_new = old - middle_old[:, None], new - middle_new[:, None]
        # The scale that takes the old joints best to the new ones; the image stays if all of space is scaled.
        scale = (spread_old * spread_new).sum(axis=(1, 2)) / (spread_old**2).sum(axis=(1, 2))
        moved[some] = scale[:, None] * middle_old - middle_new
    return moved


def robust_mean(values: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weighted mean (D,) of those of N values (N, D) that are not much farther from the median than most.

    Values without any weight all count the same.
    """
    distance = np.linalg.norm(values - np.median(values, axis=0), axis=1)
    usual = distance <= 2 * np.median(distance) + 1e-6
    weights = weights[usual] if weights[usual].sum() > 0 else np.ones(int(usual.sum()), np.float32)
    return np.average(values[usual], axis=0, weights=weights).astype(np.float32)

"""Predicted and true bodies, posed a few at a time so that any number of them fits into memory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body import JOINT_SETS, BodyFileError, BodyModel, files, load_body
from fullframe.evaluate.predictions import Predictions

BATCH_SIZE = 64
"""Bodies posed at once: 64 of SMPL's are 5 MB of vertices."""


class Posed(NamedTuple):
    """N bodies of one kind without translation, so that the root stays at its rest position.

    Attributes:
        body: of all of them.
        vertices: (N, V, 3) float32, camera frame, metres.
        smpl24: (N, 24, 3) float32.
    """

    body: BodyModel
    vertices: NDArray[np.float32]
    smpl24: NDArray[np.float32]

    def joints(self, joint_set: str) -> NDArray[np.float32]:
        """(N, K, 3) of a key of JOINT_SETS.

        Raises:
            BodyFileError: the body has no regressor for it.
        """
        if joint_set == "smpl24":
            return self.smpl24
        return self.body.regress(torch.from_numpy(self.vertices), joint_set).numpy()


class BodyCache:
    """Bodies by name, each loaded once.

    Args:
        predicted: name of the body that the predictions belong to.
    """

    def __init__(self, predicted: str) -> None:
        self.predicted = predicted
        self._loaded: dict[tuple[str, int], BodyModel] = {}

    def load(self, name: str, num_betas: int) -> BodyModel:
        """The body with at most that many shape directions.

        Raises:
            BodyFileError: it is SMPL, and its file is missing or unusable.
        """
        key = (name, num_betas)
        if key not in self._loaded:
            self._loaded[key] = load_body(name, num_betas=num_betas)
        return self._loaded[key]

    def shaped(
        self, name: str, betas: NDArray[np.float32], kid: NDArray[np.float32]
    ) -> tuple[BodyModel, NDArray[np.float32]]:
        """The body for betas (N, B) of people of whom all or none are kids, and the betas (N, B') it takes.

        For kids this is SMPL with one more shape direction, from the adult at 0 to SMPL's kid template at 1
        (AGORA, Patel et al., CVPR 2021).

        Args:
            kid: (N,) weight of the kid template, 0 for adults.

        Raises:
            BodyFileError: SMPL or its kid template is missing.
        """
        width = betas.shape[1]
        if not kid.any():
            return self.load(name, width), betas
        key = (name, -width)
        if key not in self._loaded:
            data = load_body(name, num_betas=width).data
            template = _kid_template(len(data.template))
            direction = template - template.mean(axis=0) - data.template
            shape_dirs = np.concatenate((data.shape_dirs[..., :width], direction[..., None]), axis=2)
            self._loaded[key] = BodyModel(replace(data, shape_dirs=shape_dirs), width + 1)
        return self._loaded[key], np.concatenate((betas, kid[:, None]), axis=1)


def _kid_template(vertices: int) -> NDArray[np.float32]:
    path = files.SMPL_FOLDER / "smpl_kid_template.npy"
    if not path.is_file():
        raise BodyFileError(
            f"{path} is missing, which true bodies of children need: get it from "
            "https://agora.is.tue.mpg.de (SMPL kid template)"
        )
    try:
        template = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise BodyFileError(f"{path}: not a readable .npy file ({error})") from error
    if template.shape != (vertices, 3):
        raise BodyFileError(f"{path}: expected ({vertices}, 3) vertices, found {template.shape}")
    return np.asarray(template, np.float32)


def posed(body: BodyModel, betas: NDArray[np.float32], pose: NDArray[np.float32]) -> Posed:
    """Pose N bodies for betas (N, B); betas beyond those of the body are ignored."""
    with torch.inference_mode():
        out = body(torch.from_numpy(betas[:, : body.num_betas].copy()), torch.from_numpy(pose))
    return Posed(body, out.vertices.numpy(), out.joints.numpy())


def posed_predictions(
    predictions: Predictions, bodies: BodyCache, people: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], Posed]]:
    """The chosen people's predicted bodies, BATCH_SIZE at a time, with their indices."""
    body = bodies.load(bodies.predicted, predictions.betas.shape[1])
    for start in range(0, len(people), BATCH_SIZE):
        some = people[start : start + BATCH_SIZE]
        yield some, posed(body, predictions.betas[some], predictions.pose[some])


def posed_pairs(
    predictions: Predictions, bodies: BodyCache
) -> Iterator[tuple[NDArray[np.intp], Posed, Posed]]:
    """Predicted and true bodies of all people whose true body is known, BATCH_SIZE of one kind at a time.

    Yields:
        indices of the people, their predicted and their true bodies.
    """
    known, is_kid = predictions.has_body, predictions.kid != 0
    for name in np.unique(predictions.true_bodies[known]).tolist():
        for kids in (False, True):
            group = np.flatnonzero(known & (predictions.true_bodies == name) & (is_kid == kids))
            if not len(group):
                continue
            body, betas = bodies.shaped(name, predictions.true_betas[group], predictions.kid[group])
            pairs = posed_predictions(predictions, bodies, group)
            for start, (some, predicted) in enumerate(pairs):
                true = betas[start * BATCH_SIZE : (start + 1) * BATCH_SIZE]
                yield some, predicted, posed(body, true, predictions.true_pose[some])


def pick(points: NDArray, joint_set: str, names: Sequence[str]) -> NDArray:
    """The named joints (..., len(names), C) of a joint set (..., K, C)."""
    rows = JOINT_SETS[joint_set].names
    return points[..., [rows.index(name) for name in names], :]

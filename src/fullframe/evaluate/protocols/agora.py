"""AGORA's SMPL track (Patel et al., CVPR 2021), and the file that its server takes."""

import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Subset

from fullframe.body import BodyFileError, files
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.agora import AGORA
from fullframe.data.sample import Sample
from fullframe.evaluate import metrics
from fullframe.evaluate.posed_bodies import BodyCache, posed_pairs
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocol import Protocol, Published, Scores, mean
from fullframe.evaluate.protocols.shared import joint_columns, nan_columns, other_topology, pixels
from fullframe.geometry.box import iou
from fullframe.io.atomic import atomic_path

MIN_IOU = 0.1
"""Of the boxes around the joints of a prediction and of whom it is matched to."""

BODY_VERTICES = "body_verts_smpl.npy"


def people(root: Path) -> Sequence[Sample]:
    """The people of the validation images that are annotated as valid and occluded by at most 90 %."""
    everyone = AGORA(root, "validation")
    return Subset(everyone, np.flatnonzero(everyone.valid).tolist())  # type: ignore[return-value,arg-type]


def measure(predictions: Predictions, bodies: BodyCache) -> Scores:
    """MPJPE and MVE of matched people, F1, and both over F1; the same for the children alone.

    All 24 joints, and the vertices that AGORA's evaluation chooses (all without its list), are aligned at the
    middle of the hips. For the children, all false predictions are charged.
    """
    found = matched_predictions(predictions, bodies)
    seen = found >= 0
    # True people with the predictions that were matched to them; the others have no true body.
    paired = replace(
        predictions,
        pose=predictions.pose[found],
        betas=predictions.betas[found],
        true_pose=np.where(seen[:, None, None, None], predictions.true_pose, np.nan),
    )
    columns = nan_columns(len(predictions), "MPJPE mm", "MVE mm")
    by_joint = np.full((len(predictions), 24), np.nan)
    chosen = body_vertices()
    notes = set()
    if chosen is None:
        place = files.SMPL_FOLDER / BODY_VERTICES
        notes.add(f"MVE: over all vertices, since {place} (from AGORA's evaluation code) is missing.")
    for some, predicted, true in posed_pairs(paired, bodies):
        p, g = predicted.smpl24, true.smpl24
        by_joint[some] = metrics.joint_errors(p, g, metrics.MID_HIP)
        columns["MPJPE mm"][some] = by_joint[some].mean(axis=1)
        if predicted.vertices.shape == true.vertices.shape:
            hips = (metrics.root_of(x, metrics.MID_HIP) for x in (p, g))
            rows = slice(None) if chosen is None else chosen
            columns["MVE mm"][some] = metrics.pve(predicted.vertices[:, rows], true.vertices[:, rows], *hips)
        else:
            notes.add(other_topology(predicted.body.name, true.body.name))

    values: dict[str, float] = {}
    kids = predictions.kid != 0
    false = int((~seen).sum())  # as many predictions as people: each missed person leaves one unmatched
    for prefix, group in (("", np.ones(len(predictions), bool)), ("kids: ", kids)):
        if not group.any():
            continue
        rates = metrics.detection(int((seen & group).sum()), false, int((~seen & group).sum()))
        errors = {name: mean(column[group]) for name, column in columns.items()}
        normalised = {
            f"N{'MJE' if name.startswith('MPJPE') else 'MVE'} mm": error / rates.f1 if rates.f1 else np.nan
            for name, error in errors.items()
        }
        group_values = {
            **errors,
            **normalised,
            "F1": rates.f1,
            "precision": rates.precision,
            "recall": rates.recall,
        }
        values |= {prefix + name: float(value) for name, value in group_values.items()}
    joints = joint_columns(JOINT_SETS["smpl24"].names, by_joint)
    return Scores(values, columns, joints, notes=tuple(sorted(notes)))


def matched_predictions(predictions: Predictions, bodies: BodyCache) -> NDArray[np.intp]:
    """For each true person the index of the prediction matched to them in their image, else -1: (N,)."""
    predicted = pixels(predictions, bodies, "smpl24")
    true = predictions.keypoints["smpl24"][..., :2].astype(np.float64)
    images = np.array([name.rpartition("#")[0] for name in predictions.names])
    found = np.full(len(predictions), -1)
    order = np.argsort(images, kind="stable")
    starts = np.flatnonzero(np.r_[True, images[order][1:] != images[order][:-1]])
    for group in np.split(order, starts[1:]):
        for p, g in match(predicted[group], true[group]):
            found[group[g]] = group[p]
    return found


def match(predicted: NDArray[np.floating], true: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Which prediction of an image shows whom, as AGORA's evaluation matches them.

    Pairs are taken by increasing distance of all joints together, if both are free and the boxes around their
    joints overlap. Every pair on the way whose boxes do not overlap takes one off the predictions that can
    still be matched.

    Args:
        predicted: (P, 24, 2) px of the 3840 x 2160 image.
        true: (G, 24, 2) px.

    Returns:
        (index of the prediction, index of the true person) of each match.
    """
    difference = (predicted[:, None] - true[None]).reshape(len(predicted), len(true), -1)
    order = np.argsort(np.linalg.norm(difference, axis=2), axis=None, kind="stable")
    # Counted in whole pixels: boxes include their last one.
    a, b = (np.concatenate((x.min(axis=1), x.max(axis=1) + 1), axis=1) for x in (predicted, true))
    overlap = iou(a, b)
    free_p, free_g = np.ones(len(predicted), bool), np.ones(len(true), bool)
    matches: list[tuple[int, int]] = []
    apart = 0
    for p, g in np.stack(np.unravel_index(order, overlap.shape), axis=1).tolist():
        if not free_g.any() or len(matches) + apart >= len(predicted):
            break
        if overlap[p, g] < MIN_IOU:
            apart += 1
        elif free_p[p] and free_g[g]:
            free_p[p] = free_g[g] = False
            matches.append((p, g))
    return matches


def body_vertices() -> NDArray[np.int64] | None:
    """The vertices of the body without hands and face that AGORA measures, if their list is there.

    Raises:
        BodyFileError: it is not a list of SMPL's vertices.
    """
    path = files.SMPL_FOLDER / BODY_VERTICES
    if not path.is_file():
        return None
    try:
        rows = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise BodyFileError(f"{path}: not a readable .npy file ({error})") from error
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not 0 <= rows.min() <= rows.max() < 6890:
        raise BodyFileError(f"{path}: expected a list of SMPL's vertices, found {rows.dtype} {rows.shape}")
    return rows.astype(np.int64)


def write_submission(predictions: Predictions, bodies: BodyCache, folder: Path) -> list[str]:
    """submission.zip for AGORA's server: a pickle with SMPL parameters and joints for each person.

    Returns:
        What was written, or why not, for the report.
    """
    if not bodies.predicted.startswith("smpl"):
        return [
            f"submission.zip: not written, since AGORA takes SMPL and this is the {bodies.predicted} body."
        ]
    joints = pixels(predictions, bodies, "smpl24").astype(np.float32)
    numbers: dict[str, int] = {}
    path = folder / "submission.zip"
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, name in enumerate(predictions.names.tolist()):
            image = Path(name.rpartition("#")[0]).stem
            numbers[image] = number = numbers.get(image, -1) + 1
            person = {
                "joints": joints[i],
                "pose2rot": False,
                "params": {
                    "transl": predictions.translation[i, None],
                    "betas": predictions.betas[i, None, :10],
                    "global_orient": predictions.pose[i, None, :1],
                    "body_pose": predictions.pose[i, None, 1:],
                },
            }
            # numpy 2 renamed a module that the arrays name; the server's older one knows the old name only.
            # Protocol 2 writes names without their length, so they can be exchanged.
            content = pickle.dumps(person, protocol=2).replace(b"cnumpy._core.", b"cnumpy.core.")
            archive.writestr(f"predictions/{image}_personId_{number}.pkl", content)
    return [f"submission.zip: {len(predictions)} people of {len(numbers)} images, in AGORA's format."]


def _line(model: str, mpjpe: float, mve: float) -> Published:
    return Published(model, {"MPJPE mm": mpjpe, "MVE mm": mve})


PROTOCOL = Protocol(
    title="AGORA, SMPL, validation",
    open=people,
    measure=measure,
    options={
        "people": "isValid, occluded by at most 90 %; papers' numbers are of the test images",
        "boxes": "around the projected true joints, enlarged 1.2 times, instead of detected ones",
        "camera": "true",
        "joints": "24 of SMPL, aligned at the middle of the hips",
        "ground truth": "neutral SMPL, with the kid template for children",
    },
    published=(
        _line("HMR", 180.5, 173.6),
        _line("HMR-EFT", 165.4, 159.0),
        _line("SPIN", 153.4, 148.9),
        _line("PARE", 146.2, 140.9),
        _line("ROMP", 116.6, 113.8),
        _line("SPEC", 112.3, 106.5),
        _line("CLIFF Res-50", 91.7, 86.3),
        _line("CLIFF HR-W48", 81.0, 76.0),
    ),
    extras=write_submission,
)

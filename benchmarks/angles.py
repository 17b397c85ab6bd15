"""How well joint angles are measured with a single camera: the table of docs/guides/sports.md.

    python benchmarks/angles.py gestures
    python benchmarks/angles.py clips
    python benchmarks/angles.py pose2sim-clips --root PROJECT

The default of `fullframe run` against triangulated joints: in the images of `fullframe evaluate gestures`, in
all frames of the whole clips behind them (see clips.py), or in recordings of your own. Angles are those
between the lines that join three or four joints, which need no definition of axes. Errors by direction are of
joints that are aligned at their mean: across the image, down it, and along the line of sight.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from clips import clip_names, frame_by_frame, limb_joints
from numpy.typing import NDArray

from fullframe.data.formats.triangulated_joints import LIMBS
from fullframe.evaluate.posed_bodies import BodyCache, pick, posed_predictions
from fullframe.evaluate.predictions import load_predictor
from fullframe.evaluate.protocols import PROTOCOLS
from fullframe.evaluate.protocols.shared import named_joints
from fullframe.evaluate.report import markdown_table
from fullframe.fit import fit_clip
from fullframe.motion.postprocess import postprocess
from fullframe.recovery.photo import Recoverer

SIDES = ("left", "right")


def main(
    benchmark: Annotated[Literal["gestures", "clips", "pose2sim", "pose2sim-clips"], tyro.conf.Positional],
    root: Path = Path(),
    out: Path = Path("evaluation/angles"),
) -> None:
    found, truth = of_clips(out) if benchmark == "clips" else of_people(benchmark, root, out)
    print(f"{benchmark}: {len(found)} people\n")
    centred = [points - points.mean(axis=1, keepdims=True) for points in (found, truth)]
    off = 1000 * np.abs(centred[0] - centred[1]).mean(axis=(0, 1))
    print(
        f"mean absolute error in mm: x {off[0]:.0f}, y {off[1]:.0f}, along the line of sight {off[2]:.0f}\n"
    )
    table = [["angle", "true range", "mean absolute error", "bias", "correlation"]]
    for name in ("elbow flexion", "knee flexion", "upper arm to trunk", "thigh to trunk"):
        p, t = (np.concatenate([angles(points, side)[name] for side in SIDES]) for points in (found, truth))
        low, high = np.percentile(t, (5, 95))
        error = p - t
        table.append(
            [name, f"{low:.0f} to {high:.0f}", f"{np.abs(error).mean():.1f}", f"{error.mean():+.1f}",
             f"{np.corrcoef(p, t)[0, 1]:.2f}"]
        )  # fmt: skip
    print(markdown_table(table))


def of_clips(out: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Found and true joints of LIMBS in the frames of whole clips, (N, 12, 3) metres; kept in `out`."""
    fitter = Recoverer().fitter
    assert fitter is not None
    found, truth = [], []
    out.mkdir(parents=True, exist_ok=True)
    for name in clip_names():
        raw, true = frame_by_frame(name, out / f"{name}.npz")
        clip = postprocess(raw, fitter.body, fit=partial(fit_clip, fitter))
        known = np.isfinite(true[clip.frames]).all(axis=(1, 2))
        found.append(limb_joints(clip)[known])
        truth.append(true[clip.frames][known])
    return np.concatenate(found), np.concatenate(truth)


def of_people(benchmark: str, root: Path, out: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same of a benchmark of `fullframe evaluate`."""
    protocol = PROTOCOLS[benchmark]
    samples = protocol.open(root)
    request = {"benchmark": benchmark, "root": str(root.resolve())}
    predictions = protocol.predict(
        load_predictor("cliff-lite", refine=True), samples, out / benchmark, request, enlarge=protocol.enlarge
    )
    truth, known = named_joints(predictions, LIMBS)
    known &= np.isfinite(predictions.pose).all(axis=(1, 2, 3))
    found = np.full_like(truth, np.nan)
    for some, posed in posed_predictions(predictions, BodyCache("open"), np.flatnonzero(known)):
        found[some] = pick(posed.joints("coco17"), "coco17", LIMBS)
    return found[known], truth[known]


def angles(points: NDArray[np.float64], side: str) -> dict[str, NDArray[np.float64]]:
    """Angles of one side in degrees, by name, (N,) each.

    Args:
        points: (N, 12, 3) of LIMBS.
    """
    at = {name: points[:, k] for k, name in enumerate(LIMBS)}
    shoulder, elbow, wrist, hip, knee, ankle = (
        at[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    )
    trunk = sum(at[f"{s}_hip"] - at[f"{s}_shoulder"] for s in SIDES)
    return {
        "elbow flexion": between(elbow - shoulder, wrist - elbow),
        "knee flexion": between(knee - hip, ankle - knee),
        "upper arm to trunk": between(elbow - shoulder, trunk),
        "thigh to trunk": between(knee - hip, trunk),
    }


def between(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The angles between vectors (N, 3), degrees."""
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


if __name__ == "__main__":
    tyro.cli(main)

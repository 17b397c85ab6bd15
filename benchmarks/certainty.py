"""How many of the 90 % intervals hold that the uncertainty of results implies.

    python benchmarks/certainty.py [--detected FOLDER]

The interval of a joint's coordinate is 1.645 standard deviations to each side, in the camera frame, from the
mean of the twelve joints of the limbs; the truth is centred alike. gestures: real people with 3D truth, which
come with fullframe. pairs: real people who often hide each other, from the folder that FULLFRAME_SHARED
names. Both with true boxes and the default of `fullframe run`. ± is half of the 95 % interval; of gestures
whole clips are drawn for it.

--detected names a folder of tools/detect_augmented.py: people whose true bodies are known, detected in
pictures. The factor on the standard deviations is fitted to them anew, by the mean confidence of their
keypoints, and printed beside the one in use.
"""

from pathlib import Path

import numpy as np
import torch
import tyro
from common import PAIRS, protocol_of
from numpy.typing import NDArray
from scipy.optimize import minimize

from fullframe.body import load_body
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.crop import read_pixels
from fullframe.data.formats.triangulated_joints import LIMBS
from fullframe.evaluate.report import estimate, markdown_table
from fullframe.fit import KeypointFitter
from fullframe.fit.keypoint_fitter import CERTAIN, CERTAIN_BY_CONFIDENCE
from fullframe.geometry.box import DETECTION_ENLARGE
from fullframe.geometry.camera import Camera
from fullframe.models.lift_people import lifter_of, limb_confidence
from fullframe.recovery.photo import Recoverer
from fullframe.train.lifter_training import load_detections

NINETY = 1.645
AXES = ("across", "along the image's height", "depth")
SMPL = [JOINT_SETS["smpl24"].names.index(name) for name in LIMBS]
COCO = [JOINT_SETS["coco17"].names.index(name) for name in LIMBS]
CONFIDENCES = np.arange(0, 0.81, 0.1)
OF_EACH = 300
"""People of each confidence that a factor is fitted to."""


def main(detected: Path | None = None) -> None:
    table = [["", "people", "all coordinates, %", *(f"{axis}, %" for axis in AXES)]]
    if detected is not None:
        table.append(fitted_factor(detected))
    for name in ("gestures", "pairs"):
        if name == "gestures" or PAIRS.is_dir():
            table.append(real_people(name))
    print(markdown_table(table))


def real_people(name: str) -> list[str]:
    """A row of the table."""
    protocol = protocol_of(name)
    samples = protocol.open(PAIRS)
    recoverer, body = Recoverer(), load_body(num_betas=11)
    ratios = []
    for sample in samples:
        camera = {"intrinsics": (*sample.camera.focal, *sample.camera.principal_point)}
        people = recoverer(read_pixels(sample), boxes=sample.box[None], **camera)
        joints = body.regress(torch.from_numpy(people.vertices), "coco17").numpy()[:, COCO]
        truth = sample.joints["coco17"][None, COCO, :3]
        ratios.append(ratio(joints, truth, people.uncertainty[:, SMPL])[0])
    clusters = np.array([sample.sequence for sample in samples]) if protocol.by_sequence else None
    return row(name, np.array(ratios), clusters)


def fitted_factor(folder: Path) -> list[str]:
    """Prints the factor by confidence, and returns a row of the table for the one in use."""
    people = load_detections(folder)
    confidence = limb_confidence(people.keypoints[..., 2]).numpy()
    rng = np.random.default_rng(0)
    some = np.concatenate(
        [
            rng.permutation(np.flatnonzero((confidence >= low) & (confidence < low + 0.1)))[:OF_EACH]
            for low in CONFIDENCES
        ]
    )
    camera = Camera.from_focal(1000, (4000, 4000))
    body = load_body(num_betas=11)
    fitter = KeypointFitter(body, lifter=lifter_of(body))
    middle = np.array(camera.principal_point)
    center = people.bbox_info[some, :2].numpy() * 1000 + middle
    half = people.bbox_info[some, 2:].numpy() * 500
    keypoints = people.keypoints[some].numpy()
    keypoints[..., :2] = keypoints[..., :2] * half[:, None] + center[:, None]
    # Crops are three quarters as wide as high.
    corner = half * [0.75, 1] / DETECTION_ENLARGE
    boxes = np.concatenate((center - corner, center + corner), 1)
    ratios = []
    for chunk in np.array_split(np.arange(len(some)), max(1, len(some) // 64)):
        fit = fitter.fit(keypoints[chunk], boxes[chunk], camera)
        pose, betas = torch.from_numpy(fit.bodies.pose), torch.from_numpy(fit.bodies.betas)
        joints = fitter.model(betas, pose).keypoints.numpy()[:, COCO]
        truth = people.joints[some[chunk]].numpy()[:, COCO]
        ratios.append(ratio(joints, truth, fit.uncertainty[:, SMPL]))
    all_ratios = np.concatenate(ratios)
    known = np.isfinite(all_ratios).all(axis=(1, 2))
    all_ratios, confidence = all_ratios[known], confidence[some][known]
    used = CERTAIN - CERTAIN_BY_CONFIDENCE * confidence
    plain = (all_ratios * used[:, None, None]).reshape(len(used), -1)

    def pinball(line: NDArray) -> float:
        apart = plain - (line[0] + line[1] * confidence)[:, None]
        return float(np.mean(np.where(apart > 0, 0.9, -0.1) * apart))

    line = minimize(pinball, [CERTAIN, -CERTAIN_BY_CONFIDENCE], method="Nelder-Mead").x
    print(f"factor {line[0]:.2f} - {-line[1]:.2f} times the mean confidence of the limbs' keypoints")
    print(f"in use {CERTAIN} - {CERTAIN_BY_CONFIDENCE}\n")
    return row("people in pictures", all_ratios, None)


def ratio(joints: NDArray, truth: NDArray, uncertainty: NDArray) -> NDArray[np.float64]:
    """Errors (N, 12, 3) over the half of their 90 % intervals, of joints (N, 12, 3)."""
    apart = (joints - joints.mean(1, keepdims=True)) - (truth - truth.mean(1, keepdims=True))
    return np.abs(apart.astype(np.float64)) / (NINETY * uncertainty)


def row(name: str, ratios: NDArray[np.float64], clusters: NDArray | None) -> list[str]:
    held = 100.0 * (ratios < 1)
    columns = [held.mean((1, 2)), *held.mean(1).T]
    return [name, str(len(held)), *(str(estimate(column, clusters)) for column in columns)]


if __name__ == "__main__":
    tyro.cli(main)

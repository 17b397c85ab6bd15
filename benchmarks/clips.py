"""Whole clips against their frames: what one shape and smoothing change on real people with 3D truth.

    python benchmarks/clips.py [CLIP ...] [--out FOLDER]

The clips behind `fullframe evaluate gestures`, all frames, from the folder that FULLFRAME_SHARED names
(data/real3d/gestures: CLIP.avi and CLIP.npz), with the true camera, the distortion of the lens undone,
through the steps of `fullframe run`. The errors are those of `fullframe evaluate gestures`; jitter is the
mean acceleration of the twelve joints relative to the middle of the hips. ± is half of the 95 % interval over
clips. The frames of finished clips are kept in --out.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from common import SHARED
from numpy.typing import NDArray

from fullframe.body import load_body
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.data.formats.triangulated_joints import LIMBS, coco17_joints
from fullframe.evaluate import metrics
from fullframe.evaluate.clip_predictions import UndistortedVideo
from fullframe.evaluate.protocols.shared import LIMB_COLUMNS, TORSO
from fullframe.evaluate.report import estimate, markdown_table
from fullframe.geometry.camera import Camera
from fullframe.motion.postprocess import postprocess
from fullframe.recovery.frame_results import FrameResults
from fullframe.recovery.photo import Recoverer
from fullframe.recovery.video_tracker import analyse
from fullframe.results.clip import Clip

GESTURES = SHARED / "data" / "real3d" / "gestures"
HIPS = [LIMBS.index(name) for name in ("left_hip", "right_hip")]
ROWS = [JOINT_SETS["coco17"].names.index(name) for name in LIMBS]
COLUMNS = (*LIMB_COLUMNS, "jitter m/s²")


def main(
    clips: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CLIP")] = (),
    out: Path = Path("evaluation/clips"),
) -> None:
    names = clips or tuple(sorted(path.stem for path in GESTURES.glob("*.avi")))
    if not names:
        raise SystemExit(f"skipped: {GESTURES} has no clips; set FULLFRAME_SHARED to the folder with data")
    out.mkdir(parents=True, exist_ok=True)
    body = load_body(num_betas=11)
    measured: dict[str, list[tuple[NDArray, float]]] = {}
    frames = 0
    for name in names:
        raw, truth = frame_by_frame(name, out / f"{name}.npz")
        found = {
            "frame by frame": raw,
            "one shape (`--no-smooth`)": postprocess(raw, body, smooth=False),
            "one shape, smoothed: `fullframe run`": postprocess(raw, body),
        }
        fps = raw.fps
        for row, clip in found.items():
            measured.setdefault(row, []).append(errors(clip, truth, fps))
        measured.setdefault("truth", []).append((np.full(len(LIMB_COLUMNS), np.nan), jitter(truth, fps)))
        frames += len(truth)
    print(f"{len(names)} clips, {frames} frames\n")
    table = [["", *COLUMNS]]
    for row, values in measured.items():
        columns = np.array([[*means, shaking] for means, shaking in values]).T
        table.append([row, *(str(estimate(column)) for column in columns)])
    print(markdown_table(table))


def frame_by_frame(name: str, file: Path) -> tuple[Clip, NDArray[np.float64]]:
    """The one person of a clip as found in each frame, and true joints (F, 12, 3), NaN where unknown."""
    with np.load(GESTURES / f"{name}.npz", allow_pickle=False) as truth:
        markers = truth["names"].tolist()
        joints = np.stack([coco17_joints(points, markers) for points in truth["joints"]])
        camera = replace(
            Camera.from_intrinsics(truth["intrinsics"], tuple(truth["size"].tolist())),
            distortion=tuple(truth["distortion"].tolist()),
        )
    if not file.exists():
        with UndistortedVideo(GESTURES / f"{name}.avi", camera) as reader:
            parts = [rows for rows, _ in analyse(Recoverer(), reader, camera.pinhole, [])]
        FrameResults.joined(parts).to_clip(camera.pinhole, "open", "default", name).save(file)
    clip = Clip.load(file)
    longest = np.bincount(clip.track_ids).argmax()
    clip = clip.take((clip.track_ids == longest) & (clip.frames < len(joints)))
    known = (joints[:, ROWS, 3:] > 0).all(axis=(1, 2), keepdims=True)
    return clip, np.where(known, joints[:, ROWS, :3], np.nan)


@torch.inference_mode()
def errors(clip: Clip, truth: NDArray, fps: float) -> tuple[NDArray, float]:
    """Means of LIMB_COLUMNS over the frames whose truth is known, and the jitter."""
    model = KeypointRegressor(load_body(num_betas=11))
    chunks = np.array_split(np.arange(len(clip)), max(1, len(clip) // 64))
    joints = np.concatenate(
        [model(torch.from_numpy(clip.betas[c]), torch.from_numpy(clip.pose[c])).keypoints for c in chunks]
    )[:, ROWS].astype(np.float64)
    known = np.isfinite(truth[clip.frames]).all(axis=(1, 2))
    p, g = joints[known], truth[clip.frames][known]
    torsos = [metrics.torso_frames(*(x[:, LIMBS.index(name)] for name in TORSO)) for x in (p, g)]
    columns = (
        metrics.mpjpe(p, g, HIPS),
        metrics.joint_errors(p, g, range(len(LIMBS))).mean(axis=1),
        metrics.pa_mpjpe(p, g),
        metrics.rotation_error(*torsos),
    )
    return np.array([column.mean() for column in columns]), jitter(joints, fps)


def jitter(joints: NDArray, fps: float) -> float:
    """The mean acceleration of joints (F, 12, 3) relative to the middle of the hips, m/s²."""
    apart = joints - joints[:, HIPS].mean(axis=1, keepdims=True)
    return float(np.nanmean(np.linalg.norm(np.diff(apart, n=2, axis=0), axis=2)) * fps**2)


if __name__ == "__main__":
    tyro.cli(main)

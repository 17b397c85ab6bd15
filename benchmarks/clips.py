"""Whole clips against their frames: what one shape, smoothing and the fit to all frames change.

    python benchmarks/clips.py [CLIP ...] [--out FOLDER]

The clips behind `fullframe evaluate gestures`, all frames, from the folder that FULLFRAME_SHARED names
(data/real3d/gestures: CLIP.avi and CLIP.npz), with the true camera, the distortion of the lens undone,
through the steps of `fullframe run`. The errors are those of `fullframe evaluate gestures`; jitter is the
mean acceleration of the twelve joints relative to the middle of the hips. The path in depth is that of the
middle of the hips, scaled to the true distance and compared about its mean. Skating is the speed of ankles
while the true ones are slower than 0.1 m/s. Velocity is the share of the true velocities of joints, relative
to the hips and smoothed over 0.05 s, that is found (the slope of their regression), and correlation theirs. ±
is half of the 95 % interval over clips. The frames of finished clips are kept in --out.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from common import SHARED
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from fullframe.body import load_body
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.data.formats.triangulated_joints import LIMBS, coco17_joints
from fullframe.evaluate import metrics
from fullframe.evaluate.clip_predictions import UndistortedVideo
from fullframe.evaluate.protocols.shared import LIMB_COLUMNS, TORSO
from fullframe.evaluate.report import estimate, markdown_table
from fullframe.fit import fit_clip
from fullframe.geometry.camera import Camera
from fullframe.motion.postprocess import postprocess
from fullframe.recovery.frame_results import FrameResults
from fullframe.recovery.photo import Recoverer
from fullframe.recovery.video_tracker import analyse
from fullframe.results.clip import Clip

GESTURES = SHARED / "data" / "real3d" / "gestures"
HIPS = [LIMBS.index(name) for name in ("left_hip", "right_hip")]
ANKLES = [LIMBS.index(name) for name in ("left_ankle", "right_ankle")]
RESTING = 0.1
"""m/s, of true ankles."""
ROWS = [JOINT_SETS["coco17"].names.index(name) for name in LIMBS]
COLUMNS = (*LIMB_COLUMNS, "jitter m/s²", "path in depth mm", "skating m/s", "velocity", "correlation")


def main(
    clips: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CLIP")] = (),
    out: Path = Path("evaluation/clips"),
) -> None:
    names = clips or clip_names()
    out.mkdir(parents=True, exist_ok=True)
    fitter = Recoverer().fitter
    assert fitter is not None
    body = fitter.body
    fit = partial(fit_clip, fitter)
    measured: dict[str, list[list[float]]] = {}
    frames = 0
    for name in names:
        raw, truth = frame_by_frame(name, out / f"{name}.npz")
        found = {
            "frame by frame": raw,
            "one shape (`--no-smooth`)": postprocess(raw, body, smooth=False),
            "smoothed": postprocess(raw, body),
            "smoothed, feet locked": postprocess(raw, body, lock_feet=True),
            "fitted to all frames: `fullframe run`": postprocess(raw, body, fit=fit),
            "the same, `--lock-feet`": postprocess(raw, body, fit=fit, lock_feet=True),
        }
        for row, clip in found.items():
            measured.setdefault(row, []).append(errors(clip, truth, raw.fps))
        unknown = [float("nan")] * len(LIMB_COLUMNS)
        still = speeds(truth, raw.fps)
        measured.setdefault("truth", []).append(
            [*unknown, jitter(truth, raw.fps), 0, float(still[still < RESTING].mean()), 1, 1]
        )
        frames += len(truth)
    print(f"{len(names)} clips, {frames} frames\n")
    table = [["", *COLUMNS]]
    for row, values in measured.items():
        table.append([row, *(str(estimate(column)) for column in np.array(values).T)])
    print(markdown_table(table))


def clip_names() -> list[str]:
    """The clips in the folder; ends the program where there are none."""
    names = sorted(path.stem for path in GESTURES.glob("*.avi"))
    if not names:
        raise SystemExit(f"skipped: {GESTURES} has no clips; set FULLFRAME_SHARED to the folder with data")
    return names


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


def errors(clip: Clip, truth: NDArray, fps: float) -> list[float]:
    """Means of COLUMNS over the frames whose truth is known."""
    joints = limb_joints(clip)
    true = truth[clip.frames]
    known = np.isfinite(true).all(axis=(1, 2))
    p, g = joints[known], true[known]
    torsos = [metrics.torso_frames(*(x[:, LIMBS.index(name)] for name in TORSO)) for x in (p, g)]
    columns = (
        metrics.mpjpe(p, g, HIPS),
        metrics.joint_errors(p, g, range(len(LIMBS))).mean(axis=1),
        metrics.pa_mpjpe(p, g),
        metrics.rotation_error(*torsos),
    )
    depths = [x[:, HIPS, 2].mean(axis=1) for x in (p, g)]
    away = depths[0] * (np.median(depths[1]) / np.median(depths[0])) - depths[1]
    resting = speeds(true, fps) < RESTING
    found, given = (velocities(x, fps) for x in (p, g))
    return [
        *(column.mean() for column in columns),
        jitter(joints, fps),
        1000 * float(np.abs(away - away.mean()).mean()),
        float(speeds(joints, fps)[resting].mean()),
        (found * given).sum() / np.square(given).sum(),
        (found * given).sum() / np.sqrt(np.square(given).sum() * np.square(found).sum()),
    ]


@torch.inference_mode()
def limb_joints(clip: Clip) -> NDArray[np.float64]:
    """The twelve joints of LIMBS in the camera frame, (N, 12, 3) metres."""
    model = KeypointRegressor(load_body(num_betas=clip.betas.shape[1]))
    betas, pose = torch.from_numpy(clip.betas), torch.from_numpy(clip.pose)
    chunks = np.array_split(np.arange(len(clip)), max(1, len(clip) // 64))
    joints = np.concatenate([model(betas[chunk], pose[chunk]).keypoints for chunk in chunks])
    return joints[:, ROWS].astype(np.float64) + clip.translation[:, None]


def jitter(joints: NDArray, fps: float) -> float:
    """The mean acceleration of joints (F, 12, 3) relative to the middle of the hips, m/s²."""
    apart = joints - joints[:, HIPS].mean(axis=1, keepdims=True)
    return float(np.nanmean(np.linalg.norm(np.diff(apart, n=2, axis=0), axis=2)) * fps**2)


def velocities(joints: NDArray, fps: float) -> NDArray[np.float64]:
    """Of joints (F, 12, 3) relative to the middle of the hips, smoothed, (F - 1, 12, 3) m/s."""
    apart = joints - joints[:, HIPS].mean(axis=1, keepdims=True)
    return gaussian_filter1d(np.diff(apart, axis=0) * fps, 0.05 * fps, axis=0)


def speeds(joints: NDArray, fps: float) -> NDArray[np.float64]:
    """How fast ankles are from frame to frame, (F - 1, 2) m/s, of joints (F, 12, 3)."""
    return np.linalg.norm(np.diff(joints[:, ANKLES], axis=0), axis=2) * fps


if __name__ == "__main__":
    tyro.cli(main)

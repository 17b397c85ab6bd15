"""Cameras that pan: how well their rotation is found, and what that does to the paths of people.

    python benchmarks/camera.py [--takes NAME ...] [--seconds 10] [--video CLIP]

Draws people of the sequences in data/motion of the folder that FULLFRAME_SHARED names (default: shared/
beside the repository) before a panorama, 640 x 480 at 30 fps, H.264, with a camera that turns in one place
or, for comparison, moves; and runs all that `fullframe run` does. The rotation's error is in degrees: its
mean, its largest, and in the last frame, where what has added up is seen. Skating is the mean speed, m/s, of
feet that truly stand, in the world: of the clip as if the camera stood still ("before"), as found ("after"),
and with the true rotation. "path" is the mean distance of the pelvis's path from the true one, mm, after the
best similarity transform, before and after. "cost" is the CPU time of one frame, ms.

--video takes a real recording of a camera that stands still, as wide as can be: a narrower camera pans in it,
whose images are exact. What is found there is compared with the truth.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from motion import FPS, _clip, _seen, _sequence, _standing, identify
from motion_metrics import common_rows, foot_skating
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from fullframe.body.body_model import BodyModel
from fullframe.fit import fit_clip
from fullframe.geometry.camera import Camera
from fullframe.motion.postprocess import postprocess
from fullframe.motion.skeleton import joint_positions
from fullframe.recovery.camera_motion import CameraMotion, close_rotations, unexplained_motion
from fullframe.recovery.frame_results import FrameResults
from fullframe.recovery.photo import Recoverer
from fullframe.recovery.video_tracker import analyse
from fullframe.results.clip import Clip
from fullframe.synth.backgrounds import procedural_background
from fullframe.synth.joints import NUM_BETAS, OpenBodyPoser
from fullframe.synth.renderer import Painter
from fullframe.synth.scene import Person, Scene
from fullframe.synth.shading import Light
from fullframe.synth.synthetic_people import visible_box
from fullframe.video.reader import VideoReader
from fullframe.video.writer import VideoWriter

SIZE = (640, 480)
HEIGHT = 1.4
SIDE = 540
"""px, of the square image of the camera that pans in a recording."""
COLUMNS = ("turned", "mean", "max", "end", "before", "after", "true", "path", "path", "unexpl.", "cost")
WALK = ("cmu_expmap/train_walking_2", -1.5, -5, 80)
TURN = ("cmu_expmap/train_directing_traffic_1", 0, -4.5, 0)
# Name of the take: the person, and by how many degrees and metres the camera turns and moves, as a sine of
# this period in seconds.
TAKES = {
    "still": (WALK, 0.0, 0.0, 5.0),
    "follows": (WALK, np.nan, 0.0, 5.0),
    "slow": (TURN, 25.0, 0.0, 10.0),
    "back and forth": (TURN, 20.0, 0.0, 2.5),
    "handheld": (TURN, 1.0, 0.0, 1.1),
    "moves": (TURN, 0.0, 1.0, 8.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--takes", nargs="*", choices=TAKES, default=list(TAKES))
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--video", type=Path)
    arguments = parser.parse_args()
    recoverer = Recoverer()
    print(f"{'':16}" + "".join(f"{title:>8}" for title in COLUMNS))
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.takes:
            file = Path(folder) / "take.mp4"
            truth = shoot(*TAKES[name], arguments.seconds, recoverer.body, file)
            measure(name, file, truth, recoverer)
        if arguments.video is not None:
            measure_virtual(arguments.video, Path(folder) / "virtual.mp4", recoverer)


def measure(name: str, file: Path, truth: Clip, recoverer: Recoverer) -> None:
    results, cost = analysed(file, truth.camera, recoverer)
    rotation = close_rotations(results.turns, np.zeros(len(results.times), np.int64))
    raw = results.to_clip(truth.camera, recoverer.body.name, recoverer.name, "")
    error = angles(rotation, truth.camera_rotation)
    clips = [
        finished(replace(raw, camera_rotation=turns), recoverer)
        for turns in (np.tile(np.eye(3), (len(rotation), 1, 1)), rotation, truth.camera_rotation)
    ]
    world = truth.in_world(recoverer.body)
    clips = [identify(clip, truth)[0] for clip in clips]
    skating = [foot_skating(clip, recoverer.body, standing=truth) for clip in clips]
    paths = [path_error(clip, world, recoverer.body) for clip in clips[:2]]
    numbers = [angles(truth.camera_rotation).max(), error.mean(), error.max(), error[-1], *skating, *paths]
    row = "".join(f"{number:8.{2 if k < 7 else 0}f}" for k, number in enumerate(numbers))
    print(f"{name:16}{row}{unexplained_motion(results.turns):8.2f}{cost:8.2f}", flush=True)


def finished(raw: Clip, recoverer: Recoverer) -> Clip:
    """The clip as `fullframe run` finishes it, in the world."""
    fit = partial(fit_clip, recoverer.fitter)
    return postprocess(raw, recoverer.body, fit=fit).in_world(recoverer.body)


def analysed(file: Path, camera: Camera, recoverer: Recoverer) -> tuple[FrameResults, float]:
    """The results of all frames of a video, and the CPU time of the camera's motion, ms each."""
    spent = []

    class Timed(CameraMotion):
        def update(self, *args) -> None:
            start = time.thread_time()
            super().update(*args)
            spent.append(time.thread_time() - start)

    from fullframe.recovery import video_tracker

    video_tracker.CameraMotion = Timed  # type: ignore[misc]
    with VideoReader(file) as reader:
        parts = [part for part, _ in analyse(recoverer, reader, camera, [])]
    video_tracker.CameraMotion = CameraMotion  # type: ignore[misc]
    return FrameResults.joined(parts), 1000 * float(np.mean(spent))


def shoot(
    person: tuple[str, float, float, float],
    degrees: float,
    metres: float,
    period: float,
    seconds: float,
    body: BodyModel,
    file: Path,
) -> Clip:
    """Draws a take into a video, and returns the truth about it.

    Args:
        degrees: by which the camera turns; NaN: it follows the person.
    """
    camera, painter, bodies = Camera.from_fov(60, SIZE), Painter(), OpenBodyPoser()
    count = round(seconds * FPS)
    theta, pelvis = _sequence(*person)
    if len(theta) < count and not np.isnan(degrees):  # back and forth
        theta, pelvis = (
            np.concatenate([x, x[::-1]] * (1 + count // len(x)))[:count] for x in (theta, pelvis)
        )
    count = min(count, len(theta))
    times = np.arange(count) / FPS
    if np.isnan(degrees):
        yaw = -np.arctan2(*gaussian_filter1d(pelvis[:count, [0, 2]] * (1, -1), FPS / 2, axis=0).T)
    else:
        yaw = np.radians(degrees) * np.sin(2 * np.pi * times / period)
    places = np.column_stack((metres * np.sin(2 * np.pi * times / period), np.full(count, HEIGHT), 0 * times))
    betas = np.zeros(NUM_BETAS, np.float32)
    panorama = Panorama(7)
    rows, turns = [], []
    with VideoWriter(file, SIZE, FPS) as writer:
        for frame in range(count):
            turn = Rotation.from_euler("xy", [0, yaw[frame]]).as_matrix().T  # world, y up, to level axes
            turn = np.diag([1.0, -1.0, -1.0]) @ turn
            posed = bodies.pose(betas, theta[frame])
            shown = _seen(Person(betas, posed, pelvis[frame], "", 0.0, 3), turn, places[frame])
            light = Light(*(np.asarray(x, np.float32) for x in (
                turn @ [0.4, 0.8, 0.45], [0.9] * 3, [0.55] * 3, [0.35] * 3, turn[:, 1])))  # fmt: skip
            scene = Scene(camera, [shown], [], light, HEIGHT, 5)
            background = panorama(camera, turn, places[frame])
            dressed = [painter.dress(shown)]
            image = painter.paint(scene, dressed, (0.0, 0.0, 1.0), SIZE[::-1], True, background)
            writer.write(image, times[frame])
            turns.append(turn)
            box = visible_box(dressed[0].mesh.vertices, camera)
            if box is not None:
                rows.append({"frames": frame, "track_ids": 0, "boxes": box, "scores": 1,
                             "pose": shown.posed.rotations, "betas": betas,
                             "translation": shown.translation})  # fmt: skip
    truth = replace(
        _clip(rows, count, camera, body), camera_rotation=turns[0] @ np.array(turns).swapaxes(1, 2)
    )
    standing = _standing(truth.in_world(body), body, np.diag([1.0, -1.0, -1.0]), np.array([0, HEIGHT, 0]))
    return replace(truth, contacts=standing)


class Panorama:
    """Pictures around the camera: on a cylinder 6 m away, every second one of them at half the distance."""

    def __init__(self, seed: int) -> None:
        self._picture = np.concatenate([procedural_background(seed + k) for k in range(8)], axis=1)

    def __call__(
        self, camera: Camera, turn: NDArray[np.float64], place: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        """The view of a camera that is turned (world, y up, to camera) and moved in x, (H, W, 3)."""
        width, height = camera.size
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        pixels = np.stack((x, y, np.ones_like(x)), axis=-1).astype(np.float64)
        rays = pixels @ np.linalg.inv(intrinsics(camera)).T @ turn
        rays /= np.hypot(rays[..., 0], rays[..., 2])[..., None]
        far = np.full((height, width), 6.0)
        for _ in range(3):  # where a ray meets the cylinder, whose radius depends on the direction
            points = rays * far[..., None] + np.array([place[0], 0, 0])
            angle = np.arctan2(points[..., 0], -points[..., 2])
            radius = np.where(np.floor(angle / (np.pi / 4)) % 2 == 0, 6.0, 3.0)
            far = np.maximum(radius - rays[..., 0] * place[0], 0.5)
        picture_x = (angle / (2 * np.pi) % 1) * self._picture.shape[1]
        picture_y = (0.5 - points[..., 1] / radius * 0.8) * self._picture.shape[0]
        return cv2.remap(
            self._picture, picture_x.astype(np.float32), picture_y.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip


def angles(rotation: NDArray[np.float64], other: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Degrees between rotations (F, 3, 3), or of them."""
    other = np.eye(3) if other is None else other
    return np.degrees(Rotation.from_matrix(np.swapaxes(rotation, 1, 2) @ other).magnitude())


def path_error(clip: Clip, truth: Clip, body: BodyModel) -> float:
    """The mean distance of pelvises after the best similarity transform, mm."""
    rows, others = common_rows(clip, truth)
    a, b = (joint_positions(body, c)[r, 0] for c, r in ((clip, rows), (truth, others)))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.diag([1, 1, np.linalg.det(u @ vt)])
    scale = float((s * np.diag(sign)).sum() / max((a**2).sum(), 1e-9))
    return 1000 * float(np.linalg.norm(scale * a @ u @ sign @ vt - b, axis=1).mean())


def measure_virtual(video: Path, file: Path, recoverer: Recoverer) -> None:
    """A narrower camera that pans in a real recording, against the recording."""
    with VideoReader(video) as reader:
        camera = Camera.from_diagonal(reader.size)
        narrow = Camera.from_focal(camera.focal[0] * SIDE / (0.93 * min(reader.size)), (SIDE, SIDE))
        true = pan(reader, camera, narrow, file)
    results, cost = analysed(file, narrow, recoverer)
    rotation = close_rotations(results.turns, np.zeros(len(results.times), np.int64))
    error = angles(rotation, true)
    print(f"{video.name}: turned by {angles(true).max():.1f}, error {error.mean():.2f} on average, at most "
          f"{error.max():.2f}, at the end {error[-1]:.2f} degrees; unexplained "
          f"{unexplained_motion(results.turns):.2f}; {cost:.2f} ms")  # fmt: skip
    raw = results.to_clip(narrow, recoverer.body.name, recoverer.name, "")
    for kind, turns in (("before", np.tile(np.eye(3), (len(true), 1, 1))), ("after", rotation)):
        clip = finished(replace(raw, camera_rotation=turns), recoverer)
        print(f"  {kind}: skating of the feet that are said to stand "
              f"{foot_skating(clip, recoverer.body):.3f} m/s")  # fmt: skip


def pan(reader: VideoReader, camera: Camera, narrow: Camera, file: Path) -> NDArray[np.float64]:
    """Writes what the narrower camera sees while it pans from one side to the other and back."""
    widest = np.arctan(camera.size[0] / 2 / camera.focal[0]) - np.arctan(narrow.size[0] / 2 / narrow.focal[0])
    turns = []
    with VideoWriter(file, narrow.size, reader.fps) as writer:
        for frame in reader:
            yaw = 0.95 * widest * np.cos(2 * np.pi * (frame.time - 1) / 10)
            turn = Rotation.from_rotvec([0, yaw, 0]).as_matrix()  # narrow to wide
            warp = intrinsics(camera) @ turn @ np.linalg.inv(intrinsics(narrow))
            view = cv2.warpPerspective(
                frame.image, warp, narrow.size, flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
            )
            writer.write(np.asarray(view, np.uint8), frame.time)
            turns.append(turn)
    return turns[0].T @ np.array(turns)


def intrinsics(camera: Camera) -> NDArray[np.float64]:
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

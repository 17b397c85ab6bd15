"""A synthetic recording in Pose2Sim's layout: a body that turns, seen by three cameras."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body import JOINT_SETS, load_body
from fullframe.data.formats.triangulated_joints import MARKERS
from fullframe.render.mesh_shading import draw_meshes

SIZE = (160, 200)
FRAMES, RATE = 12, 30
K = np.array([[220.0, 0, 82], [0, 218.0, 97], [0, 0, 1]])
DISTORTION = np.array([-0.4, 0.2, 0.004, -0.002])
BACKGROUND = (40, 90, 60)
NAMES = ("cam_01", "cam_02", "cam_03")
Z_UP_TO_Y_UP = (1, 2, 0)
"""Pose2Sim's order of columns: x, y, z of a .trc file are y, z, x of the world."""


@dataclass
class Project:
    """What was written.

    Attributes:
        trial: its folder.
        rotations: (3, 3, 3); translations: (3, 3) metres: world to each camera.
        world: (F, 17, 3) coco17 joints, z up, metres.
        vertices: (F, V, 3), likewise; faces: (T, 3).
    """

    trial: Path
    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    world: NDArray[np.float64]
    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]

    def picture(self, camera: int, frame: int) -> NDArray[np.uint8]:
        """What a camera would see without distortion."""
        seen = self.vertices[frame] @ self.rotations[camera].T + self.translations[camera]
        return _plain(seen.astype(np.float32), self.faces)

    def joints(self, camera: int) -> NDArray[np.float64]:
        """(F, 17, 3) in a camera's frame."""
        return self.world @ self.rotations[camera].T + self.translations[camera]

    def rewrite_trc(self, **changes: Any) -> Path:
        """The project's .trc file with other contents, see `write_trc`."""
        (path,) = (self.trial / "pose-3d").glob("*.trc")
        write_trc(path, **{"points": self.world, **changes})
        return path


def make_project(root: Path, *, names: Sequence[str] = NAMES, videos: Sequence[str] = NAMES) -> Project:
    """Write session/calibration, session/trial/videos and session/trial/pose-3d below a folder."""
    trial = root / "session" / "trial"
    calibration = root / "session" / "calibration"
    for folder in (trial / "videos", trial / "pose-3d", calibration):
        folder.mkdir(parents=True)
    rotations, translations = _cameras()
    vertices, world, faces = _body()
    write_toml(calibration / "Calib.toml", names, rotations, translations)
    for camera, video in enumerate(videos):
        seen = (vertices @ rotations[camera].T + translations[camera]).astype(np.float32)
        write_video(trial / "videos" / f"{video}.mp4", [_picture(v, faces) for v in seen])
    write_trc(trial / "pose-3d" / f"trial_0-{FRAMES}.trc", world)
    return Project(trial, rotations, translations, world, vertices, faces)


def _cameras() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Three cameras 3.5 m around the z axis, 1.4 m high, that look beside the person on it."""
    rotations, translations = [], []
    for angle in np.radians([0, 100, 215]):
        position = np.array([3.5 * np.cos(angle), 3.5 * np.sin(angle), 1.4])
        beside = 0.45 * np.array([-np.sin(angle), np.cos(angle), 0])
        z = np.array([0, 0, 0.8]) + beside - position
        z /= np.linalg.norm(z)
        x = np.cross(z, [0, 0, 1])
        x /= np.linalg.norm(x)
        rotation = np.stack((x, np.cross(z, x), z))
        rotations.append(rotation)
        translations.append(-rotation @ position)
    return np.array(rotations), np.array(translations)


def _body() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    """Vertices (F, V, 3) and coco17 joints (F, 17, 3) of a person who turns about z with an arm raised."""
    body = load_body()
    pose = torch.eye(3).repeat(FRAMES, 24, 1, 1)
    for name, sign in (("left_shoulder", -1), ("right_shoulder", 1)):
        c, s = np.cos(0.9), np.sin(0.9) * sign
        pose[:, JOINT_SETS["smpl24"].names.index(name)] = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    for frame, angle in enumerate(np.linspace(0, 0.8, FRAMES)):
        c, s = np.cos(angle), np.sin(angle)
        pose[frame, 0] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    vertices = body(torch.zeros(FRAMES, body.num_betas), pose).vertices
    joints = body.regress(vertices, "coco17").double().numpy()
    # The body stands along y and looks along z; in the world it stands along z and looks along x.
    points, joints = (x[..., [2, 0, 1]] for x in (vertices.double().numpy(), joints))
    ground = points[..., 2].min()
    return points - [0, 0, ground], joints - [0, 0, ground], body.faces.numpy().astype(np.int32)


def _plain(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.uint8]:
    plain = np.full((SIZE[1], SIZE[0], 3), BACKGROUND, np.uint8)
    return draw_meshes(plain, vertices[None], faces, [(220, 180, 160)], K, 1.0)


def _picture(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.uint8]:
    """What a camera with a distorting lens sees."""
    plain = _plain(vertices, faces)
    pixels = np.stack(np.meshgrid(*(np.arange(s, dtype=np.float32) for s in SIZE)), axis=-1).reshape(-1, 1, 2)
    there = cv2.undistortPoints(pixels, K, DISTORTION, P=K).reshape(SIZE[1], SIZE[0], 2)
    return cv2.remap(plain, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def write_video(path: Path, images: Sequence[NDArray[np.uint8]]) -> None:
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=RATE, options={"crf": "12"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        out.mux(stream.encode(None))


def write_toml(
    path: Path,
    names: Sequence[str],
    rotations: NDArray[np.float64],
    translations: NDArray[np.float64],
    change: Callable[[str], str] = str,
) -> None:
    """A calibration as Pose2Sim writes it; `change` edits its text."""
    text = ""
    for name, rotation, translation in zip(names, rotations, translations, strict=True):
        text += (
            f'[{name}]\nname = "{name}"\nsize = [ {SIZE[0]}.0, {SIZE[1]}.0]\nmatrix = {K.tolist()}\n'
            f"distortions = {DISTORTION.tolist()}\nrotation = {cv2.Rodrigues(rotation)[0].ravel().tolist()}\n"
            f"translation = {translation.tolist()}\nfisheye = false\n\n"
        )
    path.write_text(change(text + "[metadata]\nadjusted = false\nerror = 0.0\n"))


def write_trc(
    path: Path,
    points: NDArray[np.float64],
    *,
    markers: Sequence[str] | None = None,
    unit: str = "m",
    axes: Sequence[int] = Z_UP_TO_Y_UP,
    start: int = 0,
    num_frames: int | None = None,
) -> None:
    """A .trc file as Pose2Sim writes it, with a point "Hip" between the hips.

    Args:
        points: (F, 17, 3) coco17, metres, in the world; NaN is written as an empty field.
        markers: which, by Pose2Sim's names; all that there are if None.
        unit: "m" or "mm".
        axes: columns of the world that become x, y, z.
        start: number of the first frame.
        num_frames: what the header says; the truth if None.
    """
    names = JOINT_SETS["coco17"].names
    columns = {"Hip": points[:, [names.index("left_hip"), names.index("right_hip")]].mean(axis=1)}
    columns |= {marker: points[:, names.index(name)] for marker, name in MARKERS.items()}
    chosen = list(columns) if markers is None else list(markers)
    scale = {"m": 1, "mm": 1000}[unit]
    values = np.concatenate([columns[marker][:, list(axes)] * scale for marker in chosen], axis=1)
    said = len(points) if num_frames is None else num_frames
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        "\t".join(map(str, [RATE, RATE, said, len(chosen), unit, RATE, start, start + said])),
        "Frame#\tTime\t" + "\t\t\t".join(chosen) + "\t\t",
        "\t\t" + "\t".join(f"X{i}\tY{i}\tZ{i}" for i in range(1, len(chosen) + 1)),
    ]
    for number, row in enumerate(values, start):
        fields = ("" if np.isnan(value) else repr(float(value)) for value in row)
        lines.append(f"{number}\t{number / RATE}\t" + "\t".join(fields))
    path.write_text("\n".join(lines) + "\n")

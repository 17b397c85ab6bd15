"""AGORA (Patel et al., CVPR 2021): rendered scans of clothed adults and children, with fitted SMPL."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.data.formats.paths import image_size, need
from fullframe.data.formats.placement import rotation_matrices
from fullframe.data.formats.samples import (
    SampleSequence,
    matching,
    reduced_window,
    shaped,
    tight_box,
    with_confidence,
)
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera
from fullframe.geometry.rotation import axis_rotation
from fullframe.io.pickles import read_pickle, read_table

WHERE = "https://agora.is.tue.mpg.de (camera data frames with SMPL joints, SMPL fits, images)"
SIZE = (3840, 2160)
"""(width, height) px that the labels are for."""

_SENSOR_MM = 36.0
_PER_PERSON = (
    "X", "Y", "Z", "Yaw", "kid", "occlusion", "isValid", "gt_path_smpl", "gt_joints_2d", "gt_joints_3d",
)  # fmt: skip
_COLUMNS = ("imgPath", "camX", "camY", "camZ", "camYaw", *_PER_PERSON)


@dataclass(frozen=True)
class AGORAView:
    """AGORA's camera of an image.

    Attributes:
        focal_mm: for a sensor 36 mm wide.
        position: (3,) metres, x right, y down, z forward in the world.
        yaw, pitch: degrees.
    """

    focal_mm: float
    position: NDArray[np.float64]
    yaw: float
    pitch: float


class AGORA(SampleSequence):
    """The people of AGORA: pose, betas and translation of neutral SMPL, `smpl24` keypoints and joints.

    Children have `kid` > 0. Labels are for the images of 3840 x 2160 px; the smaller release, 1280 x 720, is
    used through `window`. Boxes are drawn around the projected joints.

    Args:
        root: folder with images/<split>/*.png; frames/<split>*.pkl, the data frames that hold SMPL's joints
            (validation_0_withjv.pkl ...); and the SMPL fits at the paths that those name.
        split: "train" or "validation".

    Attributes:
        valid: (N,) which people count in AGORA's benchmark: annotated as valid, occluded by at most 90 %.
        occlusion: (N,) percent; negative where unknown.

    Raises:
        FileNotFoundError: names what is missing.
        ValueError: a file is damaged, or lacks the joints; nothing in the pickles is executed.
    """

    def __init__(self, root: str | Path, split: str = "validation") -> None:
        root = Path(root)
        images = root / "images" / split
        need(images, where=WHERE)
        parts = []
        for path in matching(root / "frames", f"{split}*.pkl", WHERE):
            rows = read_table(path, _COLUMNS, f"download it again from {WHERE}")
            missing = [key for key in _COLUMNS if not rows or key not in rows[0]]
            if missing:
                raise ValueError(
                    f"{path}: lacks {', '.join(missing)}; use the data frames with SMPL joints from {WHERE}"
                )
            parts += [_people(path, row, root, images) for row in rows]
        super().__init__(parts)
        people = [(occlusion, valid) for part in parts for occlusion, valid in part.visibility]
        self.occlusion: NDArray[np.float64] = np.array([occlusion for occlusion, _ in people], np.float64)
        declared: NDArray[np.bool_] = np.array([valid for _, valid in people], bool)
        self.valid = declared & (self.occlusion >= 0) & (self.occlusion <= 90)


@dataclass(frozen=True)
class _AGORAImage:
    """The people of an image."""

    name: str
    images: Path
    view: AGORAView
    visibility: list[tuple[float, bool]]
    kids: list[bool]
    fits: list[Path]
    placements: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
    joints: list[NDArray[np.float64]]  # (24, 3) camera frame, metres
    keypoints: list[NDArray[np.float64]]  # (24, 2) px

    def __len__(self) -> int:
        return len(self.fits)

    def sample(self, index: int) -> Sample:
        path = self.images / self.name
        if not os.path.isfile(path):
            path = self.images / f"{Path(self.name).stem}_1280x720.png"
        joints, keypoints = self.joints[index], self.keypoints[index]
        pose, betas, kid, translation = _fit(self.fits[index], self.kids[index])
        rotation, shift = self.placements[index]
        # The pelvis is the rest pelvis moved by the translation, so SMPL's files are not needed.
        rest_pelvis = rotation.T @ (joints[0] - shift) - translation
        pose[0] = rotation @ pose[0]
        return Sample(
            path,
            camera_of(self.view),
            tight_box(keypoints),
            reduced_window(SIZE, image_size(path), path),
            keypoints={"smpl24": with_confidence(keypoints)},
            joints={"smpl24": with_confidence(joints)},
            pose=pose,
            betas=betas,
            translation=(joints[0] - rest_pelvis).astype(np.float32),
            body="smpl-neutral",
            kid=kid,
            name=f"{self.name}#{index}",
            sequence=Path(self.name).stem,
        )


# Views by a part of the image's name: focal length mm, position cm in Unreal's axes, yaw, pitch.
_FIXED_VIEWS = {
    "hdri": (50, (0, 0, 170), 0, 0),
    "cam00": (18, (400, -275, 265), 135, 30),
    "cam01": (18, (400, 225, 265), -135, 30),
    "cam02": (18, (-490, 170, 265), -45, 30),
    "cam03": (18, (-490, -275, 265), 45, 30),
    "ag2": (28, (0, 0, 170), 0, 15),
}


def view_of(image: str, row: dict[str, Any]) -> AGORAView:
    """The camera of an image, by its name; for most scenes its position is in the data frame."""
    for part, (focal, place, yaw, pitch) in _FIXED_VIEWS.items():
        if part in image:
            return AGORAView(focal, unreal(np.array(place)), yaw, pitch)
    position = unreal(np.array([row["camX"], row["camY"], row["camZ"]], np.float64))
    return AGORAView(28, position - np.array([0, 1.7, 0]), float(row["camYaw"]), 0)


def camera_of(view: AGORAView) -> Camera:
    """The camera with its focal length in px; the sensor has the shape of the image."""
    return Camera.from_focal(view.focal_mm / _SENSOR_MM * SIZE[0], SIZE, "intrinsics")


def unreal(position: NDArray[Any]) -> NDArray[np.float64]:
    """A position in Unreal's axes, cm (x forward, y right, z up) to metres, x right, y down, z forward."""
    x, y, z = position / 100
    return np.array([y, -z, x])


def placement(
    view: AGORAView, position: NDArray[Any], yaw: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From the frame of a fit, y up, to the camera's: x_camera = rotation x_fit + shift.

    Args:
        view: of the image.
        position: (3,) of the scan, as `unreal` gives it.
        yaw: of the scan in degrees; scans themselves are turned by 90.
    """
    turn = axis_rotation(0, np.radians(view.pitch)) @ axis_rotation(1, np.radians(-view.yaw))
    return turn @ axis_rotation(1, np.radians(yaw - 90)) @ np.diag([1, -1, -1]), turn @ (
        position - view.position
    )


def _people(path: Path, row: dict[str, Any], root: Path, images: Path) -> _AGORAImage:
    # Frames made for the smaller images name those.
    name = str(row["imgPath"]).replace("_1280x720.png", ".png")
    lengths = {key: len(row[key]) for key in _PER_PERSON}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: {name} has columns of different lengths: {lengths}")
    view = view_of(name, row)
    positions = np.array([row["X"], row["Y"], row["Z"]], np.float64).T
    people = zip(positions, row["Yaw"], strict=True)
    return _AGORAImage(
        name,
        images,
        view,
        [(float(o), bool(v)) for o, v in zip(row["occlusion"], row["isValid"], strict=True)],
        [bool(kid) for kid in row["kid"]],
        [root / Path(str(fit)).with_suffix(".pkl") for fit in row["gt_path_smpl"]],
        [placement(view, unreal(position), float(yaw)) for position, yaw in people],
        [_smpl24(path, joints, 3) for joints in row["gt_joints_3d"]],
        [_smpl24(path, joints, 2) for joints in row["gt_joints_2d"]],
    )


def _smpl24(path: Path, joints: Any, size: int) -> NDArray[np.float64]:
    """SMPL's own joints; 21 points of face, hands and feet can follow."""
    points = shaped(path, "joints", joints, None, size)
    if len(points) not in (24, 45):
        raise ValueError(f"{path}: {len(points)} joints are not SMPL's; use the data frames with SMPL joints")
    return points[:24].astype(np.float64)


def _fit(
    path: Path, kid: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], float, NDArray[np.float64]]:
    """Pose (24, 3, 3), betas (10,), weight of the kid template, translation (3,) of an SMPL fit."""
    need(path, where=WHERE)
    content: Any = read_pickle(path, f"download it again from {WHERE}")
    names = {"root_pose": "global_orient", "translation": "transl", "body_pose": "", "betas": ""}
    values: dict[str, NDArray[np.float64]] = {}
    for name, other in names.items():
        key = name if isinstance(content, dict) and name in content else other
        if not isinstance(content, dict) or key not in content:
            raise ValueError(f"{path}: not an SMPL fit of AGORA, it lacks {name}; see {WHERE}")
        values[name] = np.asarray(content[key], np.float64).ravel()
    lengths = {"root_pose": 3, "translation": 3, "body_pose": 69, "betas": 11 if kid else 10}
    for name, length in lengths.items():
        if len(values[name]) < length or (name != "betas" and len(values[name]) > length):
            raise ValueError(f"{path}: {name} has {len(values[name])} values, expected {length}")
    pose = rotation_matrices(np.concatenate((values["root_pose"], values["body_pose"])))
    betas = values["betas"].astype(np.float32)
    return pose, betas[:10], float(betas[10]) if kid else 0.0, values["translation"]

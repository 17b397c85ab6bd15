"""Calibrations of several cameras: Pose2Sim's .toml and Qualisys' .qca.txt."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.data.clip_frame import Lens
from fullframe.io.npz import require_regular_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class CalibratedCamera(NamedTuple):
    """A camera of a calibration: x_camera = rotation @ x_world + translation.

    Attributes:
        name: in the calibration.
        lens: intrinsics, distortion and size of the image.
        rotation: (3, 3).
        translation: (3,) metres.
    """

    name: str
    lens: Lens
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


def read_calibration(path: Path) -> list[CalibratedCamera]:
    """The cameras of a calibration, in its order: Pose2Sim's .toml, or Qualisys' .qca.txt.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or lacks something.
    """
    cameras = _read_qca(path) if path.name.lower().endswith((".qca.txt", ".qca")) else _read_toml(path)
    if not cameras:
        raise ValueError(f"{path}: no camera in this calibration")
    return cameras


def _read_toml(path: Path) -> list[CalibratedCamera]:
    require_regular_file(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable .toml file ({error})") from error
    cameras = []
    for key, values in content.items():
        # Other tables describe the calibration: metadata, capture_volume, charuco, checkerboard.
        if not isinstance(values, dict) or "matrix" not in values:
            continue
        arrays = {}
        for name, shape in (("size", (2,)), ("matrix", (3, 3)), ("rotation", (3,)), ("translation", (3,))):
            arrays[name] = _numbers(path, key, values, name, shape)
        distortion = _numbers(path, key, values, "distortions", None)
        fisheye = bool(values.get("fisheye", False))
        if len(distortion) not in ((4,) if fisheye else (4, 5, 8, 12, 14)):
            raise ValueError(
                f"{path}: {key} has {len(distortion)} distortions; expected 4 or 5, 4 for a fisheye"
            )
        width, height = np.rint(arrays["size"]).astype(int).tolist()
        lens = Lens(arrays["matrix"], distortion, fisheye, (width, height))
        rotation = np.asarray(cv2.Rodrigues(arrays["rotation"])[0], np.float64)
        cameras.append(CalibratedCamera(str(values.get("name", key)), lens, rotation, arrays["translation"]))
    return cameras


def _numbers(
    path: Path, camera: str, values: dict[str, Any], name: str, shape: tuple[int, ...] | None
) -> NDArray[np.float64]:
    """An entry of a camera as finite numbers of this shape; None stands for any vector."""
    try:
        array = np.asarray(values[name], np.float64)
    except KeyError as error:
        raise ValueError(f"{path}: {camera} lacks {name}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name} of {camera} is not made of numbers") from error
    if (array.ndim != 1 if shape is None else array.shape != shape) or not np.isfinite(array).all():
        expected = "a vector" if shape is None else shape
        raise ValueError(
            f"{path}: {name} of {camera} is {array.tolist()}; expected finite numbers, {expected}"
        )
    return array


def _read_qca(path: Path) -> list[CalibratedCamera]:
    """The video cameras of a Qualisys calibration.

    Lengths are millimetres, pixels are in 64ths; the camera's frame has y up and z backwards. Distortion
    coefficients are OpenCV's: those of Pose2Sim's demo agree with a calibration of the same cameras by OpenCV
    within a tenth (k1 -0.046 and -0.053, k2 0.140 and 0.151). Pose2Sim divides them by 64 as well.
    """
    try:
        root = ElementTree.parse(path).getroot()
        cameras = []
        for camera in root.iterfind("cameras/camera"):
            if not any(kind in camera.get("model", "").lower() for kind in ("video", "none")):
                continue  # one that sees markers only
            frame, pose, lens = (camera.find(tag) for tag in ("fov_video", "transform", "intrinsic"))
            if frame is None or pose is None or lens is None:
                raise ValueError("a camera lacks fov_video, transform or intrinsic")
            left, top, right, bottom = (float(frame.attrib[k]) for k in ("left", "top", "right", "bottom"))
            fx, fy, cx, cy = (
                float(lens.attrib[k]) / 64
                for k in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
            )
            k1, k2, k3 = (float(lens.get(f"radialDistortion{i}", 0)) for i in (1, 2, 3))
            p1, p2 = (float(lens.get(f"tangentalDistortion{i}", 0)) for i in (1, 2))
            axes = np.array([[float(pose.attrib[f"r{i}{j}"]) for j in (1, 2, 3)] for i in (1, 2, 3)])
            rotation = np.diag([1.0, -1.0, -1.0]) @ axes
            position = np.array([float(pose.attrib[k]) for k in "xyz"]) / 1000
            cameras.append(
                CalibratedCamera(
                    camera.attrib["serial"],
                    Lens(
                        np.array([[fx, 0, cx - left], [0, fy, cy - top], [0, 0, 1]]),
                        np.array([k1, k2, p1, p2, k3]),
                        False,
                        (round(right - left) + 1, round(bottom - top) + 1),
                    ),
                    rotation,
                    -rotation @ position,
                )
            )
    except FileNotFoundError:
        raise
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a readable calibration of Qualisys ({error})") from error
    return sorted(cameras, key=lambda camera: natural_order(camera.name))


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sorts cam2 before cam10."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]

"""Calibrations of cameras: OpenCV's and ROS' YAML, plain JSON, Pose2Sim's .toml, Qualisys' .qca.txt, COLMAP's
cameras.txt."""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from fullframe.geometry.camera import Camera
from fullframe.io.npz import require_regular_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 16 << 20
"""Of a calibration: more is something else."""
_OFF_CENTRE = 0.25
"""Share of width and height by which the principal point may be off the middle where no size is stated."""


@dataclass(frozen=True)
class CalibratedCamera:
    """A camera of a calibration.

    Attributes:
        name: in the calibration; "" if it has none.
        intrinsics: (3, 3) K, px.
        distortion: as of `Camera`.
        fisheye: as of `Camera`.
        size: (width, height) px of the images it was calibrated with; None if the file does not say.
        pose: rotation (3, 3) and translation (3,) metres, x_camera = rotation @ x_world + translation; None
            if the file does not say.
        images: names of the images that are known to be of this camera.
    """

    name: str
    intrinsics: NDArray[np.float64]
    distortion: tuple[float, ...] = ()
    fisheye: bool = False
    size: tuple[int, int] | None = None
    pose: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    images: frozenset[str] = frozenset()

    def camera(self, size: tuple[int, int]) -> Camera:
        """The camera of images of `size` (width, height) px.

        Of another resolution of the same shape, the intrinsics are scaled. Sizes that differ by a pixel are
        the same.

        Raises:
            ValueError: the images have another shape, or the file states no size and the intrinsics do not
                look like those of such images.
        """
        camera = Camera.from_intrinsics(self.intrinsics, self.size or size)
        camera = replace(camera, source="calibration", distortion=self.distortion, fisheye=self.fisheye)
        name = f"camera {self.name}" if self.name else "the camera"
        if self.size is None:
            off = [abs(c - s / 2) / s for c, s in zip(camera.principal_point, size, strict=True)]
            if max(off) > _OFF_CENTRE:
                likely = " x ".join(f"{2 * c:.0f}" for c in camera.principal_point)
                raise ValueError(
                    f"{name} does not fit images of {size[0]} x {size[1]} px: its principal point is that "
                    f"of about {likely} px. The file does not state a size: add it, so that the intrinsics "
                    "can be scaled"
                )
            return camera
        if max(abs(a - b) for a, b in zip(self.size, size, strict=True)) <= 1:
            return replace(camera, size=(int(size[0]), int(size[1])))
        if abs(size[0] / self.size[0] / (size[1] / self.size[1]) - 1) < 0.01:
            return camera.resized(size)
        turned = "; it is turned: calibrate with images that are upright" if _turned(self.size, size) else ""
        raise ValueError(
            f"{name} was calibrated with images of {self.size[0]} x {self.size[1]} px, which cannot be "
            f"scaled to {size[0]} x {size[1]} px: that is another shape{turned}"
        )


def _turned(size: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(size[0] / size[1] / (other[1] / other[0]) - 1) < 0.01


def read_calibration(path: Path) -> list[CalibratedCamera]:
    """The cameras of a calibration, in its order; the kind of file is seen from its name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or lacks something.
    """
    require_regular_file(path)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: too large for a calibration")
    name = path.name.lower()
    readers: dict[str, Callable[[Path], list[CalibratedCamera]]] = {
        ".qca.txt": _read_qca,
        ".qca": _read_qca,
        ".toml": _read_toml,
        ".yml": _read_yaml,
        ".yaml": _read_yaml,
        ".json": _read_json,
        ".txt": _read_colmap,
    }
    for suffix, reader in readers.items():
        if name.endswith(suffix):
            cameras = reader(path)
            break
    else:
        raise ValueError(f"{path}: not a calibration; known: {', '.join(f'*{s}' for s in readers)}")
    if not cameras:
        raise ValueError(f"{path}: no camera in this calibration")
    return [_possible(path, camera) for camera in cameras]


def parse_calibration(text: str) -> CalibratedCamera:
    """The camera of a calibration in JSON, as the content of a .json file.

    Raises:
        ValueError: it is damaged, or lacks something.
    """
    return _possible("the calibration", _parse_json("the calibration", text))


def _possible(source: Path | str, camera: CalibratedCamera) -> CalibratedCamera:
    """The camera, unless its values are impossible."""
    try:
        camera.camera(camera.size or _twice(camera.intrinsics))
    except ValueError as error:
        raise ValueError(f"{source}: {camera.name or 'camera'}: {error}") from error
    return camera


def _twice(intrinsics: NDArray[np.float64]) -> tuple[int, int]:
    """A size that the intrinsics fit."""
    width, height = (max(1, round(2 * float(c))) for c in intrinsics[:2, 2])
    return width, height


def choose_camera(cameras: Sequence[CalibratedCamera], image: str) -> CalibratedCamera:
    """The camera of a photo or video: the only one, that which lists it, or that of its name or of the last
    number in its name.

    Args:
        image: path of the photo or video.

    Raises:
        ValueError: there are several, and none of them, or more than one, is of that name.
    """
    if len(cameras) == 1:
        return cameras[0]
    stem = Path(image).stem
    for found in (
        [camera for camera in cameras if Path(image).name in camera.images],
        [camera for camera in cameras if camera.name.lower() == stem.lower()],
        # Photos are numbered too: 1 and 2 say nothing about the camera, its serial number does.
        [
            camera
            for camera in cameras
            if last_number(camera.name) == last_number(stem) is not None
            and not (camera.name.isdigit() and len(camera.name) < 3)
        ],
    ):
        if len(found) == 1:
            return found[0]
    names = ", ".join(camera.name for camera in cameras)
    raise ValueError(f"which of the cameras {names} is it? Name it: FILE:{cameras[0].name}")


def last_number(name: str) -> int | None:
    """The last number in a name; None without one."""
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error})") from error


def _read_toml(path: Path) -> list[CalibratedCamera]:
    try:
        content = tomllib.loads(_read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not a readable .toml file ({error})") from error
    cameras = []
    for key, values in content.items():
        # Other tables describe the calibration: metadata, capture_volume, charuco, checkerboard.
        if not isinstance(values, dict) or "matrix" not in values:
            continue
        arrays = {}
        shapes: dict[str, tuple[int, ...]] = {"size": (2,), "matrix": (3, 3)}
        placed = "rotation" in values or "translation" in values
        if placed:
            shapes |= {"rotation": (3,), "translation": (3,)}
        for name, shape in shapes.items():
            arrays[name] = _numbers(path, key, values, name, shape)
        distortion = _numbers(path, key, values, "distortions", None)
        width, height = np.rint(arrays["size"]).astype(int).tolist()
        pose = None
        if placed:
            rotation = np.asarray(cv2.Rodrigues(arrays["rotation"])[0], np.float64)
            pose = rotation, arrays["translation"]
        cameras.append(
            CalibratedCamera(
                str(values.get("name", key)),
                arrays["matrix"],
                tuple(distortion.tolist()),
                bool(values.get("fisheye", False)),
                (width, height),
                pose,
            )
        )
    return cameras


def _numbers(
    path: Path | str, camera: str, values: Mapping[str, Any], name: str, shape: tuple[int, ...] | None
) -> NDArray[np.float64]:
    """An entry of a camera as finite numbers of this shape; None stands for any vector."""
    try:
        array = np.asarray(values[name], np.float64)
    except KeyError as error:
        raise ValueError(f"{path}: {camera} lacks {name}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {name} of {camera} is not made of numbers") from error
    if (array.ndim != 1 if shape is None else array.shape != shape) or not np.isfinite(array).all():
        expected = "a vector" if shape is None else shape
        raise ValueError(
            f"{path}: {name} of {camera} is {array.tolist()}; expected finite numbers, {expected}"
        )
    return array


class _Loader(yaml.SafeLoader):
    """YAML's plain values, and OpenCV's matrices as what they hold."""


_Loader.add_constructor(
    "tag:yaml.org,2002:opencv-matrix", lambda loader, node: loader.construct_mapping(node, deep=True)
)


def _read_yaml(path: Path) -> list[CalibratedCamera]:
    # OpenCV writes "%YAML:1.0", which is no directive of YAML.
    text = re.sub(r"\A\s*%YAML[:\s][^\n]*\n(---[^\n]*\n)?", "", _read_text(path))
    try:
        content = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: not a readable YAML file ({error})") from error
    return [_named_values(path, content)]


def _read_json(path: Path) -> list[CalibratedCamera]:
    return [_parse_json(path, _read_text(path))]


def _parse_json(source: Path | str, text: str) -> CalibratedCamera:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: not readable JSON ({error})") from error
    return _named_values(source, content)


_MATRIX = ("K", "camera_matrix", "cameraMatrix", "intrinsics", "mtx")
_DISTORTION = ("distortion", "distortion_coefficients", "distCoeffs", "dist_coeffs", "dist", "D")
_SIZES = ("size", "image_size", "img_size")
_WIDTHS = (("image_width", "image_height"), ("image_Width", "image_Height"), ("width", "height"))
_FISHEYES = {"plumb_bob": False, "rational_polynomial": False, "equidistant": True, "fisheye": True}
"""ROS' names of models of lenses, and whether they are OpenCV's of a fisheye."""


def _named_values(path: Path | str, content: Any) -> CalibratedCamera:
    """The camera of a file with names and values, as OpenCV, ROS and people write them."""
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected names and values: K, size, distortion")
    key = next((name for name in _MATRIX if name in content), None)
    if key is None:
        raise ValueError(f"{path}: no camera matrix in it; expected one of {', '.join(_MATRIX)}")
    matrix = _numbers(path, "the camera", {key: _matrix(content[key])}, key, (3, 3))
    distortion: NDArray[np.float64] = np.zeros(0)
    if (name := next((name for name in _DISTORTION if name in content), None)) is not None:
        values = np.asarray(_matrix(content[name]), object).reshape(-1)
        distortion = _numbers(path, "the camera", {name: values.tolist()}, name, None)
    model = content.get("distortion_model")
    if model is not None and str(model) not in _FISHEYES:
        raise ValueError(f"{path}: distortion_model {str(model)[:50]!r} is not known: {', '.join(_FISHEYES)}")
    fisheye = bool(content.get("fisheye", content.get("fisheye_model", _FISHEYES.get(str(model), False))))
    size: tuple[int, int] | None = None
    for wide, high in _WIDTHS:
        if wide in content and high in content:
            sides = _numbers(path, "the camera", {"size": [content[wide], content[high]]}, "size", (2,))
            size = round(sides[0]), round(sides[1])
    if (name := next((name for name in _SIZES if name in content), None)) is not None:
        sides = _numbers(path, "the camera", {name: _matrix(content[name])}, name, (2,))
        size = round(sides[0]), round(sides[1])
    name = content.get("camera_name", content.get("name", ""))
    return CalibratedCamera(str(name), matrix, tuple(distortion.tolist()), fisheye, size)


def _matrix(value: Any) -> Any:
    """A matrix that is written with rows, cols and data, as lists of rows; anything else as it is."""
    if not isinstance(value, dict) or "data" not in value:
        return value
    try:
        return np.asarray(value["data"], object).reshape(int(value["rows"]), int(value["cols"])).tolist()
    except (KeyError, TypeError, ValueError, OverflowError):
        return value["data"]


_COLMAP: dict[str, tuple[str, bool]] = {
    "SIMPLE_PINHOLE": ("f x y", False),
    "PINHOLE": ("fx fy x y", False),
    "SIMPLE_RADIAL": ("f x y k1", False),
    "RADIAL": ("f x y k1 k2", False),
    "OPENCV": ("fx fy x y k1 k2 p1 p2", False),
    "FULL_OPENCV": ("fx fy x y k1 k2 p1 p2 k3 k4 k5 k6", False),
    "OPENCV_FISHEYE": ("fx fy x y k1 k2 k3 k4", True),
    "SIMPLE_RADIAL_FISHEYE": ("f x y k1", True),
    "RADIAL_FISHEYE": ("f x y k1 k2", True),
}
"""Parameters of COLMAP's models of cameras (colmap.github.io/cameras.html), and which are a fisheye's."""


def _read_colmap(path: Path) -> list[CalibratedCamera]:
    """COLMAP's cameras.txt: CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS; images.txt beside it names the images.

    COLMAP has (0, 0) at the corner of the first pixel, OpenCV at its centre.
    """
    cameras = []
    images = _colmap_images(path.with_name("images.txt"))
    for line in _read_text(path).splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        number, *rest = line.split()
        model = rest.pop(0) if rest else ""
        if model not in _COLMAP:
            raise ValueError(
                f"{path}: camera {number[:50]!r} is of the model {model[:50]!r}; known: {', '.join(_COLMAP)}"
            )
        names, fisheye = _COLMAP[model]
        values = _numbers(path, f"camera {number}", {"line": rest}, "line", None)
        if len(values) != 2 + len(names.split()):
            raise ValueError(f"{path}: camera {number} has {len(values)} numbers; expected size and {names}")
        width, height = values[:2].round().astype(int).tolist()
        named = dict(zip(names.split(), values[2:].tolist(), strict=True))
        fx, fy = (named.get(name, named.get("f", 0.0)) for name in ("fx", "fy"))
        matrix = np.array([[fx, 0, named["x"] - 0.5], [0, fy, named["y"] - 0.5], [0, 0, 1]])
        order = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
        distortion = [named.get(name, 0.0) for name in order]
        seen = frozenset(images.get(number, ()))
        size = width, height
        cameras.append(CalibratedCamera(number, matrix, tuple(distortion), fisheye, size, images=seen))
    return cameras


def _colmap_images(path: Path) -> dict[str, list[str]]:
    """The names of the images of each camera, by its id; none if there is no such file.

    A line of ten fields is an image: its pose, CAMERA_ID, NAME. The next one has its points, in threes.
    """
    images: dict[str, list[str]] = {}
    if path.is_file():
        for line in _read_text(path).splitlines():
            fields = line.split(maxsplit=9)
            if len(fields) == 10 and not line.startswith("#") and not re.match(r"[-\d.]+\s", fields[9] + " "):
                images.setdefault(fields[8], []).append(Path(fields[9]).name)
    return images


def _read_qca(path: Path) -> list[CalibratedCamera]:
    """The video cameras of a Qualisys calibration.

    Lengths are millimetres, pixels are in 64ths; the camera's frame has y up and z backwards. Distortion
    coefficients have no unit, and are OpenCV's: those of Pose2Sim's demo agree with a calibration of the same
    cameras by OpenCV within a tenth (k1 -0.046 and -0.053, k2 0.140 and 0.151). Pose2Sim divides them by 64.
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
                    np.array([[fx, 0, cx - left], [0, fy, cy - top], [0, 0, 1]]),
                    (k1, k2, p1, p2, k3),
                    size=(round(right - left) + 1, round(bottom - top) + 1),
                    pose=(rotation, -rotation @ position),
                )
            )
    except FileNotFoundError:
        raise
    except (ElementTree.ParseError, LookupError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not a readable calibration of Qualisys ({error})") from error
    return sorted(cameras, key=lambda camera: natural_order(camera.name))


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sorts cam2 before cam10."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]

"""MPI-INF-3DHP (Mehta et al., 3DV 2017): actors without markers, many cameras, a test set partly outdoors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from fullframe.data.formats.hdf5 import open_hdf5
from fullframe.data.formats.paths import image_size, need
from fullframe.data.formats.samples import SampleSequence, points17_to_j24, shaped, tight_box
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera

WHERE = "https://vcai.mpi-inf.mpg.de/3dhp-dataset (train and test set; unpack the videos into frames)"
SPLITS = ("train", "test")
STEP = 10
"""Of the training frames every 10th is used (SPIN)."""

_CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
_TRAIN_SIZE = (2048, 2048)

# In the order of h36m17: pelvis, left leg, right leg, spine, neck, head, head top, arms.
_17_OF_28 = [4, 18, 19, 20, 23, 24, 25, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16]
_17_OF_TEST = [14, 11, 12, 13, 8, 9, 10, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]


class MPIINF3DHP(SampleSequence):
    """The people of MPI-INF-3DHP: `j24` keypoints and joints; boxes around the keypoints.

    As in SPIN, frames in which one of the 17 joints lies outside the image are left out. Joints of the
    training set are where they are in front of the calibrated camera. Those of the test set are the universal
    skeleton's, by which methods are compared, relative to its pelvis; its cameras are found from the true
    joints and their pixels.

    Args:
        root: folder with S1/Seq1/annot.mat, camera.calibration, imageFrames/video_0/frame_000001.jpg ...; and
            mpi_inf_3dhp_test_set/TS1/annot_data.mat, imageSequence/img_000001.jpg ...
        split: "train" (every 10th frame of eight cameras) or "test" (all valid frames).

    Raises:
        FileNotFoundError: names what is missing.
        ImportError: h5py is not installed, for the test set.
        ValueError: for another split, or a file that is damaged.
    """

    def __init__(self, root: str | Path, split: str = "test") -> None:
        root = Path(root)
        if split == "train":
            folders = [root / f"S{subject}" / f"Seq{number}" for subject in range(1, 9) for number in (1, 2)]
            super().__init__([clip for folder in folders for clip in _train(folder)])
        elif split == "test":
            test = root / "mpi_inf_3dhp_test_set"
            super().__init__([_test(test / f"TS{number}") for number in range(1, 7)])
        else:
            raise ValueError(f"unknown split {split!r} of MPI-INF-3DHP; choose one of {', '.join(SPLITS)}")


@dataclass(frozen=True)
class _MPIINF3DHPClip:
    """The person of a video in n frames."""

    name: str
    pattern: str
    camera: Camera
    frames: NDArray[np.int64]  # (n,) from 0
    keypoints: NDArray[np.float32]  # (n, 17, 2)
    joints: NDArray[np.float32]  # (n, 17, 3)

    def __len__(self) -> int:
        return len(self.frames)

    def sample(self, index: int) -> Sample:
        frame = int(self.frames[index])
        image = Path(self.pattern % (frame + 1))
        return Sample(
            image,
            self.camera,
            tight_box(self.keypoints[index]),
            keypoints={"j24": points17_to_j24(self.keypoints[index])},
            joints={"j24": points17_to_j24(self.joints[index])},
            name=f"{self.name}/{image.name}#0",
            sequence=self.name,
            frame=frame,
        )


def _clip(
    name: str,
    pattern: str,
    camera: Camera,
    frames: NDArray[Any],
    keypoints: NDArray[Any],
    joints: NDArray[Any],
) -> _MPIINF3DHPClip:
    """A clip without the frames in which a joint lies outside the image."""
    inside = ((keypoints >= 0) & (keypoints < camera.size)).all(axis=(1, 2))
    arrays = (keypoints[inside].astype(np.float32), joints[inside].astype(np.float32))
    return _MPIINF3DHPClip(name, pattern, camera, frames[inside], *arrays)


def _train(folder: Path) -> list[_MPIINF3DHPClip]:
    need(folder, "annot.mat", "camera.calibration", "imageFrames", where=WHERE)
    path = folder / "annot.mat"
    try:
        content = scipy.io.loadmat(path, variable_names=("annot2", "annot3"))
        annot2, annot3 = content["annot2"], content["annot3"]
        cells = [(annot2[camera, 0], annot3[camera, 0]) for camera in _CAMERAS]
    except Exception as error:  # scipy fails in many ways on damaged files
        raise ValueError(f"{path}: not the annotations of a sequence ({error}); see {WHERE}") from error
    name, clips = f"{folder.parent.name}/{folder.name}", []
    for number, (pixels, millimetres) in zip(_CAMERAS, cells, strict=True):
        n = len(pixels)
        keypoints = shaped(path, f"annot2[{number}]", pixels, n, 56).reshape(n, 28, 2)[::STEP, _17_OF_28]
        joints = shaped(path, f"annot3[{number}]", millimetres, n, 84).reshape(n, 28, 3)[::STEP, _17_OF_28]
        clips.append(
            _clip(
                f"{name}/video_{number}",
                str(folder / "imageFrames" / f"video_{number}" / "frame_%06d.jpg"),
                Camera.from_intrinsics(_intrinsics(folder / "camera.calibration", number), _TRAIN_SIZE),
                np.arange(0, n, STEP),
                keypoints,
                joints / 1000,
            )
        )
    return clips


def _intrinsics(path: Path, camera: int) -> NDArray[np.float64]:
    """K (3, 3). After a heading, each camera has seven lines; the fifth holds a 4 x 4 matrix."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        label, *values = lines[7 * camera + 5].split()
        matrix = np.array(values, np.float64).reshape(4, 4)
    except (IndexError, ValueError) as error:
        raise ValueError(
            f"{path}: line {7 * camera + 6} does not hold the intrinsics of camera {camera}; see {WHERE}"
        ) from error
    if label != "intrinsic":
        raise ValueError(
            f"{path}: line {7 * camera + 6} starts with {label!r}, expected intrinsic; see {WHERE}"
        )
    return matrix[:3, :3]


def _test(folder: Path) -> _MPIINF3DHPClip:
    need(folder, "annot_data.mat", "imageSequence", where=WHERE)
    path = folder / "annot_data.mat"
    keys = ("annot2", "annot3", "univ_annot3", "valid_frame")
    with open_hdf5(path, keys, WHERE) as file:
        valid = np.flatnonzero(np.asarray(file["valid_frame"]))
        annot2, annot3, universal = (
            shaped(path, key, file[key], None, 1, 17, size)[valid, 0]
            for key, size in (("annot2", 2), ("annot3", 3), ("univ_annot3", 3))
        )
    if not len(valid):
        raise ValueError(f"{path}: no frame is marked as valid; see {WHERE}")
    pattern = str(folder / "imageSequence" / "img_%06d.jpg")
    size = image_size(Path(pattern % (valid[0] + 1)))
    focal, center = fit_camera(annot3.reshape(-1, 3), annot2.reshape(-1, 2))
    camera = Camera((focal[0], focal[1]), (center[0], center[1]), size, "intrinsics")
    joints = universal[:, _17_OF_TEST] / 1000
    return _clip(folder.name, pattern, camera, valid, annot2[:, _17_OF_TEST], joints - joints[:, :1])


def fit_camera(points: NDArray[Any], pixels: NDArray[Any]) -> tuple[list[float], list[float]]:
    """Focal length and principal point, px, of the pinhole camera that shows points (K, 3) at pixels (K, 2).

    Linear least squares: u = f x / z + c for each axis.
    """
    focal, center = [], []
    for axis in (0, 1):
        rays = np.stack((points[:, axis] / points[:, 2], np.ones(len(points))), axis=1)
        (f, c), *_ = np.linalg.lstsq(rays, pixels[:, axis], rcond=None)
        focal.append(float(f))
        center.append(float(c))
    return focal, center

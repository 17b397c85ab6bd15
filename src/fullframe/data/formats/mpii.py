"""MPII Human Pose (Andriluka et al., CVPR 2014), in the list that stacked hourglasses were trained with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.data.formats.hdf5 import open_hdf5
from fullframe.data.formats.paths import image_size, need
from fullframe.data.formats.samples import SampleSequence, shaped, window_box
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera

WHERE = (
    "http://human-pose.mpi-inf.mpg.de (images) and https://github.com/princeton-vl/pose-hg-train (train.h5)"
)

# MPII's 16 joints, from the right ankle to the left wrist, among j24's.
_J24_OF_16 = [0, 1, 2, 3, 4, 5, 14, 15, 12, 13, 6, 7, 8, 9, 10, 11]


class MPII(SampleSequence):
    """The people of MPII whose 16 joints are all annotated, as SPIN chooses them: `j24` keypoints.

    MPII counts pixels from 1, samples from 0. The box is the list's window (square, 200 px * scale) without
    its enlargement. The camera is CLIFF's guess from the image's diagonal.

    Args:
        annotations: train.h5 or valid.h5 with imgname, center, scale, part.
        images: the folder with the photos.

    Raises:
        FileNotFoundError: names what is missing.
        ImportError: h5py is not installed.
        ValueError: the file is damaged or another one.
    """

    def __init__(self, annotations: str | Path, images: str | Path) -> None:
        annotations, images = Path(annotations), Path(images)
        need(annotations, where=WHERE)
        need(images, where=WHERE)
        with open_hdf5(annotations, ("imgname", "center", "scale", "part"), WHERE) as file:
            names: list[str] = [_text(name) for name in file["imgname"][()]]
            n = len(names)
            center = shaped(annotations, "center", file["center"][()], n, 2)
            scale = shaped(annotations, "scale", file["scale"][()], n)
            part = shaped(annotations, "part", file["part"][()], n, 16, 2)
        whole = np.flatnonzero((part > 0).all(axis=(1, 2)))
        super().__init__(
            [_MPIIPeople(images, [names[i] for i in whole], center[whole], scale[whole], part[whole])]
        )


@dataclass(frozen=True)
class _MPIIPeople:
    images: Path
    names: list[str]
    center: NDArray[np.float64]  # (n, 2)
    scale: NDArray[np.float64]  # (n,)
    part: NDArray[np.float64]  # (n, 16, 2)

    def __len__(self) -> int:
        return len(self.names)

    def sample(self, index: int) -> Sample:
        path = self.images / self.names[index]
        keypoints = np.zeros((24, 3), np.float32)
        keypoints[_J24_OF_16, :2] = self.part[index] - 1
        keypoints[_J24_OF_16, 2] = 1
        return Sample(
            path,
            Camera.from_diagonal(image_size(path)),
            window_box(self.center[index] - 1, float(self.scale[index]), aspect=1),
            keypoints={"j24": keypoints},
            name=f"{self.names[index]}#{index}",
        )


def _text(name: Any) -> str:
    """A name in the file: text, or the numbers of its characters."""
    if isinstance(name, np.ndarray):
        return "".join(chr(int(code)) for code in name if code)
    return name.decode() if isinstance(name, bytes) else str(name)

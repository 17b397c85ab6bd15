"""BEDLAM (Black et al., CVPR 2023): rendered clothed people, in its release for SMPL."""

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
    read_rows,
    shaped,
    tight_box,
    with_confidence,
)
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera
from fullframe.io.image import read_photo

WHERE = "https://bedlam.is.tue.mpg.de (images, and the processed labels for SMPL)"
_KEYS = ("imgname", "pose_cam", "shape", "trans_cam", "cam_ext", "cam_int", "gtkps", "gender")


class BEDLAM(SampleSequence):
    """The people of BEDLAM: pose, betas and translation of SMPL, `smpl24` keypoints.

    Boxes are drawn around the joints inside the image, as BEDLAM's own. Close-ups are stored lying on their
    side; their samples hold the upright pixels, read on access.

    Args:
        labels: folder with one .npz a scene.
        images: folder with <scene>/png/<imgname>.

    Raises:
        FileNotFoundError: names what is missing.
        ValueError: a file is damaged, or holds labels for SMPL-X.
    """

    def __init__(self, labels: str | Path, images: str | Path) -> None:
        images = Path(images)
        need(images, where=WHERE)
        super().__init__([_scene(path, images) for path in matching(Path(labels), "*.npz", WHERE)])


@dataclass(frozen=True)
class _BEDLAMScene:
    """The n people of all images of a scene."""

    name: str
    images: Path
    arrays: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.arrays["imgname"])

    def sample(self, index: int) -> Sample:
        row = {key: array[index] for key, array in self.arrays.items()}
        path = self.images / str(row["imgname"])
        # The principal point is the image's centre.
        size = (round(2 * float(row["cam_int"][0, 2])), round(2 * float(row["cam_int"][1, 2])))
        lying = image_size(path) == size[::-1] and size[0] < size[1]
        points = row["gtkps"][:, :2].astype(np.float64)
        inside = ((points[:22] >= 0) & (points[:22] <= size)).all(axis=1)
        return Sample(
            _turned(path) if lying else path,
            Camera.from_intrinsics(row["cam_int"], size),
            tight_box(points[:22][inside]),
            keypoints={"smpl24": with_confidence(points)},
            pose=rotation_matrices(row["pose_cam"]),
            betas=row["shape"][:10].astype(np.float32),
            # Labels keep the body's own movement and the camera's distance apart.
            translation=(row["trans_cam"] + row["cam_ext"][:3, 3]).astype(np.float32),
            body=f"smpl-{row['gender']}",
            name=f"{self.name}/{row['imgname']}#{index}",
            sequence=f"{self.name}/{Path(str(row['imgname'])).parent}",
        )


def _scene(path: Path, images: Path) -> _BEDLAMScene:
    arrays = read_rows(path, _KEYS, (), WHERE)
    n, width = shaped(path, "pose_cam", arrays["pose_cam"], None, None).shape
    if width != 72:
        raise ValueError(
            f"{path}: poses of {width} values are SMPL-X's; use the labels for SMPL (72 values) from {WHERE}"
        )
    for key, *shape in (("trans_cam", 3), ("cam_ext", 4, 4), ("cam_int", 3, 3), ("shape", None)):
        arrays[key] = shaped(path, key, arrays[key], n, *shape).astype(np.float32)
    gtkps = shaped(path, "gtkps", arrays["gtkps"], n, None, None)
    if gtkps.shape[1] < 24 or gtkps.shape[2] < 2:
        raise ValueError(f"{path}: gtkps has shape {gtkps.shape}, expected at least 24 points of x, y")
    # There are thousands of people in a scene: keep what is used.
    arrays["gtkps"] = gtkps[:, :24, :2].astype(np.float32)
    genders = set(arrays["gender"].tolist())
    if not genders <= {"male", "female", "neutral"}:
        raise ValueError(f"{path}: genders are {sorted(genders)}, expected male, female or neutral")
    return _BEDLAMScene(path.stem, images / path.stem / "png", arrays)


def _turned(path: Path) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.rot90(read_photo(path).pixels, -1))

"""Leeds Sports Pose Extended (Johnson & Everingham, CVPR 2011): sports photos, 14 joints, rough labels."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.formats.paths import image_size, need
from fullframe.data.formats.samples import SampleSequence
from fullframe.data.sample import Sample
from fullframe.geometry.box import box_from_keypoints
from fullframe.geometry.camera import Camera
from fullframe.io.npz import read_npz

WHERE = "https://sam.johnson.io/research/lspet.html"
SPLITS = ("train", "val")
VAL_EVERY = 20
"""Photos whose number is a multiple of this are "val"; nothing is ever trained on them."""

# Bones and their lengths in adults, metres.
_BONES = (
    *(
        (f"{side}_{a}", f"{side}_{b}", length)
        for side in ("left", "right")
        for a, b, length in (
            ("hip", "knee", 0.42),
            ("knee", "ankle", 0.42),
            ("shoulder", "elbow", 0.29),
            ("elbow", "wrist", 0.26),
            ("shoulder", "hip", 0.50),
        )
    ),
    ("neck", "left_shoulder", 0.19),
    ("neck", "right_shoulder", 0.19),
    ("neck", "head_top", 0.28),
    ("left_hip", "right_hip", 0.24),
    ("left_shoulder", "right_shoulder", 0.36),
)


class LSPET(SampleSequence):
    """The people of LSPET as samples with `lsp14` keypoints.

    The camera is CLIFF's guess from the image's diagonal. Boxes are drawn around the joints and 1.15 times as
    large, since a body is larger than its joints. Labels that no body can have are left out, see `plausible`.

    Args:
        root: folder with images/im00001.jpg ... and joints.mat of the download; or joints.npz with the arrays
            image (N,) of file names and joints (N, 14, 3): pixels counted from 1, and 1 where visible.
        split: "train" or "val": val are the photos whose number is a multiple of 20.

    Attributes:
        left_out: how many people of the split have implausible labels.

    Raises:
        FileNotFoundError: names what is missing.
        ValueError: for another split, or a file that holds something else.
    """

    def __init__(self, root: str | Path, split: str = "train") -> None:
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r} of LSPET; choose one of {', '.join(SPLITS)}")
        root = Path(root)
        file = root / ("joints.npz" if (root / "joints.npz").exists() else "joints.mat")
        need(root, "images", file.name, where=WHERE)
        images, joints = _read(file)
        held_out = np.array([_number(image, file) % VAL_EVERY == 0 for image in images], bool)
        chosen = held_out if split == "val" else ~held_out
        seen = joints[..., 2] > 0
        good = plausible(joints[..., :2], seen)
        self.left_out = int((chosen & ~good).sum())
        keypoints = np.concatenate((joints[..., :2] - 1, seen[..., None]), axis=2).astype(np.float32)
        boxes = box_from_keypoints(keypoints, threshold=0.0, margin=1.15)
        chosen &= good & np.isfinite(boxes).all(axis=1)
        shown = keypoints[chosen] * seen[chosen, :, None]
        photos = [root / "images" / image for image in images[chosen]]
        super().__init__([_Photos(photos, shown.astype(np.float32), boxes[chosen])])


@dataclass(frozen=True)
class _Photos:
    paths: list[Path]
    keypoints: NDArray[np.float32]  # (N, 14, 3)
    boxes: NDArray[np.float32]  # (N, 4)

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, index: int) -> Sample:
        path = self.paths[index]
        return Sample(
            path,
            Camera.from_diagonal(image_size(path)),
            self.boxes[index].copy(),
            keypoints={"lsp14": self.keypoints[index].copy()},
            name=path.name,
        )


def plausible(points: NDArray[np.floating], seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether joints can be those of a person.

    Foreshortening makes bones look short, never long. So relative to its length in adults, no bone should
    look much longer than all others: here, more than twice the fifth longest. Looking at the photos, most of
    those beyond have a joint on the wrong place or on another person. People with fewer than six visible
    bones are kept.

    Args:
        points: (N, 14, 2) of `lsp14`, px.
        seen: (N, 14).

    Returns:
        (N,).
    """
    names = JOINT_SETS["lsp14"].names
    start, end = ([names.index(bone[side]) for bone in _BONES] for side in (0, 1))
    length = np.linalg.norm(points[:, start] - points[:, end], axis=2) / [bone[2] for bone in _BONES]
    known = seen[:, start] & seen[:, end]
    longest = -np.sort(-np.where(known, length, 0), axis=1)
    return (longest[:, 0] <= 2 * longest[:, 4]) | (known.sum(axis=1) < 6)


def _read(file: Path) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Names (N,) and joints (N, 14, 3)."""
    try:
        if file.suffix == ".npz":
            content = read_npz(file, ("joints", "image"))
            joints, images = content["joints"].astype(np.float64), content["image"].astype(str)
        else:
            joints = scipy.io.loadmat(file)["joints"].astype(np.float64).transpose(2, 0, 1)
            joints = joints.swapaxes(1, 2) if joints.shape[1:] == (3, 14) else joints
            images = np.array([f"im{number:05d}.jpg" for number in range(1, len(joints) + 1)])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{file}: not the joints of LSPET ({error}); download it again: {WHERE}") from error
    if joints.shape != (len(images), 14, 3) or not np.isfinite(joints).all():
        raise ValueError(f"{file}: expected finite joints of 14 x 3 values, found shape {joints.shape}")
    return images, joints


def _number(image: str, file: Path) -> int:
    digits = re.search(r"(\d+)\.\w+$", image)
    if digits is None:
        raise ValueError(f"{file}: {image!r} is not a file name of LSPET, like im00001.jpg")
    return int(digits[1])

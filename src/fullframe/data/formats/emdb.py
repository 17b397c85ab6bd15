"""EMDB (Kaufmann et al., ICCV 2023): people filmed with a moving phone, in SMPL from body-worn sensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body import BodyModel, load_body
from fullframe.data.formats.placement import into_camera, rotation_matrices
from fullframe.data.formats.samples import SampleSequence, matching, shaped, tight_box, with_confidence
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera
from fullframe.io.pickles import read_pickle

WHERE = "https://ait.ethz.ch/emdb (all P*.zip, unpacked there)"
SUBSETS = ("emdb1", "emdb2")


class EMDB(SampleSequence):
    """The people of EMDB in all good frames: gendered SMPL in the camera's frame, `smpl24` keypoints.

    Boxes are EMDB's own, where it has one; else they are drawn around the keypoints.

    Args:
        root: folder with P0/00_mvs_a/P0_00_mvs_a_data.pkl, P0/00_mvs_a/images/00000.jpg ...
        subset: "emdb1", on which camera-frame methods are compared, or "emdb2".
        bodies: gender ("male", "female", "neutral") to SMPL; where missing, the files that `load_body` finds.
            They give the rest pelvis, which is needed to move a body from the world into the camera frame.

    Raises:
        FileNotFoundError: names what is missing.
        BodyFileError: SMPL of a gender is needed and missing.
        ValueError: for another subset, or a file that is damaged; nothing in the pickles is executed.
    """

    def __init__(
        self, root: str | Path, subset: str = "emdb1", bodies: Mapping[str, BodyModel] | None = None
    ) -> None:
        if subset not in SUBSETS:
            raise ValueError(f"unknown subset {subset!r} of EMDB; choose one of {', '.join(SUBSETS)}")
        known = dict(bodies or {})
        files = matching(Path(root), "P*/*/*_data.pkl", WHERE)
        people = (_person(path, subset, known) for path in files)
        super().__init__([person for person in people if person is not None])
        if not len(self):
            raise ValueError(f"{root}: none of the {len(files)} sequences belongs to {subset}; see {WHERE}")


@dataclass(frozen=True)
class _EMDBPerson:
    """The person of a sequence in its n good frames."""

    name: str
    images: Path
    camera: Camera
    body: str
    betas: NDArray[np.float32]  # (10,)
    rest_pelvis: NDArray[np.float64]  # (3,)
    frames: NDArray[np.int64]  # (n,)
    pose: NDArray[np.float32]  # (n, 72), root in the world
    translation: NDArray[np.float64]  # (n, 3) in the world
    cameras: NDArray[np.float64]  # (n, 4, 4) world to camera
    keypoints: NDArray[np.float32]  # (n, 24, 2)
    boxes: NDArray[np.float32]  # (n, 4)

    def __len__(self) -> int:
        return len(self.frames)

    def sample(self, index: int) -> Sample:
        rotation, shift = self.cameras[index, :3, :3], self.cameras[index, :3, 3]
        pose, translation = into_camera(
            rotation_matrices(self.pose[index]),
            self.rest_pelvis + self.translation[index],
            self.rest_pelvis,
            rotation,
            shift,
        )
        frame = int(self.frames[index])
        image = self.images / f"{frame:05d}.jpg"
        return Sample(
            image,
            self.camera,
            self.boxes[index].copy(),
            keypoints={"smpl24": with_confidence(self.keypoints[index])},
            pose=pose,
            betas=self.betas.copy(),
            translation=translation,
            body=self.body,
            name=f"{self.name}/{image.name}#0",
            sequence=self.name,
            frame=frame,
        )


def _person(path: Path, subset: str, bodies: dict[str, BodyModel]) -> _EMDBPerson | None:
    """The person of a sequence, or None if it is not part of the subset."""
    content: Any = read_pickle(path, f"download it again from {WHERE}")
    keys = ("gender", "name", *SUBSETS, "good_frames_mask", "camera", "smpl", "kp2d", "bboxes")
    inside = {
        "camera": ("intrinsics", "extrinsics", "width", "height"),
        "smpl": ("poses_root", "poses_body", "trans", "betas"),
        "bboxes": ("bboxes", "invalid_idxs"),
    }
    content = content if isinstance(content, dict) else {}
    missing = [key for key in keys if key not in content]
    for key in inside.keys() & content.keys():
        missing += [f"{key}/{part}" for part in inside[key] if part not in content[key]]
    if missing:
        raise ValueError(f"{path}: not a sequence of EMDB, it lacks {', '.join(missing)}; see {WHERE}")
    if not content[subset]:
        return None
    smpl, view = content["smpl"], content["camera"]
    good = shaped(path, "good_frames_mask", content["good_frames_mask"], None).astype(bool)
    n, gender = len(good), str(content["gender"])
    if gender not in ("male", "female", "neutral"):
        raise ValueError(f"{path}: the gender is {gender!r}, expected male, female or neutral")
    if gender not in bodies:
        bodies[gender] = load_body(f"smpl-{gender}")
    betas = shaped(path, "smpl/betas", np.ravel(smpl["betas"])[:10], 10).astype(np.float32)
    root = shaped(path, "smpl/poses_root", smpl["poses_root"], n, 3)
    pose = np.concatenate((root, shaped(path, "smpl/poses_body", smpl["poses_body"], n, 69)), axis=1)
    keypoints = shaped(path, "kp2d", content["kp2d"], n, 24, 2).astype(np.float32)
    boxes = shaped(path, "bboxes", content["bboxes"]["bboxes"], n, 4).astype(np.float32)
    usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    usable &= ~np.isin(np.arange(n), content["bboxes"]["invalid_idxs"])
    for frame in np.flatnonzero(good & ~usable):
        boxes[frame] = tight_box(keypoints[frame])
    size = (int(view["width"]), int(view["height"]))
    return _EMDBPerson(
        f"{path.parent.parent.name}_{path.parent.name}",
        path.parent / "images",
        Camera.from_intrinsics(shaped(path, "camera/intrinsics", view["intrinsics"], 3, 3), size),
        f"smpl-{gender}",
        betas,
        bodies[gender].rest_joints(torch.from_numpy(betas[None]))[0, 0].numpy().astype(np.float64),
        np.flatnonzero(good),
        pose[good].astype(np.float32),
        shaped(path, "smpl/trans", smpl["trans"], n, 3)[good].astype(np.float64),
        shaped(path, "camera/extrinsics", view["extrinsics"], n, 4, 4)[good].astype(np.float64),
        keypoints[good],
        boxes[good],
    )

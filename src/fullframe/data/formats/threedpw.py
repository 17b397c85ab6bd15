"""3DPW (von Marcard et al., ECCV 2018): people outdoors, filmed with a moving phone, in exact SMPL."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.data.formats.paths import image_size, need
from fullframe.data.formats.placement import into_camera, rotation_matrices
from fullframe.data.formats.samples import SampleSequence, matching, reduced_window, shaped, tight_box
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera, project_points
from fullframe.io.pickles import read_pickle

WHERE = (
    "https://virtualhumans.mpi-inf.mpg.de/3DPW (imageFiles.zip and sequenceFiles.zip, both unpacked there)"
)
SPLITS = ("train", "validation", "test", "occluded")
OCCLUDED = (
    "courtyard_backpack", "courtyard_basketball", "courtyard_bodyScannerMotions", "courtyard_box",
    "courtyard_golf", "courtyard_jacket", "courtyard_laceShoe", "downtown_stairs", "flat_guitar",
    "flat_packBags", "outdoors_climbing", "outdoors_crosscountry", "outdoors_fencing", "outdoors_freestyle",
    "outdoors_golf", "outdoors_parcours", "outdoors_slalom",
)  # fmt: skip
"""The sequences of 3DPW-OCC, by the first two words of their names; they come from all splits."""

GENDERS = {"m": "smpl-male", "f": "smpl-female"}

# OpenPose's 18 points among COCO's 17; its neck has no counterpart.
_COCO17_OF_OPENPOSE18 = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]


class ThreeDPW(SampleSequence):
    """The people of 3DPW in all frames in which the camera's pose is valid.

    A sample has the pose, betas and translation of its gendered SMPL; `smpl24` joints; and `coco17`
    keypoints, which OpenPose detected, so a person who was not found has none. The box is drawn around the
    projected joints. Labels are for the images as released (1920 x 1080 or upright); images stored at half
    the size, as CLIFF is evaluated on, are used through `window`.

    Args:
        root: folder with imageFiles/<sequence>/image_00000.jpg ... and sequenceFiles/<split>/<sequence>.pkl.
        split: "train", "validation", "test", or "occluded" (3DPW-OCC, a choice from all three).

    Raises:
        FileNotFoundError: names what is missing.
        ValueError: for another split, or a file that is damaged; nothing in the pickles is executed.
    """

    def __init__(self, root: str | Path, split: str = "test") -> None:
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r} of 3DPW; choose one of {', '.join(SPLITS)}")
        root = Path(root)
        need(root, "imageFiles", "sequenceFiles", where=WHERE)
        folder = root / "sequenceFiles"
        if split == "occluded":
            files = [
                path
                for each in SPLITS[:3]
                for path in matching(folder / each, "*.pkl", WHERE)
                if "_".join(path.stem.split("_")[:2]) in OCCLUDED
            ]
        else:
            files = matching(folder / split, "*.pkl", WHERE)
        super().__init__([person for path in files for person in _people(path, root / "imageFiles")])


@dataclass(frozen=True)
class _ThreeDPWPerson:
    """A person of a sequence in n frames."""

    name: str
    number: int
    images: Path
    camera: Camera
    window: tuple[float, float, float]
    body: str
    betas: NDArray[np.float32]  # (10,)
    rest_pelvis: NDArray[np.float64]  # (3,)
    frames: NDArray[np.int64]  # (n,)
    pose: NDArray[np.float32]  # (n, 72), root in the world
    joints: NDArray[np.float32]  # (n, 24, 3) in the world
    keypoints: NDArray[np.float32]  # (n, 3, 18)
    cameras: NDArray[np.float64]  # (n, 4, 4) world to camera

    def __len__(self) -> int:
        return len(self.frames)

    def sample(self, index: int) -> Sample:
        rotation, shift = self.cameras[index, :3, :3], self.cameras[index, :3, 3]
        world = self.joints[index].astype(np.float64)
        pose, translation = into_camera(
            rotation_matrices(self.pose[index]), world[0], self.rest_pelvis, rotation, shift
        )
        joints = world @ rotation.T + shift
        frame = int(self.frames[index])
        image = self.images / f"image_{frame:05d}.jpg"
        return Sample(
            image,
            self.camera,
            tight_box(project_points(joints, self.camera)),
            self.window,
            keypoints={"coco17": self.keypoints[index].T[_COCO17_OF_OPENPOSE18].copy()},
            joints={"smpl24": np.concatenate((joints, np.ones((24, 1))), axis=1).astype(np.float32)},
            pose=pose,
            betas=self.betas.copy(),
            translation=translation,
            body=self.body,
            name=f"{self.name}/{image.name}#{self.number}",
            sequence=self.name,
            frame=frame,
        )


def _people(path: Path, images: Path) -> list[_ThreeDPWPerson]:
    content: Any = read_pickle(path, f"download it again from {WHERE}")
    keys = (
        "sequence", "betas", "poses", "trans", "genders", "poses2d", "jointPositions", "cam_poses",
        "campose_valid", "cam_intrinsics",
    )  # fmt: skip
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{path}: not a sequence of 3DPW, it lacks {', '.join(missing)}; see {WHERE}")
    name = str(content["sequence"])
    cameras = shaped(path, "cam_poses", content["cam_poses"], None, 4, 4).astype(np.float64)
    intrinsics = shaped(path, "cam_intrinsics", content["cam_intrinsics"], 3, 3)
    # The principal point is the image's centre, which gives the size that the labels are for.
    full = (round(2 * float(intrinsics[0, 2])), round(2 * float(intrinsics[1, 2])))
    camera = Camera.from_intrinsics(intrinsics, full)
    first = images / name / "image_00000.jpg"
    need(first, where=WHERE)
    window = reduced_window(full, image_size(first), first)

    n, people = len(cameras), []
    for number, gender in enumerate(content["genders"]):
        if gender not in GENDERS:
            raise ValueError(f"{path}: person {number} has the gender {gender!r}, expected m or f")

        def of_person(key: str, *shape: int | None, number: int = number) -> NDArray[Any]:
            if len(content[key]) <= number:
                raise ValueError(f"{path}: {key} lacks person {number}; download it again from {WHERE}")
            return shaped(path, f"{key}[{number}]", content[key][number], *shape)

        positions = of_person("jointPositions", n, 72).reshape(n, 24, 3)
        translations = of_person("trans", n, 3)
        valid = of_person("campose_valid", n).astype(bool)
        betas = of_person("betas", None)[:10].astype(np.float32)
        people.append(
            _ThreeDPWPerson(
                name,
                number,
                images / name,
                camera,
                window,
                GENDERS[gender],
                betas,
                # The pelvis is the rest pelvis moved by the translation, so SMPL's files are not needed.
                np.mean(positions[:, 0] - translations, axis=0, dtype=np.float64),
                np.flatnonzero(valid),
                of_person("poses", n, 72)[valid].astype(np.float32),
                positions[valid].astype(np.float32),
                of_person("poses2d", n, 3, 18)[valid].astype(np.float32),
                cameras[valid],
            )
        )
    return people

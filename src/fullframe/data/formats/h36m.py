"""Human3.6M (Ionescu et al., PAMI 2014): actors in a studio, four calibrated cameras, optical markers."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.data.formats.hdf5 import open_hdf5
from fullframe.data.formats.paths import need
from fullframe.data.formats.samples import SampleSequence, matching, points17_to_j24
from fullframe.data.sample import Sample
from fullframe.geometry.box import LABEL_ENLARGE
from fullframe.geometry.camera import Camera, project_points

WHERE = "http://vision.imar.ro/human3.6m (Poses_D3_Positions_mono and Segments_mat of each subject)"
SUBJECTS = {"train": (1, 5, 6, 7, 8), "test": (9, 11)}

STEP = 5
"""Of the 50 frames a second every 5th is used (SPIN)."""

# Serial number to fx, fy, cx, cy in px and (width, height), from the data set's calibration. Lens distortion
# is left out.
_CAMERAS = {
    "54138969": ((1145.04940459, 1143.78109572, 512.54150496, 515.45148698), (1000, 1002)),
    "55011271": ((1149.67569987, 1147.59161667, 508.84863645, 508.06492088), (1000, 1000)),
    "58860488": ((1149.14071677, 1148.79896857, 519.81583718, 501.40264482), (1000, 1000)),
    "60457274": ((1145.51133842, 1144.77392808, 514.96819732, 501.88201854), (1000, 1002)),
}
CAMERAS = tuple(_CAMERAS)
FRONTAL = "60457274"
"""The camera of protocol 2."""

# Of the 32 joints of the raw files: pelvis, left leg, right leg, spine, neck, jaw, head, arms.
_17_OF_32 = [11, 6, 7, 8, 1, 2, 3, 12, 24, 14, 15, 17, 18, 19, 25, 26, 27]


def h36m_camera(image: str) -> Camera | None:
    """The camera named in a file name such as S1_Directions.54138969_000001.jpg; else None."""
    found = re.search(r"\.(\d{8})_\d+\.\w+$", image)
    if found is None or found[1] not in _CAMERAS:
        return None
    return Camera.from_intrinsics(*_CAMERAS[found[1]])


class H36M(SampleSequence):
    """The actors of Human3.6M in every 5th frame: `j24` joints by the markers, in the camera's frame.

    The 17 joints are SPIN's choice; keypoints are the joints projected without lens distortion. Boxes are
    three quarters of the loose masks, so that windows are SPIN's; a mask is read when its sample is asked
    for.
    Lists with SMPL (MoSh) in SPIN's form are read by spin_npz.SPINList.

    Args:
        root: folder with S9/MyPoseFeatures/D3_Positions_mono/<action>.<camera>.cdf,
            S9/MySegmentsMat/ground_truth_bb/<action>.<camera>.mat and the videos' frames
            images/S9_<action>.<camera>_000001.jpg ..., blanks in actions replaced by _.
        split: "train" (subjects 1, 5, 6, 7, 8) or "test" (9, 11).
        cameras: serial numbers; all four are protocol 1, (FRONTAL,) protocol 2.

    Raises:
        FileNotFoundError: names what is missing.
        ImportError: h5py or cdflib is not installed.
        ValueError: for another split or camera, or a file that is damaged.
    """

    def __init__(self, root: str | Path, split: str = "test", cameras: tuple[str, ...] = CAMERAS) -> None:
        if split not in SUBJECTS:
            raise ValueError(f"unknown split {split!r} of Human3.6M; choose one of {', '.join(SUBJECTS)}")
        if unknown := set(cameras) - set(CAMERAS):
            raise ValueError(f"unknown cameras {sorted(unknown)}; Human3.6M has {', '.join(CAMERAS)}")
        root = Path(root)
        need(root, "images", where=WHERE)
        clips = []
        for subject in SUBJECTS[split]:
            folder = root / f"S{subject}"
            for path in matching(folder / "MyPoseFeatures/D3_Positions_mono", "*.cdf", WHERE):
                action, camera = path.stem.rsplit(".", 1)
                if camera in cameras and action != "_ALL":
                    clips.append(_clip(root, folder, path, f"S{subject}_{action.replace(' ', '_')}.{camera}"))
        super().__init__(clips)


@dataclass(frozen=True)
class _H36MClip:
    """A clip of one camera."""

    name: str
    images: Path
    masks: Path
    joints: NDArray[np.float32]  # (n, 17, 3) metres, every 5th frame

    def __len__(self) -> int:
        return len(self.joints)

    def sample(self, index: int) -> Sample:
        frame, joints = index * STEP, self.joints[index]
        image = self.images / f"{self.name}_{frame + 1:06d}.jpg"
        camera = h36m_camera(image.name)
        assert camera is not None  # clips of other cameras are not used
        return Sample(
            image,
            camera,
            _mask_box(self.masks, frame),
            keypoints={"j24": points17_to_j24(project_points(joints, camera))},
            joints={"j24": points17_to_j24(joints)},
            name=f"{image.name}#0",
            sequence=self.name,
            frame=frame,
        )


def _clip(root: Path, folder: Path, path: Path, name: str) -> _H36MClip:
    masks = folder / "MySegmentsMat/ground_truth_bb" / f"{path.stem}.mat"
    need(masks, where=WHERE)
    return _H36MClip(name, root / "images", masks, _read_poses(path)[::STEP, _17_OF_32])


def _read_poses(path: Path) -> NDArray[np.float32]:
    """All joints of a clip, (frames, 32, 3) metres in the camera's frame; the file has mm."""
    try:
        import cdflib
    except ImportError as error:
        raise ImportError(f"reading {path.name} needs cdflib: pip install 'fullframe[data]'") from error
    try:
        poses: NDArray[np.float32] = np.asarray(cdflib.CDF(path).varget("Pose"), np.float32)
    except Exception as error:  # cdflib fails in many ways on damaged files
        raise ValueError(
            f"{path}: damaged, or not a CDF file with the poses ({error}); see {WHERE}"
        ) from error
    if poses.shape[-1] != 96:
        raise ValueError(f"{path}: poses have {poses.shape[-1]} values, expected 96; see {WHERE}")
    return poses.reshape(-1, 32, 3) / np.float32(1000)


def _mask_box(path: Path, frame: int) -> NDArray[np.float32]:
    """The box whose window, enlarged by 1.2, is 0.9 times the mask, which is loose (SPIN)."""
    with open_hdf5(path, ("Masks",), WHERE) as file:
        references = file["Masks"]
        if frame >= len(references):
            raise ValueError(f"{path}: has {len(references)} masks, none for frame {frame}; see {WHERE}")
        mask = np.asarray(file[references[frame, 0]]).T
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError(f"{path}: the mask of frame {frame} is empty; see {WHERE}")
    low, high = np.array([columns.min(), rows.min()]) - 0.5, np.array([columns.max(), rows.max()]) + 0.5
    half = (high - low) / 2 * 0.9 / LABEL_ENLARGE
    return np.concatenate(((low + high) / 2 - half, (low + high) / 2 + half)).astype(np.float32)

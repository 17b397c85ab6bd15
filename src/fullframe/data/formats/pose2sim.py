"""Pose2Sim's layout of recordings by several calibrated cameras: calibration, videos, triangulated points.

Formats: https://github.com/perfanalytics/pose2sim. Calibrations map the world to each camera's frame (x
right, y down, z forward) in metres. Pose2Sim triangulates in that world, which it takes to be z-up, and
writes y-up .trc files: x, y, z of a file are y, z, x of the world.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.clip_frame import ClipFrame
from fullframe.data.formats.samples import SampleSequence
from fullframe.data.formats.trc import read_trc
from fullframe.data.formats.triangulated_joints import LIMBS, MARKERS, coco17_joints, limb_box, limb_sample
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera, project_points
from fullframe.io.calibration import CalibratedCamera, last_number, natural_order, read_calibration
from fullframe.video.reader import VideoError, VideoReader, address, options

WHERE = "https://github.com/perfanalytics/pose2sim describes the layout"
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv", ".mts")
AXES = {"y-up, as Pose2Sim writes them": (2, 0, 1), "as calibrated": (0, 1, 2)}
"""Which columns of a .trc file are x, y and z of the calibration's world."""
NEAREST = 0.1
"""Smallest distance from a camera of a measured person, metres."""

_LIMB_MARKERS = tuple(marker for marker, name in MARKERS.items() if name in LIMBS)


class Pose2Sim(SampleSequence):
    """The people of a project, session or trial of Pose2Sim, in the frames of every clip.

    A trial is a folder with pose-3d/*.trc and videos/; the calibration lies in a folder whose name holds
    "calib", in the trial or up to two folders above. Where a person has several .trc files, the filtered one
    is taken, else the one as triangulated. Clips belong to the camera of the same name or number, or else are
    in the order of the cameras.

    What cannot be used is left out and named in `notes`.

    Args:
        root: the project's folder.
        seconds: at most one frame in that time is taken; 0 for all.

    Attributes:
        notes: what was left out, and which axes the files have.

    Raises:
        FileNotFoundError: there is no such folder, or no .trc file in it.
        ValueError: no person can be measured; the message says why.
    """

    def __init__(self, root: Path, seconds: float = 0.0) -> None:
        root = root.resolve()
        if not root.is_dir():
            raise FileNotFoundError(f"{root} is missing: give the folder of a project ({WHERE})")
        files = sorted(root.rglob("pose-3d*/*.trc"))
        if not files:
            raise FileNotFoundError(f"{root / '**/pose-3d/*.trc'} is missing: triangulate first ({WHERE})")
        self.notes: list[str] = []
        people: list[_Person] = []
        for trial in sorted({file.parent.parent for file in files}):
            try:
                clips = self._clips(trial, root)
            except (ValueError, OSError) as error:
                self.notes.append(f"{trial.name} is left out: {error}")
                continue
            for file in _one_of_each([f for f in files if f.parent.parent == trial]):
                try:
                    people += self._people(file, clips, root, seconds)
                except (ValueError, OSError) as error:
                    self.notes.append(f"Left out: {error}")
        people.sort(key=lambda person: person.sequence)
        super().__init__(people)
        if not len(self):
            raise ValueError(f"{root}: no person can be measured. {' '.join(self.notes)}")

    def _clips(self, trial: Path, root: Path) -> list["_Clip"]:
        """The clips of a trial that can be used."""
        cameras = read_calibration(_calibration(trial))
        videos = sorted(
            (path for path in (trial / "videos").glob("*") if path.suffix.lower() in VIDEOS),
            key=lambda path: natural_order(path.stem),
        )
        if not videos:
            raise ValueError(f"{trial / 'videos'} has no clips")
        clips = []
        for video, camera in zip(videos, _cameras_of(videos, cameras), strict=True):
            try:
                clips.append(_Clip.open(video, camera))
            except (VideoError, ValueError) as error:
                self.notes.append(f"{video.name} is left out: {error}")
        if not clips:
            raise ValueError("none of its clips can be used")
        return clips

    def _people(self, file: Path, clips: list["_Clip"], root: Path, seconds: float) -> list["_Person"]:
        """The person of a .trc file in every clip."""
        trc = read_trc(file)
        missing = [marker for marker in _LIMB_MARKERS if marker not in trc.markers]
        if missing:
            raise ValueError(f"{file} lacks the markers {', '.join(missing)}; has {', '.join(trc.markers)}")
        joints = np.stack([coco17_joints(points, trc.markers) for points in trc.points])
        axes, share = _axes(joints, clips)
        if share < 0.5:
            raise ValueError(
                f"{file}: its points lie outside the clips' images; does the calibration belong to it?"
            )
        self.notes.append(f"{file.name}: axes {axes}.")
        joints[..., :3] = joints[..., list(AXES[axes])]
        step = max(1, round(seconds * trc.rate))
        people = []
        for clip in clips:
            rows = np.arange(0, len(joints), step)
            frames = trc.start + rows
            inside = frames < clip.num_frames
            if (trc.start, trc.start + len(joints)) != (0, clip.num_frames):
                first, last = trc.start, trc.start + len(joints) - 1
                measured = "only those in both are measured" if inside.any() else "none is in both"
                self.notes.append(
                    f"{clip.video.name} has {clip.num_frames} frames, {file.name} points of frames {first} "
                    f"to {last}: {measured}; check that the clips are synchronised."
                )
            name = f"{clip.video.parent.parent.relative_to(root.parent)}/{clip.video.stem}"
            person = _Person.seen(clip, joints[rows[inside]], frames[inside], name, file.stem)
            if len(person) < inside.sum():
                self.notes.append(
                    f"{clip.video.name}, {file.name}: {inside.sum() - len(person)} of {inside.sum()} frames "
                    "are left out, since joints are unknown or the person is not in the image."
                )
            people.append(person)
        return people


@dataclass(frozen=True)
class _Clip:
    """A clip and its camera."""

    video: Path
    camera: Camera
    pose: tuple[NDArray[np.float64], NDArray[np.float64]]
    num_frames: int

    @classmethod
    def open(cls, video: Path, camera: CalibratedCamera) -> "_Clip":
        """Raises ValueError for a clip that cannot be read or does not fit the calibration."""
        with VideoReader(video) as reader:
            size = reader.size
        if camera.pose is None:
            raise ValueError(f"the calibration does not say where the camera {camera.name} stands")
        return cls(video, camera.camera(size), camera.pose, _count_frames(video))

    @property
    def pinhole(self) -> Camera:
        return self.camera.pinhole

    def into_camera(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (..., 3) of the world in the camera's frame."""
        rotation, translation = self.pose
        return points @ rotation.T + translation


@dataclass(frozen=True)
class _Person:
    """A person in n frames of a clip."""

    clip: _Clip
    joints: NDArray[np.float32] = field(repr=False)  # (n, 17, 4) in the camera's frame
    frames: NDArray[np.int64] = field(repr=False)
    sequence: str
    person: str

    @classmethod
    def seen(
        cls, clip: _Clip, joints: NDArray[np.float32], frames: NDArray[np.int64], sequence: str, person: str
    ) -> "_Person":
        """The frames in which all limbs are known and the person is in the image.

        Args:
            joints: (n, 17, 4) in the world.
        """
        rows = [JOINT_SETS["coco17"].names.index(name) for name in LIMBS]
        moved = joints.copy()
        moved[..., :3] = clip.into_camera(joints[..., :3])
        seen = np.asarray((joints[:, rows, 3] > 0).all(axis=1))
        for row in np.flatnonzero(seen):
            known = moved[row, :, 3] > 0
            box = limb_box(project_points(moved[row, known, :3].astype(np.float64), clip.pinhole))
            inside = (box[2:] > 0).all() and (box[:2] < clip.pinhole.size).all()
            seen[row] = bool(inside and (moved[row, known, 2] > NEAREST).all())
        return cls(clip, moved[seen], frames[seen], sequence, person)

    def __len__(self) -> int:
        return len(self.frames)

    def sample(self, index: int) -> Sample:
        frame = int(self.frames[index])
        return limb_sample(
            ClipFrame(self.clip.video, frame, self.clip.camera),
            self.clip.pinhole,
            self.joints[index].copy(),
            f"{self.sequence}/{frame}#{self.person}",
            self.sequence,
            frame,
        )


def _axes(joints: NDArray[np.float32], clips: Sequence[_Clip]) -> tuple[str, float]:
    """The key of AXES with which most points are in the images, and the share that is in the best clip."""
    known = joints[joints[..., 3] > 0, :3].astype(np.float64)
    if not len(known):
        raise ValueError("no joint is known")
    shares: dict[str, list[float]] = {}
    for name, columns in AXES.items():
        shares[name] = []
        for clip in clips:
            points = clip.into_camera(known[:, list(columns)])
            pixels = project_points(points, clip.pinhole)
            inside = ((pixels > 0) & (pixels < clip.pinhole.size)).all(axis=1)
            shares[name].append(float((inside & (points[:, 2] > NEAREST)).mean()))
    best = max(shares, key=lambda name: sum(shares[name]))
    return best, max(shares[best])


def _calibration(trial: Path) -> Path:
    """The calibration of a trial.

    Raises:
        ValueError: there is none, or more than one.
    """
    for folder in (trial, *list(trial.parents)[:2]):
        inside = [path for path in folder.glob("*") if path.is_dir() and "calib" in path.name.lower()]
        for pattern in ("[Cc]alib*.toml", "*.toml", "*.qca.txt", "*.qca"):
            found = sorted(path for each in inside for path in each.glob(pattern))
            if len(found) > 1:
                names = ", ".join(str(path) for path in found)
                raise ValueError(f"there are several calibrations; leave one of {names}")
            if found:
                return found[0]
    raise ValueError(f"no Calib*.toml or *.qca.txt in a calibration folder of {trial} or above it")


def _one_of_each(files: Sequence[Path]) -> list[Path]:
    """Of the .trc files of the same person, the filtered one, else the one as triangulated."""
    groups: dict[str, list[Path]] = {}
    for file in files:
        plain = re.sub(r"_filt_[A-Za-z_]*?[A-Za-z](?=_\d|_LSTM|$)|_LSTM", "", file.stem)
        groups.setdefault(plain, []).append(file)

    def rank(file: Path) -> tuple[bool, bool, str]:
        return "_LSTM" in file.stem, "_filt_" not in file.stem, file.stem

    return [min(group, key=rank) for group in groups.values()]


def _cameras_of(videos: Sequence[Path], cameras: Sequence[CalibratedCamera]) -> list[CalibratedCamera]:
    """The camera of each clip: of the same name, of the same last number in its name, or in the same order.

    Raises:
        ValueError: none of these rules applies to all clips.
    """
    for key in (str.lower, last_number):
        of_videos = [key(video.stem) for video in videos]
        of_cameras = {key(camera.name): camera for camera in cameras}
        distinct = len(set(of_videos)) == len(videos) and len(of_cameras) == len(cameras)
        if distinct and None not in of_videos and of_cameras.keys() >= set(of_videos):
            return [of_cameras[name] for name in of_videos]
    if len(videos) == len(cameras):
        return list(cameras)
    clips, names = ", ".join(v.name for v in videos), ", ".join(c.name for c in cameras)
    raise ValueError(f"the clips {clips} cannot be matched to the calibrated cameras {names}")


def _count_frames(video: Path) -> int:
    """The number of a video's frames, from its packets, since headers of some files say something else."""
    with av.open(address(str(video)), options=options(str(video))) as container:
        return sum(1 for packet in container.demux(container.streams.video[0]) if packet.size)

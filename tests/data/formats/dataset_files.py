"""Writers of tiny data sets in the real formats: keys, shapes, dtypes, folders and quirks."""

import pickle
import types
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import roma
import scipy.io
import torch
from PIL import Image
from synthetic_smpl import _Python2Pickler

from fullframe.body import BodyModel


@dataclass
class Clip:
    """A made-up person in n frames in front of a moving camera; the truth that files are written from.

    World and camera are related by x_camera = rotation x_world + shift.
    """

    gender: str
    betas: np.ndarray  # (10,)
    pose: np.ndarray  # (n, 72) axis-angle, root in the world
    translation: np.ndarray  # (n, 3) in the world
    extrinsics: np.ndarray  # (n, 4, 4)
    world_joints: np.ndarray  # (n, 24, 3)
    intrinsics: np.ndarray  # (3, 3)

    @property
    def joints(self) -> np.ndarray:
        """(n, 24, 3) in the camera's frame."""
        turned = np.einsum("nij,nkj->nki", self.extrinsics[:, :3, :3], self.world_joints)
        return turned + self.extrinsics[:, None, :3, 3]

    @property
    def keypoints(self) -> np.ndarray:
        """(n, 24, 2) px."""
        return project(self.joints, self.intrinsics)


def project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    seen = points @ intrinsics.T
    return seen[..., :2] / seen[..., 2:]


def pose_body(body: BodyModel, betas: Any, rotvec: Any, translation: Any) -> np.ndarray:
    """SMPL's joints (n, 24, 3)."""
    pose = roma.rotvec_to_rotmat(torch.as_tensor(np.asarray(rotvec, np.float64)).reshape(-1, 24, 3)).float()
    shape = torch.as_tensor(np.asarray(betas, np.float32)).expand(len(pose), -1)
    moved = torch.as_tensor(np.asarray(translation, np.float32)).reshape(-1, 3)
    return body(shape, pose, moved).joints.numpy().astype(np.float64)


def make_clip(
    body: BodyModel,
    gender: str,
    frames: int,
    intrinsics: np.ndarray,
    rng: np.random.Generator,
    extrinsics: np.ndarray | None = None,
) -> Clip:
    """Without extrinsics, the camera is anywhere in the world and turned in any way."""
    betas, pose = rng.normal(size=10), rng.normal(0, 0.4, (frames, 72))
    if extrinsics is None:
        extrinsics = np.tile(np.eye(4), (frames, 1, 1))
        extrinsics[:, :3, :3] = roma.random_rotmat(frames).numpy()
        extrinsics[:, :3, 3] = rng.normal(0, 3, (frames, 3))
    # In front of the camera, wherever that is.
    place = np.stack((*rng.uniform(-0.8, 0.8, (2, frames)), rng.uniform(4, 8, frames)), 1)
    translation = np.einsum("nji,nj->ni", extrinsics[:, :3, :3], place - extrinsics[:, :3, 3])
    joints = pose_body(body, betas, pose, translation)
    return Clip(gender, betas, pose, translation, extrinsics, joints, intrinsics)


def matrix(focal: float, width: float, height: float) -> np.ndarray:
    return np.array([[focal, 0, width / 2], [0, focal * 1.004, height / 2], [0, 0, 1]])


def write_image(path: Path, size: tuple[int, int], value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def write_python2_pickle(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = BytesIO()
    _Python2Pickler(buffer, 2).dump(content)
    path.write_bytes(buffer.getvalue())


def write_pickle(path: Path, content: Any, protocol: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))


# 3DPW

# OpenPose's 18 points by SMPL's joints; the head's stand for the face.
OPENPOSE18 = [15, 12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7, 15, 15, 15, 15]


def threedpw_content(name: str, clips: list[Clip], valid: list[np.ndarray]) -> dict[str, Any]:
    n = len(clips[0].pose)
    keypoints = [
        np.concatenate((clip.keypoints[:, OPENPOSE18], np.full((n, 18, 1), 0.7)), 2).swapaxes(1, 2)
        for clip in clips
    ]
    keypoints[-1][-1] = 0  # OpenPose did not find this person
    return {
        "sequence": name,
        "betas": [np.concatenate((clip.betas, np.full(290, 9.0))) for clip in clips],
        "poses": [clip.pose for clip in clips],
        "trans": [clip.translation for clip in clips],
        "poses_60Hz": [np.repeat(clip.pose, 2, 0) for clip in clips],
        "trans_60Hz": [np.repeat(clip.translation, 2, 0) for clip in clips],
        "betas_clothed": [np.zeros(10) for _ in clips],
        "v_template_clothed": [np.zeros((6890, 3)) for _ in clips],
        "texture_maps": [np.zeros((2, 2, 3), np.uint8) for _ in clips],
        "genders": [clip.gender[0] for clip in clips],
        "poses2d": keypoints,
        "jointPositions": [clip.world_joints.reshape(n, 72) for clip in clips],
        "img_frame_ids": np.arange(0, 2 * n, 2),
        "cam_poses": clips[0].extrinsics,
        "campose_valid": valid,
        "cam_intrinsics": clips[0].intrinsics,
    }


def write_threedpw(root: Path, split: str, content: dict[str, Any], image_size: tuple[int, int]) -> Path:
    """A sequence as Python 2 pickled it, and its images."""
    name = content["sequence"]
    path = root / "sequenceFiles" / split / f"{name}.pkl"
    write_python2_pickle(path, content)
    for frame in range(len(content["cam_poses"])):
        write_image(root / "imageFiles" / name / f"image_{frame:05d}.jpg", image_size)
    return path


# EMDB


def emdb_content(name: str, clip: Clip, good: np.ndarray, emdb1: bool) -> dict[str, Any]:
    n = len(clip.pose)
    keypoints = clip.keypoints
    boxes = np.concatenate((keypoints.min(1) - 20, keypoints.max(1) + 20), 1)
    boxes[1] = (5, 5, 50, 60)  # its index is among the invalid ones
    return {
        "gender": clip.gender,
        "name": name,
        "emdb1": emdb1,
        "emdb2": not emdb1,
        "n_frames": n,
        "good_frames_mask": good,
        "camera": {
            "intrinsics": clip.intrinsics,
            "extrinsics": clip.extrinsics,
            "width": np.int64(1440),
            "height": 1920,
        },
        "smpl": {
            "poses_root": clip.pose[:, :3],
            "poses_body": clip.pose[:, 3:],
            "trans": clip.translation,
            "betas": clip.betas,
        },
        "kp2d": keypoints,
        "bboxes": {"bboxes": boxes, "invalid_idxs": np.array([1])},
    }


def write_emdb(root: Path, folder: str, content: dict[str, Any]) -> Path:
    path = root / folder / f"{folder.replace('/', '_')}_data.pkl"
    write_pickle(path, content)
    return path


# AGORA


class _Pickled:
    """Pickles as another class would: (callable, arguments, state)."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


def _stand_in(name: str) -> Any:
    """A class, or a function, that pickles under the name of one that is not installed."""
    module, _, attribute = name.rpartition(".")
    stand_in = type(attribute, (), {})
    stand_in.__module__, stand_in.__qualname__ = module, attribute
    return stand_in


PANDAS = {
    name: _stand_in(f"pandas.{name}")
    for name in (
        "core.frame.DataFrame",
        "core.internals.managers.BlockManager",
        "core.indexes.base.Index",
        "core.indexes.base._new_Index",
        "core.indexes.range.RangeIndex",
        "_libs.internals._unpickle_block",
    )
}


class _ForeignPickler(pickle._Pickler):
    """Writes the stand-ins by name, though no module of that name exists."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_global(self, obj: Any, name: Any = None) -> None:
        if obj in PANDAS.values():
            self.save(obj.__module__)
            self.save(obj.__qualname__)
            self.write(pickle.STACK_GLOBAL)
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    dispatch[type] = dispatch[types.FunctionType] = save_global


def write_table(path: Path, columns: dict[str, list[Any]], since_1_3: bool) -> None:
    """A table as pandas pickles it, of version 1.3 to 2, or before."""
    rows = len(next(iter(columns.values())))
    numbers = [name for name, values in columns.items() if isinstance(values[0], float)]
    others = [name for name in columns if name not in numbers]
    blocks = []
    for names in (numbers, others):
        values = np.empty((len(names), rows), float if names is numbers else object)
        for i, name in enumerate(names):
            for j, value in enumerate(columns[name]):
                values[i, j] = value
        # pandas keeps columns together in memory, which makes blocks of several columns Fortran-ordered.
        places = np.array([list(columns).index(name) for name in names], np.int64)
        blocks.append((np.asfortranarray(values), places))
    labels = np.empty(len(columns), object)
    labels[:] = list(columns)

    def index(kind: str, state: dict[str, Any]) -> _Pickled:
        return _Pickled(PANDAS["core.indexes.base._new_Index"], (PANDAS[f"core.indexes.{kind}"], state))

    axes = [
        index("base.Index", {"data": labels, "name": None}),
        index("range.RangeIndex", {"name": None, "start": 0, "stop": rows, "step": 1}),
    ]
    manager = PANDAS["core.internals.managers.BlockManager"]
    if since_1_3:
        unpickle = PANDAS["_libs.internals._unpickle_block"]
        made = tuple(_Pickled(unpickle, (values, places, 2)) for values, places in blocks)
        inside = _Pickled(manager, (made, axes))
        state = {"_mgr": inside, "_typ": "dataframe", "_metadata": [], "attrs": {}, "_flags": {}}
    else:
        new = [{"values": values, "mgr_locs": places} for values, places in blocks]
        old = (axes, [values for values, _ in blocks], axes[:1], {"0.14.1": {"axes": axes, "blocks": new}})
        state = {"_data": _Pickled(manager, (), old), "_typ": "dataframe", "_metadata": []}
    frame = _Pickled(PANDAS["core.frame.DataFrame"], (), state)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = BytesIO()
    _ForeignPickler(buffer, 4).dump(frame)
    path.write_bytes(buffer.getvalue())


# MPI-INF-3DHP, Human3.6M


def write_calibration(path: Path, intrinsics: list[np.ndarray]) -> None:
    lines = ["Skeletool Camera Calibration File V1.0"]
    for number, k in enumerate(intrinsics):
        full = np.eye(4)
        full[:3, :3] = k
        numbers = " ".join(f"{value:.6f}" for value in full.ravel())
        lines += [
            f"name          {number}",
            "  sensor      10 10",
            "  size        2048 2048",
            "  animated    0",
            f"  intrinsic   {numbers} ",
            "  extrinsic   1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 ",
            "  radial      0",
        ]
    path.write_text("\n".join(lines) + "\n")


def write_3dhp_train(folder: Path, joints: list[np.ndarray], intrinsics: list[np.ndarray]) -> None:
    """joints: for each camera (frames, 28, 3) metres in its frame."""
    folder.mkdir(parents=True)
    (folder / "imageFrames").mkdir()
    pixels, millimetres = np.empty((len(joints), 1), object), np.empty((len(joints), 1), object)
    for i, (points, k) in enumerate(zip(joints, intrinsics, strict=True)):
        pixels[i, 0] = project(points, k).reshape(len(points), 56)
        millimetres[i, 0] = (points * 1000).reshape(len(points), 84)
    scipy.io.savemat(
        folder / "annot.mat", {"annot2": pixels, "annot3": millimetres, "univ_annot3": millimetres}
    )
    write_calibration(folder / "camera.calibration", intrinsics)


def write_3dhp_test(
    folder: Path, joints: np.ndarray, k: np.ndarray, valid: list[int], size: tuple[int, int]
) -> None:
    """joints (frames, 17, 3) metres; the universal skeleton is 1.1 times as large, about the pelvis."""
    import h5py

    folder.mkdir(parents=True)
    root = joints[:, 14:15]
    with h5py.File(folder / "annot_data.mat", "w") as file:
        file["annot2"] = project(joints, k)[:, None]
        file["annot3"] = joints[:, None] * 1000
        file["univ_annot3"] = (root + 1.1 * (joints - root))[:, None] * 1000
        file["valid_frame"] = np.array(valid, float)[:, None]
    for frame in range(len(joints)):
        write_image(folder / "imageSequence" / f"img_{frame + 1:06d}.jpg", size)


def write_h36m_clip(folder: Path, action: str, camera: str, joints: np.ndarray, masks: np.ndarray) -> None:
    """joints (frames, 32, 3) metres; masks (frames, height, width)."""
    import h5py
    from cdflib.cdfwrite import CDF

    poses = folder / "MyPoseFeatures/D3_Positions_mono"
    boxes = folder / "MySegmentsMat/ground_truth_bb"
    poses.mkdir(parents=True, exist_ok=True)
    boxes.mkdir(parents=True, exist_ok=True)
    file = CDF(poses / f"{action}.{camera}.cdf")
    shape = [len(joints), 96]
    spec = {
        "Variable": "Pose",
        "Data_Type": CDF.CDF_FLOAT,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": shape,
    }
    file.write_var(spec, var_data=(joints * 1000).reshape(1, *shape).astype(np.float32))
    file.close()
    with h5py.File(boxes / f"{action}.{camera}.mat", "w") as h5:
        references = h5.create_dataset("Masks", (len(masks), 1), h5py.ref_dtype)
        for i, mask in enumerate(masks):
            h5[f"#refs#/{i}"] = mask.T.astype(np.uint8)  # Matlab stores columns first
            references[i, 0] = h5[f"#refs#/{i}"].ref

"""Training lists in the .npz form of SPIN (Kolotouros et al., ICCV 2019) and CLIFF, read and written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.body.joint_sets import JOINT_SETS, convert_joint_set
from fullframe.data.formats.h36m import h36m_camera
from fullframe.data.formats.paths import image_size, need
from fullframe.data.formats.placement import rotation_matrices, rotation_vectors
from fullframe.data.formats.samples import SampleSequence, read_rows, shaped, window_box
from fullframe.data.sample import Sample
from fullframe.geometry.box import LABEL_ENLARGE, box_from_xyxy
from fullframe.geometry.camera import Camera
from fullframe.io.atomic import write_npz

WHERE = "https://github.com/nkolot/SPIN (fetch_data.sh, or its preprocessing of the data sets)"

_KEYS = ("imgname", "center", "scale")
_SETS = tuple(name for name in JOINT_SETS if name != "j24")
_OPTIONAL = (
    "part", "S", "pose", "shape", "has_smpl", "gender", "global_t", "focal_l",
    # What write_spin_npz adds, so that nothing is lost.
    "box", "focal", "cam_center", "img_w", "img_h", "window", "body", "kid", "name", "sequence", "frame",
    "has_trans", *(f"{kind}_{name}" for name in _SETS for kind in ("part", "S")),
)  # fmt: skip
_SHAPES: dict[str, tuple[int | None, ...]] = {
    "center": (2,), "scale": (), "part": (24, 3), "S": (24, 4), "pose": (72,), "shape": (None,),
    "has_smpl": (), "global_t": (3,), "focal_l": (), "box": (4,), "focal": (2,), "cam_center": (2,),
    "img_w": (), "img_h": (), "window": (3,), "kid": (), "frame": (), "has_trans": (),
    **{f"part_{name}": (len(JOINT_SETS[name]), 3) for name in _SETS},
    **{f"S_{name}": (len(JOINT_SETS[name]), 4) for name in _SETS},
}  # fmt: skip
_BODIES = {
    **dict.fromkeys(("m", "male", "0"), "smpl-male"),
    **dict.fromkeys(("f", "female", "1"), "smpl-female"),
    **dict.fromkeys(("n", "neutral", "-1", ""), "smpl-neutral"),
}


class SPINList(SampleSequence):
    """The people of a list: `j24` keypoints and joints, and SMPL where it has them.

    Pixels are used as the list states them. Joints of SPIN's lists are relative to the pelvis. The camera is
    the list's own where it has one (`focal`, `focal_l`), else Human3.6M's by the image's name, else CLIFF's
    guess from the image's diagonal. The box is the window that `center` and `scale` describe without its
    enlargement of 1.2.

    Args:
        path: the .npz, with imgname (N,), center (N, 2), scale (N,), and any of part (N, 24, 3),
            S (N, 24, 4), pose (N, 72), shape (N, B), has_smpl (N,), gender (N,) "m", "f" or
            "n", or SPIN's 0, 1, -1.
        images: the folder that imgname is relative to.
        aspect: height / width of the windows: 1 in SPIN's lists, 4/3 in CLIFF's and ours.

    Raises:
        FileNotFoundError: the list or the folder is missing.
        ValueError: the list is damaged, lacks a key, or an array has the wrong shape.
    """

    def __init__(self, path: str | Path, images: str | Path, aspect: float = 1) -> None:
        super().__init__([read_list(Path(path), Path(images), aspect, _OPTIONAL, WHERE)])


@dataclass(frozen=True)
class SPINPeople:
    """The n people of a list."""

    images: Path
    aspect: float
    arrays: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.arrays["imgname"])

    def sample(self, index: int) -> Sample:
        row = {key: array[index] for key, array in self.arrays.items()}
        image = str(row["imgname"])
        # Lists whose keys come from different sources mark who has what.
        has_smpl = "pose" in row and bool(row.get("has_smpl", 1))
        has_translation = "global_t" in row and bool(row.get("has_trans", has_smpl))
        sample = Sample(
            self.images / image,
            _camera(row, self.images / image),
            row["box"].astype(np.float32)
            if "box" in row
            else window_box(row["center"], float(row["scale"]), self.aspect),
            keypoints=_points(row, "part"),
            joints=_points(row, "S"),
            pose=rotation_matrices(row["pose"]) if has_smpl else None,
            betas=row["shape"].astype(np.float32) if has_smpl and "shape" in row else None,
            translation=row["global_t"].astype(np.float32) if has_translation else None,
            body=str(row["body"]) if "body" in row else _body(row, image),
            kid=float(row.get("kid", 0)),
            name=str(row.get("name", f"{image}#{index}")),
            sequence=str(row.get("sequence", "")),
            frame=int(row.get("frame", 0)),
        )
        if "window" in row:
            x, y, scale = (float(value) for value in row["window"])
            sample.window = (x, y, scale)
        return sample


def read_list(path: Path, images: Path, aspect: float, optional: Sequence[str], where: str) -> SPINPeople:
    """See SPINList; only the `optional` ones of its optional keys are read."""
    need(images, where=where)
    arrays = read_rows(path, _KEYS, optional, where)
    n = len(arrays["imgname"])
    # Lists written by Python 2 have bytes.
    arrays |= {key: array.astype(str) for key, array in arrays.items() if array.dtype.kind == "S"}
    for key, shape in _SHAPES.items():
        if key in arrays:
            arrays[key] = shaped(path, key, arrays[key], n, *shape)
    return SPINPeople(images, aspect, arrays)


def _body(row: dict[str, Any], image: str) -> str:
    gender = str(row.get("gender", ""))
    if gender not in _BODIES:
        raise ValueError(f"{image}: gender {gender!r} is none of {', '.join(filter(None, _BODIES))}")
    return _BODIES[gender]


def _camera(row: dict[str, Any], image: Path) -> Camera:
    size = (int(row["img_w"]), int(row["img_h"])) if "img_w" in row and "img_h" in row else image_size(image)
    if "focal" in row and "cam_center" in row:
        (fx, fy), (cx, cy) = row["focal"].tolist(), row["cam_center"].tolist()
        return Camera((fx, fy), (cx, cy), size, "intrinsics")
    if "focal_l" in row:
        return Camera.from_focal(float(row["focal_l"]), size)
    return h36m_camera(str(row["imgname"])) or Camera.from_diagonal(size)


def _points(row: dict[str, Any], kind: str) -> dict[str, NDArray[np.float32]]:
    """The joint sets of keypoints ("part") or joints ("S") of which any is known."""
    keys = {"j24": kind, **{name: f"{kind}_{name}" for name in _SETS}}
    sets = {
        name: row[key].astype(np.float32)
        for name, key in keys.items()
        if key in row and (row[key][:, -1] > 0).any()
    }
    j24 = sets.pop("j24", None)
    derived = _as_j24(sets)
    # What write_spin_npz derived says nothing new.
    if j24 is None or (derived is not None and np.array_equal(j24, derived)):
        return sets
    return {"j24": j24, **sets}


def _as_j24(sets: dict[str, NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """Those of `j24` that one of COCO's or LSP's points is, the rest unknown; None without either set."""
    known = [
        convert_joint_set(sets[name][None], name, "j24")[0] for name in ("coco17", "lsp14") if name in sets
    ]
    if not known:
        return None
    out = known[0]
    for points in known[1:]:
        out = np.where(points[:, -1:] > 0, points, out)
    return out


def write_spin_npz(path: str | Path, samples: Iterable[Sample], images: str | Path) -> None:
    """Write samples as a list that SPINList(path, images) reads back, and that other programs can read too.

    Keys are SPIN's and CLIFF's: center and scale are windows of height / width 4/3 enlarged by 1.2, part and
    S are `j24`, of samples without it those of its points that `coco17` or `lsp14` have, global_t is the
    translation, focal_l the mean of both focal lengths. Further keys hold what these cannot: box, focal,
    cam_center, img_w, img_h, window, body, kid, name, sequence, frame, has_trans, and part_<joint set>,
    S_<joint set>. Pose is axis-angle, exact to about 1e-6 rad.

    Args:
        path: ends in .npz; appears whole or not at all.
        samples: with images that are files below `images`; betas of one length.
        images: the folder that image names are made relative to.

    Raises:
        ValueError: there are no samples, an image is not a file below `images`, or betas differ in length.
    """
    path, images = Path(path), Path(images)
    rows = [_row(sample, images) for sample in samples]
    if not rows:
        raise ValueError(f"{path}: there are no samples to write")
    lengths = {len(row["shape"]) for row in rows if "shape" in row}
    if len(lengths) > 1:
        raise ValueError(f"{path}: betas of one list have one length, these have {sorted(lengths)}")
    arrays: dict[str, Any] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        blank = np.zeros_like(next(row[key] for row in rows if key in row))
        arrays[key] = np.array([row.get(key, blank) for row in rows])
    write_npz(path, arrays)


def _row(sample: Sample, images: Path) -> dict[str, Any]:
    if not isinstance(sample.image, (str, Path)):
        raise ValueError(f"{sample.name or 'a sample'}: its image is pixels; write it to a file first")
    try:
        name = Path(sample.image).absolute().relative_to(images.absolute()).as_posix()
    except ValueError as error:
        raise ValueError(f"{sample.image} is not below the folder {images}") from error
    window = box_from_xyxy(sample.box[None], aspect=4 / 3, enlarge=LABEL_ENLARGE)
    row: dict[str, Any] = {
        "imgname": name,
        "center": window.center[0],
        "scale": window.size[0] / 200,
        "has_smpl": np.int64(sample.pose is not None),
        "has_trans": np.int64(sample.translation is not None),
        "focal_l": sum(sample.camera.focal) / 2,
        "box": sample.box.astype(np.float32),
        "focal": np.array(sample.camera.focal),
        "cam_center": np.array(sample.camera.principal_point),
        "img_w": np.int64(sample.camera.size[0]),
        "img_h": np.int64(sample.camera.size[1]),
        "window": np.array(sample.window),
        "body": sample.body,
        "kid": np.float64(sample.kid),
        "name": sample.name,
        "sequence": sample.sequence,
        "frame": np.int64(sample.frame),
    }
    for kind, sets in (("part", sample.keypoints), ("S", sample.joints)):
        row |= {kind if key == "j24" else f"{kind}_{key}": points for key, points in sets.items()}
        if kind not in row and (derived := _as_j24(sets)) is not None:
            row[kind] = derived
    if sample.pose is not None:
        row["pose"] = rotation_vectors(sample.pose)
    if sample.betas is not None:
        row["shape"] = sample.betas
    if sample.translation is not None:
        row["global_t"] = sample.translation
    return row

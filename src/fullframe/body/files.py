"""Reading body files: the open body, SMPL's .npz and SMPL's official .pkl."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fullframe.body.joint_sets import JOINT_SETS, PARENTS
from fullframe.io.npz import read_npz
from fullframe.io.pickles import read_pickle

_REQUIRED = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")
_OPTIONAL = ("name", "vt", "ft", "parts", "part_names", *(f"J_{joint_set}" for joint_set in JOINT_SETS))
_KEYS = [key + suffix for key in (*_REQUIRED, *_OPTIONAL) for suffix in ("", "_scale")]
_MAX_BYTES = 500_000_000
_SMPL_VERTICES = 6890
_REMEDY = (
    "SMPL files come from https://smpl.is.tue.mpg.de (SMPL for Python, version 1.0 or 1.1); "
    "without one, the built-in open body works: load_body()"
)


class BodyFileError(ValueError):
    """A body file that cannot be used; the message names the file, what is wrong and the remedy."""


@dataclass(frozen=True)
class BodyData:
    """The arrays of one body, as float32 in metres (y up, facing +z) and int64.

    V vertices, F faces, B shape directions.
    """

    name: str
    template: np.ndarray  # (V, 3)
    shape_dirs: np.ndarray  # (V, 3, B)
    pose_dirs: np.ndarray  # (V, 3, 207)
    joint_regressor: np.ndarray  # (24, V)
    weights: np.ndarray  # (V, 24)
    faces: np.ndarray  # (F, 3)
    regressors: dict[str, np.ndarray] = field(default_factory=dict)  # joint set -> (K, V)
    uv: tuple[np.ndarray, np.ndarray] | None = None  # texture coordinates (T, 2), faces into them (F, 3)
    parts: np.ndarray | None = None  # (V,) index into part_names
    part_names: tuple[str, ...] = ()


def read_body(path: Path, name: str = "smpl") -> BodyData:
    """Reads a body from an .npz or, without executing anything in it, from an official SMPL .pkl.

    Args:
        path: the file. SMPL's extra regressors are found beside it: J_regressor_h36m.npy (17, 6890) and
            J_regressor_extra.npy (9, 6890).
        name: "smpl" (the gender is read from the file's name), "smpl-neutral", "smpl-male" or "smpl-female".
            Ignored for files that carry their own name, as the open body does.

    Raises:
        BodyFileError: the file is missing, is of another kind, or lacks keys or has wrong shapes.
    """
    if not path.is_file():
        raise BodyFileError(f"{path}: no such body file. {_REMEDY}.")
    if path.suffix.lower() == ".npz":
        try:
            arrays = read_npz(path, optional=_KEYS, limit=_MAX_BYTES)
        except (OSError, ValueError) as error:
            raise BodyFileError(f"{error}. {_REMEDY}.") from error
    elif path.suffix.lower() == ".pkl":
        try:
            arrays = read_pickle(path, _REMEDY)
        except ValueError as error:
            raise BodyFileError(f"{error}.") from error
        if not isinstance(arrays, dict):
            raise BodyFileError(f"{path}: the pickle does not hold a dictionary. {_REMEDY}.")
    else:
        raise BodyFileError(f"{path}: a body file ends in .npz or .pkl. {_REMEDY}.")
    arrays = {key: _decoded(arrays, key) for key in arrays if not key.endswith("_scale")}
    _check(path, arrays)

    if "name" in arrays:
        name, regressors = str(arrays["name"]), _regressors_inside(arrays)
    else:
        if len(arrays["v_template"]) != _SMPL_VERTICES:
            raise BodyFileError(
                f"{path}: SMPL has {_SMPL_VERTICES} vertices, this file has {len(arrays['v_template'])}; "
                f"SMPL-H and SMPL-X are not supported. {_REMEDY}."
            )
        name = _smpl_name(path, name)
        regressors = _smpl_regressors(path, np.asarray(arrays["J_regressor"], np.float32))
    return BodyData(
        name=name,
        template=np.asarray(arrays["v_template"], np.float32),
        shape_dirs=np.asarray(arrays["shapedirs"], np.float32),
        pose_dirs=np.asarray(arrays["posedirs"], np.float32),
        joint_regressor=np.asarray(arrays["J_regressor"], np.float32),
        weights=np.asarray(arrays["weights"], np.float32),
        faces=np.asarray(arrays["f"], np.int64),
        regressors=regressors,
        uv=_uv(arrays),
        parts=np.asarray(arrays["parts"], np.int8) if "parts" in arrays else None,
        part_names=tuple(str(part) for part in arrays.get("part_names", ())),
    )


def _uv(arrays: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    if "vt" not in arrays or "ft" not in arrays:
        return None
    return np.asarray(arrays["vt"], np.float32), np.asarray(arrays["ft"], np.int64)


def _decoded(arrays: dict[str, Any], key: str) -> Any:
    """Integers with a "<key>_scale" (one factor for all, or one for each last index) are quantised."""
    scale = arrays.get(key + "_scale")
    return arrays[key] if scale is None else arrays[key].astype(np.float32) * scale.astype(np.float32)


def _check(path: Path, arrays: dict[str, Any]) -> None:
    missing = [key for key in _REQUIRED if key not in arrays]
    if missing:
        raise BodyFileError(f"{path}: not a body file, it lacks the keys {', '.join(missing)}. {_REMEDY}.")
    vertices = np.shape(arrays["v_template"])[0] if np.ndim(arrays["v_template"]) == 2 else -1
    expected = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, None),
        "posedirs": (vertices, 3, 207),
        "J_regressor": (24, vertices),
        "kintree_table": (2, 24),
        "weights": (vertices, 24),
        "f": (None, 3),
    }
    for key, shape in expected.items():
        array = np.asarray(arrays[key])
        if array.ndim != len(shape) or any(
            n not in (None, m) for n, m in zip(shape, array.shape, strict=True)
        ):
            wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
            raise BodyFileError(
                f"{path}: the key {key} has shape {array.shape}, expected {wanted}. {_REMEDY}."
            )
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise BodyFileError(f"{path}: the key {key} holds values that are not finite numbers. {_REMEDY}.")
    faces = np.asarray(arrays["f"])
    if faces.size and not 0 <= faces.min() <= faces.max() < vertices:
        raise BodyFileError(f"{path}: the key f names vertices outside 0..{vertices - 1}. {_REMEDY}.")
    # The root's parent is stored as -1 in an unsigned integer; only the other 23 mean anything.
    if tuple(int(parent) for parent in np.asarray(arrays["kintree_table"])[0, 1:]) != PARENTS[1:]:
        raise BodyFileError(f"{path}: kintree_table is not SMPL's tree of 24 joints. {_REMEDY}.")


def _regressors_inside(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    found = {key: np.asarray(arrays["J_" + key], np.float32) for key in JOINT_SETS if "J_" + key in arrays}
    return {"smpl24": np.asarray(arrays["J_regressor"], np.float32), **found}


def _smpl_name(path: Path, name: str) -> str:
    """The gender in the file's name: SMPL_MALE.pkl, basicModel_f_lbs_10_207_0_v1.0.0.pkl, ..."""
    genders = {"m": "male", "f": "female", "n": "neutral"}
    words = re.split(r"[^a-z]+", path.stem.lower())
    found = {genders[word[0]] for word in words if word in (*genders, *genders.values())}
    if name != "smpl":
        if found and found != {name.removeprefix("smpl-")}:
            raise BodyFileError(
                f"{path}: asked for {name}, but the file's name says {'/'.join(sorted(found))}."
            )
        return name
    if len(found) != 1:
        raise BodyFileError(
            f"{path}: the file's name does not say male, female or neutral; "
            "name the body smpl-neutral, smpl-male or smpl-female."
        )
    return "smpl-" + found.pop()


# Vertices of SMPL's mesh at facial features, and the rows of J_regressor_extra.npy (SPIN).
_SMPL_FACE = {"nose": 332, "left_eye": 2800, "right_eye": 6260, "left_ear": 583, "right_ear": 4071}
_EXTRA_ROWS = {
    "right_hip": 0, "left_hip": 1, "neck": 2, "head_top": 3, "pelvis": 4,
    "thorax": 5, "spine": 6, "jaw": 7, "head": 8,
}  # fmt: skip


def _smpl_regressors(path: Path, joint_regressor: np.ndarray) -> dict[str, np.ndarray]:
    """What SMPL's own file and the regressors beside it give; rows are (K, 6890)."""
    known = dict(zip(JOINT_SETS["smpl24"].names, joint_regressor, strict=True))
    for feature, vertex in _SMPL_FACE.items():
        known[feature] = np.zeros(_SMPL_VERTICES, np.float32)
        known[feature][vertex] = 1
    regressors = {
        "smpl24": joint_regressor,
        "coco17": np.stack([known[name] for name in JOINT_SETS["coco17"].names]),
    }
    if (h36m := path.with_name("J_regressor_h36m.npy")).is_file():
        regressors["h36m17"] = read_regressor(h36m, 17, _SMPL_VERTICES)
    if (extra := path.with_name("J_regressor_extra.npy")).is_file():
        rows = read_regressor(extra, len(_EXTRA_ROWS), _SMPL_VERTICES)
        known |= {name: rows[row] for name, row in _EXTRA_ROWS.items()}
        for joint_set in ("lsp14", "j24"):
            regressors[joint_set] = np.stack([known[name] for name in JOINT_SETS[joint_set].names])
    return regressors


def read_regressor(path: Path, joints: int, vertices: int) -> np.ndarray:
    """Reads a joint regressor (joints, vertices) from an .npy file.

    Raises:
        BodyFileError: the file is not an array of that shape, e.g. because it was made for another body.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:
        raise BodyFileError(f"{path}: not a readable .npy file ({error}).") from error
    if np.shape(array) != (joints, vertices):
        raise BodyFileError(
            f"{path}: a regressor of shape {np.shape(array)} was made for another body or joint set; "
            f"this body needs ({joints}, {vertices})."
        )
    return np.asarray(array, np.float32)


SMPL_FOLDER = Path(os.environ.get("FULLFRAME_SMPL", Path.home() / ".fullframe" / "smpl"))
"""Where SMPL files are looked for; FULLFRAME_SMPL names another folder."""

_SMPL_FILE = re.compile(
    r"(smpl_(neutral|male|female)|basicmodel_(neutral|m|f)_lbs_10_207_0_v1\.[01]\.0)\.(npz|pkl)",
    re.IGNORECASE,
)


def find_smpl(name: str = "smpl", folder: Path | None = None) -> list[Path]:
    """The SMPL files in a folder, by any of their usual names, neutral before the others.

    Args:
        name: "smpl" for all, "smpl-neutral", "smpl-male" or "smpl-female" for one.
        folder: SMPL_FOLDER if not given.
    """
    folder = SMPL_FOLDER if folder is None else folder
    names = {path: _smpl_name(path, "smpl") for path in folder.glob("*") if _SMPL_FILE.fullmatch(path.name)}
    found = [path for path in names if name in ("smpl", names[path])]
    return sorted(found, key=lambda path: (names[path] != "smpl-neutral", names[path], path.name))

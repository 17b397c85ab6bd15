"""A made-up body with SMPL's keys, shapes and tree, and writers of the kinds of files SMPL comes in.

The licensed files cannot be shipped; everything structural can be tested on this one. It is a stick figure:
each joint has a ball of vertices around it.
"""

import pickle
import struct
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.sparse import csc_matrix

from fullframe.body.joint_sets import PARENTS

# About where SMPL's joints are, in metres: (x, y, z) of the left side and the middle.
_JOINTS = np.array(
    [
        (0, -0.22, 0.03), (0.07, -0.31, 0.02), (-0.07, -0.31, 0.02), (0, -0.11, -0.03), (0.10, -0.69, 0.02),
        (-0.10, -0.69, 0.02), (0, 0.03, 0), (0.09, -1.08, -0.03), (-0.09, -1.08, -0.03), (0, 0.08, 0.03),
        (0.11, -1.14, 0.09), (-0.11, -1.14, 0.09), (0, 0.29, -0.01), (0.08, 0.19, 0), (-0.08, 0.19, 0),
        (0, 0.35, 0.04), (0.17, 0.23, -0.01), (-0.17, 0.23, -0.01), (0.43, 0.21, -0.04), (-0.43, 0.21, -0.04),
        (0.68, 0.22, -0.04), (-0.68, 0.22, -0.04), (0.77, 0.21, -0.05), (-0.77, 0.21, -0.05),
    ]
)  # fmt: skip


def synthetic_smpl(num_vertices: int = 6890, num_betas: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of an SMPL file by their own names, float64 as in the official ones."""
    rng = np.random.default_rng(seed)
    owner = np.arange(num_vertices) % 24
    direction = rng.normal(size=(num_vertices, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    template = _JOINTS[owner] + 0.06 * direction
    weights = np.zeros((num_vertices, 24))
    rows = np.arange(num_vertices)
    share = rng.uniform(0.6, 1, num_vertices)
    weights[rows, owner] = share
    weights[rows, np.maximum(np.array(PARENTS)[owner], 0)] += 1 - share
    regressor = (owner == np.arange(24)[:, None]) * rng.uniform(0.5, 1.5, (24, num_vertices))
    regressor /= regressor.sum(1, keepdims=True)
    # Shape directions are linear maps of space, so bodies stay smooth.
    maps = rng.normal(0, 0.03, (num_betas, 3, 3))
    kintree = np.array([PARENTS, range(24)], np.int64)
    faces = (np.arange(2 * num_vertices - 4)[:, None] + [0, 1, 2]) % num_vertices
    return {
        "v_template": template,
        "shapedirs": np.einsum("vc,bdc->vdb", template, maps),
        "posedirs": rng.normal(0, 1e-3, (num_vertices, 3, 207)),
        "J_regressor": regressor,
        "kintree_table": kintree.astype(np.uint32),
        "weights": weights,
        "f": faces.astype(np.uint32),
        "J": regressor @ template,
    }


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)
    return path


def write_pickle(path: Path, arrays: dict[str, np.ndarray], version: str = "1.1", python: int = 2) -> Path:
    """Writes SMPL's official .pkl.

    Args:
        version: "1.0" wraps arrays in chumpy objects, of which shapedirs is a Select; "1.1" does not.
        python: 2 writes strings and module names as Python 2 did; 3 as today's Python, numpy and scipy do.
    """
    with _chumpy() as (variable, select):
        content = {
            **arrays,
            "J_regressor": csc_matrix(arrays["J_regressor"]),
            "J_regressor_prior": csc_matrix(arrays["J_regressor"]),
            "bs_style": "lbs",
            "bs_type": "lrotmin",
        }
        if version == "1.0":
            content["v_template"] = variable(x=arrays["v_template"], _status="new", _dirty_vars=set())
            padded = np.concatenate((arrays["shapedirs"], arrays["shapedirs"]), axis=2)
            columns = np.arange(padded.size).reshape(padded.shape)[..., : arrays["shapedirs"].shape[2]]
            content["shapedirs"] = select(
                a=variable(x=padded), idxs=columns.reshape(-1), preferred_shape=arrays["shapedirs"].shape
            )
        buffer = BytesIO()
        pickler = _Python2Pickler(buffer, 2) if python == 2 else pickle.Pickler(buffer, 5)
        pickler.dump(content)
    path.write_bytes(buffer.getvalue())
    return path


@contextmanager
def _chumpy() -> Iterator[tuple[type, type]]:
    """Classes that pickle under chumpy's names; chumpy itself does not import on today's Python."""

    class Ch:
        def __init__(self, **attributes):
            self.__dict__.update(attributes)

    class Select(Ch):
        pass

    modules = {}
    for cls, module in ((Ch, "chumpy.ch"), (Select, "chumpy.reordering")):
        cls.__module__, cls.__qualname__ = module, cls.__name__
        modules[module] = types.ModuleType(module)
        setattr(modules[module], cls.__name__, cls)
    sys.modules.update({"chumpy": types.ModuleType("chumpy"), **modules})
    try:
        yield Ch, Select
    finally:
        for module in ("chumpy", *modules):
            del sys.modules[module]


class _Python2Pickler(pickle._Pickler):
    """Writes str and bytes as Python 2's str, and numpy's and scipy's classes under their old names."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_python2_str(self, text: str | bytes) -> None:
        raw = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(text)

    def save_global(self, obj, name=None):
        old = {"numpy._core.multiarray": "numpy.core.multiarray", "scipy.sparse._csc": "scipy.sparse.csc"}
        module = old.get(obj.__module__)
        if module is None:
            super().save_global(obj, name)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{obj.__qualname__}\n".encode())
            self.memoize(obj)

    dispatch[str] = dispatch[bytes] = save_python2_str
    dispatch[type] = dispatch[types.FunctionType] = save_global

"""Reads the pickles of SMPL and of data sets without running anything in them.

Python's unpickler calls whatever a file names. Here it gets an `InertRecord` for every global of an
allow-list (numpy, scipy's CSC matrix, chumpy, pandas' tables, torch's tensors) and an error for all others,
so nothing of the file is ever executed. Before that, the opcodes are scanned: a file that would build too
many objects, or whose dictionary keys could take for ever to hash, is refused before anything is built.
"""

import math
import pickle
import re
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.io.npz import require_regular_file
from fullframe.io.pickle_scan import MAX_DEPTH, scan
from fullframe.io.torch_file import load_torch

_ARRAY = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
_SCALAR = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
_FROM_BUFFER = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}
_CSC = {"scipy.sparse.csc.csc_matrix", "scipy.sparse._csc.csc_matrix", "scipy.sparse._csc.csc_array"}
_CH, _SELECT = "chumpy.ch.Ch", "chumpy.reordering.Select"
_DICT = {"collections.OrderedDict", "__builtin__.dict", "builtins.dict"}
_BYTES = {"__builtin__.bytes", "builtins.bytes"}  # called without arguments: the content of an empty array
_RECONSTRUCTOR = {"copy_reg._reconstructor", "copyreg._reconstructor"}
_SLICE = {"builtins.slice", "__builtin__.slice"}
_FRAME = "pandas.core.frame.DataFrame"
_MANAGER = {"pandas.core.internals.managers.BlockManager", "pandas.core.internals.BlockManager"}
_INDEX = "pandas.core.indexes.base._new_Index"
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_STORAGE = "torch.storage._load_from_bytes"
_KNOWN = {
    *_ARRAY, *_SCALAR, *_FROM_BUFFER, *_CSC, _CH, _SELECT, *_DICT, *_BYTES, *_RECONSTRUCTOR, *_SLICE, _FRAME,
    *_MANAGER, _INDEX, _TENSOR, _PARAMETER, _STORAGE, "numpy.ndarray", "numpy.dtype", "_codecs.encode",
    "__builtin__.object", "builtins.object", "__builtin__.set", "builtins.set",
    "pandas._libs.internals._unpickle_block", "pandas.core.indexes.base.Index",
    "pandas.core.indexes.range.RangeIndex", "pandas.core.indexes.numeric.Int64Index",
}  # fmt: skip

_MAX_NODES = 10_000_000  # of nested lists, with shared ones counted every time
_MAX_DENSE = 10_000_000  # entries of all sparse matrices of a file; SMPL's largest has 165,360


def read_pickle(path: Path, remedy: str = "") -> Any:
    """The content of a pickle, written by Python 2 or 3: numbers, text, lists, dictionaries and arrays.

    Sparse matrices become dense arrays, chumpy objects their values, tensors arrays, keys text.

    Args:
        path: of the file.
        remedy: what to do about a file that cannot be read, for the message.

    Raises:
        OSError: the file is missing or cannot be opened.
        ValueError: it is damaged, or asks for something that such data does not need, e.g. os.system; nothing
            is run.
    """
    return _read(path, remedy, lambda resolver, root: resolver.value(root))


def read_table(path: Path, columns: tuple[str, ...], remedy: str = "") -> list[dict[str, Any]]:
    """Some columns of a pickled pandas table (any version up to 2), one dictionary per row.

    Columns that the table lacks are left out.

    Raises:
        OSError, ValueError: as for read_pickle.
    """
    return _read(path, remedy, lambda resolver, root: resolver.table(root, columns))


def _read(path: Path, remedy: str, resolve: Any) -> Any:
    end = f"; {remedy}" if remedy else ""
    require_regular_file(path)
    data = path.read_bytes()
    try:
        scan(BytesIO(data))
        return resolve(_Resolver(), _Unpickler(BytesIO(data), encoding="latin1").load())
    except ValueError as error:
        raise ValueError(f"{path}: {error}{end}") from error
    except Exception as error:  # opcodes out of order fail in many ways
        raise ValueError(
            f"{path}: damaged or not a pickle ({type(error).__name__}: {str(error)[:200]}){end}"
        ) from error


class InertRecord:
    """What a global's call would have made, were it called."""

    name: ClassVar[str]
    args: tuple[Any, ...]
    state: Any
    items: dict[Any, Any]

    def __new__(cls, *args: Any) -> Any:
        if cls.name in _RECONSTRUCTOR:  # how old protocols make an object: (its class, base, state)
            if not (args and isinstance(args[0], type) and issubclass(args[0], InertRecord)):
                raise ValueError("the pickle makes an object of something that is not a class")
            return args[0]()
        if cls.name in _BYTES and not args:
            return b""
        record = super().__new__(cls)
        record.args, record.state, record.items = args, None, {}
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.name not in _DICT:
            raise ValueError("the pickle sets items of something that is not a dictionary")
        self.items[key] = value


@cache
def _record_class(name: str) -> type[InertRecord]:
    return type("InertRecord", (InertRecord,), {"name": name})


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[InertRecord]:
        full = f"{module}.{name}"
        if full not in _KNOWN:
            raise ValueError(
                f"refused: the pickle asks for {full[:100]}, which is not plain data; nothing was run"
            )
        return _record_class(full)


class _Resolver:
    """Records to what they stand for; each is resolved once, however often it is referred to."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int]] = {}  # value and number of nodes
        self._open: set[int] = set()
        self._nodes = 0
        self._dense = 0

    def value(self, node: Any) -> Any:
        if not isinstance(node, (list, tuple, dict, set, frozenset, InertRecord)):
            self._nodes += 1
            return node
        key = id(node)
        if key not in self._done:
            if key in self._open:
                raise ValueError("the pickle holds a list inside itself")
            if len(self._open) >= MAX_DEPTH:
                raise ValueError("the pickle is nested too deeply")
            self._open.add(key)
            before, self._nodes = self._nodes, 1
            self._done[key] = (self._resolve(node), self._nodes)
            self._nodes = before
            self._open.remove(key)
        value, nodes = self._done[key]
        self._nodes += nodes
        if self._nodes > _MAX_NODES:
            raise ValueError(f"the pickle holds lists of more than {_MAX_NODES} entries")
        return value

    def _resolve(self, node: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(self.value(item) for item in node)
        if isinstance(node, (list, set, frozenset)):
            return [self.value(item) for item in node]
        if isinstance(node, dict):
            return {str(key): self.value(item) for key, item in node.items()}
        name = node.name
        if name in _DICT:
            return self.value(node.items)
        if name in _SLICE:
            return slice(*node.args)
        if name == _INDEX:
            return self.value(node.args[1].get("data", ()))
        if name == _TENSOR:
            return _tensor(*node.args[:4])
        if name == _PARAMETER:
            return self.value(node.args[0])
        if name in _ARRAY:
            # (version, shape, dtype, Fortran order, content); very old files have no version.
            if not isinstance(node.state, tuple) or len(node.state) not in (4, 5):
                raise ValueError("the pickle holds an array without content")
            shape, dtype, fortran, data = node.state[-4:]
            return self._array(data, dtype, shape, bool(fortran))
        if name in _FROM_BUFFER:  # of protocol 5: (content, dtype, shape, order, order of the axes)
            data, dtype, shape, order, *axes = node.args
            array = self._array(data, dtype, shape, order == "F")
            return array.transpose(axes[0]) if axes and axes[0] else array
        if name in _SCALAR:
            return self._array(node.args[1], node.args[0], (), False)[()]
        if name == "_codecs.encode":
            return _content(node)
        if name in _CSC:
            return self._dense_matrix(node)
        if name == _CH:
            return self._number_array(_state(node, "x"))
        if name == _SELECT:
            base, places = (self._number_array(_state(node, key)) for key in ("a", "idxs"))
            chosen = np.ravel(base)[places]
            shape = node.state.get("preferred_shape")
            return chosen if shape is None else chosen.reshape(_shape(shape))
        raise ValueError(f"the pickle holds a {name} where an array is expected")

    def _number_array(self, node: Any) -> NDArray[Any]:
        array = self.value(node)
        if not isinstance(array, (np.ndarray, np.generic, int, float)):
            raise ValueError("the pickle holds something else where an array is expected")
        return np.asarray(array)

    def _array(self, data: Any, dtype: Any, shape: Any, fortran: bool) -> NDArray[Any]:
        shape, kind = _shape(shape), _dtype(dtype)
        if kind.hasobject:
            if not isinstance(data, list):
                raise ValueError("the pickle holds an array of objects without content")
            objects = np.empty(len(data), object)
            for i, item in enumerate(data):  # listed in C order, whatever the array's own
                objects[i] = self.value(item)
            return objects.reshape(shape)
        content = _content(data)
        if math.prod(shape) * kind.itemsize != len(content):
            raise ValueError(f"the pickle holds an array of shape {shape} with {len(content)} bytes")
        return np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")

    def _dense_matrix(self, node: InertRecord) -> NDArray[Any]:
        """A compressed sparse column matrix as a dense array."""
        state = node.state if isinstance(node.state, dict) else {}
        rows, columns = _shape(state.get("_shape", state.get("shape")))
        self._dense += rows * columns
        if self._dense > _MAX_DENSE:
            raise ValueError(f"the pickle holds a sparse matrix of {rows} x {columns}, or too many of them")
        data, indices, indptr = (self._number_array(_state(node, k)) for k in ("data", "indices", "indptr"))
        if indptr.shape != (columns + 1,) or data.shape != indices.shape or indices.ndim != 1:
            raise ValueError("the pickle holds a damaged sparse matrix")
        counts = np.diff(indptr)
        if (counts < 0).any() or counts.sum() != len(data):
            raise ValueError("the pickle holds a damaged sparse matrix")
        dense = np.zeros((rows, columns), data.dtype)
        dense[indices, np.repeat(np.arange(columns), counts)] = data
        return dense

    def table(self, node: Any, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        if not isinstance(node, InertRecord) or node.name != _FRAME or not isinstance(node.state, dict):
            raise ValueError("the pickle does not hold a table of pandas")
        names, blocks = self._manager(node.state.get("_mgr", node.state.get("_data")))
        found: dict[str, list[Any]] = {}
        for values, places in blocks:
            inside = range(len(names))[places] if isinstance(places, slice) else [int(p) for p in places]
            wanted = [(row, names[place]) for row, place in enumerate(inside) if names[place] in columns]
            for row, column in wanted:
                found[column] = self._row(values, row, len(inside))
        return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]

    def _manager(self, node: Any) -> tuple[list[str], list[tuple[Any, Any]]]:
        """Names of the columns, and blocks of (array of rows, places of the rows among the columns)."""
        if not isinstance(node, InertRecord) or node.name not in _MANAGER:
            raise ValueError("the pickle holds a table of an unknown kind; write it with pandas 1 or 2")
        if node.args:  # since pandas 1.3: (blocks, axes), each block a call
            blocks, axes = node.args[:2]
            pairs = [(block.args[0], self.value(block.args[1])) for block in blocks]
        else:
            state = node.state[3]["0.14.1"]
            axes = state["axes"]
            pairs = [(block["values"], self.value(block["mgr_locs"])) for block in state["blocks"]]
        return [str(name) for name in self.value(axes[0])], pairs

    def _row(self, block: Any, row: int, rows: int) -> list[Any]:
        """One row of a block; of objects, only that row is resolved, since others can be large."""
        state = block.state if isinstance(block, InertRecord) and isinstance(block.state, tuple) else ()
        if len(state) > 3 and isinstance(state[-1], list):
            shape, *_, data = state[-4:]
            if len(data) != shape[0] * shape[1] or shape[0] != rows:
                raise ValueError("the pickle holds a damaged table")
            part = data[row * shape[1] : (row + 1) * shape[1]]
            return [self.value(item) for item in part]
        return list(self.value(block)[row])


def _state(node: InertRecord, key: str) -> Any:
    if not isinstance(node.state, dict) or key not in node.state:
        raise ValueError(f"the pickle's {node.name} lacks {key}")
    return node.state[key]


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, (tuple, list)) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError("the pickle holds an array whose shape is not made of whole numbers")
    return tuple(shape)


def _dtype(node: Any) -> np.dtype[Any]:
    """numpy.dtype("f8", ...) with the state (3, "<", ...): numbers, text or objects."""
    if not isinstance(node, InertRecord) or node.name != "numpy.dtype" or not node.args:
        raise ValueError("the pickle holds an array without a type")
    code = node.args[0] if isinstance(node.args[0], str) else ""
    if not re.fullmatch(r"f[248]|[iu][1248]|b1|O8?|[US]\d{1,9}", code):
        raise ValueError(f"the pickle holds an array of {code[:40]!r}, not of numbers, text or objects")
    if code[0] == "O":
        return np.dtype(object)
    big_endian = isinstance(node.state, tuple) and node.state[1:2] == (">",)
    return np.dtype((">" if big_endian else "<") + code)


def _content(node: Any) -> bytes:
    """The bytes of an array, also as Python 3 writes them for Python 2."""
    if isinstance(node, InertRecord) and node.name == "_codecs.encode" and node.args:
        node = node.args[0]
    if isinstance(node, str):
        return node.encode("latin1")
    if isinstance(node, (bytes, bytearray)):
        return bytes(node)
    raise ValueError("the pickle holds an array whose content is not bytes")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> NDArray[Any]:
    """torch's (storage, offset, size, stride); the storage is a file of torch inside the pickle."""
    if not isinstance(storage, InertRecord) or storage.name != _STORAGE:
        raise ValueError("the pickle holds a tensor without content")
    content = _content(storage.args[0])
    whole = load_torch(content)
    if not isinstance(whole, torch.storage.TypedStorage):
        raise ValueError("the pickle holds a tensor without content")
    flat = torch.tensor([], dtype=whole.dtype).set_(whole)
    # Checked here, since as_strided reads whatever the numbers say.
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    negative = min((offset, *size, *stride)) < 0
    if negative or last >= len(flat) or math.prod(size) > len(flat):
        raise ValueError("the pickle holds a tensor larger than its content")
    array: NDArray[Any] = flat.as_strided(size, stride, offset).clone().numpy()
    return array

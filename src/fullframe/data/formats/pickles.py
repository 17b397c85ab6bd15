"""Reads the pickles that data sets are made of without running anything in them.

body.pickles carries out a pickle's instructions on inert values; here these values become lists,
dictionaries, arrays of numbers, text and objects, tensors of torch, and the columns of a pandas table.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.data.formats.paths import need
from fullframe.io.pickles import ARRAY, DICT, FROM_BUFFER, KNOWN, Call, array_value, interpret

_FRAME = "pandas.core.frame.DataFrame"
_MANAGER = {
    "pandas.core.internals.managers.BlockManager",
    "pandas.core.internals.BlockManager",
}
_BLOCK = "pandas._libs.internals._unpickle_block"
_INDEX = "pandas.core.indexes.base._new_Index"
_SLICE = {"builtins.slice", "__builtin__.slice"}
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_STORAGE = "torch.storage._load_from_bytes"
_ALSO_KNOWN = KNOWN | {
    _FRAME, *_MANAGER, _BLOCK, _INDEX, *_SLICE, _TENSOR, _PARAMETER, _STORAGE,
    "pandas.core.indexes.base.Index", "pandas.core.indexes.range.RangeIndex",
    "pandas.core.indexes.numeric.Int64Index",
}  # fmt: skip


def read_pickle(path: Path, where: str) -> Any:
    """What a pickle holds: numbers, text, lists, dictionaries, arrays, tensors (as arrays).

    Args:
        path: of the file.
        where: from where the data set is downloaded.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is damaged, or asks for anything that such data does not need; nothing is run.
    """
    return _read(path, where, _Resolver().value)


def read_table(path: Path, columns: tuple[str, ...], where: str) -> list[dict[str, Any]]:
    """Some columns of a pickled pandas table (any version up to 2), one dictionary a row.

    Columns that the table lacks are left out.

    Raises:
        FileNotFoundError, ValueError: as for read_pickle.
    """
    return _read(path, where, lambda node: _Resolver().table(node, columns))


def _read(path: Path, where: str, resolve: Any) -> Any:
    need(path, where=where)
    try:
        return resolve(interpret(path.read_bytes(), _ALSO_KNOWN))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; download it again from {where}") from error
    except Exception as error:  # instructions out of order fail in many ways
        raise ValueError(
            f"{path}: damaged or not a pickle ({type(error).__name__}: {error}); "
            f"download it again from {where}"
        ) from error


class _Resolver:
    """Inert values to what they stand for; each is resolved once, however often it is referred to."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()

    def value(self, node: Any) -> Any:
        if not isinstance(node, (list, tuple, dict, Call)):
            return node
        key = id(node)
        if key not in self._done:
            if key in self._open:
                raise ValueError("the pickle holds a list inside itself")
            self._open.add(key)
            self._done[key] = self._resolve(node)
            self._open.remove(key)
        return self._done[key]

    def _resolve(self, node: Any) -> Any:
        if isinstance(node, (list, tuple)):
            return type(node)(self.value(item) for item in node)
        if isinstance(node, Call) and node.name in DICT:
            node = node.items
        if isinstance(node, dict):
            return {str(key): self.value(item) for key, item in node.items()}
        if node.name in ARRAY or node.name in FROM_BUFFER:
            array = self._text_or_objects(node)
            return array_value(node) if array is None else array
        if node.name in _SLICE:
            return slice(*node.args)
        if node.name == _INDEX:
            return self.value(node.args[1].get("data", ()))
        if node.name == _TENSOR:
            return self._tensor(*node.args[:4])
        if node.name == _PARAMETER:
            return self.value(node.args[0])
        return array_value(node)

    def _text_or_objects(self, node: Call) -> NDArray[Any] | None:
        """An array whose entries are not numbers; None for one of numbers."""
        if node.name in FROM_BUFFER:  # numpy's protocol 5: (bytes, dtype, shape, order)
            data, dtype, shape, order = node.args[:4]
        elif isinstance(node.state, tuple) and len(node.state) > 3:
            shape, dtype, fortran, data = node.state[-4:]
            order = "F" if fortran else "C"
        else:
            return None
        code = str(dtype.args[0])
        if code[0] == "O" and isinstance(data, list):  # listed in C order, whatever the array's own
            objects = np.empty(len(data), object)
            for i, item in enumerate(data):
                objects[i] = self.value(item)
            return objects.reshape(shape)
        if code[0] in "US":
            endian = ">" if dtype.state[1:2] == (">",) else "<"
            return np.frombuffer(_text_bytes(data), np.dtype(endian + code)).reshape(shape, order=order)
        return None

    def _tensor(self, storage: Any, offset: int, size: Any, stride: Any) -> NDArray[Any]:
        """torch's (storage, offset, size, stride); the storage is a file of torch inside the pickle."""
        if not isinstance(storage, Call) or storage.name != _STORAGE:
            raise ValueError("the pickle holds a tensor without content")
        content = torch.load(BytesIO(_text_bytes(storage.args[0])), map_location="cpu", weights_only=True)
        flat = torch.tensor([], dtype=content.dtype).set_(content)
        # Checked here, since as_strided reads whatever the numbers say.
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if min((offset, *size, *stride), default=0) < 0 or last >= len(flat):
            raise ValueError("the pickle holds a tensor larger than its content")
        array: NDArray[Any] = flat.as_strided(tuple(size), tuple(stride), offset).clone().numpy()
        return array

    def table(self, node: Any, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        if not isinstance(node, Call) or node.name != _FRAME or not isinstance(node.state, dict):
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
        """Names of the columns, and blocks of (inert array of rows, places of the rows among the columns)."""
        if not isinstance(node, Call) or node.name not in _MANAGER:
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
        state = block.state if isinstance(block, Call) and isinstance(block.state, tuple) else ()
        if len(state) > 3 and isinstance(state[-1], list):
            shape, *_, data = state[-4:]
            if len(data) != shape[0] * shape[1] or shape[0] != rows:
                raise ValueError("the pickle holds a damaged table")
            part = data[row * shape[1] : (row + 1) * shape[1]]
            return [self.value(item) for item in part]
        return list(self.value(block)[row])


def _text_bytes(data: Any) -> bytes:
    """Bytes, also as Python 3 writes them for Python 2."""
    if isinstance(data, Call) and data.name == "_codecs.encode" and data.args:
        data = data.args[0]
    if isinstance(data, str):
        return data.encode("latin1")
    if isinstance(data, bytes):
        return data
    raise ValueError("the pickle holds an array whose content is not bytes")

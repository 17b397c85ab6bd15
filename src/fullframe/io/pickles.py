"""Reads SMPL's official pickles without running anything in them.

Python's own unpickler calls whatever a file names. Here the file's instructions (pickletools lists them) are
carried out on inert values only: a global becomes a `Global`, calling one becomes a `Call` that remembers
its arguments. No callable is ever looked up, so nothing can run. Afterwards the handful of calls that SMPL's
files are made of (numpy arrays, a scipy sparse matrix, chumpy's Ch and Select) are turned into arrays.
"""

import pickletools
import re
from collections.abc import Set
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

ARRAY = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
_SCALAR = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
FROM_BUFFER = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}
_CSC = {"scipy.sparse.csc.csc_matrix", "scipy.sparse._csc.csc_matrix", "scipy.sparse._csc.csc_array"}
_CHUMPY = {"chumpy.ch.Ch", "chumpy.reordering.Select"}
DICT = {"collections.OrderedDict", "__builtin__.dict", "builtins.dict"}
_SET = {"__builtin__.set", "builtins.set"}
_NO_BYTES = {"__builtin__.bytes", "builtins.bytes"}  # called without arguments: an empty array's content
_RECONSTRUCTOR = {"copy_reg._reconstructor", "copyreg._reconstructor"}
KNOWN = {
    *ARRAY, *_SCALAR, *FROM_BUFFER, *_CSC, *_CHUMPY, *DICT, *_SET, *_NO_BYTES, *_RECONSTRUCTOR,
    "numpy.ndarray", "numpy.dtype", "_codecs.encode", "__builtin__.object", "builtins.object",
}  # fmt: skip

_LARGEST = 100_000_000  # entries of a dense matrix that a sparse one may ask for; SMPL's has 165,360


@dataclass(frozen=True)
class Global:
    name: str


@dataclass(eq=False)
class Call:
    """The result of calling a global, were it called."""

    name: str
    args: tuple
    state: Any = None
    items: dict = field(default_factory=dict)


class _Mark:
    pass


def load_smpl_pickle(path: Path) -> dict[str, Any]:
    """Reads a pickled dictionary of arrays, as SMPL's v1.0 and v1.1 files are, written by Python 2 or 3.

    Returns:
        the dictionary; arrays as they are, sparse matrices dense, chumpy objects as their values.

    Raises:
        ValueError: the file is not such a pickle. A pickle that names anything else than what SMPL's files
            are made of, e.g. os.system, is refused by that name.
    """
    try:
        content = interpret(path.read_bytes())
        if isinstance(content, Call) and content.name in DICT:
            content = content.items
        if not isinstance(content, dict):
            raise ValueError("the pickle does not hold a dictionary")
        return {str(key): array_value(value) for key, value in content.items()}
    except ValueError:
        raise
    except Exception as error:  # instructions out of order fail in many ways
        raise ValueError(f"damaged or not a pickle ({type(error).__name__}: {error})") from error


def interpret(data: bytes, known: Set[str] = frozenset(KNOWN)) -> Any:
    """Carries out a pickle's instructions on inert values and returns what they leave.

    Args:
        data: the pickle.
        known: names of globals that may occur in it; they become `Global`, and calls of them `Call`.

    Raises:
        ValueError: it names another global, or does something that plain data does not.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = len(stack) - 1
        while not isinstance(stack[start], _Mark):
            start -= 1
            if start < 0:
                raise ValueError("damaged pickle")
        values = stack[start + 1 :]
        del stack[start:]
        return values

    def call(target: Any, args: Any) -> Any:
        if not isinstance(target, Global) or not isinstance(args, tuple):
            raise ValueError("the pickle calls something that SMPL's files do not")
        if target.name in _RECONSTRUCTOR:  # how old protocols make an object: (its class, base, state)
            return call(args[0], ())
        if not args and target.name in _NO_BYTES:
            return b""
        return {} if not args and target.name in DICT else Call(target.name, args)

    arg: Any
    for opcode, arg, _ in pickletools.genops(BytesIO(data)):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                stack.append(_Mark())
            case "NONE":
                stack.append(None)
            case "NEWTRUE":
                stack.append(True)
            case "NEWFALSE":
                stack.append(False)
            case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4" | "FLOAT" | "BINFLOAT":
                stack.append(arg)
            case "STRING" | "BINSTRING" | "SHORT_BINSTRING":  # Python 2's, which pickletools reads as latin-1
                stack.append(arg)
            case "UNICODE" | "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
                stack.append(arg)
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
                stack.append(bytes(arg))
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append([])
            case "LIST":
                stack.append(since_mark())
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "DICT":
                values = since_mark()
                stack.append(dict(zip(values[::2], values[1::2], strict=True)))
            case "APPEND":
                value = stack.pop()
                stack[-1].append(value)
            case "APPENDS" | "ADDITEMS":
                values = since_mark()
                stack[-1].extend(values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _items(stack[-1])[key] = value
            case "SETITEMS":
                values = since_mark()
                _items(stack[-1]).update(zip(values[::2], values[1::2], strict=True))
            case "POP":
                stack.pop()
            case "POP_MARK":
                since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "GLOBAL":
                stack.append(_global(arg.replace(" ", ".", 1), known))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_global(f"{module}.{name}", known))
            case "REDUCE" | "NEWOBJ":
                args, target = stack.pop(), stack.pop()
                stack.append(call(target, args))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], Call):
                    raise ValueError("the pickle sets the state of something that SMPL's files do not")
                stack[-1].state = state
            case "INST" | "OBJ":
                values = since_mark()
                named = opcode.name == "INST"
                target = _global(arg.replace(" ", ".", 1), known) if named else values.pop(0)
                stack.append(call(target, tuple(values)))
            case _:
                raise ValueError(f"the pickle uses {opcode.name}, which SMPL's files do not")
    raise ValueError("damaged pickle: it has no end")


def _global(name: str, known: Set[str]) -> Global:
    if name not in known:
        raise ValueError(f"refused: the pickle asks for {name}, which is not plain data; nothing was run")
    return Global(name)


def _items(target: Any) -> dict:
    if isinstance(target, dict):
        return target
    if isinstance(target, Call) and target.name in DICT:
        return target.items
    raise ValueError("the pickle sets items of something that is not a dictionary")


def array_value(node: Any, depth: int = 0) -> Any:
    """What an inert value stands for."""
    if not isinstance(node, Call):
        return node
    if depth > 8:
        raise ValueError("the pickle nests its arrays too deeply")
    if node.name in ARRAY:
        return _array(node)
    if node.name in FROM_BUFFER:  # numpy's protocol 5: (bytes, dtype, shape, order, order of the axes)
        data, dtype, shape, order, *axes = node.args
        array = _from_bytes(_bytes(data), _dtype(dtype), shape, order == "F")
        return array.transpose(axes[0]) if axes and axes[0] else array
    if node.name in _SCALAR:
        return _from_bytes(_bytes(node.args[1]), _dtype(node.args[0]), (), False)[()]
    if node.name == "_codecs.encode":
        return _bytes(node)
    if not isinstance(node.state, dict):
        raise ValueError(f"the pickle's {node.name} has no content")
    if node.name in _CSC:
        return _dense(node.state)
    if node.name == "chumpy.ch.Ch":
        return np.asarray(array_value(_state(node, "x"), depth + 1))
    if node.name == "chumpy.reordering.Select":
        base, places = (array_value(_state(node, key), depth + 1) for key in ("a", "idxs"))
        chosen = np.ravel(base)[places]
        shape = node.state.get("preferred_shape")
        return chosen if shape is None else chosen.reshape(_shape(shape))
    raise ValueError(f"the pickle holds a {node.name} where an array is expected")


def _state(node: Call, key: str) -> Any:
    if key not in node.state:
        raise ValueError(f"the pickle's {node.name} lacks {key}")
    return node.state[key]


def _array(node: Call) -> np.ndarray:
    """numpy's (version, shape, dtype, Fortran order, bytes); the version is missing in very old files."""
    if not isinstance(node.state, tuple) or len(node.state) not in (4, 5):
        raise ValueError("the pickle holds an array without content")
    shape, dtype, fortran, data = node.state[-4:]
    return _from_bytes(_bytes(data), _dtype(dtype), shape, bool(fortran))


def _from_bytes(data: bytes, dtype: np.dtype, shape: Any, fortran: bool) -> np.ndarray:
    shape = _shape(shape)
    # In Python's integers, which do not overflow.
    size = dtype.itemsize
    for length in shape:
        size *= length
    if size != len(data):
        raise ValueError(f"the pickle holds an array of shape {shape} with {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, (tuple, list)) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError("the pickle holds an array whose shape is not made of whole numbers")
    return tuple(shape)


def _dtype(node: Any) -> np.dtype:
    """numpy.dtype("f8", ...) with the state (3, "<", ...); numbers only."""
    if not isinstance(node, Call) or node.name != "numpy.dtype" or not node.args:
        raise ValueError("the pickle holds an array without a type")
    code = str(node.args[0])
    if not re.fullmatch(r"f[248]|[iu][1248]|b1", code):
        raise ValueError(f"the pickle holds an array of {code[:40]!r}, not of numbers")
    big_endian = isinstance(node.state, tuple) and node.state[1:2] == (">",)
    return np.dtype((">" if big_endian else "<") + code)


def _bytes(node: Any) -> bytes:
    if isinstance(node, bytes):
        return node
    if isinstance(node, Call) and node.name == "_codecs.encode" and node.args:
        node = node.args[0]  # how Python 3 writes bytes for Python 2
    if isinstance(node, str):
        return node.encode("latin1")
    raise ValueError("the pickle holds an array whose content is not bytes")


def _dense(state: dict) -> np.ndarray:
    """A compressed sparse column matrix as a dense array."""
    rows, columns = _shape(state.get("_shape", state.get("shape")))
    if rows * columns > _LARGEST:
        raise ValueError(f"the pickle holds a sparse matrix of {rows} x {columns}")
    data, indices, indptr = (np.asarray(array_value(state.get(key))) for key in ("data", "indices", "indptr"))
    if indptr.shape != (columns + 1,) or data.shape != indices.shape or indices.ndim != 1:
        raise ValueError("the pickle holds a damaged sparse matrix")
    dense = np.zeros((rows, columns), data.dtype)
    dense[indices, np.repeat(np.arange(columns), np.diff(indptr))] = data
    return dense

"""The ONNX models in assets/detectors, run by onnxruntime."""

from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fullframe.assets import DETECTORS
from fullframe.io.atomic import digest

onnxruntime.disable_telemetry_events()  # for Windows; see also the package

# Of the files as released; see docs/licences.md for where they come from.
SHA256 = {
    "nanodet": "10d4b5547d388d4be571f17231006f536b5a0b26c6cb7c885292b58ea9bfaaff",
    "movenet-multipose": "d08c448973342b9be4e1fd88506d42d6dcbc348e26783e090bdf2ea01700c849",
    "movenet-thunder": "9ea458ff35c1dec104edd3774819514a3fe6668ac694f1d3ad83c5b6365b5719",
}

_OPENING = Lock()


class OnnxModel:
    """One of the built-in models, on one thread; its file is opened at the first call, once in a process.

    Calls may be concurrent.
    """

    def __init__(self, name: str):
        self.path = DETECTORS / f"{name}.onnx"

    def __call__(self, inputs: NDArray) -> list[NDArray[np.float32]]:
        """The model's outputs for its only input.

        Raises:
            OSError: if the file is missing, damaged or cannot be loaded, e.g. for lack of memory.
        """
        with _OPENING:
            session = _open(self.path)
        return session.run(None, {session.get_inputs()[0].name: inputs})


def verify() -> dict[str, str | None]:
    """Compares the built-in files with their checksums: name -> what is wrong, None for a good file."""
    return {name: _problem(DETECTORS / f"{name}.onnx", checksum) for name, checksum in SHA256.items()}


def _problem(path: Path, checksum: str) -> str | None:
    if not path.is_file():
        return f"{path} is missing: reinstall fullframe"
    if digest(path) != checksum:
        return f"{path} is damaged: reinstall fullframe"
    return None


@cache
def _open(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has one exception class for every way a file can be broken
        problem = _problem(path, SHA256[path.stem])
        raise OSError(f"{problem} ({error})" if problem else f"cannot load {path}: {error}") from error

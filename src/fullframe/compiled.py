"""The one place where numba compiles functions."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """numba.njit that releases the GIL and caches the machine code on disk.

    numba takes the first writable folder of NUMBA_CACHE_DIR, `__pycache__` beside the source and the user's
    cache folder. Where none is writable, the function is compiled once per process instead.
    """
    try:
        return numba.njit(function, nogil=True, error_model="numpy", cache=True)
    except RuntimeError:
        return numba.njit(function, nogil=True, error_model="numpy")

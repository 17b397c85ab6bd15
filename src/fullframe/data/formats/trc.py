"""TRC files: points over time, as motion capture and Pose2Sim write them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullframe.io.npz import require_regular_file

UNITS = {"m": 1.0, "mm": 1e-3, "cm": 1e-2}
"""In metres."""


class TRC(NamedTuple):
    """Points over time.

    Attributes:
        rate: frames per second.
        start: index of the video's frame that the first row belongs to.
        markers: names of the K points.
        points: (F, K, 3) metres, in the file's axes; NaN where unknown.
    """

    rate: float
    start: int
    markers: tuple[str, ...]
    points: NDArray[np.float64]


def read_trc(path: Path) -> TRC:
    """Read a .trc file. Empty fields, "nan" and the origin, which stands for missing points too, become NaN.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, in an unknown unit, or holds more or fewer frames than it says.
    """
    require_regular_file(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=False))
        rate, unit = float(header["DataRate"]), header["Units"].strip()
        start, said = int(float(header.get("OrigDataStartFrame", 0))), int(header["NumFrames"])
        markers = tuple(name.strip() for name in lines[3].split("\t")[2:] if name.strip())
        rows = [line.split("\t") for line in lines[5:] if line.strip()]
        count = 3 * len(markers)
        values = [[float(value) if value.strip() else np.nan for value in row[2 : 2 + count]] for row in rows]
        points = np.array([row + [np.nan] * (count - len(row)) for row in values]).reshape(
            -1, len(markers), 3
        )
    except FileNotFoundError:
        raise
    except KeyError as error:
        raise ValueError(f"{path}: not a readable .trc file (its header has no {error.args[0]})") from error
    except IndexError as error:
        raise ValueError(f"{path}: not a readable .trc file (it ends within its header)") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable .trc file ({error})") from error
    if unit not in UNITS:
        raise ValueError(f"{path}: its unit is {unit!r}; known: {', '.join(UNITS)}")
    if not rate > 0 or not markers:
        raise ValueError(f"{path}: not a readable .trc file ({len(markers)} markers at {rate:g} frames/s)")
    if said != len(points):
        raise ValueError(f"{path}: holds {len(points)} frames, but its header says {said}; write it again")
    points[(points == 0).all(axis=2)] = np.nan
    return TRC(rate, start, markers, points * UNITS[unit])

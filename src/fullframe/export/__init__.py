"""Results as files. Every exporter takes (people, path); a file is whole or absent."""

from collections.abc import Callable
from pathlib import Path

from fullframe.export.json import write_json
from fullframe.export.mesh import write_glb, write_obj, write_ply
from fullframe.people import People


def write_npz(people: People, path: str | Path) -> None:
    """Everything, without loss; `People.load` and numpy read it."""
    people.save(path)


EXPORTERS: dict[str, Callable[[People, str | Path], None]] = {
    "npz": write_npz,
    "json": write_json,
    "glb": write_glb,
    "obj": write_obj,
    "ply": write_ply,
}
"""File suffix to exporter."""

__all__ = ["EXPORTERS", "write_glb", "write_json", "write_npz", "write_obj", "write_ply"]

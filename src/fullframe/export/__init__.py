"""Results as files: of a photo's People, and of a video's Clip. A file is whole or absent."""

from collections.abc import Callable
from pathlib import Path

from fullframe.body.body_model import BodyModel
from fullframe.export.angles import write_clip_angles
from fullframe.export.bvh import write_clip_bvh
from fullframe.export.csv import write_clip_csv
from fullframe.export.gltf import write_clip_glb, write_glb
from fullframe.export.json import write_clip_json, write_json
from fullframe.export.mesh import write_obj, write_ply
from fullframe.export.mot import write_clip_mot
from fullframe.export.rigs import RIGS
from fullframe.export.smpl import write_clip_smpl
from fullframe.export.trc import write_clip_trc
from fullframe.export.usd import write_clip_usd
from fullframe.results.clip import Clip
from fullframe.results.people import People


def write_npz(people: People, path: str | Path) -> None:
    """Everything, without loss; `People.load` and numpy read it."""
    people.save(path)


def write_clip_npz(clip: Clip, body: BodyModel, path: Path) -> list[Path]:
    """Everything, without loss; `Clip.load` and numpy read it."""
    clip.save(path)
    return [Path(path)]


EXPORTERS: dict[str, Callable[[People, str | Path], None]] = {
    "npz": write_npz,
    "json": write_json,
    "obj": write_obj,
    "ply": write_ply,
}
"""File suffix to exporter of People. GLB is not among them: `write_glb` also takes the body and a rig."""

CLIP_EXPORTERS: dict[str, Callable[..., list[Path]]] = {
    "npz": write_clip_npz,
    "json": write_clip_json,
    "csv": write_clip_csv,
    "glb": write_clip_glb,
    "bvh": write_clip_bvh,
    "usd": write_clip_usd,
    "smpl": write_clip_smpl,
    "trc": write_clip_trc,
    "mot": write_clip_mot,
    "angles": write_clip_angles,
}
"""Name to exporter of a Clip: takes it, its body and a path, and returns the files written. "bvh", "smpl",
"trc", "mot" and "angles" write one or two for each person beside the path, with the track id in the name.
"glb" and "bvh" also take a rig."""

__all__ = [
    "CLIP_EXPORTERS",
    "EXPORTERS",
    "RIGS",
    "write_clip_angles",
    "write_clip_bvh",
    "write_clip_csv",
    "write_clip_glb",
    "write_clip_json",
    "write_clip_mot",
    "write_clip_npz",
    "write_clip_smpl",
    "write_clip_trc",
    "write_clip_usd",
    "write_glb",
    "write_json",
    "write_npz",
    "write_obj",
    "write_ply",
]

"""Mesh files with every person in one: OBJ and PLY.

Both, and GLB, have one rule for the axes, glTF's: x right, y up, z towards the viewer, metres, the camera in
the origin looking along -z. It is the camera frame turned by 180 degrees about x: (x, y, z) becomes
(x, -y, -z). Each file says so itself, and names the body and its model.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply

from fullframe.geometry.camera import Camera
from fullframe.geometry.world import Y_UP
from fullframe.io.atomic import atomic_path
from fullframe.render.colors import person_colors
from fullframe.results.people import People

AXES = "x right, y up, z towards the viewer; the camera is in the origin and looks along -z"
_TO_FILE = Y_UP.rotation.diagonal()


def write_obj(people: People, path: str | Path) -> None:
    """Wavefront OBJ: an object ("o") for each person; colours as r g b after each vertex."""
    scene = trimesh.Scene()
    for name, color, mesh in _bodies(people):
        mesh.visual.vertex_colors = np.tile([*color, 255], (len(mesh.vertices), 1))
        mesh.metadata["name"] = name
        scene.add_geometry(mesh, geom_name=name)
    header = "\n# ".join(f"{key}: {value}" for key, value in _about(people).items())
    _write(path, export_obj(scene, include_normals=False, header=header).encode())


def write_ply(people: People, path: str | Path) -> None:
    """Binary PLY: one mesh with a colour and the id ("person") at every vertex."""

    bodies = list(_bodies(people))
    mesh = trimesh.util.concatenate([mesh for _, _, mesh in bodies]) if bodies else trimesh.Trimesh()
    each = people.vertices.shape[1]
    if bodies:
        mesh.visual.vertex_colors = np.repeat([[*color, 255] for _, color, _ in bodies], each, axis=0)
    mesh.vertex_attributes["person"] = np.repeat(people.track_ids.astype(np.int32), each)
    head, body = export_ply(mesh, vertex_normal=False).split(b"\nelement", maxsplit=1)
    comments = "".join(f"\ncomment {key}: {value}" for key, value in _about(people).items())
    _write(path, head + comments.encode() + b"\nelement" + body)


def perspective(camera: Camera) -> dict[str, float]:
    """glTF's properties of a perspective camera."""
    _, vertical = np.radians(camera.fov)
    width, height = (s / f for s, f in zip(camera.size, camera.focal, strict=True))
    return {"aspectRatio": width / height, "yfov": vertical, "znear": 0.01}


def intrinsics(camera: Camera) -> dict[str, Any]:
    """The whole camera for a file's extras: glTF's own knows no principal point."""
    return {
        "focal_px": list(camera.focal),
        "principal_point_px": list(camera.principal_point),
        "size_px": list(camera.size),
        "source": camera.source,
        **({"distortion": list(camera.distortion), "fisheye": camera.fisheye} if camera.distortion else {}),
    }


def _bodies(people: People) -> Iterator[tuple[str, NDArray[np.uint8], trimesh.Trimesh]]:
    """Name, colour and mesh of each person."""

    for i, color, vertices in zip(
        people.track_ids, person_colors(people.track_ids), people.vertices, strict=True
    ):
        yield f"person_{i}", color, trimesh.Trimesh(vertices * _TO_FILE, people.faces, process=False)


def _about(people: People) -> dict[str, str]:
    return {
        "generator": "fullframe",
        "units": "metres",
        "axes": AXES,
        "body": people.body,
        "model": people.model,
        "people": str(len(people)),
    }


def _write(path: str | Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)

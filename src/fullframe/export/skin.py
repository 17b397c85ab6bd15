"""The body as animation formats want it: at rest in its shape, four joints a vertex, a texture."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel

_TEXTURE_SIZE = 512
_PALE, _DARK = 0.6, 0.45  # how much head and hands are mixed with white, and how bright the feet are


class Skin(NamedTuple):
    """What moves each of V vertices: four joints (V, 4) uint8 and their weights (V, 4) float32, of sum 1."""

    joints: NDArray[np.uint8]
    weights: NDArray[np.float32]


def four_joints(body: BodyModel) -> Skin:
    """The four largest weights of every vertex, scaled to sum to 1: what glTF's viewers agree on."""
    joints = np.argsort(-body.data.weights, axis=1, kind="stable")[:, :4]
    weights = np.take_along_axis(body.data.weights, joints, axis=1)
    weights = weights / weights.sum(1, keepdims=True)
    return Skin(np.where(weights > 0, joints, 0).astype(np.uint8), weights.astype(np.float32))


def rest_mesh(body: BodyModel, betas: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vertices and unit normals, (V, 3) each, of the body at rest with the shape betas (B,)."""
    with torch.inference_mode():
        vertices = body(torch.from_numpy(betas[None]), torch.eye(3).expand(1, 24, 3, 3)).vertices[0].numpy()
    return vertices, vertex_normals(body, vertices)


def vertex_normals(body: BodyModel, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit normals (V, 3) of a body's vertices (V, 3)."""
    normals: NDArray[np.float32] = np.asarray(
        trimesh.Trimesh(vertices, body.faces.numpy(), process=False).vertex_normals, np.float32
    )
    normals[np.linalg.norm(normals, axis=1) < 0.5] = (0, 1, 0)  # of no face, or folded flat
    return normals


class Seams(NamedTuple):
    """The mesh cut where its texture jumps, so that each vertex has one place in the texture.

    Attributes:
        vertex: (W,) the body's vertex that each one is a copy of.
        faces: (F, 3) into them.
        uv: (W, 2) origin at the texture's upper left; None for a body without a texture.
    """

    vertex: NDArray[np.int64]
    faces: NDArray[np.int64]
    uv: NDArray[np.float32] | None


def cut_seams(body: BodyModel) -> Seams:
    """Where the body's texture has its seams; without texture coordinates nothing is cut."""
    faces = body.faces.numpy()
    if body.uv is None:
        return Seams(np.arange(body.num_vertices), faces, None)
    coordinates, uv_faces = body.uv
    corners = np.stack((faces.ravel(), uv_faces.ravel()), axis=1)
    pairs, index = np.unique(corners, axis=0, return_inverse=True)
    uv = coordinates[pairs[:, 1]] * (1, -1) + (0, 1)
    return Seams(pairs[:, 0], index.reshape(faces.shape), uv.astype(np.float32))


def paint(body: BodyModel, color: NDArray[np.uint8]) -> bytes | None:
    """A texture as PNG: a suit in the person's colour (RGB), with a paler head and hands and dark shoes.

    None if the body has no texture coordinates or no named parts.
    """
    if body.uv is None or body.parts is None:
        return None
    coordinates, uv_faces = body.uv
    corners = np.rint((coordinates * (1, -1) + (0, 1)) * _TEXTURE_SIZE).astype(np.int32)[uv_faces]
    names = np.array(body.part_names)[body.parts[body.faces[:, 0].numpy()]]
    image = np.full((_TEXTURE_SIZE, _TEXTURE_SIZE, 3), color, np.uint8)
    for chosen, shade in (
        (np.char.endswith(names, "foot"), _DARK * color),
        (np.char.endswith(names, "hand") | (names == "head"), color + _PALE * (255.0 - color)),
    ):
        # Outlines reach over the border, so that no other colour bleeds in at seams.
        shapes, value = list(corners[chosen]), np.rint(shade).tolist()
        cv2.polylines(image, shapes, True, value, thickness=3)
        for shape in shapes:
            cv2.fillConvexPoly(image, shape, value)
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def linear_color(color: NDArray[np.uint8]) -> list[float]:
    """RGB of sRGB's curve (IEC 61966-2-1) as shares of linear light, which materials are stated in."""
    share = color / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return [float(value) for value in linear]

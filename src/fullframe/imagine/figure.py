"""The picture of `fullframe imagine`: for each person what is inferred from each direction."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullframe.body.body_model import BodyModel
from fullframe.imagine.novel_views import DIRECTIONS, NovelViews
from fullframe.models.imphmr.volume import FIELD_HALF_SIZE_M
from fullframe.render.colors import person_colors
from fullframe.render.drawing import Label, draw_labels
from fullframe.render.mesh_shading import draw_meshes

_TILE, _GAP, _FONT = 256, 12, 15
_PAPER = 255
_FAR = 200.0
"""Metres to the camera that draws the bodies: its rays are nearly parallel, as those of the field."""

_ROWS = ("inferred from there", "turned from 0 degrees", "silhouette inferred from there")


def draw(views: NovelViews, body: BodyModel) -> NDArray[np.uint8]:
    """Everyone's crop, then columns for DIRECTIONS: bodies and silhouettes inferred from there, and between
    them for comparison the body inferred from the image's direction, turned.

    Args:
        views: of N people, N at least 1.
        body: of their poses and shapes.

    Returns:
        (H, W, 3) RGB, about 950 px high for each person.
    """
    blocks = [_block(views, body, person) for person in range(len(views.crops))]
    return np.concatenate(blocks)


def _block(views: NovelViews, body: BodyModel, person: int) -> NDArray[np.uint8]:
    line, step = 2 * _FONT, _TILE + _GAP
    row_height = line + _TILE + _GAP
    height = line + len(_ROWS) * row_height + _GAP
    page = np.full((height, (1 + len(DIRECTIONS)) * step + _GAP, 3), _PAPER, np.uint8)
    labels = [Label("photo", np.array([_GAP + _TILE / 2, line / 2]))]
    color = person_colors([person])
    bodies = (
        _meshes(body, views.betas[person], views.pose[person], color),
        _meshes(body, views.betas[person, :1].expand_as(views.betas[person]), views.turned[person], color),
        _pictures(views.silhouettes[person]),
    )
    for column, direction in enumerate(DIRECTIONS):
        middle = (1 + column) * step + _GAP + _TILE / 2
        labels.append(Label(f"from {direction:g} degrees", np.array([middle, line / 2])))
        if column:
            root, *others = views.degrees[person, column].tolist()
            apart = f"apart: root {root:.0f}°, joints {sum(others) / len(others):.0f}°"
            labels.append(Label(apart, np.array([middle, line + row_height + line / 2])))
    for row, (name, tiles) in enumerate(zip(_ROWS, bodies, strict=True)):
        y = line + row * row_height
        # On the line above its tiles, from the first one's left edge on.
        labels.append(Label(name, np.array([step + _GAP, y + line / 2]), "lm"))
        for column, tile in enumerate(tiles):
            x = (1 + column) * step + _GAP
            page[y + line : y + line + _TILE, x : x + _TILE] = tile
    page[2 * line : 2 * line + _TILE, _GAP : _GAP + _TILE] = _fit(views.crops[person])
    draw_labels(page, labels, _FONT)
    return page


@torch.no_grad()
def _meshes(
    body: BodyModel, betas: Tensor, pose: Tensor, color: NDArray[np.uint8]
) -> list[NDArray[np.uint8]]:
    """Bodies as the cameras of their directions see them, as wide as the field."""
    posed = body(betas.contiguous(), pose)
    vertices = (posed.vertices - posed.joints[:, :1]).numpy() + np.array([0, 0, _FAR], np.float32)
    focal = _TILE / 2 / FIELD_HALF_SIZE_M * _FAR
    intrinsics = np.array([[focal, 0, _TILE / 2], [0, focal, _TILE / 2], [0, 0, 1]])
    paper = np.full((_TILE, _TILE, 3), 240, np.uint8)
    faces = body.faces.numpy().astype(np.int32)
    return [draw_meshes(paper, one[None], faces, color, intrinsics, 1.0) for one in vertices]


def _pictures(silhouettes: Tensor) -> list[NDArray[np.uint8]]:
    """Dark where a person is inferred to be."""
    tiles = []
    for one in silhouettes.numpy():
        grey = (240 - 200 * one).astype(np.uint8)
        large = cv2.resize(grey, (_TILE, _TILE), interpolation=cv2.INTER_NEAREST)
        tiles.append(cv2.cvtColor(large, cv2.COLOR_GRAY2RGB))
    return tiles


def _fit(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The crop in the middle of a tile."""
    height, width = crop.shape[:2]
    scale = _TILE / max(height, width)
    size = round(width * scale), round(height * scale)
    tile = np.full((_TILE, _TILE, 3), _PAPER, np.uint8)
    x, y = (_TILE - size[0]) // 2, (_TILE - size[1]) // 2
    tile[y : y + size[1], x : x + size[0]] = cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR)
    return tile

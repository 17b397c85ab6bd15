"""Silhouettes of many bodies at low resolution, fast: what a network that draws them is held to.

The body is reduced to about 2,100 vertices, which at a few centimetres a pixel nobody sees; only those are
posed. Its triangles are filled at pixel centres, seen along parallel rays.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fullframe.body.body_model import BodyModel
from fullframe.body.files import BodyData
from fullframe.compiled import compiled

CELL = 0.03
"""Metres: vertices of the resting body within a cube of this side become one."""


class Silhouettes(nn.Module):
    """Draws the silhouettes of a body.

    Args:
        body: of the shapes and poses.
        size: height and width in px.
        half: metres from the picture's middle, where the pelvis is, to its border.
    """

    def __init__(self, body: BodyModel, size: int, half: float) -> None:
        super().__init__()
        self.body = _Reduced(body)
        self.faces = self.body.data.faces.astype(np.int32)
        self.size, self.extent = size, half

    @torch.no_grad()
    def forward(self, betas: Tensor, pose: Tensor) -> Tensor:
        """Silhouettes as seen along the z axis by a camera with x right and y down.

        Args:
            betas: (N, B).
            pose: (N, 24, 3, 3), the root's rotation in the camera frame.

        Returns:
            (N, size, size), 1 where the body is, else 0.
        """
        posed = self.body(betas, pose)
        points = (posed.vertices[..., :2] - posed.joints[:, :1, :2]).cpu().numpy()
        return torch.from_numpy(draw_silhouettes(points, self.faces, self.size, self.extent)).to(betas)


def draw_silhouettes(
    points: NDArray[Any], faces: NDArray[np.int32], size: int, half: float
) -> NDArray[np.uint8]:
    """Fill the triangles of N meshes.

    Args:
        points: (N, V, 2) metres, x right and y down; (0, 0) is the picture's middle.
        faces: (F, 3) of a closed mesh, counter-clockwise from outside; only those that face the viewer are
            drawn.
        size: height and width of the pictures in px.
        half: metres from the middle to the border.

    Returns:
        (N, size, size), 1 for pixels whose centre is inside.
    """
    pictures = np.zeros((len(points), size, size), np.uint8)
    scaled = np.asarray(points, np.float32) * np.float32(size / 2 / half) + np.float32(size / 2 - 0.5)
    _fill(scaled, faces, pictures)
    return pictures


@compiled
def _fill(points, faces, pictures):
    """Each triangle row by row, from the edge between its highest and lowest corner to another one."""
    number, rows, columns = pictures.shape
    for n in range(number):
        for f in range(len(faces)):
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            ax, ay = points[n, a, 0], points[n, a, 1]
            bx, by = points[n, b, 0], points[n, b, 1]
            cx, cy = points[n, c, 0], points[n, c, 1]
            # Counter-clockwise from outside is a negative area where y is down.
            if (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) >= 0:
                continue
            if ay > by:
                ax, ay, bx, by = bx, by, ax, ay
            if by > cy:
                bx, by, cx, cy = cx, cy, bx, by
                if ay > by:
                    ax, ay, bx, by = bx, by, ax, ay
            top, bottom = max(int(np.ceil(ay)), 0), min(int(np.floor(cy)), rows - 1)
            if top > bottom:
                continue
            long = (cx - ax) / (cy - ay)
            upper = (bx - ax) / (by - ay) if by > ay else np.float32(0)
            lower = (cx - bx) / (cy - by) if cy > by else np.float32(0)
            for y in range(top, bottom + 1):
                row = np.float32(y)
                left = ax + (row - ay) * long
                right = ax + (row - ay) * upper if row < by else cx + (row - cy) * lower
                if left > right:
                    left, right = right, left
                for x in range(max(int(np.ceil(left)), 0), min(int(np.floor(right)), columns - 1) + 1):
                    pictures[n, y, x] = 1


class _Reduced(BodyModel):
    """A body of few vertices with the joints of the whole one."""

    def __init__(self, whole: BodyModel) -> None:
        super().__init__(_reduced(whole.data), whole.num_betas)
        self.whole = whole

    def rest_joints(self, betas: Tensor) -> Tensor:
        return self.whole.rest_joints(betas)


def _reduced(data: BodyData) -> BodyData:
    """The body with one vertex for each CELL, and the faces that are left."""
    cells = np.unique(np.floor(data.template / CELL).astype(int), axis=0, return_inverse=True)[1].reshape(-1)
    counts = np.bincount(cells)
    means = np.stack([np.bincount(cells, data.template[:, axis]) / counts for axis in range(3)], axis=1)
    # The vertex nearest to its cell's mean stands for all of the cell.
    order = np.lexsort((np.linalg.norm(data.template - means[cells], axis=1), cells))
    kept = order[np.cumsum(counts) - counts]
    faces = cells[data.faces]
    return replace(
        data,
        template=data.template[kept],
        shape_dirs=data.shape_dirs[kept],
        pose_dirs=data.pose_dirs[kept],
        joint_regressor=data.joint_regressor[:, kept],
        weights=data.weights[kept],
        faces=faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)],
        regressors={},
        uv=None,
        parts=None,
    )

"""Previews: images of what a network predicts during training."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel
from fullframe.data.batch import Batch
from fullframe.geometry.camera import bbox_info_translation
from fullframe.models.crop_regressor import Prediction
from fullframe.render.mesh_shading import draw_meshes

_COLOR, _OPACITY = (110, 160, 240), 0.8


@torch.no_grad()
def draw_batch(batch: Batch, prediction: Prediction, body: BodyModel, people: int = 8) -> NDArray[np.uint8]:
    """The first people of a batch, four in a row: each crop with its labelled keypoints, beside it the body.

    Returns:
        (H, W, 3) RGB.
    """
    people = min(people, len(batch))
    pose, betas, weak_camera = (x[:people].detach().float() for x in prediction)
    bbox_info = batch.bbox_info[:people]
    translation = bbox_info_translation(weak_camera, bbox_info)
    vertices = body(betas, pose, translation).vertices.cpu().numpy()
    faces = body.faces.cpu().numpy().astype(np.int32)
    tiles = []
    for i, crop in enumerate(batch.crops[:people].cpu().numpy()):
        drawn = draw_meshes(
            crop,
            vertices[i : i + 1],
            faces,
            [_COLOR],
            crop_intrinsics(bbox_info[i], crop.shape[:2]),
            _OPACITY,
        )
        labels = {name: points[i].cpu().numpy() for name, points in batch.keypoints.items()}
        tiles.append(np.concatenate((_mark(crop, labels), drawn), axis=1))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 4)
    rows = [np.concatenate(tiles[start : start + 4], axis=1) for start in range(0, len(tiles), 4)]
    return np.concatenate(rows)


def crop_intrinsics(bbox_info: torch.Tensor, crop: tuple[int, int]) -> NDArray[np.float64]:
    """K (3, 3) in crop px of the full frame's camera, for a crop (height, width) at (cx, cy, b) / f."""
    x, y, size = bbox_info.tolist()
    height, width = crop
    focal = height / size
    return np.array([[focal, 0, width / 2 - x * focal], [0, focal, height / 2 - y * focal], [0, 0, 1]])


def _mark(crop: NDArray[np.uint8], labels: dict[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
    marked = crop.copy()
    height, width = crop.shape[:2]
    for points in labels.values():
        for x, y, confidence in points:
            if confidence > 0:
                place = round(width / 2 + x * height / 2), round(height / 2 + y * height / 2)
                cv2.circle(marked, place, max(1, height // 100), (60, 220, 60), -1, cv2.LINE_AA)
    return marked

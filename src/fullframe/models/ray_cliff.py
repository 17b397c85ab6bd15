"""CLIFF with the root rotation predicted relative to the viewing ray through the box centre.

A person who turns with the ray looks nearly the same wherever they stand in the image, yet their root
rotation in the camera frame changes with the direction. This network predicts what the crop shows, and the
rotation from the ray into the camera frame is exact: R = ray_rotation(ray) R_predicted. On the optical axis
it is CLIFF. Our own variant, in no paper.
"""

import torch
from torch import Tensor

from fullframe.geometry.rotation import ray_rotation
from fullframe.models.cliff import CLIFF
from fullframe.models.crop_regressor import Prediction


class RayCLIFF(CLIFF):
    """CLIFF whose regressor predicts the root rotation relative to the ray. Arguments: see CropRegressor."""

    name = "ray"

    def regress(self, features: Tensor, bbox_info: Tensor) -> Prediction:
        """As CLIFF's; the root rotation returned is in the camera frame."""
        pose, betas, weak_camera = super().regress(features, bbox_info)
        # In bf16 the product would be off by tenths of a degree.
        with torch.autocast(bbox_info.device.type, enabled=False):
            root = ray_rotation(bbox_info[:, None, :2]) @ pose[:, :1].to(bbox_info.dtype)
        return Prediction(torch.cat((root, pose[:, 1:]), dim=1), betas, weak_camera)

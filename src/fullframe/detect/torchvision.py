"""Keypoint R-CNN (He et al., ICCV 2017) of the package torchvision: one network for boxes and keypoints."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

LOWEST_SCORE = 0.5


def load() -> "Torchvision":
    """Keypoint R-CNN with torchvision's COCO weights, downloaded at the first use.

    Raises:
        ImportError: if torchvision is not installed.
        OSError: if the weights cannot be downloaded.
    """
    try:
        from torchvision.models.detection import KeypointRCNN_ResNet50_FPN_Weights, keypointrcnn_resnet50_fpn
    except ImportError as error:
        raise ImportError("the detector torchvision needs its package: pip install torchvision") from error
    weights = KeypointRCNN_ResNet50_FPN_Weights.DEFAULT
    try:
        return Torchvision(keypointrcnn_resnet50_fpn(weights=weights))
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"cannot get the weights of torchvision's Keypoint R-CNN ({error}); download {weights.url} to "
            f"{torch.hub.get_dir()}/checkpoints, or use --detector builtin"
        ) from error


class Torchvision:
    """Boxes and keypoints by a `torchvision.models.detection.KeypointRCNN`."""

    name = "torchvision"

    def __init__(self, network: Any):
        self.network = network.eval()

    @torch.inference_mode()
    def boxes(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `fullframe.detect.Detector`."""
        found = self.network([_to_tensor(image)])[0]
        keep = (found["scores"] > LOWEST_SCORE) & (found["labels"] == 1)
        return found["boxes"][keep].numpy(), found["scores"][keep].numpy()

    @torch.inference_mode()
    def keypoints(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `fullframe.detect.Detector`. The confidence is the sigmoid of the heat map's highest logit."""
        if len(boxes) == 0:
            return np.zeros((0, 17, 3), np.float32)
        from torchvision.models.detection.roi_heads import keypointrcnn_inference

        images, _ = self.network.transform([_to_tensor(image)])
        ratio = torch.tensor(images.image_sizes[0][::-1]) / torch.tensor(image.shape[1::-1])
        scaled = torch.as_tensor(boxes, dtype=torch.float32) * ratio.repeat(2)
        heads = self.network.roi_heads
        features = self.network.backbone(images.tensors)
        regions = heads.keypoint_roi_pool(features, [scaled], images.image_sizes)
        heat = heads.keypoint_predictor(heads.keypoint_head(regions))
        found, logits = keypointrcnn_inference(heat, [scaled])
        # torchvision's coordinates start at the corner of the first pixel; ours at its centre.
        points = found[0][..., :2] / ratio - 0.5
        return torch.cat((points, torch.sigmoid(logits[0])[..., None]), dim=-1).numpy().astype(np.float32)


def _to_tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)

"""RT-DETR boxes (Zhao et al., CVPR 2024) and ViTPose keypoints (Xu et al., NeurIPS 2022) of transformers."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

BOX_MODEL = "PekingU/rtdetr_r50vd_coco_o365"
KEYPOINT_MODEL = "usyd-community/vitpose-base-simple"
LOWEST_SCORE = 0.5
PERSON = 0


def load() -> "Transformers":
    """RT-DETR and ViTPose, downloaded from huggingface.co at the first use.

    Raises:
        ImportError: if transformers is not installed or too old for ViTPose (it came with 4.48).
        OSError: if the weights cannot be downloaded.
    """
    try:
        from transformers import AutoProcessor, RTDetrForObjectDetection, VitPoseForPoseEstimation
    except ImportError as error:
        raise ImportError(
            "the detector transformers needs its package: pip install 'transformers>=4.48'"
        ) from error
    try:
        return Transformers(
            AutoProcessor.from_pretrained(BOX_MODEL),
            RTDetrForObjectDetection.from_pretrained(BOX_MODEL),
            AutoProcessor.from_pretrained(KEYPOINT_MODEL),
            VitPoseForPoseEstimation.from_pretrained(KEYPOINT_MODEL),
        )
    except OSError as error:
        raise OSError(
            f"cannot get {BOX_MODEL} and {KEYPOINT_MODEL} from huggingface.co ({error}); "
            "or use --detector builtin"
        ) from error


class Transformers:
    """Boxes by an RT-DETR, keypoints by a ViTPose, each with its processor."""

    name = "transformers"

    def __init__(self, box_processor: Any, box_model: Any, keypoint_processor: Any, keypoint_model: Any):
        self.box_processor, self.box_model = box_processor, box_model.eval()
        self.keypoint_processor, self.keypoint_model = keypoint_processor, keypoint_model.eval()

    @torch.inference_mode()
    def boxes(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `fullframe.detect.Detector`."""
        height, width = image.shape[:2]
        output = self.box_model(**self.box_processor(images=image, return_tensors="pt"))
        found = self.box_processor.post_process_object_detection(
            output, threshold=LOWEST_SCORE, target_sizes=[(height, width)]
        )[0]
        boxes, scores = found["boxes"].numpy(), found["scores"].numpy()
        boxes = boxes.clip(0, [width, height, width, height])
        people = (found["labels"].numpy() == PERSON) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        order = np.flatnonzero(people)[np.argsort(-scores[people], kind="stable")]
        return boxes[order].astype(np.float32), scores[order].astype(np.float32)

    @torch.inference_mode()
    def keypoints(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `fullframe.detect.Detector`."""
        if len(boxes) == 0:
            return np.zeros((0, 17, 3), np.float32)
        xywh = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)
        output = self.keypoint_model(**self.keypoint_processor(image, boxes=[xywh], return_tensors="pt"))
        people = self.keypoint_processor.post_process_pose_estimation(output, boxes=[xywh])[0]
        points = np.stack([person["keypoints"].numpy() for person in people])
        scores = np.stack([person["scores"].numpy() for person in people])
        return np.concatenate((points, scores.clip(0, 1)[..., None]), axis=-1).astype(np.float32)

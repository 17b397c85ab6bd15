"""Quick validation on held-out people; `fullframe evaluate` is thorough."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel, forward_kinematics
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.data.augment import Augmentation, augment
from fullframe.data.batch import Batch, Example, collate
from fullframe.data.mixture import DataError
from fullframe.data.sample import Sample
from fullframe.evaluate import metrics
from fullframe.geometry.box import LABEL_ENLARGE, box_from_xyxy
from fullframe.geometry.camera import bbox_info_translation, project
from fullframe.io.image import ImageError
from fullframe.models.crop_regressor import CropRegressor, Prediction

_log = logging.getLogger(__name__)


@dataclass
class HeldOut:
    """People of one source as plain crops.

    Attributes:
        batch: their crops and labels.
        sides: (N,) longer side of each one's box in halves of the crop's height.
    """

    batch: Batch
    sides: NDArray[np.float64]


def hold_out(samples: Sequence[Sample], people: int, crop: tuple[int, int]) -> HeldOut:
    """The first `people` of a source whose images can be read, without their shape; all if it has fewer.

    Raises:
        DataError: if no image can be read.
    """
    rng = np.random.default_rng(0)
    examples: list[Example] = []
    sides: list[float] = []
    failures: list[str] = []
    for i in range(len(samples)):
        if len(examples) == people:
            break
        try:
            sample = replace(samples[i], betas=None)  # of any body; no metric needs them
            examples.append(augment(sample, crop, rng, Augmentation.none()))
        except (ImageError, OSError) as error:
            failures.append(str(error))
            continue
        window = box_from_xyxy(sample.box, crop[0] / crop[1], LABEL_ENLARGE)
        sides.append((sample.box[2:] - sample.box[:2]).max() / (window.size[0] / 2))
    if not examples:
        raise DataError("no held-out image can be read:\n  " + "\n  ".join(failures[:5]))
    for failure in failures:
        _log.warning("skipped a held-out person: %s", failure)
    return HeldOut(collate(examples, 0), np.array(sides, np.float64))


@torch.inference_mode()
def predict(model: CropRegressor, batch: Batch, size: int = 64) -> Prediction:
    """Predictions for a batch of any length on the CPU, `size` at a time; the model is in evaluation mode."""
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(batch), size):
        crops = model.prepare(batch.crops[start : start + size].to(device))
        prediction = model(crops, batch.bbox_info[start : start + size].to(device))
        parts.append([x.float().cpu() for x in prediction])
    return Prediction(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


class Validation:
    """Metrics of a network on held-out people, whose crops are computed at the first call.

    Where 3D joints are known: MPJPE and PA-MPJPE over SMPL's joints in mm, and the median error of the root's
    rotation in degrees. Where only 2D keypoints are: PCK@0.1, the share within a tenth of the longer side of
    the person's box, in the full frame.

    Args:
        body: of the networks.
        sources: name to samples that training never sees.
        people: how many of each source.
        crop: (height, width) px.
    """

    def __init__(
        self, body: BodyModel, sources: Mapping[str, Sequence[Sample]], people: int, crop: tuple[int, int]
    ) -> None:
        self.body, self.sources, self.people, self.crop = body, sources, people, crop
        self._held_out: dict[str, HeldOut] = {}

    def __call__(self, model: CropRegressor) -> dict[str, float]:
        """`<source>_<metric>` to its value."""
        found: dict[str, float] = {}
        for name, samples in self.sources.items():
            if name not in self._held_out:
                self._held_out[name] = hold_out(samples, self.people, self.crop)
            people = self._held_out[name]
            prediction = predict(model, people.batch)
            measure = self._in_3d if "smpl24" in people.batch.joints else self._in_2d
            found |= {f"{name}_{metric}": value for metric, value in measure(people, prediction).items()}
        return found

    def _in_3d(self, people: HeldOut, prediction: Prediction) -> dict[str, float]:
        batch = people.batch
        joints = forward_kinematics(self.body.rest_joints(prediction.betas), prediction.pose)[1]
        truth = batch.joints["smpl24"][..., :3]
        turned = metrics.rotation_error(prediction.pose[:, 0], batch.pose[:, 0])
        return {
            "mpjpe_mm": float(metrics.mpjpe(joints, truth).mean()),
            "pa_mpjpe_mm": float(metrics.pa_mpjpe(joints, truth).mean()),
            "root_degrees": float(np.median(turned)),
        }

    def _in_2d(self, people: HeldOut, prediction: Prediction) -> dict[str, float]:
        bbox_info = people.batch.bbox_info
        translation = bbox_info_translation(prediction.weak_camera, bbox_info)
        errors = []
        for joint_set, labels in people.batch.keypoints.items():
            joints = KeypointRegressor(self.body, joint_set)(prediction.betas, prediction.pose).keypoints
            seen = project(joints + translation[:, None], 1.0) - bbox_info[:, None, :2]
            distance = (2 * seen / bbox_info[:, 2, None, None] - labels[..., :2]).norm(dim=-1).numpy()
            errors.append(np.where(labels[..., 2] > 0, distance / people.sides[:, None], np.nan))
        return {"pck10": metrics.pck(np.concatenate(errors, axis=1), 0.1)}

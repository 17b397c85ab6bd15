"""Crops of synthetic people for the calibration of 8-bit networks, the same on every computer."""

import numpy as np
import torch

from fullframe.data.crop import plain_crop
from fullframe.geometry.box import DETECTION_ENLARGE
from fullframe.models.crop_regressor import CropRegressor
from fullframe.models.lifter import KEYPOINTS
from fullframe.models.onnx_export import GraphInputs
from fullframe.synth.synthetic_people import SyntheticPeople


def calibration_crops(network: CropRegressor, people: int = 128) -> GraphInputs:
    """What a network sees of the first synthetic people for training.

    Keypoints, which no convolution sees, are unknown.
    """
    source = SyntheticPeople("train", height=network.crop[0])
    seen = [
        plain_crop(source[index], network.crop, network.crop_method, DETECTION_ENLARGE)
        for index in range(people)
    ]
    crops, infos = zip(*seen, strict=True)
    unknown = torch.zeros(people, KEYPOINTS, 3)
    return GraphInputs(network.prepare(np.stack(crops)), torch.from_numpy(np.stack(infos)), unknown)

import sys
from types import ModuleType, SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from fullframe.detect import PROVIDERS, load_detector
from fullframe.detect.torchvision import Torchvision

IMAGE = np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3)
BOXES = np.array([[10, 5, 50, 55], [30, 0, 79, 60]], np.float32)


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"unknown detector 'eyes'; choose one of builtin, torchvision"):
        load_detector("eyes")


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("torchvision", "torchvision.models.detection"),
        ("rtmlib", "rtmlib"),
        ("transformers", "transformers"),
    ],
)
def test_a_missing_package_is_named_with_its_install_command(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install .*{name}"):
        load_detector(name)


def fake(monkeypatch, name, **contents):
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def fail(*_, **__):
    raise URLError("no network")


def test_weights_that_cannot_be_downloaded(monkeypatch):
    monkeypatch.setattr("torchvision.models.detection.keypointrcnn_resnet50_fpn", fail)
    fake(monkeypatch, "rtmlib", Body=fail)
    model = SimpleNamespace(from_pretrained=fail)
    names = ("AutoProcessor", "RTDetrForObjectDetection", "VitPoseForPoseEstimation")
    fake(monkeypatch, "transformers", **dict.fromkeys(names, model))
    for name in PROVIDERS.keys() - {"builtin"}:
        with pytest.raises(OSError, match=r"cannot get .*no network.*--detector builtin"):
            load_detector(name)


@pytest.fixture(scope="module")
def keypoint_rcnn():
    """The real network, without its weights, at a resolution that makes the test quick."""
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    torch.manual_seed(0)
    return keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=96, max_size=128)


def test_torchvision_without_people(keypoint_rcnn):
    detector = Torchvision(keypoint_rcnn)
    assert detector.name == "torchvision" and not keypoint_rcnn.training
    boxes, scores = detector.boxes(IMAGE)
    assert boxes.shape == (0, 4) and scores.shape == (0,)
    assert detector.keypoints(IMAGE, boxes).shape == (0, 17, 3)


def test_torchvision_keypoints_lie_in_their_boxes_and_follow_the_heat(keypoint_rcnn, monkeypatch):
    class Heat(torch.nn.Module):
        """A hill of logit 2 in the middle of every box's heat map."""

        def forward(self, features):
            square = (torch.arange(56) - 27.5) ** 2 / 100
            return (2 - square[:, None] - square).expand(len(features), 17, 56, 56)

    monkeypatch.setattr(keypoint_rcnn.roi_heads, "keypoint_predictor", Heat())
    found = Torchvision(keypoint_rcnn).keypoints(IMAGE, BOXES)
    assert found.shape == (2, 17, 3) and found.dtype == np.float32
    middle = (BOXES[:, :2] + BOXES[:, 2:]) / 2
    assert np.abs(found[:, 0, :2] - middle).max() < 2
    assert (found[..., 2] > 0.8).all() and (found[..., 2] <= 1).all()


def test_torchvision_keeps_likely_people():
    class Found(torch.nn.Module):
        def forward(self, images):
            assert images[0].shape == (3, 60, 80) and images[0].max() <= 1
            return [
                {
                    "boxes": torch.tensor(BOXES)[[0, 1, 0]],
                    "scores": torch.tensor([0.9, 0.6, 0.2]),
                    "labels": torch.tensor([1, 2, 1]),
                }
            ]

    boxes, scores = Torchvision(Found()).boxes(IMAGE)
    np.testing.assert_array_equal(boxes, BOXES[:1])
    np.testing.assert_allclose(scores, [0.9])


def test_rtmlib(monkeypatch):
    class Body:
        def __init__(self, **options):
            assert options == {"mode": "balanced", "backend": "onnxruntime", "device": "cpu"}

        def det_model(self, image):
            np.testing.assert_array_equal(image, IMAGE[:, :, ::-1])  # rtmlib reads BGR
            return np.array([[-5, 5, 50, 55], [90, 0, 99, 9]])

        def pose_model(self, image, bboxes):
            np.testing.assert_array_equal(image, IMAGE[:, :, ::-1])
            assert bboxes == BOXES.tolist()
            return np.full((2, 17, 2), 7.5), np.full((2, 17), 1.2)

    fake(monkeypatch, "rtmlib", Body=Body)
    detector = load_detector("rtmlib")
    boxes, scores = detector.boxes(IMAGE)
    np.testing.assert_array_equal(boxes, [[0, 5, 50, 55]])  # cut to the image; one outside is dropped
    np.testing.assert_array_equal(scores, [1])
    np.testing.assert_array_equal(detector.keypoints(IMAGE, BOXES)[1, 3], [7.5, 7.5, 1])
    assert detector.keypoints(IMAGE, BOXES[:0]).shape == (0, 17, 3)

    detector.body.det_model = lambda image: np.array([])  # what rtmlib gives for nobody
    assert detector.boxes(IMAGE)[0].shape == (0, 4)


def test_transformers(monkeypatch):
    class Processor:
        def __call__(self, images, boxes=None, return_tensors=None):
            np.testing.assert_array_equal(images, IMAGE)
            if boxes is not None:
                np.testing.assert_array_equal(
                    boxes[0], [[10, 5, 40, 50], [30, 0, 49, 60]]
                )  # x, y, width, height
            return {"pixels": torch.zeros(1)}

        def post_process_object_detection(self, output, threshold, target_sizes):
            assert output == "found" and threshold == 0.5 and target_sizes == [(60, 80)]
            boxes = torch.tensor([[0.0, 0, 40, 40], [30, 10, 90, 60], [1, 1, 5, 5]])
            return [
                {"boxes": boxes, "scores": torch.tensor([0.6, 0.9, 0.8]), "labels": torch.tensor([0, 0, 16])}
            ]

        def post_process_pose_estimation(self, output, boxes):
            assert output == "found"
            person = {"keypoints": torch.full((17, 2), 3.0), "scores": torch.full((17,), 0.25)}
            return [[person] * len(boxes[0])]

    class Model(torch.nn.Module):
        def forward(self, pixels):
            return "found"

    def pretrained(kind):
        return SimpleNamespace(from_pretrained=lambda name: kind())

    fake(
        monkeypatch,
        "transformers",
        AutoProcessor=pretrained(Processor),
        RTDetrForObjectDetection=pretrained(Model),
        VitPoseForPoseEstimation=pretrained(Model),
    )
    detector = load_detector("transformers")
    boxes, scores = detector.boxes(IMAGE)
    np.testing.assert_array_equal(
        boxes, [[30, 10, 80, 60], [0, 0, 40, 40]]
    )  # the best first, cut to the image
    np.testing.assert_allclose(scores, [0.9, 0.6])
    found = detector.keypoints(IMAGE, BOXES)
    assert found.shape == (2, 17, 3)
    np.testing.assert_array_equal(found[0, 0], [3, 3, 0.25])
    assert detector.keypoints(IMAGE, BOXES[:0]).shape == (0, 17, 3)

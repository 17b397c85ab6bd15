"""Networks as ONNX files, which onnxruntime, OpenVINO and others run without torch.

The graph is the network, from normalised crops and their bounding-box info to bodies, and if wanted the
lifter, from 2D keypoints; detection, cropping and the fit to keypoints are not in it. Needs the extra `onnx`.
"""

import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fullframe.assets import DEMO
from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.detect import load_detector
from fullframe.geometry.box import DETECTION_ENLARGE
from fullframe.geometry.camera import Camera, bbox_info_translation, bbox_info_weak_camera
from fullframe.geometry.rotation import mean_rotation
from fullframe.io.atomic import atomic_path
from fullframe.io.image import read_photo
from fullframe.models import LoadedModel
from fullframe.models.batchnorm import fuse_conv_bn
from fullframe.models.crop_regressor import CropRegressor, box_to_bbox_info
from fullframe.models.lift_people import LIFTER_MIN_CONFIDENCE, determine_distance, lifted_share, load_lifter
from fullframe.models.lifter import LifterNetwork
from fullframe.models.predict import cut_crops

INPUTS = ("crop", "bbox_info", "keypoints")
"""The last one if the file takes keypoints."""
OUTPUTS = ("pose", "betas", "weak_camera", "translation")
VARIANCE = "variance"
"""The output of files that take keypoints."""
BODY_OUTPUTS = ("vertices", "joints")
TOLERANCE = 1e-4
"""The largest difference from torch that is accepted, in every output: rotation matrices, betas, metres."""


_TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])


class OnnxError(ValueError):
    """A network that cannot be exported, or computes something else afterwards."""


class GraphInputs(NamedTuple):
    """What is known of N people: crops (N, 3, H, W), normalised, bounding-box info (N, 3), and COCO keypoints
    (N, 17, 3): x/z, y/z of their rays and confidences."""

    crop: Tensor
    bbox_info: Tensor
    keypoints: Tensor


def export_onnx(
    model: LoadedModel,
    path: str | Path,
    body: BodyModel | None = None,
    keypoints: bool = False,
    calibration: GraphInputs | None = None,
) -> dict[str, float]:
    """Write a network as an ONNX file, whole or not at all, and compare it with torch on the demo photo.

    Inputs are `crop` (N, 3, H, W) and `bbox_info` (N, 3) as for CropRegressor.forward, outputs `pose`
    (N, 24, 3, 3), `betas` (N, B), `weak_camera` (N, 3) and `translation` (N, 3), with a body also `vertices`
    (N, V, 3) and `joints` (N, 24, 3), metres in the camera frame. N is free. With `keypoints` (N, 17, 3) as a
    third input, bodies are the mean of the network's and the lifter's, from which fits start, or the
    network's where keypoints do not determine a body; `variance` (N, 24), of each joint's rotation by the
    lifter, squared radians, comes out after `translation`. Metadata holds what is needed to make the inputs:
    see `metadata`.

    Args:
        model: as `load_model` returns it.
        path: ends in .onnx.
        body: the body that the network predicts, to be part of the graph.
        keypoints: take 2D keypoints too.
        calibration: crops by whose activations the convolutions are quantised to 8 bits; None for float32.

    Returns:
        the largest difference from torch in each output, over the people of the demo photo.

    Raises:
        ImportError: a package or a newer torch is needed; names it.
        OnnxError: the file would differ from torch by more than TOLERANCE (not checked with 8 bits); the body
            is another one; or keypoints say nothing about the network's body.
        ValueError: for another suffix.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"{path}: the name of an ONNX file ends in .onnx")
    if body is not None and (body.name, body.num_betas) != (model.card.body, model.network.num_betas):
        raise OnnxError(
            f"the network predicts {model.network.num_betas} betas of the body {model.card.body}, "
            f"not {body.num_betas} of {body.name}"
        )
    graph = Graph(model, body, keypoints)
    onnx = _packages()
    crops = demo_crops(model.network)
    with atomic_path(path) as temporary:
        _export(graph, crops, temporary)
        if calibration is not None:
            _quantise(temporary, graph, calibration)
        content = onnx.load(temporary)
        onnx.helper.set_model_props(content, metadata(model, body, keypoints, calibration is not None))
        onnx.save(content, temporary)
        differences = compare(graph, temporary, crops)
        wrong = {name: value for name, value in differences.items() if not value <= TOLERANCE}
        if wrong and calibration is None:
            raise OnnxError(
                f"{path} is not written, since it would compute something else than torch: "
                f"{', '.join(f'{name} differs by {value:.2g}' for name, value in wrong.items())}"
            )
    return differences


def metadata(model: LoadedModel, body: BodyModel | None, keypoints: bool, int8: bool) -> dict[str, str]:
    """The metadata of the file: all values are text, those that are not words JSON.

    crop is (height, width) in px, mean and std are of RGB on a 0..1 scale, box_enlarge is the crop's window
    over the detected box, crop_method see geometry.box.crop_image, joints are the names of pose and joints,
    keypoints those of the input, if there is one, faces, with a body, its triangles (F, 3).
    """
    card = model.card
    about = {
        "crop": list(model.network.crop),
        "mean": card.normalisation["mean"],
        "std": card.normalisation["std"],
        "box_enlarge": DETECTION_ENLARGE,
        "joints": list(JOINT_SETS["smpl24"].names),
    }
    if keypoints:
        about["keypoints"] = list(JOINT_SETS["coco17"].names)
    if body is not None:
        about["faces"] = body.faces.tolist()
    return {name: json.dumps(value) for name, value in about.items()} | {
        "model": card.model,
        "crop_method": model.network.crop_method,
        "bbox_info": "(box centre - principal point, crop height in the image) / focal length, all in px",
        "frame": "camera: x right, y down, z forward, metres",
        "body": card.body,
        "weights": "int8 convolutions" if int8 else "float32",
        "sha256": card.sha256,
        "licence": card.licence,
        "fullframe": card.fullframe,
    }


def demo_crops(network: CropRegressor) -> GraphInputs:
    """The people of the demo photo, as the built-in detector finds them."""
    photo, detector = read_photo(DEMO / "three_people.jpg"), load_detector()
    boxes = detector.boxes(photo.pixels)[0]
    box, crops = cut_crops(network, photo.pixels, boxes)
    points = keypoint_rays(detector.keypoints(photo.pixels, boxes), photo.camera)
    return GraphInputs(network.prepare(crops), box_to_bbox_info(box, photo.camera), torch.from_numpy(points))


def keypoint_rays(keypoints: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """Keypoints (N, K, 3), px and confidence, as the graph takes them: ((x, y) - principal point) / focal."""
    rays = keypoints.copy()
    rays[..., :2] = (rays[..., :2] - camera.principal_point) / camera.focal
    return rays


@torch.inference_mode()
def compare(graph: "Graph", path: Path, crops: GraphInputs) -> dict[str, float]:
    """The largest difference between a graph and its ONNX file in each output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    inputs = crops[: len(graph.inputs)]
    feeds = {name: value.numpy() for name, value in zip(graph.inputs, inputs, strict=True)}
    found = zip(names, graph(*inputs), session.run(None, feeds), strict=True)
    return {name: float(np.abs(ours.numpy() - theirs).max()) for name, ours, theirs in found}


class Graph(nn.Module):
    """What a file computes, see `export_onnx`.

    Attributes:
        inputs, outputs: their names, in order.

    Raises:
        OnnxError: the lifter does not predict the network's body.
    """

    def __init__(self, model: LoadedModel, body: BodyModel | None = None, keypoints: bool = False) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.network).cpu().eval()
        fuse_conv_bn(self.network.encoder.net)
        self.lifter = _lifter_of(model) if keypoints else None
        self.body = body
        self.inputs = INPUTS if keypoints else INPUTS[:2]
        variance = (VARIANCE,) if keypoints else ()
        self.outputs = (*OUTPUTS, *variance, *(() if body is None else BODY_OUTPUTS))

    def forward(self, crop: Tensor, bbox_info: Tensor, keypoints: Tensor | None = None) -> tuple[Tensor, ...]:
        prediction = self.network(crop, bbox_info)
        translation = self.network.to_full_frame(prediction, bbox_info)
        found: tuple[Tensor, ...] = (*prediction, translation)
        if keypoints is not None:
            found = self._mean_with_lifted(
                prediction.pose, prediction.betas, translation, bbox_info, keypoints
            )
        if self.body is None:
            return found
        pose, betas, _, translation, *_ = found
        return *found, *self.body(betas, pose, translation)

    def _mean_with_lifted(
        self, pose: Tensor, betas: Tensor, translation: Tensor, bbox_info: Tensor, keypoints: Tensor
    ) -> tuple[Tensor, ...]:
        """Bodies and the variances of their joints' rotations, as `export_onnx` describes them."""
        assert self.lifter is not None
        center, size = bbox_info[:, :2], bbox_info[:, 2:]
        rays, confidence = keypoints[..., :2], keypoints[..., 2]
        in_crop = torch.cat((2 * (rays - center[:, None]) / size[:, None], keypoints[..., 2:]), dim=2)
        lifted, log_variance = self.lifter(in_crop, bbox_info)
        lifted_translation = bbox_info_translation(lifted.weak_camera, bbox_info)
        # Of the box only the crop around it is known.
        unit = bbox_info[:, 2] / DETECTION_ENLARGE
        determined = determine_distance(rays, confidence >= LIFTER_MIN_CONFIDENCE, unit)
        share = lifted_share(confidence, determined)[:, None]
        pose = mean_rotation(lifted.pose, pose, share)
        betas = betas + share * (lifted.betas - betas)
        translation = translation + share * (lifted_translation - translation)
        weak_camera = bbox_info_weak_camera(translation, bbox_info)
        return pose, betas, weak_camera, translation, log_variance.exp()


def _lifter_of(model: LoadedModel) -> LifterNetwork:
    lifter = load_lifter()
    if (model.card.body, model.network.num_betas) != ("open", lifter.num_betas):
        raise OnnxError(
            f"keypoints go with networks that predict {lifter.num_betas} betas of the body open, "
            f"not {model.network.num_betas} of {model.card.body}"
        )
    return lifter


def _packages() -> Any:
    try:
        import onnx
        import onnxscript  # noqa: F401  # of torch.onnx
    except ImportError as error:
        raise ImportError(
            f"ONNX files need one more package ({error}): pip install 'fullframe[onnx]'"
        ) from error
    if _TORCH < (2, 6):
        raise ImportError(f"ONNX files need torch 2.6 or newer, this is {torch.__version__}")
    return onnx


def _export(graph: Graph, crops: GraphInputs, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    arguments = tuple(value[:2] for value in crops[: len(graph.inputs)])
    for module in graph.modules():
        if isinstance(module, nn.Hardtanh):  # ReLU6 too
            module.inplace = False  # in place it is decomposed, which takes up to a third of the time
    with _quiet(), torch.no_grad():
        # Not by torch.onnx.export, which makes other attempts when it fails, with a fixed batch in the end.
        dynamic = {name: {0: batch} for name in graph.inputs}
        program = torch.export.export(graph, arguments, dynamic_shapes=dynamic, strict=False)
        torch.onnx.export(
            program,
            f=str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _quantise(path: Path, graph: Graph, calibration: GraphInputs) -> None:
    """Convolutions with 8 bits: they take most of the time; what follows would lose accuracy."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = _batches(graph, calibration)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.batches, None)

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            Reader(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )


def _batches(graph: Graph, crops: GraphInputs, size: int = 8) -> Iterator[dict[str, NDArray[np.float32]]]:
    for start in range(0, len(crops.crop), size):
        part = (value[start : start + size].numpy() for value in crops[: len(graph.inputs)])
        yield dict(zip(graph.inputs, part, strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say on warnings and logs, which is about their own code."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)

"""Networks as ONNX files, which onnxruntime, OpenVINO and others run without torch.

The graph is the network, from normalised crops and their bounding-box info to bodies; detection, cropping
and the fit to keypoints are not in it. Needs the extra `onnx`.
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
from fullframe.geometry.camera import Camera
from fullframe.io.atomic import atomic_path
from fullframe.io.image import read_photo
from fullframe.models import LoadedModel
from fullframe.models.base import CropRegressor, box_to_bbox_info
from fullframe.models.batchnorm import fuse_conv_bn
from fullframe.models.predict import cut_crops

INPUTS = ("crop", "bbox_info")
OUTPUTS = ("pose", "betas", "weak_camera", "translation")
BODY_OUTPUTS = ("vertices", "joints")
TOLERANCE = 1e-4
"""The largest difference from torch that is accepted, in every output: rotation matrices, betas, metres."""


_TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])


class OnnxError(ValueError):
    """A network that cannot be exported, or computes something else afterwards."""


class Crops(NamedTuple):
    """What a network sees of N people: crops (N, 3, H, W), normalised, and bounding-box info (N, 3)."""

    crop: Tensor
    bbox_info: Tensor


def export_onnx(
    model: LoadedModel, path: str | Path, body: BodyModel | None = None, calibration: Crops | None = None
) -> dict[str, float]:
    """Write a network as an ONNX file, whole or not at all, and compare it with torch on the demo photo.

    Inputs are `crop` (N, 3, H, W) and `bbox_info` (N, 3) as for CropRegressor.forward, outputs `pose`
    (N, 24, 3, 3), `betas` (N, B), `weak_camera` (N, 3) and `translation` (N, 3), with a body also `vertices`
    (N, V, 3) and `joints` (N, 24, 3), metres in the camera frame. N is free. Metadata holds what is needed to
    make crops: see `metadata`.

    Args:
        model: as `load_model` returns it.
        path: ends in .onnx.
        body: the body that the network predicts, to be part of the graph.
        calibration: crops by whose activations the convolutions are quantised to 8 bits; None for float32.

    Returns:
        the largest difference from torch in each output, over the people of the demo photo.

    Raises:
        ImportError: a package or a newer torch is needed; names it.
        OnnxError: the file would differ from torch by more than TOLERANCE (not checked with 8 bits); or the
            body is another one.
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
    onnx = _packages()
    network = copy.deepcopy(model.network).cpu().eval()
    fuse_conv_bn(network.encoder.net)
    graph = _Graph(network, body)
    crops = demo_crops(network)
    with atomic_path(path) as temporary:
        _export(graph, crops, temporary)
        if calibration is not None:
            _quantise(temporary, calibration)
        content = onnx.load(temporary)
        onnx.helper.set_model_props(content, metadata(model, body, calibration is not None))
        onnx.save(content, temporary)
        differences = compare(graph, temporary, crops)
        wrong = {name: value for name, value in differences.items() if not value <= TOLERANCE}
        if wrong and calibration is None:
            raise OnnxError(
                f"{path} is not written, since it would compute something else than torch: "
                f"{', '.join(f'{name} differs by {value:.2g}' for name, value in wrong.items())}"
            )
    return differences


def metadata(model: LoadedModel, body: BodyModel | None, int8: bool) -> dict[str, str]:
    """The metadata of the file: all values are text, those that are not words JSON.

    crop is (height, width) in px, mean and std are of RGB on a 0..1 scale, box_enlarge is the crop's window
    over the detected box, crop_method see geometry.box.crop_image, joints are the names of pose and joints,
    faces, with a body, its triangles (F, 3).
    """
    card = model.card
    about = {
        "crop": list(model.network.crop),
        "mean": card.normalisation["mean"],
        "std": card.normalisation["std"],
        "box_enlarge": DETECTION_ENLARGE,
        "joints": list(JOINT_SETS["smpl24"].names),
    } | ({} if body is None else {"faces": body.faces.tolist()})
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


def demo_crops(network: CropRegressor) -> Crops:
    """The people of the demo photo, as the built-in detector finds them."""
    photo = read_photo(DEMO / "three_people.jpg")
    boxes = load_detector().boxes(photo.pixels)[0]
    box, crops = cut_crops(network, photo.pixels, boxes)
    info = box_to_bbox_info(box, photo.exif_camera or Camera.from_diagonal(photo.size))
    return Crops(network.prepare(crops), info)


@torch.inference_mode()
def compare(graph: nn.Module, path: Path, crops: Crops) -> dict[str, float]:
    """The largest difference between a graph and its ONNX file in each output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feeds = {name: value.numpy() for name, value in zip(INPUTS, crops, strict=True)}
    found = zip(names, graph(*crops), session.run(None, feeds), strict=True)
    return {name: float(np.abs(ours.numpy() - theirs).max()) for name, ours, theirs in found}


class _Graph(nn.Module):
    """The outputs of a network as a tuple, with those of its body if there is one."""

    def __init__(self, network: CropRegressor, body: BodyModel | None) -> None:
        super().__init__()
        self.network, self.body = network, body
        self.names = OUTPUTS if body is None else (*OUTPUTS, *BODY_OUTPUTS)

    def forward(self, crop: Tensor, bbox_info: Tensor) -> tuple[Tensor, ...]:
        prediction = self.network(crop, bbox_info)
        translation = self.network.to_full_frame(prediction, bbox_info)
        found = (*prediction, translation)
        if self.body is None:
            return found
        posed = self.body(prediction.betas, prediction.pose, translation)
        return *found, *posed


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


def _export(graph: _Graph, crops: Crops, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    arguments = tuple(value[:2] for value in crops)
    with _quiet(), torch.no_grad():
        # Not by torch.onnx.export, which makes other attempts when it fails, with a fixed batch in the end.
        dynamic = {name: {0: batch} for name in INPUTS}
        program = torch.export.export(graph, arguments, dynamic_shapes=dynamic, strict=False)
        torch.onnx.export(
            program,
            f=str(path),
            input_names=list(INPUTS),
            output_names=list(graph.names),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _quantise(path: Path, calibration: Crops) -> None:
    """Convolutions with 8 bits: they take most of the time; what follows would lose accuracy."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = _batches(calibration)

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


def _batches(crops: Crops, size: int = 8) -> Iterator[dict[str, NDArray[np.float32]]]:
    for start in range(0, len(crops.crop), size):
        part = (value[start : start + size].numpy() for value in crops)
        yield dict(zip(INPUTS, part, strict=True))


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

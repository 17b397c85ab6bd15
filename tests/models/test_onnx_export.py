"""ONNX files compute what torch does, in onnxruntime and OpenVINO."""

import functools
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tiny import tiny_encoder

pytest.importorskip("onnxscript", reason="needs the extra onnx")

from fullframe.assets import DEMO
from fullframe.body import load_body
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.cli.console import UsageError
from fullframe.cli.export import export
from fullframe.detect import load_detector
from fullframe.geometry.camera import Camera, bbox_info_translation
from fullframe.io.image import read_photo
from fullframe.models import (
    LoadedModel,
    create_model,
    load_model,
    onnx_export,
    predict_people,
    save_checkpoint,
)
from fullframe.models.lift_people import lift_people, lifted_share, load_lifter
from fullframe.models.onnx_export import (
    OUTPUTS,
    TOLERANCE,
    GraphInputs,
    OnnxError,
    demo_crops,
    export_onnx,
    keypoint_rays,
)
from fullframe.models.predict import mean_bodies
from fullframe.synth import calibration_crops

if onnx_export._TORCH < (2, 6):
    pytest.skip("needs torch 2.6", allow_module_level=True)

__all__ = ["tiny_encoder"]

BOXES = np.array([[62.0, 299, 668, 860], [687, 33, 1049, 860]])
IN_OPENVINO = """
import sys
import numpy as np
import openvino

network, feeds, found = sys.argv[1:]
precise = {"INFERENCE_PRECISION_HINT": "f32"}  # by default bf16 where the CPU has it
compiled = openvino.Core().compile_model(network, "CPU", precise)
results = compiled(dict(np.load(feeds)))
np.savez(found, **{output.any_name: results[output] for output in compiled.outputs})
"""


def small(name: str, folder: Path) -> LoadedModel:
    torch.manual_seed(0)
    options = {"field_size": 8} if name == "imphmr" else {}
    model = create_model(name, encoder="tiny", crop=(64, 64), num_betas=10, **options)
    path = folder / f"{name}.safetensors"
    save_checkpoint(model, path, body="open", data="none", licence="Apache-2.0", metrics={})
    return load_model(path)


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that `fullframe export cliff-lite --body --keypoints` writes."""
    path = tmp_path_factory.mktemp("onnx") / "cliff-lite.onnx"
    assert export("cliff-lite", path, body=True, keypoints=True) == 0
    return path


def inputs(crops: GraphInputs) -> dict[str, np.ndarray]:
    """The inputs of a file that takes keypoints."""
    return {name: value.numpy() for name, value in crops._asdict().items()}


def without_keypoints(crops: GraphInputs) -> GraphInputs:
    """The same people with keypoints of no confidence, which leave the bodies to the network."""
    return crops._replace(keypoints=torch.zeros_like(crops.keypoints))


def expected(boxes: np.ndarray) -> dict[str, np.ndarray]:
    """What torch computes for people of the demo photo."""
    network = load_model("cliff-lite").network
    photo = read_photo(DEMO / "three_people.jpg")
    camera = photo.exif_camera
    assert camera is None  # the example takes the diagonal
    bodies = predict_people(network, photo.pixels, boxes, Camera.from_diagonal(photo.size))
    values = (torch.from_numpy(value) for value in (bodies.betas, bodies.pose, bodies.translation))
    with torch.no_grad():
        posed = load_body(num_betas=network.num_betas)(*values)
    return bodies._asdict() | {"vertices": posed.vertices.numpy(), "joints": posed.joints.numpy()}


@pytest.mark.slow
def test_the_network_with_its_body(lite: Path) -> None:
    """On real crops, in batches of any size."""
    session = onnxruntime.InferenceSession(str(lite))
    network = load_model("cliff-lite").network
    crops = without_keypoints(demo_crops(network))
    feeds = inputs(crops)
    names = [output.name for output in session.get_outputs()]
    assert names == [*OUTPUTS, "variance", "vertices", "joints"]
    together = session.run(names, feeds)
    for person in range(len(crops.crop)):
        alone = session.run(names, {name: value[person : person + 1] for name, value in feeds.items()})
        for value, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(value[0], other[person], atol=TOLERANCE)
    with torch.no_grad():
        prediction = network(crops.crop, crops.bbox_info)
        posed = load_body(num_betas=network.num_betas)(
            prediction.betas, prediction.pose, network.to_full_frame(prediction, crops.bbox_info)
        )
    for name, value in {**prediction._asdict(), **posed._asdict()}.items():
        np.testing.assert_allclose(together[names.index(name)], value, atol=TOLERANCE)


@pytest.mark.slow
def test_with_keypoints_the_bodies_are_between_the_networks_and_the_lifters(lite: Path) -> None:
    """Whose keypoints determine nothing is the network's; the others are between it and the lifter's."""
    photo, detector = read_photo(DEMO / "three_people.jpg"), load_detector()
    camera = Camera.from_diagonal(photo.size)
    boxes = detector.boxes(photo.pixels)[0]
    keypoints = detector.keypoints(photo.pixels, boxes)
    keypoints[0, 4:, 2] = 0
    network = predict_people(load_model("cliff-lite").network, photo.pixels, boxes, camera)
    lifted = lift_people(load_lifter(), keypoints, boxes, camera)
    determined = torch.arange(len(boxes)) > 0
    share = lifted_share(torch.from_numpy(keypoints[..., 2]), determined).numpy()
    start = mean_bodies(lifted.bodies, network, share)

    crops = demo_crops(load_model("cliff-lite").network)
    session = onnxruntime.InferenceSession(str(lite))
    names = [output.name for output in session.get_outputs()]
    feeds = inputs(crops) | {"keypoints": keypoint_rays(keypoints, camera)}
    found = dict(zip(names, session.run(names, feeds), strict=True))
    for name, value in (*start._asdict().items(), ("variance", lifted.variance)):
        np.testing.assert_allclose(found[name], value, atol=TOLERANCE)
    translation = bbox_info_translation(torch.from_numpy(found["weak_camera"]), crops.bbox_info)
    np.testing.assert_allclose(translation, found["translation"], atol=TOLERANCE)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["keypoints"]) == list(JOINT_SETS["coco17"].names)


@pytest.mark.slow
def test_metadata(lite: Path) -> None:
    about = onnxruntime.InferenceSession(str(lite)).get_modelmeta().custom_metadata_map
    network, card = load_model("cliff-lite")
    assert json.loads(about["crop"]) == [128, 96] and json.loads(about["mean"]) == [0.5] * 3
    assert json.loads(about["joints"]) == list(JOINT_SETS["smpl24"].names)
    assert about["sha256"] == card.sha256 and about["licence"] == "Apache-2.0" and about["body"] == "open"
    np.testing.assert_array_equal(json.loads(about["faces"]), load_body().faces)
    assert network.crop_method == about["crop_method"]


@pytest.mark.slow
def test_openvino(lite: Path, tmp_path: Path) -> None:
    """In a process of its own: it can leave an alternate signal stack that is unmapped, and the next signal
    would end the process."""
    pytest.importorskip("openvino", reason="pip install openvino")
    feeds = inputs(demo_crops(load_model("cliff-lite").network))
    np.savez(tmp_path / "feeds.npz", **feeds)
    files = [str(path) for path in (lite, tmp_path / "feeds.npz", tmp_path / "found.npz")]
    subprocess.run([sys.executable, "-c", IN_OPENVINO, *files], check=True)
    found, session = np.load(files[2]), onnxruntime.InferenceSession(files[0])
    for output, value in zip(session.get_outputs(), session.run(None, feeds), strict=True):
        np.testing.assert_allclose(found[output.name], value, atol=TOLERANCE)


@pytest.mark.slow
def test_the_example(lite: Path) -> None:
    """Its crops are Pillow's, so that it is near to ours but not equal."""
    file = Path(__file__).parents[2] / "examples/onnx_numpy.py"
    spec = importlib.util.spec_from_file_location("onnx_numpy", file)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found = example.main(str(lite), str(DEMO / "three_people.jpg"), BOXES, np.zeros((2, 17, 3)))
    for name, value in expected(BOXES).items():
        assert found[name].shape == value.shape
    distance = np.linalg.norm(found["joints"] - expected(BOXES)["joints"], axis=-1)
    assert distance.mean() < 0.05  # m
    photo = read_photo(DEMO / "three_people.jpg")
    keypoints = load_detector().keypoints(photo.pixels, BOXES.astype(np.float32))
    lifted = lift_people(load_lifter(), keypoints, BOXES, Camera.from_diagonal(photo.size))
    mean = example.main(str(lite), str(DEMO / "three_people.jpg"), BOXES, keypoints)
    np.testing.assert_allclose(mean["variance"], lifted.variance, atol=0.01)


@pytest.mark.slow
def test_8_bits(lite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Half a minute less: the same network again, and many people.
    monkeypatch.setattr(onnx_export, "_export", lambda graph, crops, path: shutil.copy(lite, path))
    few = functools.partial(calibration_crops.calibration_crops, people=16)
    monkeypatch.setattr(calibration_crops, "calibration_crops", few)
    assert export("cliff-lite", tmp_path / "a.onnx", body=True, keypoints=True, int8=True) == 0
    assert (tmp_path / "a.onnx").stat().st_size < lite.stat().st_size - 12e6
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    network = load_model("cliff-lite").network
    crops = without_keypoints(demo_crops(network))
    pose = session.run(["pose"], inputs(crops))[0]
    with torch.no_grad():
        cosine = (np.einsum("njkl,njkl->nj", pose, network(crops.crop, crops.bbox_info).pose.numpy()) - 1) / 2
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < 6
    assert session.get_modelmeta().custom_metadata_map["weights"] == "int8 convolutions"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cliff", "imphmr"])
def test_other_networks_can_be_exported(name: str, tmp_path: Path) -> None:
    """As a graph of two people, compared on three.

    cliff-lite is a `ray`, and of a photo ImpHMR computes what HMR does.
    """
    differences = export_onnx(small(name, tmp_path), tmp_path / "a.onnx")
    assert list(differences) == list(OUTPUTS)
    assert max(differences.values()) < TOLERANCE


def test_what_cannot_be_exported(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        export("cliff-lite", tmp_path / "a.pt")
    with pytest.raises(UsageError, match="no model none"):
        export("none", tmp_path / "a.onnx")
    with pytest.raises(OnnxError, match="11 betas of the body open, not 10 of open"):
        export_onnx(load_model("cliff-lite"), tmp_path / "a.onnx", load_body())
    with pytest.raises(OnnxError, match="11 betas of the body open, not 10 of open"):
        export_onnx(small("cliff", tmp_path_factory.mktemp("small")), tmp_path / "a.onnx", keypoints=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "_export", lambda graph, crops, path: path.write_bytes(b""))
    monkeypatch.setattr(onnx_export, "compare", lambda graph, path, crops: {"pose": 0.0, "betas": 0.1})
    with pytest.raises(OnnxError, match=r"betas differs by 0\.1"):
        export_onnx(load_model("cliff-lite"), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_old_torch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "_TORCH", (2, 5))
    with pytest.raises(ImportError, match=r"torch 2\.6 or newer"):
        export_onnx(load_model("cliff-lite"), tmp_path / "a.onnx")

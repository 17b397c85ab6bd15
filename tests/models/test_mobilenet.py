import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.models import mobilenet
from fullframe.models.encoder import ENCODERS, HALF_NORMALISATION, Encoder


@pytest.fixture(scope="module")
def as_released():
    """MoveNet's own last map, by onnxruntime."""
    file = onnx.load(mobilenet.FILE)
    (last,) = [n.output[0] for n in file.graph.node if n.name.endswith("/model_1/model/out_relu/Relu6")]
    file.graph.output.append(onnx.helper.make_empty_tensor_value_info(last))
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda image: session.run([last], {session.get_inputs()[0].name: image.astype(np.int32)})[0]


@settings(max_examples=5)
@given(rows=st.integers(2, 4), columns=st.integers(2, 4), seed=st.integers(0, 99))
def test_sees_what_movenet_sees(as_released, rows, columns, seed):
    image = np.random.default_rng(seed).integers(0, 256, (1, 32 * rows, 32 * columns, 3))
    encoder = Encoder("movenet_multipose", (32 * rows, 32 * columns), pretrained=True).eval()
    crop = (torch.from_numpy(image).permute(0, 3, 1, 2) / 255 - encoder.mean) / encoder.std
    with torch.no_grad():
        found = encoder.net.forward_features(crop).numpy()
        features, _ = encoder(crop)
    expected = as_released(image)
    assert found.shape == expected.shape == (1, 1280, rows, columns)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_allclose(features, expected.mean((2, 3)), atol=2e-3)


def test_colours_and_maps():
    assert ENCODERS["movenet_multipose"].normalisation == HALF_NORMALISATION
    _, heatmaps = Encoder("movenet_multipose", (64, 96), pool="heatmaps")(torch.zeros(1, 3, 64, 96))
    assert heatmaps is not None and heatmaps.shape[2:] == (16, 24)


def test_a_file_of_another_network_is_refused(monkeypatch):
    monkeypatch.setattr(mobilenet, "FILE", mobilenet.FILE.with_name("movenet-thunder.onnx"))
    with pytest.raises(ValueError, match=r"movenet-thunder\.onnx is not MoveNet MultiPose: .* is \["):
        mobilenet.weights(mobilenet.MobileNetV2())

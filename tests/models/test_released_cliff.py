"""The reference networks here are written from the published layouts, in plain torch functions.

They make a random tensor of the official name the first time that they need it, so running one defines a
released file's content and the result that it must give.
"""

import json
import os
import pickle
import sys
import zipfile

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fullframe.cli.main import convert_checkpoint
from fullframe.geometry.box import PersonBox, box_from_xyxy, crop_image
from fullframe.io.image import read_photo
from fullframe.models import CheckpointError, load_model
from fullframe.models.released_cliff import metrics_in_name, read_official

NAME = "hr48-PA43.0_MJE69.0_MVE81.2_3dpw.pt"


class Weights(dict):
    """Official names to tensors; what is missing is drawn at random."""

    def __init__(self):
        super().__init__()
        self.rng = torch.Generator().manual_seed(0)

    def draw(self, name, shape, spread=1.0, middle=0.0):
        if name not in self:
            self[name] = middle + spread * torch.randn(shape, generator=self.rng)
        return self[name]

    def conv(self, x, name, out, size, stride=1, bias=False):
        inputs = x.shape[1]
        weight = self.draw(f"{name}.weight", (out, inputs, size, size), (2 / (inputs * size**2)) ** 0.5)
        shift = self.draw(f"{name}.bias", (out,), 0.1) if bias else None
        return F.conv2d(x, weight, shift, stride, padding=size // 2)

    def norm(self, x, name):
        width = (x.shape[1],)
        self.setdefault(f"{name}.num_batches_tracked", torch.tensor(6095))
        mean = self.draw(f"{name}.running_mean", width, 0.1)
        if f"{name}.running_var" not in self:
            self[f"{name}.running_var"] = torch.rand(width, generator=self.rng) + 0.5
        weight, bias = self.draw(f"{name}.weight", width, 0.1, 0.7), self.draw(f"{name}.bias", width, 0.1)
        return F.batch_norm(x, mean, self[f"{name}.running_var"], weight, bias)

    def linear(self, x, name, out):
        weight = self.draw(f"{name}.weight", (out, x.shape[1]), 0.3 * x.shape[1] ** -0.5)
        return F.linear(x, weight, self.draw(f"{name}.bias", (out,), 0.1))

    def bottleneck(self, x, name, middle, stride=1):
        y = F.relu(self.norm(self.conv(x, f"{name}.conv1", middle, 1), f"{name}.bn1"))
        y = F.relu(self.norm(self.conv(y, f"{name}.conv2", middle, 3, stride), f"{name}.bn2"))
        y = self.norm(self.conv(y, f"{name}.conv3", 4 * middle, 1), f"{name}.bn3")
        if stride != 1 or x.shape[1] != 4 * middle:
            x = self.norm(self.conv(x, f"{name}.downsample.0", 4 * middle, 1, stride), f"{name}.downsample.1")
        return F.relu(x + y)

    def basic(self, x, name):
        width = x.shape[1]
        y = F.relu(self.norm(self.conv(x, f"{name}.conv1", width, 3), f"{name}.bn1"))
        return F.relu(x + self.norm(self.conv(y, f"{name}.conv2", width, 3), f"{name}.bn2"))

    def resnet50(self, x):
        x = F.relu(self.norm(self.conv(x, "encoder.conv1", 64, 7, 2), "encoder.bn1"))
        x = F.max_pool2d(x, 3, 2, 1)
        for layer, (blocks, middle) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
            for block in range(blocks):
                stride = 2 if layer > 1 and block == 0 else 1
                x = self.bottleneck(x, f"encoder.layer{layer}.{block}", middle, stride)
        return x.mean((2, 3))

    def hrnet_w48(self, x):
        e = "encoder."
        for i in "12":
            x = F.relu(self.norm(self.conv(x, f"{e}conv{i}", 64, 3, 2), f"{e}bn{i}"))
        for block in range(4):
            x = self.bottleneck(x, f"{e}layer1.{block}", 64)

        def step(x, name, out, stride, act=True):
            y = self.norm(self.conv(x, f"{name}.0", out, 3, stride), f"{name}.1")
            return F.relu(y) if act else y

        widths, branches = (48, 96, 192, 384), [x]
        for stage, modules in ((2, 1), (3, 4), (4, 3)):
            transition = f"{e}transition{stage - 1}"
            if stage == 2:
                branches = [step(x, f"{transition}.0", 48, 1), step(x, f"{transition}.1.0", 96, 2)]
            else:
                new = step(branches[-1], f"{transition}.{stage - 1}.0", widths[stage - 1], 2)
                branches = [*branches, new]
            for module in range(modules):
                name = f"{e}stage{stage}.{module}"
                for i in range(stage):
                    for block in range(4):
                        branches[i] = self.basic(branches[i], f"{name}.branches.{i}.{block}")
                fused = []
                for i in range(stage):
                    total = 0
                    for j in range(stage):
                        fuse, y = f"{name}.fuse_layers.{i}.{j}", branches[j]
                        if j > i:
                            y = self.norm(self.conv(y, f"{fuse}.0", widths[i], 1), f"{fuse}.1")
                            y = F.interpolate(y, scale_factor=2 ** (j - i), mode="nearest")
                        for k in range(i - j):
                            last = k == i - j - 1
                            y = step(y, f"{fuse}.{k}", widths[i] if last else widths[j], 2, act=not last)
                        total = total + y
                    fused.append(F.relu(total))
                branches = fused
        y = self.bottleneck(branches[0], f"{e}incre_modules.0.0", 32)
        for i in range(3):
            down = f"{e}downsamp_modules.{i}"
            y = F.relu(self.norm(self.conv(y, f"{down}.0", 256 * 2**i, 3, 2, bias=True), f"{down}.1"))
            y = y + self.bottleneck(branches[i + 1], f"{e}incre_modules.{i + 1}.0", 64 * 2**i)
        y = F.relu(self.norm(self.conv(y, f"{e}final_layer.0", 2048, 1, bias=True), f"{e}final_layer.1"))
        return y.mean((2, 3))

    def cliff(self, encoder, crop, bbox):
        """Rotations (N, 24, 3, 3), betas, camera."""
        x = getattr(self, encoder)(crop)
        pose = self.draw("init_pose", (1, 144)).expand(len(x), -1)
        shape = self.draw("init_shape", (1, 10)).expand(len(x), -1)
        camera = self.draw("init_cam", (1, 3), 0.1, 0.5).expand(len(x), -1)
        for _ in range(3):
            y = torch.cat((x, bbox, pose, shape, camera), 1)
            y = self.linear(self.linear(y, "fc1", 1024), "fc2", 1024)
            pose = pose + self.linear(y, "decpose", 144)
            shape = shape + self.linear(y, "decshape", 10)
            camera = camera + self.linear(y, "deccam", 3)
        a, b = pose.reshape(-1, 24, 3, 2).unbind(-1)
        a = a / a.norm(dim=-1, keepdim=True)
        b = b - (a * b).sum(-1, keepdim=True) * a
        b = b / b.norm(dim=-1, keepdim=True)
        return torch.stack((a, b, torch.cross(a, b, dim=-1)), -1), shape, camera


def inputs():
    """Two crops, and where they sit: centres (1400, 500) and (300, 700) of a 1920 x 1080 image."""
    crops = torch.randn(2, 3, 256, 192, generator=torch.Generator().manual_seed(1))
    f, size = (1920**2 + 1080**2) ** 0.5, torch.tensor([600.0, 350.0])
    center = torch.tensor([[1400.0, 500.0], [300.0, 700.0]]) - torch.tensor([960.0, 540.0])
    bbox = torch.cat((2.8 * center / f, ((size - 0.24 * f) / (0.06 * f))[:, None]), 1)
    return crops, bbox, torch.cat((center, size[:, None]), 1) / f


@pytest.fixture(scope="module")
def resnet():
    weights = Weights()
    crops, bbox, _ = inputs()
    with torch.no_grad():
        return weights, weights.cliff("resnet50", crops, bbox)


def write(path, tensors, prefix=""):
    content = {"model": {prefix + name: tensor for name, tensor in tensors.items()}, "epoch": 5}
    torch.save(content, path)
    return path


def check_agreement(loaded, expected):
    crops, _, bbox_info = (given[: len(expected[0])] for given in inputs())
    with torch.no_grad():
        result = loaded(crops, bbox_info)
    for ours, theirs in zip(result, expected, strict=True):
        assert theirs.std() > 0.05  # random weights that say something
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_resnet_agrees_with_the_official_layout(resnet, tmp_path, capsys):
    weights, expected = resnet
    source = write(tmp_path / "res50-PA45.7_MJE72.0_MVE85.3_3dpw.pt", weights)
    out = tmp_path / "cliff-res50.safetensors"
    assert convert_checkpoint(source, out) == 0
    assert "--model" in capsys.readouterr().err
    model = load_model(out, body="smpl-neutral").network
    assert model.options == {
        "encoder": "resnet50",
        "crop": (256, 192),
        "bbox_info_input": True,
        "full_frame_loss": True,
        "regressor_dropout": 0.5,
        "bbox_norm": "h36m",
        "num_betas": 10,
        "regressor_width": 1024,
        "regressor_act": "none",
        "crop_method": "cliff",
        "pool": "mean",
    }
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["metrics"] == {"3dpw PA-MPJPE mm": 45.7, "3dpw MPJPE mm": 72.0, "3dpw MVE mm": 85.3}
    assert "non-commercial" in card["licence"]
    check_agreement(model, expected)


def test_hrnet_agrees_with_the_official_layout(tmp_path):
    weights = Weights()
    crops, bbox, _ = inputs()
    with torch.no_grad():
        expected = weights.cliff("hrnet_w48", crops[:1], bbox[:1])
    encoder = sum(
        t.numel() for n, t in weights.items() if n.startswith("encoder.") and n.endswith(("weight", "bias"))
    )
    assert 75e6 < encoder < 80e6  # HRNet-W48-C has about 77.5 M parameters with its classifier of 2 M
    model = read_official(write(tmp_path / NAME, weights, "module."))
    assert model.encoder.name == "hrnet_w48" and not model.training
    check_agreement(model, expected)


def test_every_tensor_that_does_not_match_is_named(resnet, tmp_path):
    tensors = dict(resnet[0])
    tensors["encoder.fc.weight"] = torch.zeros(1000, 2048)
    tensors["fc2.bias"] = torch.zeros(3)
    tensors["deccam.bias"] = torch.full((3,), torch.nan)
    del tensors["init_cam"], tensors["encoder.layer1.0.bn1.running_var"]
    with pytest.raises(CheckpointError) as error:
        read_official(write(tmp_path / NAME, tensors))
    message = str(error.value)
    assert NAME in message and "missing: encoder.layer1.0.bn1.running_var, init_cam;" in message
    assert "unexpected: encoder.fc.weight;" in message and "not finite: deccam.bias;" in message
    assert "of another shape: fc2.bias [3] for [1024];" in message
    assert not os.path.exists(tmp_path / "out.safetensors")


def test_hmr_without_location_inputs_is_refused(resnet, tmp_path):
    tensors = {**resnet[0], "fc1.weight": torch.zeros(1024, 2205)}
    with pytest.raises(CheckpointError, match=r"fc1.weight \[1024, 2205\] for \[1024, 2208\]"):
        read_official(write(tmp_path / NAME, tensors))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"model": {"encoder.conv1.weight": torch.zeros(1)}}, "neither a ResNet-50 nor an HRNet-W48"),
        ({"state_dict": {}}, "no state dictionary under the key 'model'"),
        ({"model": {"fc1": "text"}}, "no state dictionary"),
        ([1, 2], "no state dictionary"),
    ],
)
def test_other_files_of_torch(tmp_path, content, reason):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=rf"other\.pt: {reason}.*noah-research"):
        read_official(tmp_path / "other.pt")


ODD = {
    "meta": torch.zeros(3, device="meta"),
    "quantised": torch.quantize_per_tensor(torch.zeros(3), 1, 0, torch.qint8),
    "sparse": torch.zeros(3).to_sparse(),
    "sparse rows": torch.zeros(3, 3).to_sparse_csr(),
    "repeated": torch.zeros(1).expand(10**12),
    "complex": torch.zeros(3, dtype=torch.complex64),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_only_plain_tensors_are_taken(tmp_path, kind):
    torch.save({"model": {"encoder.conv1.weight": ODD[kind]}}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"odd\.pt: .*noah-research"):
        read_official(tmp_path / "odd.pt")


def test_sizes_are_checked_before_unpacking(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("data.pkl", "data/0"):
            archive.writestr(f"bomb/{name}", bytes(10**6))
    with pytest.raises(CheckpointError, match=r"bomb\.pt: .*unpacks to more than it has"):
        read_official(tmp_path / "bomb.pt")


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path, zipped):
    torch.save(
        {"model": Hostile(str(tmp_path / "hacked"))}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(CheckpointError, match=r"a\.pt: refused.*nothing was run"):
        read_official(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Hostile(str(tmp_path / "hacked")), 2))
    with pytest.raises(CheckpointError, match=r"b\.pt: "):
        read_official(tmp_path / "b.pt")
    assert not (tmp_path / "hacked").exists()


def test_missing_and_damaged_files(tmp_path):
    path = tmp_path / NAME
    with pytest.raises(CheckpointError, match="no such file; get .* from the links"):
        read_official(path)
    torch.save({"model": {"a": torch.zeros(1000)}}, path)
    whole = path.read_bytes()
    for content in (b"", b"<html>404</html>", whole[:100], whole[: len(whole) // 2], whole[:-50]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"3dpw\.pt: (damaged|refused)"):
            read_official(path)


def test_metrics_in_names():
    assert metrics_in_name("hr48-PA53.7_MJE91.4_MVE110.0_agora_val.pt") == {
        "agora_val PA-MPJPE mm": 53.7,
        "agora_val MPJPE mm": 91.4,
        "agora_val MVE mm": 110.0,
    }
    assert metrics_in_name("cliff.pt") == {}


def official_crop(image, box, crop=(256, 192)):
    """Whole pixels from the rounded corners of the window, black outside, resized by bilinear sampling."""
    (center,), (size,) = box
    half = np.array([size * crop[1] / crop[0], size]) / 2
    low, high = (np.array([round(x) for x in corner]) for corner in (center - half, center + half))
    cut = np.zeros((*(high - low)[::-1], 3), np.float32)
    inside_low, inside_high = np.maximum(low, 0), np.minimum(high, image.shape[1::-1])
    (x0, y0), (x1, y1) = inside_low - low, inside_high - low
    cut[y0:y1, x0:x1] = image[inside_low[1] : inside_high[1], inside_low[0] : inside_high[0]]
    return cv2.resize(cut, crop[::-1])


def grey_levels_apart(image, box):
    (ours,) = crop_image(image, box, (256, 192), "cliff")
    return float(np.abs(ours - official_crop(image, box)).mean())


def test_crops_are_those_of_the_official_routine(photo_path):
    image = read_photo(photo_path).pixels
    people = [[30, 250, 400, 860], [340, 60, 520, 430], [600, 200, 900, 860], [0, 0, 1049, 861]]
    apart = [grey_levels_apart(image, box_from_xyxy([xyxy], 4 / 3, e)) for xyxy in people for e in (1.1, 1.2)]
    rng = np.random.default_rng(0)
    for low, high in ((60, 120), (120, 250), (250, 500), (500, 1000), (1000, 1600)):
        at_random = []
        for _ in range(10):
            center = rng.uniform(0.2, 0.8, (1, 2)) * image.shape[1::-1]
            at_random.append(grey_levels_apart(image, PersonBox(center, rng.uniform(low, high, 1))))
        print(f"{low}-{high} px: {np.mean(at_random):.2f}", file=sys.stderr)
        apart += at_random
    print("people", np.round(apart[:8], 2), f"all {np.mean(apart):.2f}", file=sys.stderr)
    assert np.mean(apart) < 1 and np.mean(apart[:8]) < 1

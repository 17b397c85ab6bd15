import math

import numpy as np
import pytest
import tiny
import torch

from fullframe.body import load_body
from fullframe.data.augment import Augmentation, augment
from fullframe.data.batch import collate
from fullframe.losses.objective import LossWeights
from fullframe.models import ENCODERS, create_model, load_model, save_checkpoint
from fullframe.models.imphmr.losses import NOVEL_VIEW_TERMS, ImpHMRLossWeights, ImpHMRObjective

SMALL = {"field_size": 8, "field_samples": 6, "field_width": 16, "num_betas": 11, "crop": (48, 36)}


@pytest.fixture(autouse=True, scope="module")
def tiny_encoder():
    ENCODERS["tiny"] = tiny.ENCODER
    yield
    del ENCODERS["tiny"]


def small(**options):
    torch.manual_seed(0)
    net = create_model("imphmr", encoder="tiny", **{**SMALL, **options})
    for head in (net.regressor.decpose, net.regressor.decshape, net.regressor.deccam):
        torch.nn.init.xavier_uniform_(head.weight)  # as after training: differences show
    return net


@pytest.fixture(scope="module")
def inputs():
    torch.manual_seed(1)
    return torch.randn(3, 3, 48, 36), torch.tensor([[0.3, -0.1, 0.4], [0.0, 0.0, 0.2], [-0.4, 0.2, 0.1]])


@torch.no_grad()
def test_the_image_is_the_direction_zero(inputs):
    net = small().eval()
    canonical = net(*inputs)
    imagined = net.imagine(*inputs, torch.zeros(3))
    for a, b in zip(imagined.prediction, canonical, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert imagined.silhouette.shape == (3, 64, 64)
    elsewhere = net.imagine(*inputs, torch.tensor([0.0, 1.0, math.pi]))
    difference = (elsewhere.prediction.pose - canonical.pose).abs().amax((1, 2, 3))
    assert difference[0] < 1e-5 and difference[1:].min() > 1e-3
    whole_turn = net.imagine(*inputs, torch.tensor([0.0, 1.0, math.pi]) - 2 * math.pi)
    torch.testing.assert_close(whole_turn.prediction.pose, elsewhere.prediction.pose, atol=1e-4, rtol=1e-4)


class Ball(torch.nn.Module):
    """The same field for everyone: a dense ball around a place (3,)."""

    def __init__(self, place):
        super().__init__()
        self.register_buffer("place", torch.tensor(place))

    def forward(self, points, code):
        near = ((points - self.place).norm(dim=-1) < 0.4).to(points).expand(len(code), -1)
        return 1e3 * near, near[..., None].expand(-1, -1, SMALL["field_width"])

    def project_features(self, rendered, opacity):
        return rendered


@torch.no_grad()
@pytest.mark.parametrize(("degrees", "x"), [(0, 0.0), (90, 0.5), (180, 0.0), (270, -0.5)])
def test_what_is_imagined_is_seen_from_there(inputs, degrees, x):
    """A ball in front of the person is on the right of the picture taken from the image's left, and so on."""
    net = small(field_samples=24).eval()
    net.field = Ball([0.0, 0.25, -0.5])
    maps = []
    net.head.register_forward_pre_hook(lambda _, given: maps.append(given[0]))
    net.imagine(*inputs, torch.full((3,), math.radians(degrees)))
    (seen,) = maps
    centre = (torch.arange(8) + 0.5) / 4 - 1
    weights = seen[:, 0] / seen[:, 0].sum((1, 2), keepdim=True)
    torch.testing.assert_close((weights.sum(1) * centre).sum(1), torch.full((3,), x), atol=0.06, rtol=0)
    torch.testing.assert_close((weights.sum(2) * centre).sum(1), torch.full((3,), 0.25), atol=0.06, rtol=0)


@torch.no_grad()
def test_inference_computes_one_view_and_no_silhouette(inputs):
    net = small().eval()
    calls = []
    for name, part in (("encoder", net.encoder), ("field", net.field), ("silhouette", net.silhouette)):
        part.register_forward_hook(lambda *_, name=name: calls.append(name))
    net(*inputs)
    assert calls == ["encoder", "field"]
    calls.clear()
    net.forward_train(*inputs)
    assert calls == ["encoder", "field", "field", "silhouette"]


def test_directions_of_training_fill_the_range_and_follow_the_seed(inputs):
    crops, bbox_info = (x[:1].expand(400, *x.shape[1:]) for x in inputs)
    net = small(view_range=60.0).eval()
    with torch.no_grad():
        torch.manual_seed(5)
        degrees = net.forward_train(crops, bbox_info).novel_view.phi.rad2deg()
        torch.manual_seed(5)
        again = net.forward_train(crops, bbox_info).novel_view.phi.rad2deg()
    assert torch.equal(degrees, again)
    assert -60 <= degrees.min() < -57 and 57 < degrees.max() <= 60
    assert abs(degrees.mean()) < 6


@torch.no_grad()
def test_without_a_range_nothing_is_imagined_but_all_directions_can_be_rendered(inputs):
    net = small(view_range=0.0)
    assert net.forward_train(*inputs).novel_view is None
    assert not any(name.startswith("silhouette") for name, _ in net.named_parameters())
    imagined = net.eval().imagine(*inputs, torch.ones(3))
    assert imagined.silhouette is None and imagined.prediction.pose.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("bbox_info_input", [True, False])
def test_cliffs_switches(inputs, bbox_info_input):
    net = small(bbox_info_input=bbox_info_input, full_frame_loss=True).eval()
    cliff = create_model("cliff", encoder="tiny", crop=(48, 36), num_betas=11)
    crops, bbox_info = inputs
    elsewhere = torch.tensor([0.2, 0.1, 0.1])
    for phi in (torch.zeros(3), torch.ones(3)):
        seen = [net.imagine(crops, x, phi).prediction for x in (bbox_info, bbox_info + elsewhere)]
        changed = max(float((a - b).abs().max()) for a, b in zip(*seen, strict=True))
        assert (changed > 1e-4) == bbox_info_input
    points, prediction = torch.randn(3, 5, 3), net(*inputs)
    expected = cliff.project(points, prediction, bbox_info)
    torch.testing.assert_close(net.project(points, prediction, bbox_info), expected)


def test_options_come_back_from_the_card(tmp_path, inputs):
    net = small(bbox_info_input=True, view_range=90.0).eval()
    save_checkpoint(net, tmp_path / "a.safetensors", body="open", data="none", licence="CC0-1.0", metrics={})
    loaded = load_model(tmp_path / "a.safetensors").network
    assert loaded.options == net.options and loaded.options["view_range"] == 90
    with torch.no_grad():
        a, b = (x.imagine(*inputs, torch.ones(3)) for x in (loaded, net))
    assert torch.equal(a.silhouette, b.silhouette)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"field_size": 12}, "field_size must be one of 8, 16, 32, 64, not 12"),
        ({"field_width": 12}, "field_width must be a multiple of 8, not 12"),
        ({"field_samples": 0}, "field_samples must be positive"),
        ({"view_range": 200.0}, "view_range must lie between 0 and 180 degrees"),
    ],
)
def test_impossible_options(option, message):
    with pytest.raises(ValueError, match=message):
        small(**option)


def test_sizes_of_the_map(inputs):
    for size in (8, 16, 32):
        net = small(field_size=size, field_samples=2).eval()
        with torch.no_grad():
            imagined = net.imagine(*inputs, torch.ones(3))
        assert imagined.silhouette.shape == (3, 64, 64)
        assert imagined.prediction.pose.shape == (3, 24, 3, 3)


@pytest.mark.parametrize("labelled", [True, False])
def test_terms_about_other_directions_can_be_learned(labelled):
    """On four people, from random directions: each term falls."""
    people = tiny.StickPeople(8)
    rng = np.random.default_rng(0)
    samples = [people[2 * i if labelled else 2 * i + 1] for i in range(4)]
    batch = collate([augment(s, (48, 36), rng, Augmentation.none()) for s in samples], 11)
    net, body = small(), load_body(num_betas=11)
    net.regressor.dropout.p = 0.0
    canonical = dict.fromkeys(("keypoints", "joints", "pose", "betas"), 0.0)
    weights = ImpHMRLossWeights(**dict.fromkeys(NOVEL_VIEW_TERMS, 1.0))
    objective = ImpHMRObjective(body, LossWeights(**canonical, camera=1e-6), "l1", weights)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    history = []
    for step in range(60):
        torch.manual_seed(step)
        output = net.forward_train(net.prepare(batch.crops), batch.bbox_info)
        total, terms = objective(net, output, batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append({name: value.item() for name, value in terms.items()})
    learned = [name for name in NOVEL_VIEW_TERMS if name.startswith("consistent") != labelled]
    for name in NOVEL_VIEW_TERMS:
        first, last = (np.mean([row[name] for row in rows]) for rows in (history[:5], history[-10:]))
        if name in learned:
            assert last < 0.85 * first, (name, first, last)
        else:
            assert first == last == 0, name


def spread(net):
    """Weights as after training: differences show."""
    for head in (net.regressor.decpose, net.regressor.decshape, net.regressor.deccam):
        torch.nn.init.xavier_uniform_(head.weight)
    return net


@torch.no_grad()
@pytest.mark.parametrize("name", ["hmr", "cliff"])
def test_a_gated_network_starts_as_the_one_it_comes_from(inputs, name):
    torch.manual_seed(2)
    options = {key: SMALL[key] for key in ("num_betas", "crop")}
    start = spread(create_model(name, encoder="tiny", regressor_width=64, **options)).eval()
    net = small(feature_gate=True, regressor_width=64, bbox_info_input=name == "cliff").eval()
    net.start_from(start)
    for own, other in zip(net(*inputs), start(*inputs), strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-4)
    net.gate.fill_(1.0)
    assert (net(*inputs).pose - start(*inputs).pose).abs().max() > 1e-3


@torch.no_grad()
def test_other_directions_of_a_gated_network_see_the_field_alone(inputs):
    net = small(feature_gate=True).eval()
    phi = torch.tensor([0.5, 1.0, 2.0])
    before, canonical = net.imagine(*inputs, phi).prediction, net(*inputs)
    net.regressor.fc1.weight[:, : net.input_width] += 0.1
    torch.testing.assert_close(net.imagine(*inputs, phi).prediction.pose, before.pose)
    assert (net(*inputs).pose - canonical.pose).abs().max() > 1e-3
    net.gate.fill_(1.0)
    torch.testing.assert_close(net.imagine(*inputs, phi).prediction.pose, before.pose)


@torch.no_grad()
def test_the_papers_form_starts_from_hmr_except_for_what_sees_the_map(inputs):
    torch.manual_seed(2)
    start = create_model("hmr", encoder="tiny", num_betas=11, crop=(48, 36)).eval()
    net = small().eval()
    own = net.regressor.fc1.weight[:, net.map_columns].clone()
    net.start_from(start)
    assert torch.equal(net.regressor.fc1.weight[:, net.map_columns], own)
    state = 24 * 6 + 11 + 3
    assert torch.equal(net.regressor.fc1.weight[:, -state:], start.regressor.fc1.weight[:, -state:])
    assert torch.equal(net.regressor.fc2.weight, start.regressor.fc2.weight)
    assert net.regressor.fc1.weight.shape[1] == net.map_features + state

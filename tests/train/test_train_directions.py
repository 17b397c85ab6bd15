import itertools

import pytest
import tiny
import torch
import train_directions
from tiny import batches, tiny_encoder  # noqa: F401

from fullframe.body import load_body
from fullframe.models import create_model

CONFIG = tiny.configure(network__crop=(48, 36), batch_size=16, workers=0, threads=1)


@pytest.mark.slow
def test_other_directions_are_learned_and_the_photo_stays(capsys):
    torch.manual_seed(0)
    net = create_model(
        "imphmr", encoder="tiny", crop=(48, 36), num_betas=11, regressor_width=32, regressor_dropout=0.0,
        field_size=8, field_samples=4, field_width=16, feature_gate=True,
    ).eval()  # fmt: skip
    body, drawn = load_body(num_betas=11), list(itertools.islice(batches(CONFIG)(0, 0, 1), 2))
    photo = net.prepare(drawn[0].crops), drawn[0].bbox_info
    with torch.no_grad():
        net.gate.zero_()
        before = net(*photo)
    losses = []
    for people in (20, 480):
        assert train_directions.train(net, body, itertools.cycle(drawn), people, 3e-3) == max(people, 32)
        printed = capsys.readouterr().out.splitlines()[-1]
        losses.append(float(printed.split("silhouette ")[1].split(",")[0]))
    assert losses[1] < 0.9 * losses[0]
    with torch.no_grad():
        after = net(*photo)
    for value, same in zip(after, before, strict=True):
        torch.testing.assert_close(value, same, atol=1e-6, rtol=0)

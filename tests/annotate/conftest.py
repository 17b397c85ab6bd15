from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from annotate_fixtures import photos, samples

from fullframe.annotate.crops import prepare
from fullframe.annotate.job import Job, predict
from fullframe.body import load_body
from fullframe.io.workdir import WorkDir
from fullframe.models import ENCODERS, create_model, load_model, save_checkpoint

__all__ = ["photos", "samples"]


@pytest.fixture(autouse=True, scope="module")
def tiny_encoder():
    ENCODERS["tiny"] = tiny.ENCODER
    yield
    del ENCODERS["tiny"]


@pytest.fixture(scope="module")
def checkpoint(tiny_encoder, tmp_path_factory) -> Path:
    """A network that knows nothing."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    model = create_model("cliff", encoder="tiny", crop=(48, 36), num_betas=11)
    save_checkpoint(model, path, body="open", data="nothing", licence="none", metrics={})
    return path


@pytest.fixture(scope="module")
def body():
    return load_body(num_betas=11)


@pytest.fixture
def job(checkpoint, samples, body, tmp_path) -> Iterator[Job]:
    """The people, ready for a method."""
    network = load_model(checkpoint).network
    with WorkDir(tmp_path / "work", {}) as work:
        shards = work.shards("reading_photos", size=2, count=len(samples))
        crops, problems, _ = prepare(samples, "coco17", shards, network)
        assert not problems
        yield Job(crops, body, network, predict(network, crops, work), work, "method")

import pytest
import tiny

from fullframe.models import ENCODERS


@pytest.fixture(autouse=True, scope="module")
def tiny_encoder():
    """A network that trains in seconds, known to the tests of this folder only."""
    ENCODERS["tiny"] = tiny.ENCODER
    yield
    del ENCODERS["tiny"]

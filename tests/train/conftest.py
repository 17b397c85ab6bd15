import pytest
from tiny import tiny_encoder

__all__ = ["tiny_encoder"]


@pytest.fixture(autouse=True)
def messages(caplog):
    """Messages of level INFO are part of a run."""
    caplog.set_level("INFO", logger="fullframe")

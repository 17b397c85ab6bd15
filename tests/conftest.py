import os
from pathlib import Path

import pytest
import torch
from browsers import chromium, page, service
from hypothesis import settings

# One browser for all folders: Playwright runs once in a process.
__all__ = ["chromium", "page", "service"]

ROOT = Path(__file__).parents[1]

# Small problems: a second thread costs more than it helps, and one gives the same numbers everywhere.
torch.set_num_threads(1)

# A first call may compile, and other programs may use the cores.
settings.register_profile("fullframe", deadline=None)
settings.load_profile("fullframe")

SLOW_FIXTURES = {"chromium", "two_cpus"}
"""A browser, and a Ray cluster: all tests that use them are slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def photo_path() -> Path:
    """A real photo with three people."""
    return ROOT / "src/fullframe/assets/demo/three_people.jpg"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that is not in the repository; tests that need it are skipped without."""
    folder = Path(os.environ.get("FULLFRAME_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs the folder {folder} (set FULLFRAME_SHARED to where it is)")
    return folder

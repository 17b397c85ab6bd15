"""Ray on this computer."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def two_ray_cpus(**environment: str) -> Iterator[None]:
    """Ray on two cores of this computer, whose workers have more environment variables; skips without Ray."""
    ray = pytest.importorskip("ray", reason="needs the extra scale")
    pytest.importorskip("ray.data", reason="needs the extra scale")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else other tests have all cores
        for name, value in environment.items():
            patch.setenv(name, value)
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=400 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
        ray.shutdown()

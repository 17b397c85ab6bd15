"""Shards computed with Ray Data, on the cores of this computer or of a cluster. Needs the extra `scale`."""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fullframe.io.workdir import Span, Workers

TASKS = 4096
"""The most tasks; with more shards, each task computes several."""


@contextmanager
def ray_workers(address: str) -> Iterator[Workers]:
    """Workers on every core of a Ray cluster, for `Shards.compute`.

    All nodes of a cluster must see the photos and the work folder under the same paths, and have the same
    version of fullframe. A killed worker is replaced, and its unfinished shard is computed again.

    Args:
        address: local, for the cores of this computer; auto, for the cluster that it belongs to; or host:port
            of a cluster's head. If this process has called ray.init already, that cluster is used.

    Raises:
        ImportError: Ray is not installed; says how to.
        ConnectionError: there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # by default Ray sends reports
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(
            f"--ray needs one more package ({error}): pip install 'fullframe[scale]'"
        ) from error
    joined = ray.is_initialized()
    if not joined:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            ray.init(address=address, **quiet, **({"include_dashboard": False} if address == "local" else {}))
        except Exception as error:  # Ray raises bare ones too
            raise ConnectionError(
                f"--ray {address}: no Ray cluster there ({error}); start one with `ray start`, or use local"
            ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield _on_ray
    finally:
        if not joined:
            ray.shutdown()


def _on_ray(make: Callable[[int, int], None], spans: Sequence[Span]) -> Iterator[Span]:
    """Workers: Ray tasks, in any order."""
    import ray

    if not spans:
        return
    shared = ray.put(make)  # once, however many tasks there are

    def task(row: dict[str, Any]) -> dict[str, Any]:
        start, end = spans[int(row["id"])]
        try:
            _fetch(shared)(start, end)
        except Exception as error:  # Ray would pass on its text only
            return {"start": start, "end": end, "error": pickle.dumps(error)}
        return {"start": start, "end": end, "error": b""}

    tasks = ray.data.range(len(spans), override_num_blocks=min(len(spans), TASKS)).map(task)
    for row in tasks.iter_rows():
        if row["error"]:
            raise pickle.loads(row["error"])
        yield int(row["start"]), int(row["end"])


_fetched: dict[Any, Callable[[int, int], None]] = {}


def _fetch(shared: Any) -> Callable[[int, int], None]:
    """The shared function of a stage, unpickled once in each worker."""
    if shared not in _fetched:
        import ray
        import torch

        torch.set_num_threads(1)  # one worker a core
        _fetched.clear()
        _fetched[shared] = ray.get(shared)
    return _fetched[shared]

import multiprocessing
import os
import signal
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from fullframe.data.workers import worker_context


class Deadly(Dataset):
    """Its third sample kills the worker while it looks whether it should end."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> int:
        if index == 2:
            frame = sys._getframe()
            while "done_event" not in frame.f_locals:
                assert frame.f_back is not None
                frame = frame.f_back
            condition = getattr(frame.f_locals["done_event"], "_cond", None)
            if condition is not None:  # an event with a lock
                condition.acquire()
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def _load() -> None:
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        list(DataLoader(Deadly(), num_workers=2, multiprocessing_context=worker_context()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")
def test_a_killed_worker_does_not_stop_the_process() -> None:
    process = multiprocessing.get_context("fork").Process(target=_load)
    process.start()
    process.join(60)
    ended = process.exitcode
    process.kill()
    assert ended == 0


def test_workers_end_with_their_loader() -> None:
    batches = iter(DataLoader(range(100), num_workers=1, multiprocessing_context=worker_context()))
    before = set(multiprocessing.active_children())
    assert torch.equal(next(batches), torch.tensor([0]))
    (worker,) = before
    del batches
    worker.join(10)
    assert worker.exitcode == 0

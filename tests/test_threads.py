from collections.abc import Iterator

import pytest
import torch

from fullframe import threads as module
from fullframe.threads import concurrently, single_thread


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Of torch, and a pool that has not begun."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    module._pool.cache_clear()
    yield
    torch.set_num_threads(before)


def test_one_thread_within_and_as_before_after(two_threads: None) -> None:
    with single_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError), single_thread():
        raise ValueError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("threads", [1, 2])
def test_concurrent_calls_return_in_order_and_raise_their_errors(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert concurrently(lambda: 1, lambda: 2, lambda: 3) == [1, 2, 3]
        assert concurrently() == []
        # Calls of calls do not wait for threads that are all taken.
        nested = concurrently(*[lambda: concurrently(lambda: 1, lambda: 2)] * 3)
        assert nested == [[1, 2]] * 3
        with pytest.raises(ZeroDivisionError):
            concurrently(lambda: 1, lambda: 1 // 0)
    finally:
        torch.set_num_threads(before)


def test_threads_of_the_pool_keep_their_number(two_threads: None) -> None:
    """Whatever is set before they first ask for it: else calls of calls wait for threads that are taken."""
    concurrently(lambda: None, lambda: None)
    with single_thread():
        pass  # sets two again, after the pool's threads have begun
    assert concurrently(*[torch.get_num_threads] * 4) == [1] * 4


def test_calls_of_calls_wait_for_no_thread(two_threads: None) -> None:
    """Even where torch has more threads in the pool's."""

    def call() -> list[int]:
        torch.set_num_threads(2)
        return concurrently(lambda: 1, lambda: 2)

    assert concurrently(*[call] * 3) == [[1, 2]] * 3

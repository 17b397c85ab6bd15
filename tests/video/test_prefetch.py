import threading
import time
from collections.abc import Iterator

import pytest
import torch

from fullframe.video.prefetch import ordered_map, prefetch, prefetch_depth


def test_ahead_keeps_order_and_never_runs_far_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    taken = []
    for item in prefetch(items(), 3):
        taken.append(item)
        time.sleep(0.001)
        assert len(made) <= len(taken) + 3 + 1  # three wait, and one is in hand
    assert taken == list(range(50))


def test_ahead_works_in_another_thread_that_ends_when_closed() -> None:
    threads = set()

    def items() -> Iterator[int]:
        while True:
            threads.add(threading.current_thread())
            yield 1

    some = prefetch(items(), 2)
    next(some)
    some.close()
    (thread,) = threads
    assert thread is not threading.current_thread() and not thread.is_alive()


def test_errors_come_where_the_items_are_taken() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    some = prefetch(items(), 2)
    assert next(some) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(some)

    def work(item: int) -> int:
        return 1 // item

    results = ordered_map(work, [1, 1, 0, 1], 2)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_in_order_works_at_several_and_keeps_their_order() -> None:
    together = threading.Barrier(2, timeout=10)

    def work(item: int) -> int:
        together.wait()  # passes only when two are at work at once
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(ordered_map(work, range(20), 2)) == [i * i for i in range(20)]


def test_in_order_takes_no_more_items_than_allowed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(30):
            taken.append(i)
            yield i

    for number, _ in enumerate(ordered_map(lambda item: item, items(), 2, ahead=3), 1):
        assert len(taken) <= number + 2 + 3


def test_torch_keeps_its_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        results = ordered_map(lambda item: torch.get_num_threads(), range(4), 2)
        assert next(results) == 1 and torch.get_num_threads() == 1
        results.close()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_large_frames_wait_in_small_numbers() -> None:
    assert (
        prefetch_depth((64, 64)) == 8
        and prefetch_depth((1920, 1080)) == 4
        and prefetch_depth((4096, 2304)) == 1
    )

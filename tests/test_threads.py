import pytest
import torch

from fullframe.threads import concurrently, single_thread


def test_one_thread_within_and_as_before_after() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with single_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError), single_thread():
            raise ValueError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


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

"""Many small things at the same time."""

import threading

import pytest

from chalicelib.aws.threads import THREADS, Each, in_threads, in_turn
from chalicelib.core.log import _context, log_context


@pytest.mark.parametrize("each", [in_threads, in_turn])
def test_results_come_in_order(each: Each) -> None:
    assert each(lambda number: number * 2, range(100)) == list(range(0, 200, 2))
    assert each(str, []) == []
    assert each(str, [1]) == ["1"]


def test_threads_work_at_the_same_time() -> None:
    # Given work that ends only when as many are at it as there are threads
    together = threading.Barrier(THREADS, timeout=5)
    assert len(in_threads(lambda _: together.wait(), range(THREADS))) == THREADS


def test_an_error_does_not_keep_the_others_from_their_end() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 0:
            raise ValueError("first")
        done.append(number)

    with pytest.raises(ValueError, match="first"):
        in_threads(work, range(50))
    assert sorted(done) == list(range(1, 50))


def test_log_lines_keep_their_context() -> None:
    with log_context(requestId="r"):
        seen = in_threads(lambda _: _context.get()["requestId"], range(5))
    assert seen == ["r"] * 5

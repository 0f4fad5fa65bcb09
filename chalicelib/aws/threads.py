"""Doing many small things at the same time: calls to AWS wait more than they work."""

from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import Protocol, TypeVar

THREADS = 16
"""Below the number of connections that a client keeps (`wiring`)."""
A = TypeVar("A")
B = TypeVar("B")


class Each(Protocol):
    """`each(work, values)`: what `work` gives for each of `values`, in order."""

    def __call__(self, work: Callable[[A], B], values: Iterable[A]) -> list[B]: ...


def in_threads(work: Callable[[A], B], values: Iterable[A]) -> list[B]:
    """Up to `THREADS` at a time, each in the run's context, which has its deadline. Should `work`
    raise, the others still come to their end, and the first error is raised then."""
    all_values = list(values)
    if len(all_values) <= 1:
        return in_turn(work, all_values)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(THREADS, len(all_values))) as pool:
        futures = [pool.submit(copy_context().run, work, value) for value in all_values]
    return [future.result() for future in futures]


def in_turn(work: Callable[[A], B], values: Iterable[A]) -> list[B]:
    """One after the other."""
    return [work(value) for value in values]

"""The time by which a run has to be over, which every AWS call keeps to.

A middleware of `Api` takes it from Lambda's context when a run begins, and the clients of `wiring`
look at it before each attempt. It is part of the context (`contextvars`), so threads that work for
the run must be given a copy of that; what they have not begun when time is up fails at once.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_until: ContextVar[float] = ContextVar("eventline-deadline", default=math.inf)


def seconds_left() -> float:
    """The seconds until the deadline; infinite when there is none."""
    return _until.get() - time.monotonic()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let what is done in the block be over in `seconds`, or earlier if that was asked before."""
    token = _until.set(min(_until.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _until.reset(token)

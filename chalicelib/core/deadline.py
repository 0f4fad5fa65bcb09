"""The time by which a run has to be over, which every AWS call keeps to.

A middleware of `Api` takes it from Lambda's context when a run begins, and the clients of `wiring`
look at it before each attempt. It is part of the context (`contextvars`), so threads that work for
the run must be given a copy of that; what they have not begun when time is up fails at once.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

ANSWER_SECONDS = 5.0
"""What the API keeps of its time: for a cold start, which the gateway counts and Lambda does not,
for the back-off and the TLS handshake that a last attempt may come with, and for the answer."""
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


def keep_deadline(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """Chalice's middleware: run a handler within the time that Lambda gives it.

    A request's handler gets `ANSWER_SECONDS` less. No limit where the context tells no time.
    """
    is_request = hasattr(event, "lambda_context")
    context = event.lambda_context if is_request else event.context
    ask = getattr(context, "get_remaining_time_in_millis", None)
    if ask is None:
        return get_response(event)
    with within(ask() / 1000 - (ANSWER_SECONDS if is_request else 0)):
        return get_response(event)

"""Processors, by event type. Add your own here.

A processor is a plain function from an event to the data of its silver document:

    def order_created(event: Incoming) -> Any:
        return {**event.data, "total": sum(line["price"] for line in event.data["lines"])}

    PROCESSORS = {"order.created": order_created, ...}

A key is a type, or a prefix such as `order.*`; an exact type wins, then the longest prefix. A type
without a processor keeps its data unchanged. Raise `PermanentError` when a retry cannot help; any
other error is retried with back-off. A processor may run more than once for an event (the silver
document is still written once), so the calls that it makes should be idempotent.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from chalicelib.core.errors import PermanentError, TransientError
from chalicelib.core.media_types import JSON
from chalicelib.core.strict_json import parse_json
from chalicelib.events import cloudevents
from chalicelib.events.model import Event


class Incoming(Struct, frozen=True):
    """What a processor sees: the event's facts, its payload as JSON, and which attempt this is."""

    event: Event
    data: Any
    """A JSON value; for a CloudEvent's data in another format its text, or base64 of its bytes. A
    number with a fraction or an exponent is a float; one with more digits than a double holds is a
    `LongNumber`, which the result keeps as it was sent."""
    attempt: int


Processor = Callable[[Incoming], Any]


def as_it_came(incoming: Incoming) -> Any:
    """The data unchanged."""
    return incoming.data


def drill(incoming: Incoming) -> Any:
    """Fail on demand, so that an operator can rehearse failures on a live stage.

    `eventline.drill.permanent` fails for good; `eventline.drill.transient` fails `failures` times
    (a field of the payload, default 2) and then succeeds; `eventline.drill.crash` raises an
    unforeseen error; any other drill succeeds.
    """
    kind = incoming.event.event_type.removeprefix("eventline.drill.")
    failures = incoming.data.get("failures", 2)
    if kind == "permanent":
        raise PermanentError("a drill that fails for good", code="drill")
    if kind == "transient" and isinstance(failures, int) and incoming.attempt <= failures:
        raise TransientError(f"a drill that fails {failures} times", code="drill")
    if kind == "crash":
        raise RuntimeError("a drill with an unforeseen error")
    return incoming.data


PROCESSORS: Mapping[str, Processor] = {
    "eventline.drill.*": drill,
}


def find_processor(event_type: str, processors: Mapping[str, Processor]) -> Processor:
    """The processor for a type."""
    if event_type in processors:
        return processors[event_type]
    prefixes = [
        name for name in processors if name.endswith("*") and event_type.startswith(name[:-1])
    ]
    return processors[max(prefixes, key=len)] if prefixes else as_it_came


def read_data(event: Event, payload: bytes) -> tuple[Any, bool]:
    """(the data that a processor sees, whether it is base64)."""
    if event.content_type == JSON and event.cloud_event is None:
        return parse_json(payload, exact=True), False
    return cloudevents.read_data(event.content_type, payload)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TransientError` in the block after `seconds`, so that an event that hangs leaves time
    to the others of its batch. Works in the main thread, where Lambda runs handlers; elsewhere
    there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(_signal: int, _frame: object) -> None:
        raise TransientError(f"not done after {seconds:.1f} s", code="time-out")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

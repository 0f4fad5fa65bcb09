"""Which processor an event gets, and for how long."""

import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib.core.errors import PermanentError, TransientError
from chalicelib.events.processors import (
    PROCESSORS,
    Incoming,
    Processor,
    as_it_came,
    drill,
    find_processor,
    time_limit,
)
from tests.support.factories import make_event


def named(name: str) -> Processor:
    """A processor that says its name."""
    return lambda _incoming: name


TABLE: Mapping[str, Processor] = {
    pattern: named(pattern)
    for pattern in ("order.created", "order.*", "order.item.*", "order.item", "*.x")
}


@pytest.mark.parametrize(
    ("event_type", "pattern"),
    [
        ("order.created", "order.created"),
        ("order.created.late", "order.*"),
        ("order.deleted", "order.*"),
        ("order.item", "order.item"),
        ("order.item.added", "order.item.*"),
        ("order.", "order.*"),
        ("*.x", "*.x"),
    ],
)
def test_the_exact_type_wins_then_the_longest_prefix(event_type: str, pattern: str) -> None:
    incoming = Incoming(make_event(event_type=event_type), {}, 1)
    assert find_processor(event_type, TABLE)(incoming) == pattern


@pytest.mark.parametrize("event_type", ["order", "orders.created", "a.x", "Order.created", ""])
def test_a_type_without_a_processor_keeps_its_data_unchanged(event_type: str) -> None:
    assert find_processor(event_type, TABLE) is as_it_came
    data = {"a": [1]}
    assert as_it_came(Incoming(make_event(), data, 1)) is data


def test_a_star_alone_is_for_every_type() -> None:
    everything = named("all")
    assert find_processor("anything", {"*": everything, "order.*": named("order")}) is everything


def _drill(kind: str, attempt: int = 1, **data: Any) -> Any:
    event = make_event(event_type=f"eventline.drill.{kind}")
    assert find_processor(event.event_type, PROCESSORS) is drill
    return drill(Incoming(event, data, attempt))


def test_drills_fail_as_their_name_says() -> None:
    with pytest.raises(PermanentError):
        _drill("permanent")
    with pytest.raises(RuntimeError):
        _drill("crash")
    assert _drill("anything", a=1) == {"a": 1}


def test_a_transient_drill_fails_as_often_as_asked() -> None:
    for attempt in (1, 2):
        with pytest.raises(TransientError):
            _drill("transient", attempt)
    assert _drill("transient", 3) == {}
    assert _drill("transient", 1, failures=0) == {"failures": 0}
    with pytest.raises(TransientError):
        _drill("transient", 4, failures=4)


def test_a_drill_with_an_odd_payload_succeeds() -> None:
    assert _drill("transient", 1, failures="many") == {"failures": "many"}


def test_what_takes_too_long_is_stopped() -> None:
    began = time.monotonic()
    with pytest.raises(TransientError) as caught, time_limit(0.05):
        time.sleep(5)
    assert caught.value.code == "time-out"
    assert time.monotonic() - began < 2


def test_what_is_in_time_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(0.05):
        pass
    time.sleep(0.08)
    assert signal.getsignal(signal.SIGALRM) is before


def test_the_alarm_is_off_after_an_error() -> None:
    with pytest.raises(ValueError, match="x"), time_limit(0.05):
        raise ValueError("x")
    time.sleep(0.08)


def test_elsewhere_than_in_the_main_thread_there_is_no_limit() -> None:
    done: list[bool] = []

    def run() -> None:
        with time_limit(0.01):
            time.sleep(0.05)
        done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(5)
    assert done == [True]

"""What the ledger says of silver documents, corrected under its conditions; and the window."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from chalicelib.core import clock
from chalicelib.events import ledger
from chalicelib.events.model import Dispatch, Record, Status, Step
from chalicelib.recovery.compare import REMADE, point_at
from tests.support.factories import NOON, make_done, make_event, unique
from tests.support.fake_results import fake_point_at
from tests.support.fake_stores import FakeEventStore
from tests.support.store_backends import Backend

LATER = "2026-03-14T13:00:00.000Z"


def point_at_in(backend: Backend) -> Callable[[Record, str, str], bool]:
    """`point_at` on the backend's ledger."""
    if isinstance(backend.ledger, FakeEventStore):
        return fake_point_at(backend.ledger._aws)
    return partial(point_at, backend.replays._table)


def processed(backend: Backend) -> Record:
    """An event that is PROCESSED, with its document in the file of a unit."""
    event = make_event(owner=unique("owner"), s3_range="bytes=0-9")
    backend.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    dispatch = Dispatch(event.received_at, noted=False)
    done = make_done(event, "2026-03-14T12:00:01.000Z", silver_key="file", silver_range="bytes=0-1")
    backend.ledger.mark_processed(done, dispatch, event)
    record = backend.ledger.get(event.event_id)
    assert record is not None
    return record


def test_an_event_is_pointed_at_a_document_of_its_own(aws_backends: Backend) -> None:
    before = processed(aws_backends)
    aws_backends.calls.clear()
    assert point_at_in(aws_backends)(before, "own", LATER)
    assert aws_backends.calls == ["UpdateItem"]
    after = aws_backends.ledger.get(before.event.event_id)
    assert after is not None
    assert (after.silver_key, after.silver_range) == ("own", None)
    assert after.silver_bucket == before.silver_bucket
    assert (after.status, after.updated_at) == (Status.PROCESSED, LATER)
    assert after.attempts == before.attempts
    assert after.event == before.event
    assert after.timeline[:-1] == before.timeline
    assert after.timeline[-1] == {"status": "PROCESSED", "at": LATER, "detail": REMADE}


def test_an_event_that_moved_on_is_left_alone(aws_backends: Backend) -> None:
    # Given two who have read the same entry
    before, point = processed(aws_backends), point_at_in(aws_backends)
    assert point(before, "own", LATER)
    seen = aws_backends.ledger.get(before.event.event_id)
    # Then the second changes nothing
    assert not point(before, "other", LATER)
    assert aws_backends.ledger.get(before.event.event_id) == seen


def test_an_event_that_is_not_processed_or_not_there_is_left_alone(aws_backends: Backend) -> None:
    event = make_event()
    open_one = Record(event, Status.ENQUEUED, event.received_at, "bronze", silver_key="file")
    point = point_at_in(aws_backends)
    assert not point(open_one, "own", LATER)
    assert aws_backends.ledger.get(event.event_id) is None
    aws_backends.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    assert not point(open_one, "own", LATER)


def test_a_window_of_the_ledger_comes_in_order_whatever_the_status(aws_backends: Backend) -> None:
    # Given events of every status at their own times, on a day that no other test has
    day = NOON + timedelta(days=4000)
    events = [make_event(at=day + timedelta(seconds=n)) for n in range(12)]
    for number, event in enumerate(events):
        status = list(Status)[number % len(Status)]
        aws_backends.ledger.add(event, [Step(status, event.received_at)])
    keys = [f"{event.received_at}#{event.event_id}" for event in events]
    # When a window is read in pages
    until = clock.to_text(day + timedelta(seconds=10))
    pages = list(aws_backends.index.between(clock.to_text(day), until, 4))
    # Then they come in order, without what is of the end itself or later
    assert [len(page) for page in pages] == [4, 4, 2]
    assert [entry.list_key for page in pages for entry in page] == keys[:10]
    assert [entry.event_id for page in pages for entry in page] == [
        event.event_id for event in events[:10]
    ]
    # And from where it was left
    rest = [entry for page in aws_backends.index.between(keys[3], until, 100) for entry in page]
    assert [entry.list_key for entry in rest] == keys[4:10]


def test_a_long_window_is_read_to_its_end(
    aws_backends: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_SCAN_PAGE", 3)
    day = NOON + timedelta(days=5000)
    events = [make_event(at=day + timedelta(milliseconds=n)) for n in range(60)]
    for start in range(0, 60, 20):
        aws_backends.ledger.add_new(events[start : start + 20])
    after, until = clock.to_text(day), clock.to_text(day + timedelta(seconds=1))
    found = [entry for page in aws_backends.index.between(after, until, 7) for entry in page]
    assert [entry.event_id for entry in found] == [event.event_id for event in events]
    assert list(aws_backends.index.between(until, "2999", 7)) == []

"""The ledger's conditional writes."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from chalicelib.events.ledger import EventStore
from chalicelib.events.model import Dispatch, Event, Failure, Listing, Status, Step
from tests.support.factories import NOON, make_event, make_id, unique
from tests.support.store_backends import Backend

RECEIVED_AT = "2026-03-14T12:00:00.000Z"
SENT_AT = "2026-03-14T12:00:00.005Z"
DONE_AT = "2026-03-14T12:00:01.000Z"
LATER = "2026-03-14T13:00:00.000Z"
RECEIVED = Step(Status.RECEIVED, RECEIVED_AT)
ENQUEUED = Step(Status.ENQUEUED, SENT_AT)
NOTED = Dispatch(SENT_AT, noted=True)
NOT_NOTED = Dispatch(SENT_AT, noted=False)
FAILURE = Failure("transient", "SlowDown", "AWS did not do what was asked")


def fail(
    backend: Backend, event: Event, at: str, *, final: bool, dispatch: Dispatch = NOTED
) -> bool:
    """A failed attempt at `event`."""
    return backend.ledger.mark_attempt_failed(event, at, FAILURE, final, dispatch)


def test_an_added_event_is_read_back_as_it_was(aws_backends: Backend) -> None:
    event = make_event(event_type="größer/than", subject="rechnung 7", source="urn:x", at=NOON)

    assert aws_backends.ledger.add(event, [RECEIVED, ENQUEUED]) is None

    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert record.event == event
    assert record.status is Status.ENQUEUED
    assert record.updated_at == SENT_AT
    assert (record.attempts, record.requeues, record.last_error) == (0, 0, None)
    assert record.timeline == (RECEIVED.to_dict(), ENQUEUED.to_dict())
    assert aws_backends.calls == ["PutItem", "GetItem"]


def test_an_event_without_a_subject_is_read_back_without_one(aws_backends: Backend) -> None:
    event = make_event(subject=None)
    aws_backends.ledger.add(event, [RECEIVED])
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert record.event.subject is None


def test_adding_an_id_again_gives_the_first_record_and_changes_nothing(
    aws_backends: Backend,
) -> None:
    # Given an event in the ledger
    first = make_event(payload=b'{"eventType":"demo","n":1}')
    aws_backends.ledger.add(first, [RECEIVED])
    # When another comes with its id
    second = make_event(event_id=first.event_id, payload=b'{"eventType":"demo","n":2}')
    before = aws_backends.ledger.add(second, [RECEIVED, ENQUEUED])
    # Then the first one stays
    assert before is not None
    assert before.event == first
    assert before.status is Status.RECEIVED
    assert aws_backends.ledger.get(first.event_id) == before


def test_an_unknown_event_is_none(aws_backends: Backend) -> None:
    assert aws_backends.ledger.get(make_id()) is None


def test_get_many_gives_those_that_exist(aws_backends: Backend) -> None:
    # Given more events than one call may ask for
    events = [make_event() for _ in range(120)]
    for event in events:
        aws_backends.ledger.add(event, [RECEIVED])
    aws_backends.calls.clear()
    # When they are asked for together with one that is not there
    asked = [event.event_id for event in events] + [make_id()]
    found = aws_backends.ledger.get_many(asked)
    # Then exactly they are found, a hundred a call
    assert {id_: record.event for id_, record in found.items()} == {
        event.event_id: event for event in events
    }
    assert aws_backends.calls == ["BatchGetItem"] * 2


def test_get_many_of_nothing_makes_no_call(aws_backends: Backend) -> None:
    assert aws_backends.ledger.get_many([]) == {}
    assert aws_backends.calls == []


@pytest.mark.parametrize("before", [[RECEIVED], [RECEIVED, ENQUEUED]])
def test_an_open_event_turns_processed_once(aws_backends: Backend, before: list[Step]) -> None:
    # Given an event that is open
    event = make_event()
    aws_backends.ledger.add(event, before)
    aws_backends.calls.clear()
    # When it is processed twice
    first = aws_backends.ledger.mark_processed(event, DONE_AT, "silver", "silver/k", NOTED)
    second = aws_backends.ledger.mark_processed(event, LATER, "silver", "silver/other", NOTED)
    # Then the first one counts
    assert (first, second) == (True, False)
    assert aws_backends.calls == ["UpdateItem"] * 2
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert record.status is Status.PROCESSED
    assert (record.silver_bucket, record.silver_key) == ("silver", "silver/k")
    assert (record.updated_at, record.attempts) == (DONE_AT, 1)
    done = Step(Status.PROCESSED, DONE_AT)
    assert record.timeline == tuple(step.to_dict() for step in [*before, done])


def test_steps_the_ledger_lacks_are_added(aws_backends: Backend) -> None:
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED])
    aws_backends.ledger.mark_processed(event, DONE_AT, "silver", "silver/k", NOT_NOTED)
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert [entry["status"] for entry in record.timeline] == ["RECEIVED", "ENQUEUED", "PROCESSED"]


def test_a_hand_over_is_noted_only_while_the_ledger_lacks_it(aws_backends: Backend) -> None:
    # Given an event that reconcile sent again, since its message took long
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED])
    seen = aws_backends.ledger.get(event.event_id)
    assert seen is not None
    aws_backends.ledger.mark_requeued(seen, DONE_AT, "sent again")
    # When the first message arrives after all
    aws_backends.ledger.mark_processed(event, LATER, "silver", "silver/k", NOT_NOTED)
    # Then the timeline does not go back to when that was sent
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert [entry["at"] for entry in record.timeline] == [RECEIVED_AT, DONE_AT, LATER]


@pytest.mark.parametrize("dispatch", [NOTED, NOT_NOTED])
def test_processing_an_event_the_ledger_lacks_adds_it(
    aws_backends: Backend, dispatch: Dispatch
) -> None:
    # Given a worker that is faster than the API
    event = make_event()
    # When it is done
    assert aws_backends.ledger.mark_processed(event, DONE_AT, "silver", "silver/k", dispatch)
    # Then the whole story is in the ledger, and the API's own entry comes too late
    assert aws_backends.calls == ["UpdateItem", "PutItem"]
    before = aws_backends.ledger.add(event, [RECEIVED, ENQUEUED])
    assert before is not None
    assert before.event == event
    assert before.status is Status.PROCESSED
    assert before.attempts == 1
    assert before.silver_key == "silver/k"
    assert [entry["status"] for entry in before.timeline] == ["RECEIVED", "ENQUEUED", "PROCESSED"]


def test_a_failed_attempt_leaves_the_event_open(aws_backends: Backend) -> None:
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED, ENQUEUED])

    assert aws_backends.ledger.mark_attempt_failed(
        event, DONE_AT, FAILURE, final=False, dispatch=NOTED
    )

    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert record.status is Status.ENQUEUED
    assert record.attempts == 1
    assert record.last_error == FAILURE.to_dict()
    assert record.timeline[-1] == {
        "status": "ENQUEUED",
        "at": DONE_AT,
        "detail": "attempt failed: transient SlowDown",
    }


def test_the_last_failed_attempt_ends_it(aws_backends: Backend) -> None:
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED, ENQUEUED])

    assert aws_backends.ledger.mark_attempt_failed(
        event, DONE_AT, FAILURE, final=True, dispatch=NOTED
    )
    assert not aws_backends.ledger.mark_attempt_failed(
        event, LATER, FAILURE, final=True, dispatch=NOTED
    )
    assert not aws_backends.ledger.mark_attempt_failed(
        event, LATER, FAILURE, final=False, dispatch=NOTED
    )

    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert (record.status, record.updated_at, record.attempts) == (Status.FAILED, DONE_AT, 1)


def test_a_failed_attempt_at_an_event_the_ledger_lacks_adds_it(aws_backends: Backend) -> None:
    event = make_event()
    assert aws_backends.ledger.mark_attempt_failed(
        event, DONE_AT, FAILURE, final=True, dispatch=NOT_NOTED
    )
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert record.status is Status.FAILED
    assert record.last_error == FAILURE.to_dict()
    assert record.attempts == 1


def test_a_processed_event_does_not_fail(aws_backends: Backend) -> None:
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED])
    aws_backends.ledger.mark_processed(event, DONE_AT, "silver", "silver/k", NOTED)
    assert not aws_backends.ledger.mark_attempt_failed(
        event, LATER, FAILURE, final=True, dispatch=NOTED
    )
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert record.status is Status.PROCESSED
    assert record.last_error is None


def test_a_failed_event_may_still_be_processed(aws_backends: Backend) -> None:
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED])
    fail(aws_backends, event, DONE_AT, final=True)
    assert aws_backends.ledger.mark_processed(event, LATER, "silver", "silver/k", NOTED)


@pytest.mark.parametrize("before", [[RECEIVED], [RECEIVED, ENQUEUED]])
def test_sending_again_is_noted_once_for_what_was_seen(
    aws_backends: Backend, before: list[Step]
) -> None:
    # Given two runs that see the same stuck event
    event = make_event()
    aws_backends.ledger.add(event, before)
    seen = aws_backends.ledger.get(event.event_id)
    assert seen is not None
    # When both note that they sent it
    aws_backends.calls.clear()
    first = aws_backends.ledger.mark_requeued(seen, DONE_AT, "sent again")
    second = aws_backends.ledger.mark_requeued(seen, LATER, "sent again")
    # Then the first one's note is kept
    assert (first, second) == (True, False)
    assert aws_backends.calls == ["UpdateItem"] * 2
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert (record.status, record.requeues, record.updated_at) == (Status.ENQUEUED, 1, DONE_AT)
    assert record.timeline[-1] == {"status": "ENQUEUED", "at": DONE_AT, "detail": "sent again"}
    assert record.attempts == 0


def test_giving_up_yields_to_a_worker_that_was_faster(aws_backends: Backend) -> None:
    # Given a stuck event that a worker finishes while reconcile looks at it
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED])
    seen = aws_backends.ledger.get(event.event_id)
    assert seen is not None
    aws_backends.ledger.mark_processed(event, DONE_AT, "silver", "silver/k", NOTED)
    # When reconcile gives it up
    given_up = aws_backends.ledger.mark_given_up(seen, LATER, FAILURE)
    # Then it stays processed
    assert not given_up
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert record.status is Status.PROCESSED


def test_giving_up_says_why(aws_backends: Backend) -> None:
    event = make_event(at=NOON + timedelta(seconds=1))
    aws_backends.ledger.add(event, [RECEIVED])
    seen = aws_backends.ledger.get(event.event_id)
    assert seen is not None
    failure = Failure("stuck", "requeue-limit", "not processed")
    assert aws_backends.ledger.mark_given_up(seen, LATER, failure)
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert record.status is Status.FAILED
    assert record.last_error == failure.to_dict()
    assert record.timeline[-1]["detail"] == "gave up: requeue-limit"


def test_new_events_are_written_many_a_call(aws_backends: Backend) -> None:
    # Given as many events of a unit as one call takes
    events = [make_event(s3_range=f"bytes={n}-{n}", at=NOON) for n in range(EventStore.NEW_AT_ONCE)]
    # When they are added without a look
    assert aws_backends.ledger.add_new(events) == set()
    # Then each reads as if it had been added alone
    assert aws_backends.calls == ["BatchWriteItem"]
    alone = make_event(s3_range="bytes=0-0", at=NOON)
    aws_backends.ledger.add(alone, [RECEIVED])
    record = aws_backends.ledger.get(alone.event_id)
    assert record is not None
    found = aws_backends.ledger.get_many([event.event_id for event in events])
    assert {id_: one.event for id_, one in found.items()} == {
        event.event_id: event for event in events
    }
    assert all(replace(one, event=alone) == record for one in found.values())


def test_new_events_are_listed_like_all_others(aws_backends: Backend) -> None:
    event = make_event(owner=unique("owner"), s3_range="bytes=0-0")
    aws_backends.ledger.add_new([event])
    page = aws_backends.index.newest(Listing(owner=event.owner, limit=10))
    assert [entry.event_id for entry in page.entries] == [event.event_id]


@pytest.mark.parametrize("is_known", [True, False])
def test_the_range_of_a_document_in_its_file_is_recorded(
    aws_backends: Backend, is_known: bool
) -> None:
    event = make_event(s3_range="bytes=10-20")
    if is_known:
        aws_backends.ledger.add_new([event])
    aws_backends.ledger.mark_processed(
        event, DONE_AT, "silver", "silver/unit", NOT_NOTED, silver_range="bytes=0-41"
    )
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert (record.silver_key, record.silver_range) == ("silver/unit", "bytes=0-41")
    assert record.event.s3_range == "bytes=10-20"

"""The ledger's conditional writes."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from chalicelib.events.keys import silver_key, unit_bronze_key, unit_silver_key
from chalicelib.events.ledger import EventStore, Standing
from chalicelib.events.model import Dispatch, Event, Failure, Listing, Record, Status, Step
from tests.support.factories import NOON, make_done, make_event, make_id, unique
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


def process(
    backend: Backend, event: Event, at: str = DONE_AT, dispatch: Dispatch = NOTED, **places: str
) -> Standing | None:
    """`event` is processed, its document being at `silver/k`."""
    done = make_done(event, at, **{"silver_key": "silver/k", **places})
    return backend.ledger.mark_processed(done, dispatch, event)


def find(backend: Backend, event: Event) -> Record:
    record = backend.ledger.get(event.event_id)
    assert record is not None
    return record


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
    first = process(aws_backends, event)
    second = process(aws_backends, event, LATER, silver_key="silver/other")
    # Then the first one counts, and the other learns which that was
    assert (first, second) == (None, Standing("silver/k"))
    assert process(aws_backends, event) == Standing("silver/k", is_own=True)
    assert aws_backends.calls == ["UpdateItem"] * 3
    record = aws_backends.ledger.get(event.event_id)
    assert record is not None
    assert record.status is Status.PROCESSED
    assert record.silver_bucket == aws_backends.lake.silver_bucket
    assert record.silver_key == "silver/k"
    assert (record.updated_at, record.attempts) == (DONE_AT, 1)
    done = Step(Status.PROCESSED, DONE_AT)
    assert record.timeline == tuple(step.to_dict() for step in [*before, done])


def test_steps_the_ledger_lacks_are_added(aws_backends: Backend) -> None:
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED])
    process(aws_backends, event, dispatch=NOT_NOTED)
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
    process(aws_backends, event, LATER, NOT_NOTED)
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
    assert process(aws_backends, event, dispatch=dispatch) is None
    # Then the whole story is in the ledger, and the API's own entry comes too late
    assert aws_backends.calls == ["UpdateItem", "PutItem"]
    before = aws_backends.ledger.add(event, [RECEIVED, ENQUEUED])
    assert before is not None
    assert before.event == event
    assert before.status is Status.PROCESSED
    assert before.attempts == 1
    assert before.silver_key == "silver/k"
    assert [entry["status"] for entry in before.timeline] == ["RECEIVED", "ENQUEUED", "PROCESSED"]


def test_who_does_not_know_an_event_does_not_add_it(aws_backends: Backend) -> None:
    event = make_event()
    assert aws_backends.ledger.mark_processed(make_done(event), NOTED, None) == Standing("")
    assert aws_backends.calls == ["UpdateItem"]
    assert aws_backends.ledger.get(event.event_id) is None


def test_who_does_not_know_an_event_ends_it_where_the_ledger_has_it(aws_backends: Backend) -> None:
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED], b"payload")
    done = make_done(event, DONE_AT, silver_key="silver/k")
    assert aws_backends.ledger.mark_processed(done, NOTED, None) is None
    record = find(aws_backends, event)
    assert (record.status, record.silver_key, record.payload) == (
        Status.PROCESSED, "silver/k", None,
    )  # fmt: skip
    assert aws_backends.ledger.mark_processed(done, NOTED, None) == Standing(
        "silver/k", is_own=True
    )


def test_of_two_units_with_one_document_the_ledger_names_the_one_that_noted_it(
    aws_backends: Backend,
) -> None:
    event, units = make_event(), [make_id(), make_id()]
    aws_backends.ledger.add(event, [RECEIVED])
    done = [replace(make_done(event, DONE_AT), unit_id=unit_id) for unit_id in units]
    assert aws_backends.ledger.mark_processed(done[0], NOTED, None) is None
    assert aws_backends.ledger.mark_processed(done[0], NOTED, None) == Standing("k", is_own=True)
    assert aws_backends.ledger.mark_processed(done[1], NOTED, None) == Standing("k")


def test_a_rejected_event_is_never_processed(aws_backends: Backend) -> None:
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED, Step(Status.REJECTED, RECEIVED_AT)])
    assert process(aws_backends, event) == Standing("")
    assert find(aws_backends, event).status is Status.REJECTED


@pytest.mark.parametrize(
    "payload", [b"{}", b"", bytes(range(256)), b'{"eventType":"demo","text":"%s"}' % (b"x" * 4000)]
)
def test_a_payload_stays_in_the_ledger_until_the_event_is_processed(
    aws_backends: Backend, payload: bytes
) -> None:
    # Given an event with its payload
    event = make_event(payload=payload)
    aws_backends.ledger.add(event, [RECEIVED], payload)
    assert find(aws_backends, event).payload == payload
    # When it is sent again, and an attempt fails
    aws_backends.ledger.mark_requeued(find(aws_backends, event), DONE_AT, "sent again")
    fail(aws_backends, event, DONE_AT, final=False)
    # Then it is still there, for whoever asks
    assert find(aws_backends, event).payload == payload
    assert aws_backends.ledger.get_many([event.event_id])[event.event_id].payload == payload
    before = aws_backends.ledger.add(event, [RECEIVED], b"another")
    assert before is not None
    assert before.payload == payload
    # And not shown as a field
    assert "payload" not in before.to_dict()
    # When it is processed, it is gone
    assert process(aws_backends, event, LATER) is None
    assert find(aws_backends, event).payload is None


def test_a_payload_leaves_the_ledger_when_the_event_ends_failed(aws_backends: Backend) -> None:
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED], b"payload")
    fail(aws_backends, event, DONE_AT, final=True)
    assert find(aws_backends, event).payload is None


def test_a_payload_leaves_the_ledger_when_the_event_is_given_up(aws_backends: Backend) -> None:
    event = make_event()
    aws_backends.ledger.add(event, [RECEIVED], b"payload")
    seen = find(aws_backends, event)
    assert aws_backends.ledger.mark_given_up(seen, event, LATER, FAILURE)
    assert find(aws_backends, event).payload is None


def test_a_failed_attempt_at_an_event_the_ledger_lacks_keeps_its_payload(
    aws_backends: Backend,
) -> None:
    event = make_event()
    ledger = aws_backends.ledger
    assert ledger.mark_attempt_failed(
        event, DONE_AT, FAILURE, final=False, dispatch=NOT_NOTED, payload=b"payload"
    )
    record = find(aws_backends, event)
    assert (record.status, record.attempts, record.payload) == (Status.ENQUEUED, 1, b"payload")
    steps = [entry["status"] for entry in record.timeline]
    assert steps == ["RECEIVED", "ENQUEUED", "ENQUEUED"]


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
    process(aws_backends, event)
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
    assert process(aws_backends, event, LATER) is None
    assert find(aws_backends, event).status is Status.PROCESSED


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
    process(aws_backends, event)
    # When reconcile gives it up
    given_up = aws_backends.ledger.mark_given_up(seen, event, LATER, FAILURE)
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
    assert aws_backends.ledger.mark_given_up(seen, event, LATER, failure)
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
    process(
        aws_backends, event, dispatch=NOT_NOTED, silver_key="silver/u", silver_range="bytes=0-41"
    )
    record = find(aws_backends, event)
    assert (record.silver_key, record.silver_range) == ("silver/u", "bytes=0-41")
    assert record.event.s3_range == "bytes=10-20"


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("is_alone", [True, False])
def test_the_place_of_a_gathered_payload_is_recorded(
    aws_backends: Backend, is_alone: bool, is_known: bool
) -> None:
    # Given an event whose payload the worker puts into a file with others
    event, unit_id = make_event(), make_id()
    if is_known:
        aws_backends.ledger.add(event, [RECEIVED], b"payload")
    bronze = unit_bronze_key(RECEIVED_AT, unit_id)
    silver = silver_key(event) if is_alone else unit_silver_key("demo", RECEIVED_AT, unit_id)
    placed = replace(event, s3_key=bronze, s3_range="bytes=7-11")
    # When it is processed, alone of its type or not
    places = {"silver_key": silver, "s3_key": bronze, "s3_range": "bytes=7-11"}
    done = make_done(
        event, DONE_AT, **places, **({} if is_alone else {"silver_range": "bytes=0-1"})
    )
    assert aws_backends.ledger.mark_processed(done, NOTED, placed) is None
    # Then the ledger says where it is
    record = find(aws_backends, event)
    assert record.event == placed
    assert (record.silver_key, record.silver_bucket) == (silver, aws_backends.lake.silver_bucket)


def test_the_place_of_a_payload_that_ended_failed_in_a_file_is_recorded(
    aws_backends: Backend,
) -> None:
    event = make_event()
    bronze = unit_bronze_key(RECEIVED_AT, make_id())
    placed = replace(event, s3_key=bronze, s3_range="bytes=7-11")
    aws_backends.ledger.add(event, [RECEIVED], b"payload")
    fail(aws_backends, placed, DONE_AT, final=True)
    assert find(aws_backends, event).event == placed
    # And the same for one that reconcile gave up
    other = make_event()
    aws_backends.ledger.add(other, [RECEIVED], b"payload")
    moved = replace(other, s3_key=bronze, s3_range="bytes=7-11")
    assert aws_backends.ledger.mark_given_up(find(aws_backends, other), moved, LATER, FAILURE)
    assert find(aws_backends, other).event == moved


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
@pytest.mark.parametrize("key", [None, "bronze/units/2026/03/14/x.ndjson"])
def test_what_an_item_leaves_out_is_there_when_it_is_read(
    aws_backends: Backend, content_type: str, key: str | None
) -> None:
    event = make_event(content_type=content_type, event_type="a/..")
    event = event if key is None else replace(event, s3_key=key, s3_range="bytes=0-1")
    aws_backends.ledger.add(event, [RECEIVED])
    places = {} if event.s3_range is None else {"s3_range": event.s3_range}
    done = make_done(event, DONE_AT, s3_key=event.s3_key, **places)
    assert aws_backends.ledger.mark_processed(done, NOTED, event) is None
    record = find(aws_backends, event)
    assert record.event == event
    assert record.s3_bucket == aws_backends.lake.bronze_bucket
    assert record.updated_at == DONE_AT
    assert aws_backends.ledger.get_many([event.event_id]) == {event.event_id: record}

"""Ingest: what is refused, what is kept, in which order, and what a repeat answers."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from chalicelib.aws.threads import in_threads, in_turn
from chalicelib.core import clock
from chalicelib.core.errors import (
    EventlineError,
    FieldError,
    IdempotencyConflictError,
    InvalidJsonError,
    InvalidRequestError,
    PayloadTooLargeError,
    SchemaViolationError,
)
from chalicelib.core.ids import keyed_event_id, sha256
from chalicelib.events.ingest import IngestDeps, ingest
from chalicelib.events.message import Parcel
from chalicelib.events.model import Dispatch, Status
from tests.support.factories import (
    NOON,
    Clock,
    decode_event,
    make_body,
    make_done,
    make_submission,
    no_schema,
)
from tests.support.fake_lake import FakeLake
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import FakeAws, FakeEventStore
from tests.support.faults import Fault, suffer
from tests.support.worker_on_fakes import refusing

LIMIT = 1000
INLINE = 500


class Platform:
    """Ingest on fakes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.aws = FakeAws(self.clock)
        self.queue = FakeQueue(self.aws)
        numbers = iter(range(1000))
        self.deps = IngestDeps(
            FakeEventStore(self.aws),
            FakeLake(self.aws),
            self.queue,
            no_schema,
            LIMIT,
            INLINE,
            now=self.clock,
            random=lambda count: next(numbers).to_bytes(count, "big"),
            each=in_turn,
        )

    def message(self) -> Parcel:
        """The one event of the one message on the queue."""
        (body,) = self.queue.sent
        return decode_event(body)


@pytest.fixture
def platform() -> Platform:
    return Platform()


def test_an_event_is_noted_with_its_payload_and_sent_in_two_calls(platform: Platform) -> None:
    # Given an event that names its source and subject
    body = b'{"eventType":"demo","source":"urn:shop","subject":"order 7","n":1}'
    # When it is sent
    receipt = ingest(make_submission(body), platform.deps)
    # Then it is in the ledger with its payload, and on the queue, and bronze is left to the worker
    assert platform.aws.calls == ["PutItem", "SendMessage"]
    record = platform.aws.records[receipt.event_id]
    assert not receipt.replayed
    assert record.status is Status.RECEIVED
    assert record.event.event_type == "demo"
    assert (record.event.source, record.event.subject) == ("urn:shop", "order 7")
    assert record.event.owner == "alice"
    assert record.event.received_at == platform.clock.text
    assert record.event.payload_sha256 == sha256(body)
    assert record.event.payload_bytes == len(body)
    assert [entry["status"] for entry in record.timeline] == ["RECEIVED"]
    assert record.payload == body
    assert platform.aws.objects == {}
    assert platform.message() == Parcel(record.event, body, in_bronze=False)


def test_ledger_and_queue_are_written_at_the_same_time(platform: Platform) -> None:
    # Given a ledger and a queue each of which waits for the other to be called
    both = threading.Barrier(2, timeout=5)

    def gate(_operation: str, effect: Callable[[], Any]) -> Any:
        both.wait()
        return effect()

    platform.aws.gate = gate
    # When an event without an identity is sent
    receipt = ingest(make_submission(), replace(platform.deps, each=in_threads))
    # Then neither waited in vain
    assert sorted(platform.aws.calls) == ["PutItem", "SendMessage"]
    assert platform.message().event == platform.aws.records[receipt.event_id].event


@pytest.mark.parametrize("key", [None, "k"])
def test_a_payload_over_the_inline_limit_goes_to_bronze_first(
    platform: Platform, key: str | None
) -> None:
    # Given payloads at the limit and beyond it
    frame = len(b'{"eventType":"demo","text":""}')
    small, large = (
        b'{"eventType":"demo","text":"' + b"x" * (size - frame) + b'"}'
        for size in (INLINE, INLINE + 1)
    )
    # When the first is sent
    record = platform.aws.records[ingest(make_submission(small), platform.deps).event_id]
    # Then it is in the ledger
    assert platform.aws.calls == ["PutItem", "SendMessage"]
    assert record.payload == small
    # When the other is sent
    platform.aws.calls.clear()
    platform.queue.sent.clear()
    receipt = ingest(make_submission(large, key=key), platform.deps)
    # Then it is in bronze, from where its event could be made again, and not in the ledger
    assert platform.aws.calls == ["PutObject", "PutItem", "SendMessage"]
    record = platform.aws.records[receipt.event_id]
    assert record.payload is None
    stored = platform.aws.objects["bronze", record.event.s3_key]
    assert (stored.body, stored.event) == (large, record.event)
    assert platform.message() == Parcel(record.event, large, in_bronze=True)


def test_a_stage_may_keep_no_payload_in_the_ledger(platform: Platform) -> None:
    receipt = ingest(make_submission(), replace(platform.deps, inline_bytes=0))
    assert platform.aws.calls == ["PutObject", "PutItem", "SendMessage"]
    assert platform.aws.records[receipt.event_id].payload is None
    assert platform.message().in_bronze


def test_a_keyed_event_claims_its_id_before_it_is_sent(platform: Platform) -> None:
    body = make_body()
    receipt = ingest(make_submission(body, key="k"), platform.deps)
    assert platform.aws.calls == ["PutItem", "SendMessage"]
    assert receipt.event_id == keyed_event_id("alice", "k")
    record = platform.aws.records[receipt.event_id]
    assert (record.status, record.payload) == (Status.RECEIVED, body)
    assert platform.message() == Parcel(record.event, body, in_bronze=False)


@pytest.mark.parametrize("value", [None, 7, "", " ", "a\nb", "x" * 257, ["a"], {"a": 1}])
def test_a_source_that_can_be_no_name_is_left_to_the_payload(
    platform: Platform, value: object
) -> None:
    body = json.dumps({"eventType": "demo", "source": value, "subject": value}).encode()
    receipt = ingest(make_submission(body), platform.deps)
    event = platform.aws.records[receipt.event_id].event
    assert (event.source, event.subject) == ("/events", None)


@pytest.mark.parametrize(
    ("body", "error", "pointer"),
    [
        (b"", InvalidJsonError, ""),
        (b"{", InvalidJsonError, ""),
        (b'{"eventType":"demo","n":NaN}', InvalidJsonError, ""),
        (b"[]", InvalidRequestError, ""),
        (b'"demo"', InvalidRequestError, ""),
        (b"null", InvalidRequestError, ""),
        (b"{}", InvalidRequestError, "/eventType"),
        (b'{"eventType":null}', InvalidRequestError, "/eventType"),
        (b'{"eventType":7}', InvalidRequestError, "/eventType"),
        (b'{"eventType":""}', InvalidRequestError, "/eventType"),
        (b'{"eventType":"a\\u0000b"}', InvalidRequestError, "/eventType"),
        (b'{"eventType":"' + b"x" * 129 + b'"}', InvalidRequestError, "/eventType"),
    ],
)
def test_what_can_not_be_understood_is_refused_and_kept(
    platform: Platform, body: bytes, error: type[EventlineError], pointer: str
) -> None:
    # When
    with pytest.raises(error) as caught:
        ingest(make_submission(body), platform.deps)
    # Then the refusal names the field, and the event under which the payload is kept
    assert [fault.pointer for fault in caught.value.errors] == [pointer]
    assert platform.aws.calls == ["PutObject", "PutItem"]
    (record,) = platform.aws.records.values()
    assert record.event.event_id == caught.value.event_id
    assert (record.status, record.event.event_type) == (Status.REJECTED, "eventline.unreadable")
    assert record.last_error is not None
    assert record.last_error["code"] == caught.value.code
    assert [fault["pointer"] for fault in record.last_error["errors"]] == [pointer]
    assert platform.deps.lake.get_bronze(record.event.s3_key) == body
    assert platform.queue.sent == []


def test_a_payload_that_is_refused_again_is_kept_once(platform: Platform) -> None:
    kept = set()
    for _ in range(3):
        platform.clock.advance(86400)
        with pytest.raises(InvalidJsonError) as caught:
            ingest(make_submission(b"{", key="k"), platform.deps)
        kept.add(caught.value.event_id)
    assert len(kept) == len(platform.aws.records) == 1


def test_a_refused_payload_does_not_use_up_its_key(platform: Platform) -> None:
    with pytest.raises(InvalidJsonError):
        ingest(make_submission(b"{", key="k"), platform.deps)
    receipt = ingest(make_submission(b'{"eventType":"demo"}', key="k"), platform.deps)
    assert not receipt.replayed


def test_what_breaks_its_schema_is_kept_under_its_type(platform: Platform) -> None:
    # Given
    def refuse(event_type: str, data: object, is_json: bool) -> int | None:
        raise SchemaViolationError("does not match", [FieldError("/total", "must be a number")])

    deps = replace(platform.deps, check_schema=refuse)
    # When
    with pytest.raises(SchemaViolationError) as caught:
        ingest(make_submission(b'{"eventType":"order"}'), deps)
    # Then
    (record,) = platform.aws.records.values()
    assert record.event.event_id == caught.value.event_id
    assert (record.status, record.event.event_type) == (Status.REJECTED, "order")


def test_the_version_of_the_schema_is_recorded(platform: Platform) -> None:
    deps = replace(platform.deps, check_schema=lambda event_type, data, is_json: 7)
    ingest(make_submission(), deps)
    (record,) = platform.aws.records.values()
    assert record.event.schema_version == platform.message().event.schema_version == 7


def test_what_can_not_be_kept_is_not_refused_for_good(platform: Platform) -> None:
    # Given an AWS that does not answer, a bad payload is a case for another try
    platform.aws.fail(1)
    with pytest.raises(ClientError):
        ingest(make_submission(b"{"), platform.deps)
    assert platform.aws.records == {}


@pytest.mark.parametrize("key", ["k", "x" * 255, "../../k", "a#b", "EVENT#1", " ", "a b", "~"])
def test_any_printable_key_will_do(platform: Platform, key: str) -> None:
    first = ingest(make_submission(b'{"eventType":"demo"}', key=key), platform.deps)
    again = ingest(make_submission(b'{"eventType":"demo"}', key=key), platform.deps)
    assert first.event_id == again.event_id
    assert len(platform.aws.records) == 1


def test_the_limit_is_the_last_size_accepted(platform: Platform) -> None:
    frame = len(b'{"eventType":"demo","text":""}')
    fits = b'{"eventType":"demo","text":"' + b"x" * (LIMIT - frame) + b'"}'
    ingest(make_submission(fits), platform.deps)
    platform.aws.calls.clear()
    with pytest.raises(PayloadTooLargeError):
        ingest(make_submission(fits + b" "), platform.deps)
    assert platform.aws.calls == []


def test_a_repeat_gets_the_first_answer(platform: Platform) -> None:
    # Given a keyed event
    body = make_body()
    first = ingest(make_submission(body, key="k"), platform.deps)
    # When it comes again, the next day too
    platform.clock.advance(1)
    second = ingest(make_submission(body, key="k"), platform.deps)
    platform.clock.advance(timedelta(days=1).total_seconds())
    third = ingest(make_submission(body, key="k"), platform.deps)
    # Then the answer is the same, marked as a repeat, and the first one's facts stay
    assert first.event_id == second.event_id == third.event_id
    assert (first.replayed, second.replayed, third.replayed) == (False, True, True)
    (record,) = platform.aws.records.values()
    assert record.event.received_at == "2026-03-14T12:00:00.000Z"


def test_a_repeat_of_what_is_processed_is_not_sent_again(platform: Platform) -> None:
    # Given a keyed event that was processed
    body = make_body()
    ingest(make_submission(body, key="k"), platform.deps)
    (record,) = platform.aws.records.values()
    dispatch = Dispatch(platform.clock.text, noted=False)
    platform.deps.ledger.mark_processed(make_done(record.event), dispatch, record.event)
    platform.aws.calls.clear()
    # When it comes again
    receipt = ingest(make_submission(body, key="k"), platform.deps)
    # Then that costs one call, and changes nothing
    assert receipt.event_id == record.event.event_id
    assert platform.aws.calls == ["PutItem"]
    assert len(platform.queue.sent) == 1
    (after,) = platform.aws.records.values()
    assert (after.status, after.payload) == (Status.PROCESSED, None)


def test_a_repeat_of_a_large_event_is_not_stored_again(platform: Platform) -> None:
    # Given a large keyed event that was processed
    body = make_body(text="x" * INLINE)
    first = ingest(make_submission(body, key="k"), platform.deps)
    record = platform.aws.records[first.event_id]
    dispatch = Dispatch(platform.clock.text, noted=False)
    platform.deps.ledger.mark_processed(make_done(record.event), dispatch, record.event)
    platform.aws.calls.clear()
    # When it comes again on the same day
    again = ingest(make_submission(body, key="k"), platform.deps)
    # Then it is looked up
    assert (again.event_id, again.replayed) == (first.event_id, True)
    assert platform.aws.calls == ["PutObject", "GetItem"]
    assert len(platform.aws.objects) == 1
    assert len(platform.queue.sent) == 1


@pytest.mark.parametrize(
    "other",
    [
        b'{"eventType":"demo","n":2}',
        b'{"eventType":"other","n":1}',
        b'{"eventType":"demo","n":1} ',
        b'{"eventType":"demo","n":1,"text":"%s"}' % (b"x" * INLINE),
    ],
)
@pytest.mark.parametrize("days", [0, 1])
@pytest.mark.parametrize("inline_bytes", [INLINE, 0])
def test_another_body_under_a_key_is_refused_and_changes_nothing(
    platform: Platform, other: bytes, days: int, inline_bytes: int
) -> None:
    # Given a keyed event
    platform.deps = replace(platform.deps, inline_bytes=inline_bytes)
    body = b'{"eventType":"demo","n":1}'
    first = ingest(make_submission(body, key="k"), platform.deps)
    before = dict(platform.aws.records)
    platform.clock.advance(days * 86400)
    # When another body comes under its key
    with pytest.raises(IdempotencyConflictError):
        ingest(make_submission(other, key="k"), platform.deps)
    # Then the first one is untouched, sent once, and still gets its answer
    assert platform.aws.records == before
    record = platform.aws.records[first.event_id]
    if inline_bytes:
        assert record.payload == body
    else:
        assert platform.aws.objects["bronze", record.event.s3_key].body == body
    assert len(platform.queue.sent) == 1
    assert ingest(make_submission(body, key="k"), platform.deps) == type(first)(
        first.event_id, replayed=True
    )


def test_another_owner_may_use_the_same_key(platform: Platform) -> None:
    alices = ingest(make_submission(owner="alice", key="k"), platform.deps)
    bobs = ingest(make_submission(owner="bob", key="k"), platform.deps)
    assert alices.event_id != bobs.event_id
    assert not bobs.replayed


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("size", [1, INLINE])
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.ANSWER_LOST])
def test_an_event_the_queue_did_not_take_is_kept_as_received(
    platform: Platform, key: str | None, size: int, fault: Fault
) -> None:
    # Given a queue that does not answer well
    body = make_body(text="x" * size)

    def gate(operation: str, effect: Callable[[], Any]) -> Any:
        return suffer(fault if operation == "SendMessage" else None, operation, effect)

    platform.aws.gate = gate
    # When an event is sent, it is not acknowledged
    with pytest.raises(Exception, match=r"InternalServerError|[Tt]imeout"):
        ingest(make_submission(body, key=key), platform.deps)
    # But its entry stays, with its payload, so that reconcile or the sender's repeat sends it
    (record,) = platform.aws.records.values()
    assert record.status is Status.RECEIVED
    assert [entry["status"] for entry in record.timeline] == ["RECEIVED"]
    if size < INLINE:
        assert record.payload == body
    else:
        assert platform.deps.lake.get_bronze(record.event.s3_key) == body


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize(
    ("size", "operation"), [(1, "PutItem"), (INLINE, "PutItem"), (INLINE, "PutObject")]
)
def test_an_event_that_is_not_kept_is_not_acknowledged(
    platform: Platform, key: str | None, size: int, operation: str
) -> None:
    platform.aws.gate = refusing(operation)
    with pytest.raises(ClientError):
        ingest(make_submission(make_body(text="x" * size), key=key), platform.deps)
    assert platform.aws.records == {}
    # What claims its id or its object first is not sent either
    if key or operation == "PutObject":
        assert platform.queue.sent == []


def test_a_message_without_an_entry_has_all_of_its_event(platform: Platform) -> None:
    # Given a ledger that is down while the queue is not
    body = make_body()
    platform.aws.gate = refusing("PutItem")
    # When an event is sent, it is not acknowledged
    with pytest.raises(ClientError):
        ingest(make_submission(body), replace(platform.deps, each=in_threads))
    # Then its message is enough to make it
    assert platform.aws.records == {}
    parcel = platform.message()
    assert (parcel.payload, parcel.in_bronze) == (body, False)
    assert parcel.event.payload_sha256 == sha256(body)


LARGE = b'{"eventType":"demo","n":%d,"text":"' + b"x" * INLINE + b'"}'


def test_a_body_in_bronze_of_another_request_is_never_acknowledged_as_ours(
    platform: Platform,
) -> None:
    # Given a request with a large body that died after its first call
    platform.aws.fail(2)
    with pytest.raises(Exception, match="InternalServerError"):
        ingest(make_submission(LARGE % 1, key="k"), platform.deps)
    # When another body comes under its key
    with pytest.raises(IdempotencyConflictError):
        ingest(make_submission(LARGE % 2, key="k"), platform.deps)
    # Then nothing is in the ledger, and the first body may come again
    assert platform.aws.records == {}
    receipt = ingest(make_submission(LARGE % 1, key="k"), platform.deps)
    assert not receipt.replayed


def test_a_small_body_under_the_key_of_one_that_died_in_bronze_is_taken(
    platform: Platform,
) -> None:
    # Given a request with a large body that died after its first call, so was not acknowledged
    platform.aws.fail(2)
    with pytest.raises(Exception, match="InternalServerError"):
        ingest(make_submission(LARGE % 1, key="k"), platform.deps)
    # When a small one comes under its key
    body = make_body()
    receipt = ingest(make_submission(body, key="k"), platform.deps)
    # Then it is the event, and the first is refused from now on
    assert not receipt.replayed
    assert platform.aws.records[receipt.event_id].payload == body
    with pytest.raises(IdempotencyConflictError):
        ingest(make_submission(LARGE % 1, key="k"), platform.deps)
    # And the worker puts it elsewhere
    event = platform.aws.records[receipt.event_id].event
    stored = platform.deps.lake.store(event, body)
    assert stored.s3_key != event.s3_key
    assert platform.deps.lake.get_bronze(stored.s3_key, stored.s3_range) == body
    assert platform.deps.lake.get_bronze(event.s3_key) == LARGE % 1


def test_a_repeat_takes_up_what_a_request_that_died_has_left(platform: Platform) -> None:
    # Given a request with a large body that died after its first call
    platform.aws.fail(2)
    with pytest.raises(Exception, match="InternalServerError"):
        ingest(make_submission(LARGE % 1, key="k"), platform.deps)
    # When it comes again later
    platform.clock.advance(60)
    receipt = ingest(make_submission(LARGE % 1, key="k"), platform.deps)
    # Then the event is the one in bronze, received when that was
    event = platform.aws.records[receipt.event_id].event
    assert event.received_at == clock.to_text(NOON)
    assert platform.aws.objects["bronze", event.s3_key].event == event
    assert platform.message().event == event


@pytest.mark.parametrize("size", [1, INLINE])
def test_a_repeat_of_what_was_not_sent_sends_it(platform: Platform, size: int) -> None:
    # Given a keyed event that the queue did not take
    body = make_body(text="x" * size)
    platform.aws.gate = refusing("SendMessage")
    with pytest.raises(ClientError):
        ingest(make_submission(body, key="k"), platform.deps)
    assert platform.queue.sent == []
    platform.aws.gate = None
    platform.aws.calls.clear()
    # When it comes again, the next day
    platform.clock.advance(86400)
    receipt = ingest(make_submission(body, key="k"), platform.deps)
    # Then it is sent, as the event that the ledger has
    assert receipt.replayed
    record = platform.aws.records[receipt.event_id]
    assert platform.message() == Parcel(record.event, body, in_bronze=size >= INLINE)
    assert platform.aws.calls[-2:] == ["PutItem", "SendMessage"]
    assert record.event.received_at == clock.to_text(NOON)


def test_a_repeat_gets_the_first_answer_after_its_schema_has_changed(platform: Platform) -> None:
    # Given a keyed event that was accepted, and a schema that refuses it now
    body = make_body()
    first = ingest(make_submission(body, key="k"), platform.deps)
    platform.queue.sent.clear()

    def refuse(event_type: str, data: object, is_json: bool) -> int | None:
        raise SchemaViolationError("does not match", [FieldError("/n", "must be a string")])

    deps = replace(platform.deps, check_schema=refuse)
    # When it comes again
    again = ingest(make_submission(body, key="k"), deps)
    # Then nothing is rejected
    assert (again.event_id, again.replayed) == (first.event_id, True)
    assert len(platform.aws.records) == 1
    # When another body comes with the key, or the body without it
    for submission in (make_submission(key="k"), make_submission(body)):
        with pytest.raises(SchemaViolationError):
            ingest(submission, deps)
    assert len(platform.aws.records) == 3

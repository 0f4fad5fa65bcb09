"""Ingest: what is refused, what is kept, in which order, and what a repeat answers."""

import json
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

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
from chalicelib.events.message import EventMessage
from chalicelib.events.model import Dispatch, Status
from tests.support.factories import NOON, Clock, decode_event, make_body, make_submission, no_schema
from tests.support.fake_lake import FakeLake
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import FakeAws, FakeEventStore
from tests.support.faults import Fault

LIMIT = 1000


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
            now=self.clock,
            random=lambda count: next(numbers).to_bytes(count, "big"),
        )

    def message(self) -> EventMessage:
        """The one message on the queue."""
        (body,) = self.queue.sent
        return decode_event(body)


@pytest.fixture
def platform() -> Platform:
    return Platform()


def test_an_event_is_kept_sent_and_noted_in_three_calls(platform: Platform) -> None:
    # Given an event that names its source and subject
    body = b'{"eventType":"demo","source":"urn:shop","subject":"order 7","n":1}'
    # When it is sent
    receipt = ingest(make_submission(body), platform.deps)
    # Then it is in bronze, on the queue and in the ledger, in this order
    assert platform.aws.calls == ["PutObject", "SendMessage", "PutItem"]
    record = platform.aws.records[receipt.event_id]
    assert not receipt.replayed
    assert record.status is Status.ENQUEUED
    assert record.event.event_type == "demo"
    assert (record.event.source, record.event.subject) == ("urn:shop", "order 7")
    assert record.event.owner == "alice"
    assert record.event.received_at == platform.clock.text
    assert record.event.payload_sha256 == sha256(body)
    assert record.event.payload_bytes == len(body)
    assert [entry["status"] for entry in record.timeline] == ["RECEIVED", "ENQUEUED"]
    assert platform.aws.objects["bronze", record.event.s3_key].body == body
    message = platform.message()
    assert (message.event, message.payload, message.recorded) == (record.event, body, True)


def test_a_keyed_event_claims_its_id_before_it_is_sent(platform: Platform) -> None:
    receipt = ingest(make_submission(key="k"), platform.deps)
    assert platform.aws.calls == ["PutObject", "PutItem", "SendMessage"]
    assert receipt.event_id == keyed_event_id("alice", "k")
    assert platform.aws.records[receipt.event_id].status is Status.RECEIVED
    assert platform.message().recorded is False


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
    message = platform.message()
    platform.deps.ledger.mark_processed(
        message.event, platform.clock.text, "silver", "k", Dispatch(platform.clock.text, noted=True)
    )
    platform.aws.calls.clear()
    # When it comes again
    receipt = ingest(make_submission(body, key="k"), platform.deps)
    # Then it is only looked up
    assert receipt.event_id == record.event.event_id
    assert platform.aws.calls == ["PutObject", "HeadObject", "PutItem"]
    assert len(platform.queue.sent) == 1


@pytest.mark.parametrize(
    "other",
    [
        b'{"eventType":"demo","n":2}',
        b'{"eventType":"other","n":1}',
        b'{"eventType":"demo","n":1} ',
    ],
)
@pytest.mark.parametrize("days", [0, 1])
def test_another_body_under_a_key_is_refused_and_changes_nothing(
    platform: Platform, other: bytes, days: int
) -> None:
    # Given a keyed event
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
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.ANSWER_LOST])
def test_an_event_the_queue_did_not_take_is_kept_as_received(
    platform: Platform, key: str | None, fault: Fault
) -> None:
    platform.aws.fail(3 if key else 2, fault)
    receipt = ingest(make_submission(key=key), platform.deps)
    record = platform.aws.records[receipt.event_id]
    assert record.status is Status.RECEIVED
    assert [entry["status"] for entry in record.timeline] == ["RECEIVED"]


@pytest.mark.parametrize(("key", "call"), [(None, 1), (None, 3), ("k", 1), ("k", 2)])
def test_an_event_that_is_not_kept_is_not_acknowledged(
    platform: Platform, key: str | None, call: int
) -> None:
    platform.aws.fail(call)
    with pytest.raises(Exception, match="InternalServerError"):
        ingest(make_submission(key=key), platform.deps)
    assert platform.aws.records == {}


def test_a_body_in_bronze_of_another_request_is_never_acknowledged_as_ours(
    platform: Platform,
) -> None:
    # Given a request that died after its first call
    platform.aws.fail(2)
    with pytest.raises(Exception, match="InternalServerError"):
        ingest(make_submission(b'{"eventType":"demo","n":1}', key="k"), platform.deps)
    # When another body comes under its key
    with pytest.raises(IdempotencyConflictError):
        ingest(make_submission(b'{"eventType":"demo","n":2}', key="k"), platform.deps)
    # Then nothing is in the ledger, and the first body may come again
    assert platform.aws.records == {}
    receipt = ingest(make_submission(b'{"eventType":"demo","n":1}', key="k"), platform.deps)
    assert not receipt.replayed


def test_a_repeat_takes_up_what_a_request_that_died_has_left(platform: Platform) -> None:
    # Given a request that died after its first call
    body = make_body()
    platform.aws.fail(2)
    with pytest.raises(Exception, match="InternalServerError"):
        ingest(make_submission(body, key="k"), platform.deps)
    # When it comes again later
    platform.clock.advance(60)
    receipt = ingest(make_submission(body, key="k"), platform.deps)
    # Then the event is the one in bronze, received when that was
    event = platform.aws.records[receipt.event_id].event
    assert event.received_at == clock.to_text(NOON)
    assert platform.aws.objects["bronze", event.s3_key].event == event
    assert platform.message().event == event


def test_a_repeat_of_what_was_not_sent_sends_it(platform: Platform) -> None:
    # Given a keyed event that the queue did not take
    body = make_body()
    platform.aws.fail(3)
    first = ingest(make_submission(body, key="k"), platform.deps)
    assert platform.queue.sent == []
    # When it comes again
    second = ingest(make_submission(body, key="k"), platform.deps)
    # Then it is sent
    assert second.event_id == first.event_id
    assert platform.message().event.event_id == first.event_id


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

"""Replay: a new event from the old one's bronze, with its lineage."""

from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.core.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    SchemaViolationError,
)
from chalicelib.events.ingest import IngestDeps, ingest
from chalicelib.events.model import Event, Record, Status
from chalicelib.events.read import ReadDeps
from chalicelib.replays.start import ReplayDeps, replay
from chalicelib.web.callers import Caller
from tests.support.factories import Clock, decode_event, make_submission, no_schema
from tests.support.fake_lake import FakeLake
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import FakeAws, FakeEventIndex, FakeEventStore

ALICE = Caller("alice", frozenset({"events:admin"}), "t")
BODY = b'{"eventType":"order", "total":"12"}'


def refuse(event_type: str, data: object, is_json: bool) -> int | None:
    """A schema that nothing matches."""
    raise SchemaViolationError("does not match", [FieldError("/total", "must be a number")])


def allow(event_type: str, data: object, is_json: bool) -> int | None:
    """The second version of a schema, which everything matches."""
    return 2


class Platform:
    """Ingest and replay on fakes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.aws = FakeAws(self.clock)
        self.queue = FakeQueue(self.aws)
        numbers = iter(range(1000))
        self.ledger = FakeEventStore(self.aws)
        lake = FakeLake(self.aws)

        def random(count: int) -> bytes:
            return next(numbers).to_bytes(count, "big")

        self.ingesting = IngestDeps(
            self.ledger, lake, self.queue, no_schema, 1000, 0, now=self.clock, random=random
        )
        reading = ReadDeps(self.ledger, FakeEventIndex(self.aws), lake)
        self.deps = ReplayDeps(reading, self.queue, no_schema, now=self.clock, random=random)

    def ended(self, status: Status, **facts: Any) -> Record:
        """An event that came to an end."""
        event_id = ingest(make_submission(BODY), self.ingesting).event_id
        record = self.aws.records[event_id]
        event: Event = replace(record.event, **facts)
        self.aws.records[event_id] = replace(record, status=status, event=event)
        self.queue.sent.clear()
        self.aws.calls.clear()
        self.clock.advance(60)
        return self.aws.records[event_id]

    def rejected(self, body: bytes, deps: IngestDeps) -> str:
        """A payload that was refused; its id."""
        with pytest.raises(InvalidRequestError) as caught:
            ingest(make_submission(body), deps)
        assert caught.value.event_id is not None
        return caught.value.event_id


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.mark.parametrize("status", [Status.PROCESSED, Status.FAILED])
def test_a_replay_is_a_new_event_from_the_same_bronze(platform: Platform, status: Status) -> None:
    # Given
    before = platform.ended(status)
    # When
    receipt = replay(before.event.event_id, ALICE, "request", platform.deps)
    # Then
    record = platform.aws.records[receipt.event_id]
    assert receipt.event_id != before.event.event_id
    assert record.replay_of == before.event.event_id
    assert (record.status, record.event.received_at) == (Status.RECEIVED, platform.clock.text)
    assert record.event.s3_key == before.event.s3_key
    assert platform.aws.records[before.event.event_id] == before
    (body,) = platform.queue.sent
    message = decode_event(body)
    assert (message.event, message.payload, message.in_bronze) == (record.event, BODY, True)
    assert platform.aws.calls == ["GetItem", "GetObject", "PutItem", "SendMessage"]


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.ENQUEUED])
def test_what_is_still_to_be_processed_is_not_replayed(platform: Platform, status: Status) -> None:
    before = platform.ended(status)
    with pytest.raises(ConflictError):
        replay(before.event.event_id, ALICE, "request", platform.deps)
    assert platform.queue.sent == []


@pytest.mark.parametrize("event_id", ["", "x", "../x", "00000000-0000-4000-8000-000000000000"])
def test_an_unknown_event_is_not_found(platform: Platform, event_id: str) -> None:
    with pytest.raises(NotFoundError):
        replay(event_id, ALICE, "request", platform.deps)


def test_the_event_of_another_is_not_found(platform: Platform) -> None:
    before = platform.ended(Status.PROCESSED)
    mallory = Caller("mallory", frozenset({"events:admin"}), "t")
    with pytest.raises(NotFoundError):
        replay(before.event.event_id, mallory, "request", platform.deps)
    assert len(platform.aws.records) == 1


def test_a_payload_that_is_gone_can_not_be_replayed(platform: Platform) -> None:
    before = platform.ended(Status.PROCESSED)
    platform.aws.objects.clear()
    with pytest.raises(ConflictError):
        replay(before.event.event_id, ALICE, "request", platform.deps)
    assert len(platform.aws.records) == 1


def test_what_broke_its_schema_goes_through_when_the_schema_is_mended(platform: Platform) -> None:
    # Given
    event_id = platform.rejected(BODY, replace(platform.ingesting, check_schema=refuse))
    # When the schema still refuses it
    with pytest.raises(SchemaViolationError) as caught:
        replay(event_id, ALICE, "request", replace(platform.deps, check_schema=refuse))
    # Then nothing is made, and the fault is told
    assert caught.value.errors[0].pointer == "/total"
    assert len(platform.aws.records) == 1
    # When it allows it
    receipt = replay(event_id, ALICE, "request", replace(platform.deps, check_schema=allow))
    # Then
    record = platform.aws.records[receipt.event_id]
    assert (record.event.event_type, record.event.schema_version) == ("order", 2)
    assert record.replay_of == event_id
    assert platform.aws.records[event_id].status is Status.REJECTED


def test_what_is_no_json_is_refused_again(platform: Platform) -> None:
    event_id = platform.rejected(b"{", platform.ingesting)
    with pytest.raises(InvalidRequestError):
        replay(event_id, ALICE, "request", platform.deps)
    assert len(platform.aws.records) == 1


def test_a_replay_whose_send_fails_is_kept(platform: Platform) -> None:
    before = platform.ended(Status.PROCESSED)
    platform.aws.fail(4)
    receipt = replay(before.event.event_id, ALICE, "request", platform.deps)
    assert platform.aws.records[receipt.event_id].status is Status.RECEIVED

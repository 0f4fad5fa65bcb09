"""Ingest of batches: a verdict for each item, and what it stands for in the stores."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec import to_builtins

from chalicelib.core.errors import InvalidJsonError, InvalidRequestError, UnavailableError
from chalicelib.core.ids import is_event_id, keyed_event_id
from chalicelib.events.batch import Form
from chalicelib.events.ingest import IngestDeps, ingest
from chalicelib.events.ingest_batch import Verdict
from chalicelib.events.message import EventsMessage, Parcel
from chalicelib.events.model import Dispatch, Event, Record, Status
from tests.support.batches_on_fakes import Platform, body_of, told
from tests.support.factories import make_done, make_submission, no_schema
from tests.support.faults import Fault, suffer

DEMO = b'{"eventType":"demo","n":1}'
KEYED = b'{"eventType":"demo","idempotencyKey":"k","n":1}'
OTHER = b'{"eventType":"demo","idempotencyKey":"k","n":2}'


@pytest.fixture
def platform() -> Platform:
    return Platform()


def record(platform: Platform, verdict: Verdict) -> Record:
    assert verdict.event_id is not None
    return platform.aws.records[verdict.event_id]


def payload(platform: Platform, verdict: Verdict) -> bytes:
    return payload_of(platform, record(platform, verdict))


def payload_of(platform: Platform, found: Record) -> bytes:
    return platform.lake.get_bronze(found.event.s3_key, found.event.s3_range)


def events(message: EventsMessage) -> list[Event]:
    return [parcel.event for parcel in message.parcels]


def test_a_hundred_events_are_six_calls(platform: Platform) -> None:
    # When a hundred events without keys come together
    verdicts = platform.send(*[{"eventType": f"t{n % 3}", "n": n} for n in range(100)])
    # Then they are kept in one file and sent in one message, and only the ledger is written for all
    assert told(verdicts) == ["accepted"] * 100
    assert platform.aws.calls == ["PutObject", *["BatchWriteItem"] * 4, "SendMessage"]
    (message,) = platform.messages()
    assert [event.event_id for event in events(message)] == [one.event_id for one in verdicts]
    assert len({event.s3_key for event in events(message)}) == 1
    assert all(parcel.in_bronze for parcel in message.parcels)
    for number, verdict in enumerate(verdicts):
        assert json.loads(payload(platform, verdict))["n"] == number
        assert record(platform, verdict).status is Status.RECEIVED
        assert record(platform, verdict).payload is None
        assert is_event_id(str(verdict.event_id))


def test_five_hundred_events_are_five_units_and_one_send(platform: Platform) -> None:
    verdicts = platform.send(*[{"eventType": "demo", "n": n} for n in range(500)])
    assert told(verdicts) == ["accepted"] * 500
    assert platform.aws.calls.count("PutObject") == 5
    assert platform.aws.calls.count("BatchWriteItem") == 20
    assert platform.aws.calls[-1:] == ["SendMessageBatch"]
    assert [len(message.parcels) for message in platform.messages()] == [100] * 5


def test_a_payload_is_the_items_own_text_on_one_line(platform: Platform) -> None:
    item = b'{ "n" : 1.00,\r\n "eventType":"demo", "big":12345678901234567890 }'
    (verdict,) = platform.send(item)
    assert payload(platform, verdict) == item.replace(b"\r", b" ").replace(b"\n", b" ")


def test_one_bad_item_refuses_no_other(platform: Platform) -> None:
    # Given items that are wrong in every way among good ones
    platform.schemas.needing_n = {"strict"}
    items: list[Any] = [
        DEMO,
        {"n": 1},
        b'{"eventType":"demo","eventType":"x"}',
        b"[NaN,\n1]",
        {"eventType": "strict"},
        {"eventType": "demo", "idempotencyKey": ""},
        {"eventType": "demo", "text": "x" * 1000},
        {"eventType": "strict", "n": 1},
        7,
    ]
    # When they come together
    verdicts = platform.send(*items)
    # Then each has its own verdict, with pointers into the body
    assert told(verdicts) == [
        "accepted", *["rejected"] * 6, "accepted", "rejected",
    ]  # fmt: skip
    assert [[error.pointer for error in verdict.errors] for verdict in verdicts] == [
        [],
        ["/events/1/eventType"],
        ["/events/2"],
        ["/events/3"],
        ["/events/4/n"],
        ["/events/5/idempotencyKey"],
        ["/events/6"],
        [],
        ["/events/8"],
    ]
    assert verdicts[6].event_id is None
    assert record(platform, verdicts[7]).event.schema_version == 3
    assert platform.schemas.loaded == [{"demo", "strict"}]
    # And what was refused for its content is kept, as it was sent
    for number in (1, 2, 3, 4, 5, 8):
        rejected = record(platform, verdicts[number])
        assert rejected.status is Status.REJECTED
        assert rejected.last_error
        item = items[number]
        text = item if isinstance(item, bytes) else json.dumps(item).encode()
        assert payload(platform, verdicts[number]) == text
    keys = {record(platform, verdicts[number]).event.s3_key for number in (1, 2, 3, 4, 5, 8)}
    assert len(keys) == 1
    (message,) = platform.messages()
    sent = [event.event_id for event in events(message)]
    assert sent == [verdicts[0].event_id, verdicts[7].event_id]


def test_a_verdict_is_shown_as_documented(platform: Platform) -> None:
    accepted, rejected = platform.send(DEMO, {"n": 1})
    assert to_builtins(accepted) == {
        "index": 0,
        "status": "accepted",
        "eventId": accepted.event_id,
        "errors": [],
    }
    assert to_builtins(rejected) == {
        "index": 1,
        "status": "rejected",
        "eventId": rejected.event_id,
        "errors": [{"pointer": "/events/1/eventType", "detail": "is required"}],
    }


def test_a_rejected_batch_sent_again_fills_nothing(platform: Platform) -> None:
    first = platform.send({"n": 1}, {"n": 1}, {"n": 2})
    objects = len(platform.aws.objects)
    again = platform.send({"n": 2}, {"n": 1})
    assert [one.event_id for one in again] == [first[2].event_id, first[0].event_id]
    assert first[0].event_id == first[1].event_id
    assert len(platform.aws.objects) == objects
    assert platform.aws.calls == ["BatchGetItem"]


@pytest.mark.parametrize("body", [b"hello", b'{"events":[]}', b'{"events":[1],"x":1}', b"\xff"])
def test_a_body_that_can_not_be_taken_apart_is_kept_whole(platform: Platform, body: bytes) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        platform.take(body)
    kept = platform.aws.records[str(caught.value.event_id)]
    assert (kept.status, kept.event.owner) == (Status.REJECTED, "alice")
    assert platform.lake.get_bronze(kept.event.s3_key) == body
    assert platform.queue.sent == []


def test_a_batch_with_keys_can_be_sent_again_whole(platform: Platform) -> None:
    # Given a batch of events with keys
    items = [{"eventType": "demo", "idempotencyKey": f"k{n}"} for n in range(3)]
    first = platform.send(*items)
    assert platform.aws.calls == [
        "BatchGetItem", "PutObject", *["PutItem"] * 3, "SendMessage",
    ]  # fmt: skip
    assert first[0].event_id == keyed_event_id("alice", "k0")
    # When it comes again, with one more
    again = platform.send(*items, DEMO)
    # Then the answers are the same, and the events are sent again since nothing says they were
    assert told(again) == ["duplicate"] * 3 + ["accepted"]
    assert [one.event_id for one in again[:3]] == [one.event_id for one in first]
    (_, resent) = platform.messages()
    assert [event.event_id for event in events(resent)] == [one.event_id for one in again]
    # And once they are processed, nothing is
    for verdict in first:
        event = record(platform, verdict).event
        platform.ledger.mark_processed(make_done(event), Dispatch("t", noted=False), event)
    assert told(platform.send(*items)) == ["duplicate"] * 3
    assert platform.aws.calls == ["BatchGetItem"]


def test_a_key_stands_for_one_content(platform: Platform) -> None:
    # Given a key that is in use
    (first,) = platform.send(KEYED)
    # When it comes with another content, twice, and with its own
    verdicts = platform.send(OTHER, OTHER, KEYED)
    # Then the other is refused, and nothing is written
    assert told(verdicts) == ["rejected", "rejected", "duplicate"]
    assert told(platform.send(KEYED, OTHER, KEYED)) == ["duplicate", "rejected", "duplicate"]
    assert [len(message.parcels) for message in platform.messages()] == [1, 1, 1]
    for verdict in verdicts[:2]:
        assert verdict.event_id is None
        assert "came before with other content" in verdict.errors[0].detail
    assert len(platform.aws.records) == 1
    assert record(platform, first).event.payload_bytes == len(KEYED)


def test_equal_items_of_one_batch_are_one_event(platform: Platform) -> None:
    verdicts = platform.send(KEYED, DEMO, KEYED, OTHER, DEMO)
    assert told(verdicts) == ["accepted", "accepted", "duplicate", "rejected", "accepted"]
    assert verdicts[2].event_id == verdicts[0].event_id
    (message,) = platform.messages()
    assert len(message.parcels) == len(platform.aws.records) == 3


def test_another_owners_key_is_another(platform: Platform) -> None:
    (alice,) = platform.send(KEYED)
    (bob,) = platform.send(KEYED, owner="bob")
    assert told([bob]) == ["accepted"]
    assert alice.event_id != bob.event_id


def test_cloud_events_are_told_apart_by_source_and_id(platform: Platform) -> None:
    item = b'{"specversion":"1.0","id":"%d","source":"/s","type":"demo","data":{"a":1}}'
    body = b"[" + b",".join([item % 1, item % 2, item % 1, b'{"id":"3"}']) + b"]"
    verdicts = platform.take(body, Form.CLOUD_EVENTS)
    assert told(verdicts) == ["accepted", "accepted", "duplicate", "rejected"]
    assert [error.pointer for error in verdicts[3].errors] == [
        "/3/specversion", "/3/source", "/3/type",
    ]  # fmt: skip
    event = record(platform, verdicts[0]).event
    assert (event.content_type, event.cloud_event) == (
        "application/cloudevents+json",
        {"id": "1"},
    )
    assert told(platform.take(body, Form.CLOUD_EVENTS))[:2] == ["duplicate", "duplicate"]


def test_an_event_accepted_before_its_schema_came_is_the_repeat_that_it_is(
    platform: Platform,
) -> None:
    item = b'{"eventType":"strict","idempotencyKey":"k"}'
    (first,) = platform.send(item)
    platform.schemas.needing_n = {"strict"}
    (again,) = platform.send(item)
    assert told([again]) == ["duplicate"]
    assert again.event_id == first.event_id


def test_a_refused_item_does_not_use_up_its_key(platform: Platform) -> None:
    platform.schemas.needing_n = {"strict"}
    bad = b'{"eventType":"strict","idempotencyKey":"k"}'
    good = b'{"eventType":"strict","idempotencyKey":"k","n":1}'
    assert told(platform.send(bad, good)) == ["rejected", "accepted"]


def test_who_loses_the_race_for_a_key_is_a_duplicate_and_not_sent(platform: Platform) -> None:
    # Given another request that takes two keys between this one's look-up and its writes
    taken = b'{"eventType":"demo","idempotencyKey":"a"}'
    conflicting = b'{"eventType":"demo","idempotencyKey":"b"}'
    other = Platform()
    other.aws.records, other.aws.objects = platform.aws.records, platform.aws.objects
    other._numbers = iter(range(500, 600))

    def gate(operation: str, effect: Any) -> Any:
        if operation == "PutItem" and not other.queue.sent:
            other.send(taken, b'{"eventType":"demo","idempotencyKey":"b","n":2}')
        return effect()

    platform.aws.gate = gate
    # When this one writes
    verdicts = platform.send(taken, conflicting, DEMO)
    # Then it tells so, and what it sends is what the ledger has
    assert told(verdicts) == ["duplicate", "rejected", "accepted"]
    (message,) = platform.messages()
    duplicate, accepted = (record(platform, verdicts[number]).event for number in (0, 2))
    assert sorted(map(to_builtins, events(message)), key=str) == sorted(
        map(to_builtins, [duplicate, accepted]), key=str
    )
    assert duplicate.s3_key != accepted.s3_key
    # And a payload that it sends along is the one of that event
    for parcel in message.parcels:
        assert platform.lake.get_bronze(parcel.event.s3_key, parcel.event.s3_range) == (
            parcel.payload
        )


@pytest.mark.parametrize("fault", [Fault.REPEATED, Fault.ANSWER_LOST])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_repeated_call_makes_no_second_event(platform: Platform, fault: Fault, call: int) -> None:
    platform.aws.fail(call, fault)
    try:
        verdicts = platform.send(KEYED)
    except Exception as error:  # noqa: BLE001 - an answer that is lost may be the answer
        assert fault is Fault.ANSWER_LOST, error  # noqa: PT017
        verdicts = []
    assert fault is Fault.ANSWER_LOST or told(verdicts) == ["accepted"]
    platform.aws.faults.clear()
    assert told(platform.send(KEYED)) in (["accepted"], ["duplicate"])
    assert len(platform.aws.records) == 1


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.ANSWER_LOST])
def test_what_the_queue_does_not_take_is_kept_and_told_failed(
    platform: Platform, fault: Fault
) -> None:
    # Given a queue that is down, and an item that is refused
    def gate(operation: str, effect: Any) -> Any:
        return suffer(fault if operation == "SendMessage" else None, operation, effect)

    platform.aws.gate = gate
    # When a batch comes
    verdicts = platform.send(KEYED, DEMO, {"n": 1})
    # Then what was not sent is failed, to be sent again
    assert told(verdicts) == ["failed", "failed", "rejected"]
    assert [verdict.event_id for verdict in verdicts[:2]] == [None, None]
    assert "send it again" in verdicts[0].errors[0].detail
    # But it is kept, so that reconcile sends it
    kept = [one for one in platform.aws.records.values() if one.status is Status.RECEIVED]
    assert [payload_of(platform, one) for one in kept] == [DEMO, KEYED]
    # And when it comes again, what has a key is the same event, and is sent
    platform.aws.gate = None
    platform.queue.sent.clear()
    (again,) = platform.send(KEYED)
    assert told([again]) == ["duplicate"]
    assert again.event_id == keyed_event_id("alice", "k")
    (message,) = platform.messages()
    assert events(message) == [record(platform, again).event]


def test_a_message_that_is_not_taken_fails_its_items_alone(platform: Platform) -> None:
    # Given a queue that takes one of two messages
    class Picky(type(platform.queue)):  # type: ignore[misc]
        def send_many(self, bodies: Any, delays: Any = ()) -> list[str | None]:
            self.refused = {bodies[1]}
            codes: list[str | None] = super().send_many(bodies, delays)
            return codes

    platform.queue = Picky(platform.aws)
    # When a batch of two messages comes
    verdicts = platform.send(*[{"eventType": "demo", "n": n} for n in range(130)])
    # Then the items of the other are failed, and kept
    assert told(verdicts) == ["accepted"] * 100 + ["failed"] * 30
    (message,) = platform.messages()
    sent = [event.event_id for event in events(message)]
    assert sent == [verdict.event_id for verdict in verdicts[:100]]
    assert len(platform.aws.records) == 130


def test_a_unit_that_is_not_kept_does_not_hurt_the_next(platform: Platform) -> None:
    # Given S3 refusing the first of two files, and the ledger a part of the second
    platform.aws.fail(1)
    platform.aws.fail(4)
    # When a batch of two units comes
    verdicts = platform.send(*[{"eventType": "demo", "n": n} for n in range(160)])
    # Then those items are failed, to be sent again, and the others are on their way
    assert (
        told(verdicts) == ["failed"] * 100 + ["accepted"] * 25 + ["failed"] * 25 + ["accepted"] * 10
    )
    assert "send it again" in verdicts[0].errors[0].detail
    (message,) = platform.messages()
    assert [event.event_id for event in events(message)] == [
        one.event_id for one in verdicts if one.event_id
    ]


def test_what_the_ledger_leaves_over_is_failed(platform: Platform) -> None:
    class Throttled(type(platform.ledger)):  # type: ignore[misc]
        def add_new(self, events: Any) -> set[str]:
            super().add_new(events[:-2])
            return {event.event_id for event in events[-2:]}

    platform.ledger = Throttled(platform.aws)
    verdicts = platform.send(*[{"eventType": "demo", "n": n} for n in range(5)])
    assert told(verdicts) == ["accepted"] * 3 + ["failed"] * 2
    assert len(platform.messages()[0].parcels) == 3


def test_when_nothing_is_kept_the_error_passes(platform: Platform) -> None:
    def down(operation: str, effect: Any) -> Any:
        return suffer(Fault.REFUSED, operation, effect)

    platform.aws.gate = down
    for items in ([DEMO], [KEYED], [{"n": 1}], [DEMO, {"n": 1}], [{"eventType": "x" * 1000}, DEMO]):
        with pytest.raises(ClientError):
            platform.send(*items)


def test_after_some_seconds_no_further_call_is_begun(platform: Platform) -> None:
    # Given calls that take four seconds each
    def slow(_operation: str, effect: Any) -> Any:
        platform.clock.advance(4)
        return effect()

    platform.aws.gate = slow
    # When a batch needs many of them
    verdicts = platform.send(*[{"eventType": "demo", "n": n} for n in range(300)])
    # Then it ends in time, and says what was not kept
    assert told(verdicts) == ["accepted"] * 50 + ["failed"] * 250
    assert platform.aws.calls == ["PutObject", *["BatchWriteItem"] * 2, "SendMessage"]
    assert len(platform.messages()[0].parcels) == 50

    def slower(_operation: str, effect: Any) -> Any:
        platform.clock.advance(11)
        return effect()

    platform.aws.gate = slower
    with pytest.raises(UnavailableError):
        platform.send({"eventType": "demo", "idempotencyKey": "late"})


def test_after_some_seconds_no_further_item_is_checked(platform: Platform) -> None:
    # Given a schema that takes two seconds an item
    platform.schemas.before_check = lambda: platform.clock.advance(2)
    items = [{"eventType": "demo", "idempotencyKey": f"k{n}", "n": n} for n in range(5)]
    # When a batch needs longer
    verdicts = platform.send(*items)
    # Then those that could not be checked are told to come again
    assert told(verdicts) == ["accepted"] * 2 + ["failed"] * 3
    assert "took too long; send it again" in verdicts[2].errors[0].detail
    assert len(platform.aws.records) == 2
    # And each time that all of it comes again, it gets further
    assert told(platform.send(*items)) == ["duplicate"] * 2 + ["accepted"] * 2 + ["failed"]
    assert told(platform.send(*items)) == ["duplicate"] * 4 + ["accepted"]
    assert told(platform.send(*items)) == ["duplicate"] * 5


def test_time_for_checks_takes_none_from_aws(platform: Platform) -> None:
    platform.schemas.before_check = lambda: platform.clock.advance(11)
    verdicts = platform.send(DEMO, DEMO)
    assert told(verdicts) == ["accepted", "failed"]


def test_a_refused_item_with_a_key_of_other_content_is_refused_for_its_content(
    platform: Platform,
) -> None:
    platform.schemas.needing_n = {"strict"}
    assert told(platform.send(KEYED)) == ["accepted"]
    (verdict,) = platform.send({"eventType": "strict", "idempotencyKey": "k"})
    assert (verdict.errors[0].pointer, verdict.outcome) == ("/events/0/n", "rejected")
    assert record(platform, verdict).status is Status.REJECTED


def test_a_single_repeat_of_an_event_of_a_batch_is_sent_as_it_is_stored(
    platform: Platform,
) -> None:
    # Given an event that came in a batch, and that nothing says was sent
    (first,) = platform.send(KEYED)
    # When the same comes alone
    deps = IngestDeps(platform.ledger, platform.lake, platform.queue, no_schema, 1000)
    receipt = ingest(make_submission(KEYED, key="k"), deps)
    # Then it is the same event, in its place in the file
    assert (receipt.event_id, receipt.replayed) == (first.event_id, True)
    assert [len(message.parcels) for message in platform.messages()] == [1, 1]
    event = record(platform, first).event
    assert event.s3_range
    for message in platform.messages():
        assert message.parcels == (Parcel(event, KEYED, in_bronze=True),)


def test_a_repeat_of_a_single_event_in_a_batch_is_sent_as_it_is_stored(
    platform: Platform,
) -> None:
    # Given a single event whose payload is in the ledger
    deps = IngestDeps(platform.ledger, platform.lake, platform.queue, no_schema, 1000)
    receipt = ingest(make_submission(KEYED, key="k"), deps)
    # When it comes in a batch, beside another
    again, _ = platform.send(KEYED, DEMO)
    # Then it is the same event, whose payload is still to be put into bronze
    assert (told([again]), again.event_id) == (["duplicate"], receipt.event_id)
    _, message = platform.messages()
    event = record(platform, again).event
    assert message.parcels[0] == Parcel(event, KEYED, in_bronze=False)
    assert message.parcels[1].in_bronze


def test_a_pretty_batch_is_the_same_when_it_comes_again(platform: Platform) -> None:
    body = json.dumps({"events": [json.loads(KEYED)]}, indent=2).encode()
    assert told(platform.take(body)) == ["accepted"]
    assert told(platform.take(body)) == ["duplicate"]


def test_no_payload_is_logged(platform: Platform, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "eventline")
    platform.aws.fail(3)
    platform.send({"eventType": "demo", "secret": "hunter2"}, b'{"secret":"hunter2","a":1,"a":2}')
    with pytest.raises(InvalidJsonError):
        platform.take(b'{"events":[{"secret":"hunter2"')
    logged = [str(vars(line)) for line in caplog.records]
    assert logged
    assert not [line for line in logged if "hunter2" in line]


def test_a_body_of_a_batch_is_made_as_the_tests_think() -> None:
    assert json.loads(body_of([DEMO, {"n": 1}])) == {"events": [json.loads(DEMO), {"n": 1}]}

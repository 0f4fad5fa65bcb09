"""What an event takes of the ledger's table: DynamoDB bills an item by the kilobyte.

The size rules are those of the Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats".
"""

import math
from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.core.ids import sha256
from chalicelib.events.keys import unit_bronze_key, unit_silver_key
from chalicelib.events.ledger import Done, EventStore
from chalicelib.events.model import Dispatch, Event, Failure, Status, Step
from tests.support.factories import make_done, make_event, make_id
from tests.support.moto_aws import client, make_at_once
from tests.support.resources import Names

NAMES = Names.with_prefix("sizes")
PAYLOAD = b'{"eventType":"order.created","source":"/shop","subject":"order-84629"}'
SENT_AT = "2026-03-14T12:00:00.012Z"
DONE_AT = "2026-03-14T12:00:01.345Z"
DISPATCH = Dispatch(SENT_AT, noted=False)
MOST = 700


def size_of(value: dict[str, Any]) -> int:
    """The bytes of an attribute's value."""
    kind: str
    content: Any
    ((kind, content),) = value.items()
    if kind == "S":
        return len(str(content).encode())
    if kind == "N":
        digits = str(content).lstrip("-").replace(".", "").strip("0")
        return math.ceil(len(digits) / 2) + 1 + str(content).startswith("-")
    if kind == "B":
        return len(bytes(content))
    if kind in ("BOOL", "NULL"):
        return 1
    if kind == "L":
        return 3 + sum(1 + size_of(one) for one in content)
    assert kind == "M"
    return 3 + sum(1 + len(name.encode()) + size_of(one) for name, one in content.items())


def item_size(item: dict[str, Any]) -> int:
    """The bytes of an item."""
    return sum(len(name.encode()) + size_of(value) for name, value in item.items())


@pytest.fixture
def ledger(moto: None) -> EventStore:
    make_at_once(NAMES)
    return EventStore(client("dynamodb"), NAMES.events_table, "bronze", "silver", 16)


def order(payload: bytes = PAYLOAD) -> Event:
    return make_event(
        event_type="order.created",
        owner="webshop",
        source="/shop",
        subject="order-84629",
        payload=payload,
    )


def received(event: Event) -> Step:
    return Step(Status.RECEIVED, event.received_at)


def item(event: Event) -> dict[str, Any]:
    """The item as the table has it."""
    key = {"pk": {"S": f"EVENT#{event.event_id}"}}
    found: dict[str, Any] = client("dynamodb").get_item(TableName=NAMES.events_table, Key=key)
    stored: dict[str, Any] = found["Item"]
    return stored


def places(event: Event) -> tuple[Done, Event]:
    """The event processed in a unit of many, as most are."""
    unit_id = make_id()
    bronze = unit_bronze_key(event.received_at, unit_id)
    done = Done(
        event.event_id,
        DONE_AT,
        unit_silver_key(event.event_type, event.received_at, unit_id),
        "bytes=12345-12999",
        bronze,
        "bytes=10234-10321",
    )
    return done, replace(event, s3_key=bronze, s3_range="bytes=10234-10321")


def test_the_rules_are_those_of_dynamodb() -> None:
    assert item_size({"pk": {"S": "ä"}, "n": {"N": "100"}, "x": {"NULL": True}}) == 4 + 3 + 2
    assert size_of({"N": "27"}) == 2
    assert size_of({"N": "-12345"}) == 5
    assert size_of({"L": []}) == size_of({"M": {}}) == 3
    assert size_of({"M": {"ab": {"S": "c"}}}) == 3 + 1 + 2 + 1
    assert size_of({"L": [{"B": b"abc"}]}) == 3 + 1 + 3


def test_a_typical_event_is_small_at_every_step(ledger: EventStore) -> None:
    # Given a typical event that has come
    event = order()
    ledger.add(event, [received(event)])
    sizes = [item_size(item(event))]
    # When it is processed in a unit of many
    done, placed = places(event)
    assert ledger.mark_processed(done, DISPATCH, placed) is None
    sizes.append(item_size(item(event)))
    # Then it takes one write unit at each step
    assert max(sizes) <= MOST, sizes
    record = ledger.get(event.event_id)
    assert record is not None
    assert len(record.timeline) == 3
    assert record.event == placed


def test_an_event_that_was_alone_is_small(ledger: EventStore) -> None:
    event = order()
    ledger.add(event, [received(event)])
    ledger.mark_processed(make_done(event, DONE_AT), DISPATCH, event)
    assert item_size(item(event)) <= MOST


def test_what_follows_from_the_rest_is_not_kept(ledger: EventStore) -> None:
    event = order()
    ledger.add(event, [received(event)], PAYLOAD)
    left_out = {"s3Bucket", "s3Key", "contentType", "updatedAt", "silverBucket"}
    assert not left_out & set(item(event))
    done, placed = places(event)
    ledger.mark_processed(done, DISPATCH, placed)
    assert not (left_out | {"payload"}) & set(item(event))


def test_what_follows_from_nothing_is_kept(ledger: EventStore) -> None:
    # Given an event of a batch, of another type of content
    event = replace(order(), content_type="application/cloudevents+json", s3_range="bytes=0-9")
    event = replace(event, s3_key=unit_bronze_key(event.received_at, make_id()))
    ledger.add_new([event])
    done, _ = places(event)
    ledger.mark_processed(
        replace(done, s3_key=event.s3_key, s3_range=event.s3_range), DISPATCH, event
    )
    stored = item(event)
    assert stored["s3Key"]["S"] == event.s3_key
    assert stored["contentType"]["S"] == "application/cloudevents+json"


def test_a_payload_in_the_ledger_is_compressed(ledger: EventStore) -> None:
    payload = b'{"eventType":"order.created","lines":[%s]}' % b",".join(
        b'{"sku":"A-%d","quantity":1,"price":"9.90"}' % number for number in range(80)
    )
    event = order(payload)
    ledger.add(event, [received(event)], payload)
    stored = item(event)
    assert len(payload) > 3000
    assert len(stored["payload"]["B"]) < len(payload) / 3
    record = ledger.get(event.event_id)
    assert record is not None
    assert (record.payload, sha256(record.payload or b"")) == (payload, event.payload_sha256)


def test_an_item_that_leaves_nothing_out_reads_the_same(ledger: EventStore) -> None:
    # Given an item with every field, as a person may have put it
    event = order()
    ledger.add(event, [received(event)])
    fields = {
        "s3Bucket": {"S": "elsewhere"},
        "s3Key": {"S": event.s3_key},
        "contentType": {"S": "text/plain"},
        "updatedAt": {"S": DONE_AT},
    }
    whole = {**item(event), **fields}
    client("dynamodb").put_item(TableName=NAMES.events_table, Item=whole)
    # When it is read
    record = ledger.get(event.event_id)
    # Then what it says counts
    assert record is not None
    assert (record.s3_bucket, record.updated_at) == ("elsewhere", DONE_AT)
    assert record.event == replace(event, content_type="text/plain")
    # And a step says anew when it was
    ledger.mark_attempt_failed(
        record.event, SENT_AT, Failure("transient", "x", "x"), final=False, dispatch=DISPATCH
    )
    after = ledger.get(event.event_id)
    assert after is not None
    assert after.updated_at == SENT_AT

"""The worker, a batch at a time: no message hurts its neighbours."""

import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.aws.sqs import Delivery
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.events.finish import LEASE_MARGIN_SECONDS
from chalicelib.events.keys import silver_key
from chalicelib.events.model import Status, Step
from chalicelib.events.process_unit import finish_open_units
from chalicelib.events.processors import Incoming
from chalicelib.events.unit import read_documents, read_unit
from chalicelib.events.worker import MARGIN_SECONDS, process_batch
from tests.support.factories import (
    NOON,
    decode_event,
    make_body,
    make_delivery,
    make_event,
    make_message,
)
from tests.support.faults import Fault, ProcessKilledError, suffer
from tests.support.worker_on_fakes import PROCESSORS, Worker, again, refusing


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_what_is_done_is_deleted_and_what_failed_is_put_off(worker: Worker) -> None:
    # Given a queue with two good events around a bad one
    good, first = worker.event()
    bad, second = worker.event("transient")
    other, third = worker.event()
    for delivery in (first, second, third):
        worker.queue.send(delivery.body)
    batch = [Delivery.from_record(record) for record in worker.queue.receive()]
    # When the batch is processed
    with pytest.raises(BatchIncompleteError, match="1 of 3"):
        worker.run(*batch)
    # Then the good ones are off the queue, and the bad one waits
    assert worker.status(good) is worker.status(other) is Status.PROCESSED
    assert worker.status(bad) is Status.ENQUEUED
    (left,) = worker.queue.messages
    assert decode_event(left.body).event == bad
    assert (left.visible_at - worker.clock()).total_seconds() == round(5 * 1.5)
    assert worker.aws.calls[-2:] == ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"]


@pytest.mark.parametrize("count", [2, 10, 50])
def test_what_comes_together_is_one_unit(worker: Worker, count: int) -> None:
    # Given single events in the ledger, each with a message of its own
    events = [worker.event(n=n) for n in range(count)]
    sent = {event.event_id: decode_event(delivery.body).payload for event, delivery in events}
    for event, _ in events:
        received = [Step(Status.RECEIVED, event.received_at)]
        worker.ledger.add(event, received, sent[event.event_id])
    # When they come in one batch
    worker.run(*[delivery for _, delivery in events])
    # Then they cost two objects, the journal, the ledger's write for each, and no call of the queue
    puts = math.ceil(count / 10)
    assert worker.aws.calls == [
        "PutObject", "PutItem", "PutObject",
        *["UpdateItem"] * count, *["PutEvents"] * puts, "UpdateItem",
    ]  # fmt: skip
    assert len(worker.aws.objects) == 2
    # And each is found: its payload as it was sent, its document, its entry on the bus
    for number, (event, _) in enumerate(events):
        record = worker.aws.records[event.event_id]
        assert (record.status, record.payload, record.attempts) == (Status.PROCESSED, None, 1)
        stored = worker.lake.get_bronze(record.event.s3_key, record.event.s3_range)
        assert stored == sent[event.event_id]
        document = worker.line(event)
        assert (document["eventId"], document["data"]["n"]) == (event.event_id, number)
        assert document["bronze"] == {
            "bucket": "bronze",
            "key": record.event.s3_key,
            "range": record.event.s3_range,
            "sha256": event.payload_sha256,
        }
        told = json.loads(worker.bus.entries[number].detail)
        place = {"bucket": "silver", "key": record.silver_key, "range": record.silver_range}
        assert (told["eventId"], told["silver"]) == (event.event_id, place)
    assert worker.aws.units == {}


def test_a_gathered_file_gives_its_events_back(worker: Worker) -> None:
    events = [worker.event(n=n) for n in range(3)]
    worker.run(*[delivery for _, delivery in events])
    records = [worker.aws.records[event.event_id].event for event, _ in events]
    (key,) = {event.s3_key for event in records}
    found = worker.lake.get_unit(key)
    assert found is not None
    assert read_unit(key, *found) == records


def test_each_type_and_day_has_a_silver_file(worker: Worker) -> None:
    # Given two events of a type, one of another, and one of another day
    first, second, other = worker.event(), worker.event(), worker.event("other")
    payload = make_body()
    early = make_event(payload=payload, at=NOON - timedelta(days=1))
    late = make_delivery(make_message(early, payload, in_bronze=False))
    # When they come together
    worker.run(first[1], second[1], other[1], late)
    # Then the two share a file, and the others have their old names
    keys = [worker.aws.records[one.event_id].silver_key for one in (first[0], second[0])]
    assert keys[0] == keys[1]
    assert keys[0]
    assert keys[0].startswith("silver/demo/dt=2026-03-14/")
    assert keys[0].endswith(".ndjson")
    for event in (other[0], early):
        record = worker.aws.records[event.event_id]
        assert (record.silver_key, record.silver_range) == (silver_key(event), None)
        assert worker.silver(event) == worker.line(event)
    # And all payloads share one
    assert len({record.event.s3_key for record in worker.aws.records.values()}) == 1


@pytest.mark.parametrize(
    ("content_type", "payload"),
    [
        ("application/json", b'{\n "eventType":"demo"}'),
        ("application/json", b'{"eventType":"demo"}\r'),
        ("application/octet-stream", b"\x00\xff"),
        ("application/octet-stream", b'{"eventType":"demo"}'),
        ("text/plain", b"hello"),
    ],
)
def test_what_is_no_line_of_json_is_an_object_by_itself(
    worker: Worker, content_type: str, payload: bytes
) -> None:
    # Given such a payload amid two that can share a file
    single = make_event(payload=payload, content_type=content_type)
    delivery = make_delivery(make_message(single, payload, in_bronze=False))
    others = [worker.event(), worker.event()]
    # When they come together
    worker.run(others[0][1], delivery, others[1][1])
    # Then it is stored as it was sent, under its own name, with what rebuilds its entry
    record = worker.aws.records[single.event_id]
    assert record.event == single
    assert worker.lake.get_bronze(single.s3_key) == payload
    assert worker.lake.bronze_event(single.s3_key) == single
    (shared,) = {worker.aws.records[event.event_id].event.s3_key for event, _ in others}
    assert shared.endswith(".ndjson")
    assert worker.line(single)["bronze"]["key"] == single.s3_key


def test_one_payload_that_could_be_a_line_is_an_object_if_it_is_the_only_one(
    worker: Worker,
) -> None:
    pretty = b'{\n "eventType":"demo"}'
    lonely, delivery = worker.event()
    worker.run(
        delivery, make_delivery(make_message(make_event(payload=pretty), pretty, in_bronze=False))
    )
    record = worker.aws.records[lonely.event_id]
    assert record.event == lonely
    assert worker.lake.get_bronze(lonely.s3_key) == decode_event(delivery.body).payload


def test_a_payload_that_is_in_bronze_is_not_written_again(worker: Worker) -> None:
    # Given a large event that ingest has put into bronze, amid small ones
    payload = make_body(text="x" * 5000)
    large = make_event(payload=payload)
    worker.lake.put_bronze(large, payload)
    small = [worker.event(), worker.event()]
    # When they come together
    worker.run(make_delivery(make_message(large, payload)), *[one for _, one in small])
    # Then it stays where it is
    assert worker.aws.calls.count("PutObject") == 2
    record = worker.aws.records[large.event_id]
    assert (record.event.s3_key, record.event.s3_range) == (large.s3_key, None)
    assert worker.line(large)["data"]["text"] == "x" * 5000


def test_a_payload_whose_key_holds_another_goes_into_a_file(worker: Worker) -> None:
    # Given a request that was refused as a conflict, and left its body at the event's key
    event, delivery = worker.event(n=1)
    worker.lake.put_bronze(replace(event, payload_sha256="0" * 64), b"another")
    # When the event comes alone
    worker.run(delivery)
    # Then its payload is elsewhere, as it was sent, and the other is untouched
    record = worker.aws.records[event.event_id]
    assert record.event.s3_key != event.s3_key
    stored = worker.lake.get_bronze(record.event.s3_key, record.event.s3_range)
    assert stored == decode_event(delivery.body).payload
    assert worker.lake.get_bronze(event.s3_key) == b"another"
    assert worker.silver(event)["bronze"]["key"] == record.event.s3_key
    found = worker.lake.get_unit(record.event.s3_key)
    assert found
    assert read_unit(record.event.s3_key, *found) == [record.event]


def test_two_messages_for_one_event_in_a_batch_are_one(worker: Worker) -> None:
    event, delivery = worker.event()
    worker.run(delivery, again(delivery, 1))
    assert worker.status(event) is Status.PROCESSED
    assert len(worker.bus.entries) == 1
    assert worker.aws.calls.count("PutObject") == 2
    assert worker.aws.records[event.event_id].attempts == 1


def test_a_refused_entry_is_tried_again_and_its_neighbours_are_not(worker: Worker) -> None:
    # Given a bus that refuses one of two entries
    refused, delivery = worker.event("refused")
    good, neighbour = worker.event("good")
    worker.bus.refused = {"refused"}
    # When both are delivered
    with pytest.raises(BatchIncompleteError):
        worker.run(delivery, neighbour)
    # Then both are PROCESSED, the unit is open, and their messages wait
    assert worker.status(good) is worker.status(refused) is Status.PROCESSED
    assert worker.aws.records[refused.event_id].last_error is None
    assert [entry.detail_type for entry in worker.bus.entries] == ["good"]
    (unit,) = worker.aws.units.values()
    assert refused.event_id in unit.event_ids
    assert unit.until < worker.clock.text or unit.until == unit.begun
    before = dict(worker.aws.records), dict(worker.aws.objects)
    # And when it comes again, the unit is published and closed; no processor runs
    worker.clock.advance(10)
    worker.bus.refused = set()
    worker.processors["refused"] = PROCESSORS["crash"]
    worker.run(again(delivery, 2))
    worker.run(again(neighbour, 2))
    assert [entry.detail_type for entry in worker.bus.entries] == ["good", "refused"]
    assert (worker.aws.records, worker.aws.objects) == before
    assert worker.aws.units == {}


def test_what_the_bus_refused_is_published_once(worker: Worker) -> None:
    # Given a bus that is down
    event, delivery = worker.event()
    worker.aws.gate = refusing("PutEvents")
    for attempt in (1, 2):
        with pytest.raises(BatchIncompleteError):
            worker.run(again(delivery, attempt))
        worker.clock.advance(30)
    assert worker.status(event) is Status.PROCESSED
    assert worker.bus.entries == []
    # When it is up again, and the message comes as often as it likes
    worker.aws.gate = None
    for attempt in (3, 4, 5):
        worker.run(again(delivery, attempt))
        worker.clock.advance(30)
    # Then there is one entry
    (entry,) = worker.bus.entries
    assert json.loads(entry.detail)["eventId"] == event.event_id


def test_a_repeat_waits_for_the_delivery_that_is_at_work(worker: Worker) -> None:
    # Given a worker that died between silver and the ledger
    event, delivery = worker.event()
    worker.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    worker.aws.calls.clear()
    worker.aws.fail(4, Fault.KILLED_BEFORE)
    with pytest.raises(ProcessKilledError):
        worker.run(delivery)
    worker.aws.faults.clear()
    document = worker.silver(event)
    # When another message for the event comes for the first time
    with pytest.raises(BatchIncompleteError):
        worker.run(again(delivery, 1))
    # Then it leaves the work to the other, which goes on when that run is over
    assert worker.bus.entries == []
    worker.clock.advance(worker.seconds + LEASE_MARGIN_SECONDS + 1)
    worker.run(again(delivery, 2))
    assert worker.status(event) is Status.PROCESSED
    assert worker.silver(event) == document
    assert len(worker.bus.entries) == 1
    # And a later repeat does nothing
    for attempt in (1, 2):
        with suppress(BatchIncompleteError):
            worker.run(again(delivery, attempt))
    assert len(worker.bus.entries) == 1
    assert worker.silver(event) == document
    assert worker.aws.units == {}


def test_a_document_that_two_dead_units_name_is_published_by_the_one_that_noted_it(
    worker: Worker,
) -> None:
    # Given a run that died before it wrote an event's own document, and another that wrote it,
    # published the event, and died before the end of its unit
    event, delivery = worker.event()
    worker.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    for call, died in ((3, "PutObject"), (7, "UpdateItem")):
        worker.aws.calls.clear()
        worker.aws.fail(call, Fault.KILLED_BEFORE)
        with pytest.raises(ProcessKilledError):
            worker.run(again(delivery, 1))
        assert worker.aws.calls[-1] == died
        worker.aws.faults.clear()
    assert worker.status(event) is Status.PROCESSED
    assert (len(worker.aws.units), len(worker.bus.entries)) == (2, 1)
    # When both are finished
    worker.clock.advance(worker.seconds + LEASE_MARGIN_SECONDS + 1)
    assert finish_open_units(worker.worker()) == 2
    # Then it is published once more, for the run that did not live to say that it was
    assert len(worker.bus.entries) == 2
    assert worker.aws.units == {}


def test_who_loses_an_event_takes_its_line_out(worker: Worker) -> None:
    # Given two workers that have an event at the same time, each beside others
    shared, twice = worker.event(n=7)
    left, right = worker.event(n=1), worker.event(n=2)
    for event in (shared, left[0], right[0]):
        worker.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    nested: list[str] = []

    def gate(operation: str, effect: Callable[[], Any]) -> Any:
        # The second worker does all its work when the first has written its silver file.
        if operation == "UpdateItem" and not nested:
            nested.append(operation)
            process_batch([right[1], again(twice, 1)], worker.worker())
        return effect()

    worker.aws.gate = gate
    # When both have done their work
    worker.run(left[1], twice)
    # Then the event has one line and one entry, and all others are where the ledger says
    lines = [
        document["eventId"]
        for (bucket, _), stored in worker.aws.objects.items()
        if bucket == "silver"
        for document, _ in read_documents(stored.body)
    ]
    ids = [shared.event_id, left[0].event_id, right[0].event_id]
    assert sorted(lines) == sorted(ids)
    for event in (shared, left[0], right[0]):
        assert worker.status(event) is Status.PROCESSED
        assert worker.line(event)["eventId"] == event.event_id
    told = [json.loads(entry.detail)["eventId"] for entry in worker.bus.entries]
    assert sorted(told) == sorted(ids)
    assert worker.aws.units == {}


def test_a_line_that_could_not_be_taken_out_is_taken_out_later(worker: Worker) -> None:
    # Given an event that another unit has, and an S3 that refuses the loser's second write
    shared, delivery = worker.event(n=7)
    other, beside = worker.event(n=1)
    worker.run(delivery)
    (first,) = worker.bus.entries
    puts: list[str] = []

    def gate(operation: str, effect: Callable[[], Any]) -> Any:
        puts.extend([operation] if operation == "PutObject" else [])
        third = operation == "PutObject" and len(puts) == 3
        return suffer(Fault.REFUSED if third else None, operation, effect)

    worker.aws.gate = gate
    # When it comes in another message, beside another event
    with pytest.raises(BatchIncompleteError):
        worker.run(again(delivery, 1), beside)
    worker.aws.gate = None
    assert len(worker.aws.units) == 1
    worker.clock.advance(10)
    worker.run(again(delivery, 2))
    # Then in the end it has one line, that of the ledger
    lines = [
        document["eventId"]
        for (bucket, _), stored in worker.aws.objects.items()
        if bucket == "silver"
        for document, _ in read_documents(stored.body)
    ]
    assert sorted(lines) == sorted([shared.event_id, other.event_id])
    assert worker.line(shared)["data"]["n"] == 7
    assert worker.bus.entries[0] == first
    told = [json.loads(entry.detail)["eventId"] for entry in worker.bus.entries]
    assert told.count(shared.event_id) == 1
    assert worker.aws.units == {}


def test_an_event_that_ends_failed_raises_one_alert(worker: Worker) -> None:
    event, delivery = worker.event("permanent")
    worker.run(delivery)
    assert worker.status(event) is Status.FAILED
    (alert,) = worker.alerts.sent
    assert json.loads(alert)["eventline"]["kind"] == "event-failed"


@pytest.mark.parametrize("body", ["hello", "{}", '{"v":1}', json.dumps({"Records": []})])
def test_a_foreign_message_goes_to_the_dead_letters_with_its_reason(
    worker: Worker, body: str
) -> None:
    good, delivery = worker.event()
    foreign = make_delivery(body)
    worker.run(foreign, delivery)
    assert worker.status(good) is Status.PROCESSED
    (aside,) = worker.dead_letters.messages
    assert aside.body == body
    assert aside.attributes["code"] == "foreign-message"
    assert aside.attributes["messageId"] == foreign.message_id
    assert aside.attributes["reason"]


def test_a_foreign_message_that_cannot_be_set_aside_stays(worker: Worker) -> None:
    worker.aws.gate = refusing("SendMessage")
    with pytest.raises(BatchIncompleteError):
        worker.run(make_delivery("hello"))
    assert worker.dead_letters.messages == []


def test_one_that_hangs_leaves_time_to_the_others(worker: Worker) -> None:
    slow, hanging = worker.event("hang")
    good, delivery = worker.event()
    worker.seconds = MARGIN_SECONDS + 0.5
    began = time.monotonic()
    with pytest.raises(BatchIncompleteError):
        worker.run(hanging, delivery)
    assert time.monotonic() - began < 2
    assert worker.status(good) is Status.PROCESSED
    last_error = worker.aws.records[slow.event_id].last_error
    assert last_error is not None
    assert (last_error["class"], last_error["code"]) == ("transient", "time-out")


def test_what_there_is_no_time_for_comes_back_at_once(worker: Worker) -> None:
    event, delivery = worker.event()
    worker.queue.send(delivery.body)
    (record,) = worker.queue.receive()
    worker.seconds = MARGIN_SECONDS - 0.1
    with pytest.raises(BatchIncompleteError):
        worker.run(Delivery.from_record(record))
    assert event.event_id not in worker.aws.records
    assert worker.queue.messages[0].visible_at == worker.clock()


def test_one_that_kills_the_process_takes_no_neighbour_down(worker: Worker) -> None:
    # Given a message that killed a worker before, ahead of a good one
    good, fresh = worker.event()
    _, deadly = worker.event("deadly")
    worker.queue.send(fresh.body)
    (record,) = worker.queue.receive()
    killer = again(deadly, 2)
    # When its processor does it again

    def kill(_incoming: Incoming) -> Any:
        raise ProcessKilledError

    worker.processors["deadly"] = kill
    with pytest.raises(ProcessKilledError):
        worker.run(killer, Delivery.from_record(record))
    # Then the good one is done and off the queue
    assert worker.status(good) is Status.PROCESSED
    assert worker.queue.messages == []
    assert worker.aws.units == {}

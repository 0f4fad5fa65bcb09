"""The worker, and a message of many events: one silver file for each type, and who fails leaves."""

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from chalicelib.aws.sqs import Delivery
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.events.finish import LEASE_MARGIN_SECONDS
from chalicelib.events.keys import silver_key
from chalicelib.events.model import Event, Failure, Status, Step
from chalicelib.events.process_unit import finish_open_units
from chalicelib.events.unit import part, read_documents, unpack
from chalicelib.events.worker import MARGIN_SECONDS
from tests.support.factories import make_body, make_delivery, make_message
from tests.support.faults import Fault, ProcessKilledError, suffer
from tests.support.worker_on_fakes import MAX_ATTEMPTS, Worker, again, refusing

DEMO = b'{"eventType":"demo","n":1}'
OTHER = b'{"eventType":"other","n":2}'
TRANSIENT = b'{"eventType":"transient"}'
PERMANENT = b'{"eventType":"permanent"}'


@pytest.fixture
def worker() -> Worker:
    return Worker()


def statuses(worker: Worker, events: list[Event]) -> list[Status]:
    return [worker.status(event) for event in events]


def lines(worker: Worker) -> Counter[str]:
    """How often each event is in silver."""
    return Counter(
        document["eventId"]
        for (bucket, _), stored in worker.aws.objects.items()
        if bucket == "silver"
        for document, _ in read_documents(stored.body)
    )


def told(worker: Worker) -> list[str]:
    """The events that the bus was told of, in order."""
    return [json.loads(entry.detail)["eventId"] for entry in worker.bus.entries]


def wait_for_the_lease(worker: Worker) -> None:
    """Let the time of a dead run pass."""
    worker.clock.advance(worker.seconds + LEASE_MARGIN_SECONDS + 1)


def kill(worker: Worker, call: int, *deliveries: Delivery) -> None:
    """A run that dies before that call."""
    worker.aws.calls.clear()
    worker.aws.fail(call, Fault.KILLED_BEFORE)
    with pytest.raises(ProcessKilledError):
        worker.run(*deliveries)
    worker.aws.faults.clear()


def failing_once(operation: str, number: int = 1) -> Callable[[str, Callable[[], Any]], Any]:
    """A gate at which the call of that number of an operation is refused."""
    seen: list[str] = []

    def gate(name: str, effect: Callable[[], Any]) -> Any:
        seen.append(name)
        bad = name == operation and seen.count(operation) == number
        return suffer(Fault.REFUSED if bad else None, name, effect)

    return gate


def test_a_hundred_events_are_one_file_and_ten_puts_on_the_bus(worker: Worker) -> None:
    # Given a hundred events of one type, in bronze
    events, delivery = worker.unit(*[make_body(n=n) for n in range(100)])
    # When they are delivered
    worker.clock.advance(3)
    worker.run(delivery)
    # Then the ledger is all that is written for each
    assert worker.aws.calls == [
        "PutItem", "PutObject", *["UpdateItem"] * 100, *["PutEvents"] * 10, "UpdateItem",
    ]  # fmt: skip
    assert statuses(worker, events) == [Status.PROCESSED] * 100
    (key,) = {worker.aws.records[event.event_id].silver_key for event in events}
    assert key
    assert key.endswith(".ndjson")
    found = unpack(worker.lake.get_silver(key))
    for number, (event, (line, within)) in enumerate(zip(events, found, strict=True)):
        record = worker.aws.records[event.event_id]
        assert record.silver_range == within
        assert worker.line(event) == json.loads(line)
        assert worker.line(event)["data"]["n"] == number
        assert record.attempts == 1
        assert [entry["status"] for entry in record.timeline] == [
            "RECEIVED", "ENQUEUED", "PROCESSED",
        ]  # fmt: skip
        # And its payload stays where ingest put it
        assert record.event == event
    entries = [json.loads(entry.detail) for entry in worker.bus.entries]
    assert [one["eventId"] for one in entries] == [event.event_id for event in events]
    place = entries[7]["silver"]
    assert part(worker.lake.get_silver(place["key"]), place["range"]) == found[7][0]
    assert entries[7]["bronze"]["range"] == events[7].s3_range
    assert worker.aws.units == {}


def test_each_type_has_a_file(worker: Worker) -> None:
    events, delivery = worker.unit(DEMO, OTHER, DEMO)
    worker.run(delivery)
    records = [worker.aws.records[event.event_id] for event in events]
    assert records[0].silver_key == records[2].silver_key != records[1].silver_key
    assert (records[1].silver_key, records[1].silver_range) == (silver_key(events[1]), None)
    assert worker.aws.calls.count("PutObject") == 2


def test_payloads_that_are_not_sent_along_are_read_in_one_call(worker: Worker) -> None:
    events, delivery = worker.unit(DEMO, OTHER, sent_along=False)
    worker.run(delivery)
    assert worker.aws.calls.count("GetObject") == 1
    assert worker.line(events[1])["data"] == json.loads(OTHER)


def test_what_fails_is_detached_and_the_others_are_done(worker: Worker) -> None:
    # Given events that fail in different ways
    events, delivery = worker.unit(DEMO, TRANSIENT, PERMANENT, DEMO)
    # When they are delivered in one message
    worker.run(delivery)
    # Then one is FAILED and one goes on alone, after a while
    assert statuses(worker, events) == [
        Status.PROCESSED, Status.ENQUEUED, Status.FAILED, Status.PROCESSED,
    ]  # fmt: skip
    (message,) = worker.detached()
    (parcel,) = message.parcels
    assert (parcel.event, parcel.payload, message.attempts) == (events[1], TRANSIENT, 1)
    (waiting,) = worker.queue.messages
    assert (waiting.visible_at - worker.clock()).total_seconds() == round(5 * 1.5)
    record = worker.aws.records[events[1].event_id]
    assert record.last_error is not None
    assert (record.attempts, record.last_error["code"]) == (1, "busy")
    (alert,) = worker.alerts.sent
    assert json.loads(alert)["eventline"]["kind"] == "event-failed"
    # And only the others are in silver
    assert lines(worker) == {events[0].event_id: 1, events[3].event_id: 1}
    assert worker.aws.units == {}


def test_attempts_are_counted_across_both_messages(worker: Worker) -> None:
    # Given an event that left its message after one attempt
    (_, event), delivery = worker.unit(DEMO, TRANSIENT)
    worker.run(delivery)
    (body,) = worker.queue.sent
    # When it fails on, alone
    for attempt in range(1, MAX_ATTEMPTS - 1):
        with pytest.raises(BatchIncompleteError):
            worker.run(make_delivery(body, attempt))
        assert worker.status(event) is Status.ENQUEUED
    worker.run(make_delivery(body, MAX_ATTEMPTS - 1))
    # Then it has had as many as any other
    record = worker.aws.records[event.event_id]
    assert (record.status, record.attempts) == (Status.FAILED, MAX_ATTEMPTS)
    # And it was noted once that it was sent
    steps = [step["status"] for step in record.timeline if "detail" not in step]
    assert steps == ["RECEIVED", "ENQUEUED"]


def test_a_processor_sees_which_attempt_it_is(worker: Worker) -> None:
    (event,), delivery = worker.unit(b'{"eventType":"with-attempt"}')
    worker.run(again(delivery, 2))
    assert worker.line(event)["data"]["attempt"] == 2


def test_a_detached_event_has_a_document_of_its_own(worker: Worker) -> None:
    (_, event), delivery = worker.unit(DEMO, TRANSIENT)
    worker.run(delivery)
    del worker.processors["transient"]
    worker.run(make_delivery(worker.queue.sent[0]))
    assert worker.status(event) is Status.PROCESSED
    assert worker.silver(event)["eventId"] == event.event_id
    assert worker.aws.records[event.event_id].silver_range is None


@pytest.mark.parametrize("sent_along", [True, False])
def test_a_payload_that_is_gone_fails_for_good(worker: Worker, sent_along: bool) -> None:
    events, delivery = worker.unit(DEMO, OTHER, sent_along=sent_along)
    worker.aws.objects.clear()
    worker.run(delivery)
    expected = Status.PROCESSED if sent_along else Status.FAILED
    assert statuses(worker, events) == [expected] * 2


def test_a_payload_that_is_another_fails_alone(worker: Worker) -> None:
    events, delivery = worker.unit(DEMO, OTHER, sent_along=False)
    place = "bronze", events[0].s3_key
    kept = worker.aws.objects[place]
    kept.body = kept.body.replace(b'"n":1', b'"n":9')
    worker.run(delivery)
    assert statuses(worker, events) == [Status.FAILED, Status.PROCESSED]


def test_a_second_delivery_has_no_second_effect(worker: Worker) -> None:
    events, delivery = worker.unit(DEMO, TRANSIENT, PERMANENT)
    worker.run(delivery)
    before = dict(worker.aws.records)
    published = told(worker)
    for attempt in (2, 1, 3, MAX_ATTEMPTS):
        worker.clock.advance(60)
        with suppress(BatchIncompleteError):
            worker.run(again(delivery, attempt))
    assert worker.aws.records[events[0].event_id] == before[events[0].event_id]
    assert told(worker) == published == [events[0].event_id]
    assert lines(worker) == {events[0].event_id: 1}
    assert worker.aws.records[events[2].event_id].status is Status.FAILED
    assert worker.aws.units == {}


def test_a_refused_entry_keeps_the_unit_and_no_processor_runs_again(worker: Worker) -> None:
    # Given a bus that refuses one of three entries
    events, delivery = worker.unit(DEMO, OTHER, TRANSIENT)
    worker.bus.refused = {"other"}
    with pytest.raises(BatchIncompleteError):
        worker.run(delivery)
    assert statuses(worker, events) == [Status.PROCESSED, Status.PROCESSED, Status.ENQUEUED]
    assert worker.aws.records[events[1].event_id].last_error is None
    assert told(worker) == [events[0].event_id]
    documents = [worker.line(event) for event in events[:2]]
    # When the message comes again
    worker.clock.advance(10)
    worker.bus.refused = set()
    worker.processors["other"] = worker.processors["permanent"]
    worker.run(again(delivery, 2))
    # Then the entry is told from the document that there is
    assert told(worker).count(events[1].event_id) == 1
    assert statuses(worker, events) == [Status.PROCESSED, Status.PROCESSED, Status.ENQUEUED]
    assert [worker.line(event) for event in events[:2]] == documents
    assert worker.aws.units == {}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    "operation", ["GetObject", "PutItem", "PutObject", "PutEvents", "UpdateItem"]
)
def test_whatever_aws_refuses_every_event_comes_to_its_end(
    worker: Worker, operation: str, number: int
) -> None:
    # Given a message with which everything happens, and an AWS that refuses one call
    events, delivery = worker.unit(DEMO, OTHER, TRANSIENT, PERMANENT, DEMO, sent_along=False)
    worker.aws.gate = failing_once(operation, number)
    # When it is delivered until it is done
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            worker.run(again(delivery, attempt))
            break
        except BatchIncompleteError:
            wait_for_the_lease(worker)
    else:
        pytest.fail("the message is never done")
    # and what has left it, too
    worker.aws.gate = None
    del worker.processors["transient"]
    while worker.queue.messages:
        worker.clock.advance(900)
        records = worker.queue.receive()
        worker.run(*[Delivery.from_record(record) for record in records])
        worker.queue.acknowledge(records)
    # Then all are done but the one that cannot be, and each is in silver once
    good = [event for event in events if event.event_type != "permanent"]
    assert statuses(worker, good) == [Status.PROCESSED] * 4
    assert worker.status(events[3]) is Status.FAILED
    assert lines(worker) == {event.event_id: 1 for event in good}
    # and on the bus once, since no run has died
    assert sorted(told(worker)) == sorted(event.event_id for event in good)
    assert all(worker.line(event)["eventId"] == event.event_id for event in good)
    assert worker.aws.units == {}


def test_a_queue_that_takes_nothing_keeps_only_the_message_of_who_leaves(worker: Worker) -> None:
    # Given an SQS that refuses to send, and a message two of whose events are to leave it
    events, delivery = worker.unit(DEMO, TRANSIENT, TRANSIENT)
    worker.aws.gate = refusing("SendMessageBatch")
    single, other = worker.event()
    # When it comes beside another
    with pytest.raises(BatchIncompleteError, match="1 of 2"):
        worker.run(delivery, other)
    # Then only it waits
    assert worker.status(single) is worker.status(events[0]) is Status.PROCESSED
    assert statuses(worker, events[1:]) == [Status.RECEIVED] * 2
    # And it is done when SQS is well
    worker.aws.gate = None
    worker.clock.advance(30)
    worker.run(again(delivery, 2))
    assert [message.parcels[0].event for message in worker.detached()] == events[1:]
    assert lines(worker) == {events[0].event_id: 1, single.event_id: 1}


@pytest.mark.parametrize("operation", ["GetObject", "PutItem", "PutObject", "UpdateItem"])
def test_what_aws_refuses_is_no_attempt_of_an_event(worker: Worker, operation: str) -> None:
    # Given an AWS that is down
    events, delivery = worker.unit(DEMO, DEMO, sent_along=False)
    worker.aws.gate = refusing(operation)
    # When a message of many comes
    with pytest.raises(BatchIncompleteError, match="1 of 1"):
        worker.run(delivery)
    # Then it waits as a whole, and its events know nothing of it
    for event in events:
        record = worker.aws.records[event.event_id]
        assert (record.status, record.attempts) == (Status.RECEIVED, 0)
        assert record.last_error is None
    assert worker.queue.sent == []
    assert worker.bus.entries == []


def test_a_second_message_waits_for_the_delivery_at_work(worker: Worker) -> None:
    # Given a worker that died after it wrote documents that are alone
    events, delivery = worker.unit(DEMO, OTHER)
    kill(worker, 4, delivery)
    # When another message for the events comes for the first time
    worker.queue.send(delivery.body)
    (record,) = worker.queue.receive()
    with pytest.raises(BatchIncompleteError):
        worker.run(Delivery.from_record(record))
    # Then it waits, and goes on when it comes again
    assert worker.bus.entries == []
    assert (worker.queue.messages[0].visible_at - worker.clock()).total_seconds() == 30
    wait_for_the_lease(worker)
    worker.run(again(delivery, 2))
    assert statuses(worker, events) == [Status.PROCESSED] * 2
    assert len(worker.bus.entries) == 2


def test_what_a_dead_run_wrote_is_taken_out_where_another_was_faster(worker: Worker) -> None:
    # Given a worker that died after it wrote a file of many
    events, delivery = worker.unit(DEMO, make_body(n=2), make_body(n=3))
    kill(worker, 3, delivery)
    (dead,) = worker.aws.units.values()
    assert lines(worker) == {event.event_id: 1 for event in events}
    # When another message for two of the events comes for the first time
    parcels = [make_message(events[number], body) for number, body in ((0, DEMO),)]
    second, beside = worker.event()
    worker.run(make_delivery(parcels[0]), beside)
    assert worker.status(events[0]) is Status.PROCESSED
    # and the dead run's unit is finished
    wait_for_the_lease(worker)
    assert finish_open_units(worker.worker()) == 1
    # Then each event has one line, where the ledger says, and one entry on the bus
    assert statuses(worker, events) == [Status.PROCESSED] * 3
    everyone = [*events, second]
    assert lines(worker) == {event.event_id: 1 for event in everyone}
    assert sorted(told(worker)) == sorted(event.event_id for event in everyone)
    for event in everyone:
        assert worker.line(event)["eventId"] == event.event_id
    (key,) = dead.silver_keys
    assert worker.aws.records[events[0].event_id].silver_key != key
    assert {worker.aws.records[event.event_id].silver_key for event in events[1:]} == {key}
    # And its message, when it comes again, finds all done
    worker.run(again(delivery, 2))
    assert worker.aws.calls == ["Query", "BatchGetItem"]


@pytest.mark.parametrize("call", range(1, 9))
def test_a_run_may_die_at_any_call(worker: Worker, call: int) -> None:
    # Given a run of three events of two types that dies before one of its calls
    events, delivery = worker.unit(DEMO, OTHER, DEMO)
    assert len(["PutItem", *["PutObject"] * 2, *["UpdateItem"] * 3, "PutEvents", "UpdateItem"]) == 8
    kill(worker, call, delivery)
    # When its message comes again
    wait_for_the_lease(worker)
    worker.run(again(delivery, 2))
    # Then each event is done once; only a run that died before its unit's end told the bus twice
    assert statuses(worker, events) == [Status.PROCESSED] * 3
    assert lines(worker) == {event.event_id: 1 for event in events}
    times = 2 if call == 8 else 1
    assert Counter(told(worker)) == {event.event_id: times for event in events}
    for event in events:
        assert worker.aws.records[event.event_id].attempts == 1
        assert worker.line(event)["eventId"] == event.event_id
    assert worker.aws.units == {}


def test_what_kills_the_worker_twice_is_run_alone(worker: Worker) -> None:
    # Given a message that killed two workers
    events, delivery = worker.unit(DEMO, OTHER, DEMO)
    # When it is delivered for the third time
    worker.run(again(delivery, 3))
    # Then no processor runs, and every event goes alone at once
    assert worker.aws.calls == [
        "Query", "BatchGetItem", "SendMessageBatch", *["UpdateItem"] * 3,
    ]  # fmt: skip
    assert [message.parcels[0].event for message in worker.detached()] == events
    assert all(one.visible_at == worker.clock() for one in worker.queue.messages)
    # And each still has attempts
    assert [message.attempts for message in worker.detached()] == [1] * 3
    for body in worker.queue.sent:
        worker.run(make_delivery(body))
    assert statuses(worker, events) == [Status.PROCESSED] * 3


def test_a_unit_that_is_broken_up_keeps_what_was_written(worker: Worker) -> None:
    events, delivery = worker.unit(DEMO, OTHER)
    worker.aws.gate = refusing("PutEvents")
    for attempt in (1, 2):
        with pytest.raises(BatchIncompleteError):
            worker.run(again(delivery, attempt))
        worker.clock.advance(30)
    worker.aws.gate = None
    worker.run(again(delivery, 3))
    assert statuses(worker, events) == [Status.PROCESSED] * 2
    assert worker.queue.sent == []
    assert sorted(told(worker)) == sorted(event.event_id for event in events)


def test_an_event_given_up_that_is_in_its_file_is_processed_after_all(worker: Worker) -> None:
    # Given a file that was written, and an event of it that reconcile gave up
    (event, _), delivery = worker.unit(DEMO, DEMO)
    kill(worker, 3, delivery)
    record = worker.aws.records[event.event_id]
    failure = Failure("stuck", "x", "x")
    assert worker.ledger.mark_given_up(record, event, worker.clock.text, failure)
    # When its message arrives after all
    wait_for_the_lease(worker)
    worker.run(again(delivery, 2))
    # Then it is not left with a document and no entry on the bus
    assert worker.status(event) is Status.PROCESSED
    assert told(worker).count(event.event_id) == 1


def test_a_message_that_sqs_does_not_take_keeps_the_others(worker: Worker) -> None:
    # Given two events that are to leave their message, and an SQS that takes one of theirs
    events, delivery = worker.unit(TRANSIENT, TRANSIENT)
    copy = Worker()
    for event in events:
        copy.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    copy.run(delivery)
    worker.queue.refused = {body for body in copy.queue.sent if events[1].event_id in body}
    # When it is delivered
    with pytest.raises(BatchIncompleteError):
        worker.run(delivery)
    # Then the attempt of the other is not noted
    assert [message.parcels[0].event for message in worker.detached()] == [events[0]]
    assert worker.aws.records[events[0].event_id].attempts == 1
    record = worker.aws.records[events[1].event_id]
    assert (record.status, record.attempts, record.last_error) == (Status.RECEIVED, 0, None)


def test_an_unreadable_silver_file_stops_no_other(worker: Worker) -> None:
    # Given a dead run's unit, one of whose files somebody has spoilt
    events, delivery = worker.unit(DEMO, DEMO, OTHER, OTHER)
    kill(worker, 4, delivery)
    (unit,) = worker.aws.units.values()
    worker.aws.objects["silver", unit.silver_keys[0]].body = b"spoilt\n"
    # When its unit is finished
    wait_for_the_lease(worker)
    assert finish_open_units(worker.worker()) == 1
    # Then the other's events are done, and the unit is no longer open
    assert statuses(worker, events) == [Status.RECEIVED] * 2 + [Status.PROCESSED] * 2
    assert worker.aws.units == {}


def test_two_who_finish_a_unit_finish_it_once(worker: Worker) -> None:
    # Given a dead run's unit, and two who have seen it
    events, delivery = worker.unit(DEMO, DEMO)
    kill(worker, 3, delivery)
    wait_for_the_lease(worker)
    nested: list[int] = []

    def gate(operation: str, effect: Callable[[], Any]) -> Any:
        if operation == "UpdateItem" and not nested:
            nested.append(0)
            nested.append(finish_open_units(worker.worker()))
        return effect()

    worker.aws.gate = gate
    assert finish_open_units(worker.worker()) == 0
    assert nested == [0, 1]
    assert statuses(worker, events) == [Status.PROCESSED] * 2
    assert sorted(told(worker)) == sorted(event.event_id for event in events)


def test_one_that_hangs_leaves_time_to_the_others(worker: Worker) -> None:
    events, delivery = worker.unit(b'{"eventType":"hang"}', DEMO, OTHER)
    _, single = worker.event()
    worker.seconds = MARGIN_SECONDS + 0.8
    began = time.monotonic()
    worker.run(delivery, single)
    assert time.monotonic() - began < 2
    assert statuses(worker, events[1:]) == [Status.PROCESSED] * 2
    last_error = worker.aws.records[events[0].event_id].last_error
    assert last_error is not None
    assert last_error["code"] == "time-out"


def test_a_unit_takes_its_share_of_the_time_by_its_events(worker: Worker) -> None:
    # Given a batch of one event that hangs and a unit of nineteen events, with two seconds
    _, single = worker.event("hang")
    events, delivery = worker.unit(*[DEMO] * 19)
    worker.seconds = MARGIN_SECONDS + 2.0
    began = time.monotonic()
    with pytest.raises(BatchIncompleteError):
        worker.run(single, delivery)
    # Then the one does not take half of it
    assert time.monotonic() - began < 0.6
    assert statuses(worker, events) == [Status.PROCESSED] * 19


def test_two_messages_of_one_unit_in_a_batch_are_one(worker: Worker) -> None:
    events, delivery = worker.unit(DEMO, OTHER)
    worker.run(delivery, again(delivery, 1))
    assert statuses(worker, events) == [Status.PROCESSED] * 2
    assert len(worker.bus.entries) == 2


def test_units_and_single_events_share_a_batch(worker: Worker) -> None:
    single, one = worker.event()
    events, many = worker.unit(DEMO, TRANSIENT)
    bad, other = worker.event("transient")
    with pytest.raises(BatchIncompleteError, match="1 of 3"):
        worker.run(one, many, other)
    assert worker.status(single) is worker.status(events[0]) is Status.PROCESSED
    assert worker.status(bad) is Status.ENQUEUED


def test_no_payload_of_a_unit_is_logged(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "eventline")
    bodies = [
        json.dumps({"eventType": kind, "secret": "hunter2"}).encode()
        for kind in ("demo", "crash", "permanent", "no-json", "leave")
    ]
    _, delivery = worker.unit(*bodies)
    for attempt in (1, 2, 3):
        with suppress(BatchIncompleteError):
            worker.run(again(delivery, attempt))
    logged = [str(vars(record)) for record in caplog.records]
    assert logged
    assert not [line for line in logged if "hunter2" in line]

"""The worker, a unit at a time: one silver file for each type, and who fails leaves."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.aws.sqs import Delivery
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.events.message import UnitMessage
from chalicelib.events.model import Event, Failure, Status
from chalicelib.events.unit import part, silver_file_key, unpack
from chalicelib.events.worker import MARGIN_SECONDS
from tests.support.factories import make_body, make_delivery, make_event, make_message
from tests.support.faults import Fault, ProcessKilledError, suffer
from tests.support.worker_on_fakes import MAX_ATTEMPTS, WEBHOOK_OWNER, Worker, again, refusing

DEMO = b'{"eventType":"demo","n":1}'
OTHER = b'{"eventType":"other","n":2}'
TRANSIENT = b'{"eventType":"transient"}'
PERMANENT = b'{"eventType":"permanent"}'


@pytest.fixture
def worker() -> Worker:
    return Worker()


def statuses(worker: Worker, events: list[Event]) -> list[Status]:
    return [worker.status(event) for event in events]


def failing_once(operation: str, number: int = 1) -> Callable[[str, Callable[[], Any]], Any]:
    """A gate at which the call of that number of an operation is refused."""
    seen: list[str] = []

    def gate(name: str, effect: Callable[[], Any]) -> Any:
        seen.append(name)
        bad = name == operation and seen.count(operation) == number
        return suffer(Fault.REFUSED if bad else None, name, effect)

    return gate


def test_a_hundred_events_are_one_file_and_ten_puts_on_the_bus(worker: Worker) -> None:
    # Given a unit of a hundred events of one type
    events, delivery = worker.unit(*[make_body(n=n) for n in range(100)])
    # When it is delivered
    worker.clock.advance(3)
    worker.run(delivery)
    # Then the ledger is all that is written for each
    assert worker.aws.calls == ["PutObject", *["PutEvents"] * 10, *["UpdateItem"] * 100]
    assert statuses(worker, events) == [Status.PROCESSED] * 100
    lines = unpack(worker.lake.get_silver(silver_file_key(events[0])))
    for number, (event, (line, within)) in enumerate(zip(events, lines, strict=True)):
        record = worker.aws.records[event.event_id]
        assert (record.silver_key, record.silver_range) == (silver_file_key(event), within)
        assert worker.line(event) == json.loads(line)
        assert worker.line(event)["data"]["n"] == number
        assert record.attempts == 1
        assert [entry["status"] for entry in record.timeline] == [
            "RECEIVED", "ENQUEUED", "PROCESSED",
        ]  # fmt: skip
    told = [json.loads(entry.detail) for entry in worker.bus.entries]
    assert [one["eventId"] for one in told] == [event.event_id for event in events]
    assert (
        part(worker.lake.get_silver(told[7]["silver"]["key"]), told[7]["silver"]["range"])
        == (lines[7][0])
    )
    assert told[7]["bronze"]["range"] == events[7].s3_range


def test_each_type_has_a_file(worker: Worker) -> None:
    events, delivery = worker.unit(DEMO, OTHER, DEMO)
    worker.run(delivery)
    keys = [worker.aws.records[event.event_id].silver_key for event in events]
    assert keys[0] == keys[2] != keys[1]
    assert worker.aws.calls.count("PutObject") == 2


def test_payloads_that_are_not_sent_along_are_read_in_one_call(worker: Worker) -> None:
    events, delivery = worker.unit(DEMO, OTHER, sent_along=False)
    worker.run(delivery)
    assert worker.aws.calls.count("GetObject") == 1
    assert worker.line(events[1])["data"] == json.loads(OTHER)


def test_what_fails_is_detached_and_the_others_are_done(worker: Worker) -> None:
    # Given a unit with events that fail in different ways
    events, delivery = worker.unit(DEMO, TRANSIENT, PERMANENT, DEMO)
    # When it is delivered
    worker.run(delivery)
    # Then one is FAILED and one goes on alone, after a while
    assert statuses(worker, events) == [
        Status.PROCESSED, Status.ENQUEUED, Status.FAILED, Status.PROCESSED,
    ]  # fmt: skip
    (message,) = worker.detached()
    assert (message.event, message.attempts, message.payload) == (events[1], 1, TRANSIENT)
    (waiting,) = worker.queue.messages
    assert (waiting.visible_at - worker.clock()).total_seconds() == round(5 * 1.5)
    record = worker.aws.records[events[1].event_id]
    assert record.last_error is not None
    assert (record.attempts, record.last_error["code"]) == (1, "busy")
    (alert,) = worker.alerts.sent
    assert json.loads(alert)["eventline"]["kind"] == "event-failed"
    # And their types' files say for ever that they are not in them
    assert worker.lake.get_silver(silver_file_key(events[1])) == b""
    assert worker.lake.get_silver(silver_file_key(events[2])) == b""


def test_attempts_are_counted_across_both_messages(worker: Worker) -> None:
    # Given an event that left its unit after one attempt
    (event,), delivery = worker.unit(TRANSIENT)
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


def test_a_processor_sees_which_attempt_it_is(worker: Worker) -> None:
    (event,), delivery = worker.unit(b'{"eventType":"with-attempt"}')
    worker.run(again(delivery, 2))
    assert worker.line(event)["data"]["attempt"] == 2


def test_a_detached_event_has_a_document_of_its_own(worker: Worker) -> None:
    (event,), delivery = worker.unit(TRANSIENT)
    worker.run(delivery)
    (message,) = worker.detached()
    del worker.processors["transient"]
    worker.run(make_delivery(worker.queue.sent[0]))
    assert worker.status(event) is Status.PROCESSED
    assert worker.silver(message.event)["eventId"] == event.event_id
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
    for attempt in (1, 2, 3, MAX_ATTEMPTS):
        worker.clock.advance(60)
        worker.run(again(delivery, attempt))
    assert worker.aws.records == before
    assert [entry.detail_type for entry in worker.bus.entries] == ["demo"]
    assert len(worker.queue.sent) == len(worker.alerts.sent) == 1
    assert len(events) == 3


def test_a_refused_entry_keeps_the_unit_and_only_it_is_published_again(worker: Worker) -> None:
    # Given a bus that refuses one of three entries
    events, delivery = worker.unit(DEMO, OTHER, TRANSIENT)
    worker.bus.refused = {"other"}
    with pytest.raises(BatchIncompleteError):
        worker.run(delivery)
    assert statuses(worker, events) == [Status.PROCESSED, Status.RECEIVED, Status.ENQUEUED]
    assert worker.aws.records[events[1].event_id].last_error is None
    # When the unit comes again
    worker.bus.refused = set()
    worker.run(again(delivery, 2))
    # Then that entry is told, and no processor ran again
    assert worker.status(events[1]) is Status.PROCESSED
    assert [entry.detail_type for entry in worker.bus.entries] == ["demo", "other"]
    assert worker.aws.calls == ["BatchGetItem", *["GetObject"] * 2, "PutEvents", "UpdateItem"]
    assert len(worker.queue.sent) == 1


@pytest.mark.parametrize(
    "operation", ["GetObject", "PutObject", "PutEvents", "UpdateItem", "SendMessageBatch"]
)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_whatever_aws_refuses_the_unit_is_whole_in_the_end(
    worker: Worker, operation: str, number: int
) -> None:
    # Given a unit of which everything happens, and an AWS that refuses one call
    events, delivery = worker.unit(DEMO, OTHER, TRANSIENT, PERMANENT, DEMO, sent_along=False)
    worker.aws.gate = failing_once(operation, number)
    # When it is delivered until it is done
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            worker.run(again(delivery, attempt))
        except BatchIncompleteError:
            continue
        break
    # Then what is in a file is processed, and what is in none has left
    worker.aws.gate = None
    for event in events:
        in_file = event.event_id in worker.lake.get_silver(silver_file_key(event)).decode()
        left = event in [message.event for message in worker.detached()]
        ended = worker.status(event) is (Status.PROCESSED if in_file else Status.FAILED)
        assert ended or (left and not in_file)
    assert worker.status(events[0]) is Status.PROCESSED


def test_a_second_message_waits_for_the_delivery_at_work(worker: Worker) -> None:
    # Given a worker that died after it wrote the files
    events, delivery = worker.unit(DEMO, OTHER)
    worker.aws.calls.clear()
    worker.aws.fail(3, Fault.KILLED_BEFORE)
    with pytest.raises(ProcessKilledError):
        worker.run(delivery)
    worker.aws.faults.clear()
    # When another message for the unit comes for the first time
    worker.queue.send(delivery.body)
    (record,) = worker.queue.receive()
    with pytest.raises(BatchIncompleteError):
        worker.run(Delivery.from_record(record))
    # Then it waits, and goes on when it comes again
    assert worker.bus.entries == []
    assert (worker.queue.messages[0].visible_at - worker.clock()).total_seconds() == 30
    worker.run(again(delivery, 2))
    assert statuses(worker, events) == [Status.PROCESSED] * 2
    assert len(worker.bus.entries) == 2


def test_what_the_file_does_not_hold_goes_alone_without_being_run(worker: Worker) -> None:
    # Given a unit's file that a message with a part of its events was the first to write
    events, delivery = worker.unit(DEMO, b'{"eventType":"demo","n":2}')
    worker.run(make_delivery(UnitMessage((events[0],), (DEMO,), "r").encode()))
    # When the whole unit comes, for the second time
    worker.run(again(delivery, 2))
    # Then the other event leaves
    assert worker.status(events[1]) is Status.ENQUEUED
    (message,) = worker.detached()
    assert (message.event, message.attempts) == (events[1], 1)
    # And when that message comes, it is processed alone
    worker.run(make_delivery(worker.queue.sent[0]))
    assert worker.silver(events[1])["data"]["n"] == 2
    assert sorted(json.loads(entry.detail)["eventId"] for entry in worker.bus.entries) == sorted(
        event.event_id for event in events
    )


def test_what_kills_the_worker_twice_is_run_alone(worker: Worker) -> None:
    # Given a unit that killed two workers
    events, delivery = worker.unit(DEMO, OTHER, DEMO)
    # When it is delivered for the third time
    worker.run(again(delivery, 3))
    # Then no processor runs, the files are claimed empty, and every event goes alone at once
    assert worker.aws.calls.count("PutObject") == 2
    assert worker.aws.calls.count("SendMessageBatch") == 1
    assert worker.lake.get_silver(silver_file_key(events[0])) == b""
    assert [message.event for message in worker.detached()] == events
    assert all(one.visible_at == worker.clock() for one in worker.queue.messages)
    # And each still has attempts
    for body in worker.queue.sent:
        worker.run(make_delivery(body))
    assert statuses(worker, events) == [Status.PROCESSED] * 3


def test_a_unit_that_is_broken_up_keeps_what_was_written(worker: Worker) -> None:
    events, delivery = worker.unit(DEMO, OTHER)
    worker.aws.gate = refusing("PutEvents")
    for attempt in (1, 2):
        with pytest.raises(BatchIncompleteError):
            worker.run(again(delivery, attempt))
    worker.aws.gate = None
    worker.run(again(delivery, 3))
    assert statuses(worker, events) == [Status.PROCESSED] * 2
    assert worker.queue.sent == []


def test_an_event_given_up_that_is_in_its_file_is_processed_after_all(worker: Worker) -> None:
    # Given a file that was written, and an event of it that reconcile gave up
    (event,), delivery = worker.unit(DEMO)
    worker.aws.gate = refusing("PutEvents")
    with pytest.raises(BatchIncompleteError):
        worker.run(delivery)
    worker.aws.gate = None
    worker.ledger.mark_given_up(
        worker.aws.records[event.event_id], worker.clock.text, Failure("stuck", "x", "x")
    )
    # When its message arrives after all
    worker.run(again(delivery, 2))
    # Then it is not left with a document and no entry on the bus
    assert worker.status(event) is Status.PROCESSED
    assert len(worker.bus.entries) == 1


def test_a_message_that_sqs_does_not_take_keeps_the_unit(worker: Worker) -> None:
    events, delivery = worker.unit(TRANSIENT, TRANSIENT)
    worker.run(delivery)
    bodies = list(worker.queue.sent)
    other = Worker()
    other.aws.records.update(
        {
            one.event_id: replace(worker.aws.records[one.event_id], attempts=0, last_error=None)
            for one in events
        }
    )
    other.lake.put_silver_unit(silver_file_key(events[0]), b"")
    other.queue.refused = {body for body in bodies if events[1].event_id in body}
    with pytest.raises(BatchIncompleteError):
        other.run(again(delivery, 2))
    assert [message.event for message in other.detached()] == [events[0]]
    assert other.aws.records[events[1].event_id].last_error is None


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


RUN = json.dumps(
    {
        "action": "completed",
        "workflow_run": {"conclusion": "failure", "name": "build"},
        "repository": {"full_name": "o/r"},
    }
).encode()
FAILED_RUN = "github.workflow_run.completed"


def webhook(worker: Worker, owner: str = WEBHOOK_OWNER) -> tuple[Event, Delivery]:
    """A failed workflow run, as it comes by webhook."""
    event = make_event(event_type=FAILED_RUN, owner=owner, payload=RUN)
    return event, make_delivery(make_message(event, RUN))


def test_a_failed_run_from_a_webhook_becomes_an_alert_once(worker: Worker) -> None:
    event, delivery = webhook(worker)
    worker.run(delivery)
    (alert,) = worker.alerts.sent
    assert json.loads(alert)["repository"] == {"full_name": "o/r"}
    assert worker.aws.calls.index("SendMessage") < worker.aws.calls.index("UpdateItem")
    worker.run(again(delivery, 2))
    assert len(worker.alerts.sent) == 1
    assert worker.status(event) is Status.PROCESSED


def test_the_same_from_another_owner_is_not_an_alert(worker: Worker) -> None:
    event, delivery = webhook(worker, owner="mallory")
    worker.run(delivery)
    assert worker.status(event) is Status.PROCESSED
    assert worker.alerts.sent == []


def test_an_alert_that_was_not_sent_is_sent_before_the_event_is_processed(worker: Worker) -> None:
    # Given a worker that died between the bus and the alert
    event, delivery = webhook(worker)
    worker.aws.calls.clear()
    worker.aws.fail(3, Fault.KILLED_BEFORE)
    with pytest.raises(ProcessKilledError):
        worker.run(delivery)
    worker.aws.faults.clear()
    assert worker.alerts.sent == []
    # When its message comes again, it finds its silver document, and sends it
    worker.run(again(delivery, 2))
    assert len(worker.alerts.sent) == 1
    assert worker.status(event) is Status.PROCESSED


@pytest.mark.parametrize("sent_along", [True, False])
def test_an_alert_in_a_unit_is_sent_too(worker: Worker, sent_along: bool) -> None:
    body = json.dumps({**json.loads(RUN), "eventType": FAILED_RUN}).encode()
    worker.owner = WEBHOOK_OWNER
    events, delivery = worker.unit(body, DEMO, sent_along=sent_along)
    worker.aws.gate = refusing("PutEvents")
    with pytest.raises(BatchIncompleteError):
        worker.run(delivery)
    assert worker.alerts.sent == []
    worker.aws.gate = None
    worker.run(again(delivery, 2))
    assert len(worker.alerts.sent) == 1
    assert statuses(worker, events) == [Status.PROCESSED] * 2


def test_no_payload_of_a_unit_is_logged(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "eventline")
    bodies = [
        json.dumps({"eventType": kind, "secret": "hunter2"}).encode()
        for kind in ("demo", "crash", "permanent", "no-json", "leave")
    ]
    _, delivery = worker.unit(*bodies)
    for attempt in (1, 2, 3):
        worker.run(again(delivery, attempt))
    logged = [str(vars(record)) for record in caplog.records]
    assert logged
    assert not [line for line in logged if "hunter2" in line]

"""The worker, one event at a time: done once, tried again, or failed for good."""

import json
import logging
from typing import Any

import pytest

from chalicelib.core.errors import BatchIncompleteError
from chalicelib.events.finish import LEASE_MARGIN_SECONDS
from chalicelib.events.keys import silver_key
from chalicelib.events.model import Status, Step
from tests.support.factories import (
    decode_event,
    make_body,
    make_delivery,
    make_event,
    make_message,
)
from tests.support.fake_queue import FakeQueue
from tests.support.faults import Fault, ProcessKilledError
from tests.support.worker_on_fakes import MAX_ATTEMPTS, Worker, again, refusing


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_an_event_alone_is_a_unit_of_one(worker: Worker) -> None:
    # Given an event in the ledger, with its payload, and on the queue
    event, delivery = worker.event(a=1, n=0)
    payload = decode_event(delivery.body).payload
    assert payload
    worker.ledger.add(event, [Step(Status.RECEIVED, event.received_at)], payload)
    # When it is delivered
    worker.clock.advance(3)
    worker.run(delivery)
    # Then it is in bronze as it was sent, in silver, PROCESSED, and published, in this order
    assert worker.aws.calls == [
        "PutObject", "PutItem", "PutObject", "UpdateItem", "PutEvents", "UpdateItem",
    ]  # fmt: skip
    assert worker.aws.objects["bronze", event.s3_key].body == payload
    record = worker.aws.records[event.event_id]
    assert (record.status, record.payload, record.attempts) == (Status.PROCESSED, None, 1)
    assert (record.event, record.silver_key) == (event, silver_key(event))
    assert [(step["status"], step["at"]) for step in record.timeline] == [
        ("RECEIVED", event.received_at),
        ("ENQUEUED", delivery.sent_at),
        ("PROCESSED", "2026-03-14T12:00:03.000Z"),
    ]
    assert not [step for step in record.timeline if "detail" in step]
    # And nothing is open any more
    assert worker.aws.units == {}
    (entry,) = worker.bus.entries
    told = json.loads(entry.detail)
    assert told.pop("silver") == {"bucket": "silver", "key": silver_key(event)}
    assert {**told, "data": worker.silver(event)["data"]} == worker.silver(event)
    assert worker.silver(event) == {
        "eventId": event.event_id,
        "eventType": "demo",
        "source": "/events",
        "subject": None,
        "owner": "alice",
        "time": event.received_at,
        "receivedAt": event.received_at,
        "processedAt": "2026-03-14T12:00:03.000Z",
        "schemaVersion": 1,
        "data": {"eventType": "demo", "a": 1, "n": 0},
        "bronze": {
            "bucket": "bronze",
            "key": event.s3_key,
            "sha256": event.payload_sha256,
        },
    }


def test_a_processors_result_is_the_silver_data(worker: Worker) -> None:
    event, delivery = worker.event("with-attempt")
    worker.run(again(delivery, 3))
    assert worker.silver(event)["data"] == {"attempt": 3, "type": "with-attempt"}


@pytest.mark.parametrize(
    ("content_type", "payload"),
    [
        ("application/json", b'{\n  "eventType": "demo"\n}'),
        ("application/octet-stream", bytes(range(256))),
        ("text/plain", "grüße".encode()),
    ],
)
def test_what_is_not_in_bronze_is_put_there_as_it_was_sent(
    worker: Worker, content_type: str, payload: bytes
) -> None:
    event = make_event(payload=payload, content_type=content_type)
    worker.run(make_delivery(make_message(event, payload, in_bronze=False)))
    assert worker.aws.objects["bronze", event.s3_key].body == payload
    assert worker.aws.records[event.event_id].event == event
    assert worker.silver(event)["bronze"]["key"] == event.s3_key


def test_a_large_payload_is_read_from_bronze(worker: Worker) -> None:
    payload = make_body(n=7)
    event = make_event(payload=payload)
    worker.lake.put_bronze(event, payload)
    worker.run(make_delivery(make_message(event, None)))
    assert worker.aws.calls[0] == "GetObject"
    assert worker.silver(event)["data"]["n"] == 7
    # And it is not written again
    assert worker.aws.calls.count("PutObject") == 1


def test_an_empty_payload_is_read_from_bronze(worker: Worker) -> None:
    event = make_event(payload=b"", content_type="text/plain")
    worker.lake.put_bronze(event, b"")
    worker.run(make_delivery(make_message(event, None)))
    assert worker.status(event) is Status.PROCESSED
    assert worker.silver(event)["data"] is None


@pytest.mark.parametrize(
    ("stored", "code"),
    [(None, "payload-missing"), (b"{}", "payload-changed"), (b"", "payload-changed")],
)
def test_a_payload_that_is_gone_or_another_fails_for_good(
    worker: Worker, stored: bytes | None, code: str
) -> None:
    event = make_event(payload=make_body())
    if stored is not None:
        worker.lake.put_bronze(event, stored)
    worker.run(make_delivery(make_message(event, None)))
    record = worker.aws.records[event.event_id]
    assert record.status is Status.FAILED
    assert record.last_error is not None
    assert (record.last_error["class"], record.last_error["code"]) == ("permanent", code)


def test_a_repeated_delivery_has_no_second_effect(worker: Worker) -> None:
    event, delivery = worker.event()
    worker.run(delivery)
    record, silver = worker.aws.records[event.event_id], worker.silver(event)
    worker.clock.advance(60)
    worker.run(again(delivery, 2))
    # It is looked up and let be
    assert worker.aws.calls == ["Query", "BatchGetItem"]
    assert worker.aws.records[event.event_id] == record
    assert worker.silver(event) == silver
    assert len(worker.bus.entries) == 1


def test_a_permanent_error_fails_at_the_first_attempt(worker: Worker) -> None:
    event, delivery = worker.event("permanent")
    worker.run(delivery)
    record = worker.aws.records[event.event_id]
    assert record.status is Status.FAILED
    assert record.attempts == 1
    # And its payload is in bronze, for a redrive
    assert worker.aws.objects["bronze", event.s3_key].body == decode_event(delivery.body).payload
    assert record.payload is None
    assert record.last_error == {
        "class": "permanent",
        "code": "customer",
        "message": "no such customer",
    }


@pytest.mark.parametrize(
    ("event_type", "kind", "code"),
    [
        ("transient", "transient", "busy"),
        ("crash", "unknown", "RuntimeError"),
        ("leave", "unknown", "SystemExit"),
        ("no-json", "permanent", "result"),
    ],
)
def test_other_errors_are_tried_again_until_the_last_attempt(
    worker: Worker, event_type: str, kind: str, code: str
) -> None:
    event, delivery = worker.event(event_type, secret="x")
    if kind != "permanent":
        for attempt in range(1, MAX_ATTEMPTS):
            with pytest.raises(BatchIncompleteError):
                worker.run(again(delivery, attempt))
            assert worker.status(event) is Status.ENQUEUED
    worker.run(again(delivery, MAX_ATTEMPTS))
    record = worker.aws.records[event.event_id]
    assert record.status is Status.FAILED
    assert record.last_error is not None
    assert (record.last_error["class"], record.last_error["code"]) == (kind, code)


def test_waits_double_up_to_a_quarter_of_an_hour(worker: Worker) -> None:
    # Given messages at their first to their twelfth attempt
    class Watch(FakeQueue):
        waits: list[int]

        def put_off(self, waits: Any) -> None:
            self.waits = [wait for _, wait in waits]

    watch = Watch(worker.aws)
    worker.queue = watch
    _, delivery = worker.event("transient")
    seen: list[int] = []
    # When each fails
    for attempt in range(1, MAX_ATTEMPTS):
        with pytest.raises(BatchIncompleteError):
            worker.run(again(delivery, attempt))
        seen += watch.waits
    # Then the wait doubles, here with the most jitter
    assert seen == [round(5 * 2**n * 1.5) for n in range(MAX_ATTEMPTS - 1)]


def test_a_payload_waits_in_the_ledger_while_attempts_fail(worker: Worker) -> None:
    event, delivery = worker.event("transient")
    payload = decode_event(delivery.body).payload
    for attempt in range(1, MAX_ATTEMPTS):
        with pytest.raises(BatchIncompleteError):
            worker.run(again(delivery, attempt))
        assert worker.aws.records[event.event_id].payload == payload
        assert worker.aws.objects == {}
    worker.run(again(delivery, MAX_ATTEMPTS))
    assert worker.aws.records[event.event_id].payload is None
    assert worker.lake.get_bronze(event.s3_key) == payload


@pytest.mark.parametrize("in_bronze", [True, False])
@pytest.mark.parametrize(
    "operation", ["PutObject", "PutItem", "UpdateItem", "GetObject", "PutEvents"]
)
def test_aws_failing_is_transient(worker: Worker, operation: str, in_bronze: bool) -> None:
    # Given an AWS that refuses an operation
    payload = make_body()
    event = make_event(payload=payload)
    received = [Step(Status.RECEIVED, event.received_at)]
    worker.ledger.add(event, received, None if in_bronze else payload)
    if in_bronze:
        worker.lake.put_bronze(event, payload)
    worker.aws.gate = refusing(operation)
    sent = None if in_bronze else payload
    delivery = make_delivery(make_message(event, sent, in_bronze=in_bronze))
    # When its message comes, it stays
    if operation != "GetObject" or in_bronze:
        with pytest.raises(BatchIncompleteError):
            worker.run(delivery)
    # And when AWS is well, and the run that left it is over for sure
    worker.aws.gate = None
    worker.clock.advance(worker.seconds + LEASE_MARGIN_SECONDS + 1)
    worker.run(again(delivery, 2))
    # Then all is done once
    assert worker.status(event) is Status.PROCESSED
    assert worker.silver(event)["data"] == json.loads(payload)
    assert len(worker.bus.entries) == 1
    assert worker.aws.units == {}


def test_a_message_waits_while_a_run_that_may_live_is_at_its_event(worker: Worker) -> None:
    # Given a run that dies before the ledger knows what it wrote
    event, delivery = worker.event()
    worker.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    worker.aws.calls.clear()
    worker.aws.fail(4, Fault.KILLED_BEFORE)
    with pytest.raises(ProcessKilledError):
        worker.run(delivery)
    worker.aws.faults.clear()
    # When its message comes before that run is over for sure
    worker.clock.advance(worker.seconds + LEASE_MARGIN_SECONDS)
    with pytest.raises(BatchIncompleteError):
        worker.run(again(delivery, 2))
    # Then it waits
    assert worker.aws.calls == ["Query", "ChangeMessageVisibilityBatch"]
    assert worker.status(event) is Status.RECEIVED
    assert worker.bus.entries == []
    # And afterwards it is finished from its document
    worker.clock.advance(1)
    before = worker.silver(event)
    worker.run(again(delivery, 3))
    assert worker.status(event) is Status.PROCESSED
    assert worker.silver(event) == before
    assert len(worker.bus.entries) == 1
    assert worker.aws.units == {}


def test_a_last_failure_that_can_not_be_recorded_is_not_finished(worker: Worker) -> None:
    # Given a ledger that is down
    _, delivery = worker.event("permanent")
    worker.aws.gate = refusing("UpdateItem")
    # When an event fails for good
    with pytest.raises(BatchIncompleteError):
        worker.run(again(delivery, MAX_ATTEMPTS))
    # Then its message stays, for the queue to set aside
    assert worker.aws.records == {}
    assert len(worker.alerts.sent) == 1


def test_an_event_that_only_its_message_has_outlives_a_dead_run(worker: Worker) -> None:
    # Given a message whose ingest died before the ledger, and a run that dies after silver
    event, delivery = worker.event()
    worker.aws.calls.clear()
    worker.aws.fail(4, Fault.KILLED_BEFORE)
    with pytest.raises(ProcessKilledError):
        worker.run(delivery)
    worker.aws.faults.clear()
    # When it comes again, after that run is over
    worker.clock.advance(worker.seconds + LEASE_MARGIN_SECONDS + 1)
    worker.run(again(delivery, 2))
    # Then the ledger gets its entry
    assert worker.status(event) is Status.PROCESSED
    assert worker.silver(event)["eventId"] == event.event_id
    assert len(worker.bus.entries) == 1


def test_no_payload_is_ever_logged(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "eventline")
    for event_type in ("demo", "crash", "permanent", "no-json"):
        _, delivery = worker.event(event_type, secret="hunter2")
        for attempt in (1, MAX_ATTEMPTS):
            try:
                worker.run(again(delivery, attempt))
            except BatchIncompleteError:
                continue
    logged = [str(vars(record)) for record in caplog.records]
    assert logged
    assert not [line for line in logged if "hunter2" in line]

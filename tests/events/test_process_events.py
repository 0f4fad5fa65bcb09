"""The worker, one event at a time: done once, tried again, or failed for good."""

import logging
from typing import Any

import pytest

from chalicelib.core.errors import BatchIncompleteError
from chalicelib.events.model import Status, Step
from tests.support.factories import make_body, make_delivery, make_event, make_message
from tests.support.fake_queue import FakeQueue
from tests.support.worker_on_fakes import MAX_ATTEMPTS, Worker, again, refusing


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_an_event_is_processed_in_two_calls_and_its_share_of_one(worker: Worker) -> None:
    # Given an event in the ledger and on the queue
    event, delivery = worker.event(a=1, n=0)
    worker.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
    # When it is delivered
    worker.clock.advance(3)
    worker.run(delivery)
    # Then it is in silver and PROCESSED
    assert worker.aws.calls == ["PutObject", "PutEvents", "UpdateItem"]
    assert worker.status(event) is Status.PROCESSED
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


def test_a_large_payload_is_read_from_bronze(worker: Worker) -> None:
    payload = make_body(n=7)
    event = make_event(payload=payload)
    worker.lake.put_bronze(event, payload)
    worker.run(make_delivery(make_message(event, None)))
    assert worker.aws.calls[0] == "GetObject"
    assert worker.silver(event)["data"]["n"] == 7


@pytest.mark.parametrize(
    ("stored", "code"), [(None, "payload-missing"), (b"{}", "payload-changed")]
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
    assert worker.aws.records[event.event_id] == record
    assert worker.silver(event) == silver


def test_a_permanent_error_fails_at_the_first_attempt(worker: Worker) -> None:
    event, delivery = worker.event("permanent")
    worker.run(delivery)
    record = worker.aws.records[event.event_id]
    assert record.status is Status.FAILED
    assert record.attempts == 1
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


@pytest.mark.parametrize("operation", ["PutObject", "UpdateItem", "GetObject"])
def test_aws_failing_is_transient(worker: Worker, operation: str) -> None:
    payload = make_body()
    event = make_event(payload=payload)
    worker.lake.put_bronze(event, payload)
    worker.aws.gate = refusing(operation)
    delivery = make_delivery(make_message(event, None))
    with pytest.raises(BatchIncompleteError):
        worker.run(delivery)
    worker.aws.gate = None
    worker.run(again(delivery, 2))
    assert worker.status(event) is Status.PROCESSED


def test_a_last_failure_that_can_not_be_recorded_is_not_finished(worker: Worker) -> None:
    # Given a ledger that is down
    _, delivery = worker.event("permanent")
    worker.aws.gate = refusing("UpdateItem")
    # When an event fails for good
    with pytest.raises(BatchIncompleteError):
        worker.run(again(delivery, MAX_ATTEMPTS))
    # Then its message stays, for the queue to set aside
    assert worker.aws.records == {}


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

"""What goes wrong in a running stage, and what becomes of it: poison, failures, lost messages."""

import json

import pytest

from chalicelib.events.message import Parcel, encode_message
from chalicelib.events.model import Status
from tests.support.deployed_stage import Stage, unique, wait_for

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]


def test_an_alien_message_is_set_aside_and_its_neighbours_are_processed(stage: Stage) -> None:
    # Given: four good events and three aliens in one batch
    mark = unique("alien")
    aliens = [
        f"this is not JSON {mark}",
        json.dumps({"Event": "s3:TestEvent", "mark": mark}),
        json.dumps({"v": 2, "events": [{"eventId": mark}], "requestId": "r"}),
    ]
    sent = []
    with stage.paused_worker():
        for alien in [*aliens, None]:
            sent.append(stage.send({"eventType": "neighbour"}))
            if alien is not None:
                stage.sqs.send_message(QueueUrl=stage.events_url, MessageBody=alien)

    # When
    records = [stage.follow(event_id) for event_id in sent]
    wait_for("the aliens", lambda: len(stage.dead_letters_with(mark)) >= len(aliens))
    wait_for("the batch to be gone", lambda: not any(stage.waiting().values()))

    # Then
    assert {record.status for record in records} == {Status.PROCESSED}
    assert {record.attempts for record in records} == {1}
    found = stage.dead_letters_with(mark)
    assert sorted(message["Body"] for message in found) == sorted(aliens)
    for message in found:
        reason = {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
        assert reason["code"] == "foreign-message"
        assert reason["reason"] == "not a message of this platform"
        assert reason["messageId"]


def test_a_payload_changed_on_the_way_is_not_processed(stage: Stage) -> None:
    """A message is believed only as far as its payload's hash goes."""
    # Given
    record = stage.follow(stage.send({"eventType": "demo", "amount": 1}))
    payload = b'{"eventType":"demo","amount":1000}'
    request_id = unique("request")
    forged = encode_message(Parcel(record.event, payload), request_id)

    # When
    stage.sqs.send_message(QueueUrl=stage.events_url, MessageBody=forged)
    wait_for("the forgery", lambda: stage.dead_letters_with(request_id))

    # Then
    assert stage.record(record.event.event_id) == record
    assert stage.silver(record.event)["data"]["amount"] == 1


def test_a_permanent_failure_ends_at_the_first_attempt(stage: Stage) -> None:
    event_id = stage.send({"eventType": "eventline.drill.permanent"})

    record = stage.follow(event_id)

    assert (record.status, record.attempts) == (Status.FAILED, 1)
    assert record.last_error == {
        "class": "permanent",
        "code": "drill",
        "message": "a drill that fails for good",
    }
    assert stage.silver_documents(record.event) == 0
    wait_for("the message to be gone", lambda: not any(stage.waiting().values()))
    assert not stage.dead_letters_with(event_id)


def test_a_transient_failure_is_tried_again(stage: Stage) -> None:
    event_id = stage.send({"eventType": "eventline.drill.transient", "failures": 1})

    record = stage.follow(event_id)

    assert (record.status, record.attempts) == (Status.PROCESSED, 2)
    assert record.last_error is not None
    assert record.last_error["class"] == "transient"
    steps = [step["status"] for step in record.timeline]
    assert steps == ["RECEIVED", "ENQUEUED", "ENQUEUED", "PROCESSED"]
    assert stage.silver_documents(record.event) == 1


def test_an_unforeseen_error_is_tried_until_the_last_attempt(stage: Stage) -> None:
    # Given: neighbours in the same batch
    with stage.paused_worker():
        event_id = stage.send({"eventType": "eventline.drill.crash"})
        neighbours = [stage.send({"eventType": "neighbour"}) for _ in range(3)]

    # When
    record = stage.follow(event_id)

    # Then
    assert (record.status, record.attempts) == (Status.FAILED, stage.settings.max_attempts)
    assert record.last_error == {
        "class": "unknown",
        "code": "RuntimeError",
        "message": "a drill with an unforeseen error",
    }
    assert {stage.follow(neighbour).attempts for neighbour in neighbours} == {1}
    wait_for("the message to be gone", lambda: not any(stage.waiting().values()))
    assert not stage.dead_letters_with(event_id)


def test_a_message_delivered_twice_has_one_effect(stage: Stage) -> None:
    # Given
    event_id = stage.send({"eventType": "demo", "message": "twice"})
    record = stage.follow(event_id)
    message = encode_message(Parcel(record.event, None), unique("request"))

    # When
    for _ in range(12):
        stage.sqs.send_message(QueueUrl=stage.events_url, MessageBody=message)
    wait_for("the repeats to be handled", lambda: not any(stage.waiting().values()))

    # Then
    assert stage.record(event_id) == record
    assert stage.silver_documents(record.event) == 1
    assert not stage.dead_letters_with(event_id)


def test_an_event_whose_payload_is_gone_fails_visibly(stage: Stage) -> None:
    # Given
    with stage.paused_worker():
        sent = json.dumps({"eventType": "large", "blob": "x" * 100_000}).encode()
        event_id = stage.send(sent)
        record = stage.record(event_id)
        assert record is not None
        stage.s3.delete_object(Bucket=record.s3_bucket, Key=record.event.s3_key)

    # When
    failed = stage.follow(event_id)

    # Then
    assert (failed.status, failed.attempts) == (Status.FAILED, 1)
    assert failed.last_error is not None
    assert failed.last_error["code"] == "payload-missing"


def test_the_dead_letter_queue_catches_what_no_worker_could_handle(local: Stage) -> None:
    """A worker that dies in every run leaves no record; the queue's own limit ends it."""
    with local.paused_worker():
        # Given
        event_id = local.send({"eventType": "demo", "message": "unlucky"})
        for _ in range(local.settings.max_attempts):
            received = local.sqs.receive_message(
                QueueUrl=local.events_url, VisibilityTimeout=0, WaitTimeSeconds=0
            )
            assert event_id in received["Messages"][0]["Body"]

    # When: the worker is back
    wait_for("the message in the net", lambda: local.dead_letters_with(event_id))
    stuck = local.record(event_id)
    local.reconcile()

    # Then
    assert stuck is not None
    assert stuck.status is Status.RECEIVED
    record = local.follow(event_id, Status.PROCESSED)
    assert local.silver_documents(record.event) == 1

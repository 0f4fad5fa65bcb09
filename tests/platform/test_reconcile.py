"""What `reconcile` finds and repairs when it runs as deployed, under its own role."""

import os

import pytest

from chalicelib.core import clock
from chalicelib.core.ids import new_event_id, sha256
from chalicelib.events.keys import bronze_key
from chalicelib.events.model import Event, Status, Step
from tests.support.deployed_stage import Stage, unique, wait_for

pytestmark = [pytest.mark.emulator, pytest.mark.one_stage]

PAYLOAD = b'{"eventType":"demo","message":"found again"}'


def make_event() -> Event:
    """An event of which nothing is kept yet, received now."""
    now = clock.utc_now()
    event_id, received_at = new_event_id(now, os.urandom(10)), clock.to_text(now)
    return Event(
        event_id=event_id,
        event_type="demo",
        owner=unique("owner"),
        source="/events",
        subject="ünï",
        received_at=received_at,
        payload_sha256=sha256(PAYLOAD),
        payload_bytes=len(PAYLOAD),
        content_type="application/json",
        s3_key=bronze_key("demo", received_at, event_id),
    )


def test_a_payload_that_the_ledger_never_heard_of_is_processed(stage: Stage) -> None:
    # Given
    event = make_event()
    stage.lake().put_bronze(event, PAYLOAD)

    # When
    report = stage.reconcile()

    # Then
    assert (report["orphans"], report["recovered"], report["complete"]) == (1, 1, True)
    record = stage.follow(event.event_id)
    assert record.status is Status.PROCESSED
    assert record.event == event
    steps = [(step["status"], step.get("detail")) for step in record.timeline]
    assert steps == [
        ("RECEIVED", "found in bronze by reconcile"),
        ("ENQUEUED", None),
        ("PROCESSED", None),
    ]
    assert stage.silver_documents(event) == 1
    again = stage.reconcile()
    assert (again["orphans"], again["stuck"]) == (0, 0)


def test_an_event_that_was_never_sent_is_processed(stage: Stage) -> None:
    # Given
    event = make_event()
    stage.lake().put_bronze(event, PAYLOAD)
    stage.ledger().add(event, [Step(Status.RECEIVED, event.received_at)])

    # When
    report = stage.reconcile()

    # Then
    assert (report["stuck"], report["requeued"], report["orphans"]) == (1, 1, 0)
    record = stage.follow(event.event_id)
    assert (record.status, record.attempts) == (Status.PROCESSED, 1)
    assert stage.silver_documents(event) == 1


def test_an_event_whose_message_was_lost_is_processed(stage: Stage) -> None:
    # Given
    with stage.paused_worker():
        event_id = stage.send({"eventType": "demo", "message": "lost"})
        received = stage.sqs.receive_message(QueueUrl=stage.events_url, WaitTimeSeconds=0)
        (message,) = received["Messages"]
        stage.sqs.delete_message(QueueUrl=stage.events_url, ReceiptHandle=message["ReceiptHandle"])

    # When
    report = stage.reconcile()

    # Then
    assert (report["stuck"], report["requeued"]) == (1, 1)
    record = stage.follow(event_id)
    assert (record.status, record.requeues) == (Status.PROCESSED, 1)
    assert "sent again by reconcile" in [step.get("detail") for step in record.timeline]


def test_an_event_is_given_up_visibly_and_may_still_arrive(stage: Stage) -> None:
    # Given
    limit = stage.settings.max_requeues
    token = stage.token(unique("owner"))
    with stage.paused_worker():
        event_id = stage.send({"eventType": "demo"}, token)

        # When
        reports = [stage.reconcile() for _ in range(limit + 1)]
        given_up = stage.call("GET", f"/events/{event_id}", token).json()
        listed = stage.call("GET", "/events", token, params={"status": "FAILED"}).json()
        after = stage.reconcile()

    # Then
    assert [report["requeued"] for report in reports] == [1] * limit + [0]
    assert [report["failed"] for report in reports] == [0] * limit + [1]
    assert given_up["status"] == "FAILED"
    assert (given_up["lastError"]["class"], given_up["lastError"]["code"]) == (
        "stuck",
        "requeue-limit",
    )
    assert [item["eventId"] for item in listed["items"]] == [event_id]
    assert after["stuck"] == 0
    record = stage.follow(event_id, Status.PROCESSED)
    wait_for("the repeats to be handled", lambda: not any(stage.waiting().values()))
    assert stage.silver_documents(record.event) == 1


def test_what_is_not_ours_in_bronze_is_left_alone(stage: Stage) -> None:
    # Given
    event = make_event()
    day = "/".join(event.s3_key.split("/")[2:5])
    bucket = stage.settings.bronze_bucket
    keys = [f"bronze/demo/{day}/readme.txt", event.s3_key]
    for key in keys:
        stage.s3.put_object(Bucket=bucket, Key=key, Body=b"no metadata")

    # When
    report = stage.reconcile()

    # Then
    try:
        assert (report["foreign"], report["orphans"]) == (2, 0)
        assert stage.record(event.event_id) is None
        assert [stage.versions(bucket, key) for key in keys] == [1, 1]
    finally:
        for key in keys:
            stage.s3.delete_object(Bucket=bucket, Key=key)


def test_an_event_that_is_not_old_enough_is_left_alone(stage: Stage) -> None:
    # Given
    event = make_event()
    stage.lake().put_bronze(event, PAYLOAD)

    # When
    report = stage.invoke("reconcile", {})

    # Then
    assert (report["orphans"], report["stuck"]) == (0, 0)
    assert stage.record(event.event_id) is None
    assert stage.reconcile()["recovered"] == 1
    stage.follow(event.event_id)

"""A process that dies between any two calls: nothing acknowledged is lost, nothing happens twice.

The services run here with clients that die at a given call, against the same stage whose deployed
functions then take over.
"""

import os
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.adapters.checkpoint_store import CheckpointStore
from chalicelib.adapters.event_index import EventIndex
from chalicelib.domain import clock
from chalicelib.domain.events import (
    Event,
    Record,
    Status,
    Step,
    keyed_event_id,
    new_event_id,
)
from chalicelib.services import ingest_events, reconcile
from chalicelib.services.ingest_events import Ingest, Submission
from chalicelib.services.process_events import Delivery, Processing, process_batch
from chalicelib.services.processors import PROCESSORS
from chalicelib.services.reconcile import Reconciling
from tests.integration.crash import CrashError, CrashPoint
from tests.integration.stage import Stage, unique, wait_for

pytestmark = pytest.mark.emulator

SMALL = b'{"eventType":"crash","message":"hello"}'
LARGE = b'{"eventType":"crash","blob":"' + b"x" * 100_000 + b'"}'


@dataclass(frozen=True)
class Attempt:
    """One ingest: its request, and the id that its event has or would have had."""

    submission: Submission
    using: Ingest
    event_id: str


def prepare(stage: Stage, point: CrashPoint, body: bytes, key: str | None) -> Attempt:
    """An ingest in this process that dies at `point`."""
    now, entropy, owner = clock.utc_now(), os.urandom(10), unique("owner")
    using = Ingest(
        ledger=stage.ledger(point.guard(stage.dynamodb)),
        lake=stage.lake(point.guard(stage.s3)),
        queue=stage.queue(point.guard(stage.sqs)),
        max_event_bytes=stage.settings.max_event_bytes,
        now=lambda: now,
        random=lambda _: entropy,
    )
    submission = Submission(body, "application/json", owner, key, unique("request"))
    event_id = new_event_id(now, entropy) if key is None else keyed_event_id(owner, key)
    return Attempt(submission, using, event_id)


def processing(stage: Stage, point: CrashPoint) -> Processing:
    """A worker in this process that dies at `point`."""
    return Processing(
        ledger=stage.ledger(point.guard(stage.dynamodb)),
        lake=stage.lake(point.guard(stage.s3)),
        queue=stage.queue(point.guard(stage.sqs)),
        dead_letters=stage.queue(point.guard(stage.sqs)),
        processors=PROCESSORS,
        max_attempts=stage.settings.max_attempts,
        retry_base=0,
        remaining=lambda: 30.0,
    )


def receive(stage: Stage) -> tuple[Delivery, dict[str, Any]]:
    """The one message that waits, as Lambda would deliver it, and as SQS gave it."""
    answer = stage.sqs.receive_message(
        QueueUrl=stage.events_url,
        MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        VisibilityTimeout=120,
        WaitTimeSeconds=0,
    )
    (message,) = answer["Messages"]
    record = {
        "body": message["Body"],
        "receiptHandle": message["ReceiptHandle"],
        "messageId": message["MessageId"],
        "attributes": message["Attributes"],
    }
    return Delivery.from_record(record), message


def assert_whole(stage: Stage, event_id: str, body: bytes, owner: str) -> None:
    """Check that the event came to its end, once."""
    record = stage.follow(event_id)
    assert record.status is Status.PROCESSED
    assert stage.lake().get_bronze(record.event.s3_key) == body
    wait_for("a quiet queue", lambda: not any(stage.waiting().values()))
    assert stage.silver_documents(record.event) == 1
    assert stage.versions(stage.settings.bronze_bucket, record.event.s3_key) == 1
    assert stage.records_of(owner) == [event_id]
    assert not stage.dead_letters_with(event_id)
    steps = [step["status"] for step in record.timeline]
    assert (steps[0], steps[-1], steps.count("PROCESSED")) == ("RECEIVED", "PROCESSED", 1)


def assert_handed_over(stage: Stage, event_id: str) -> None:
    """Check that the timeline tells when the event was handed to the worker."""
    record = stage.record(event_id)
    assert record is not None
    assert "ENQUEUED" in [step["status"] for step in record.timeline]


@pytest.mark.parametrize(
    ("keyed", "calls", "made"),
    [
        (False, 0, []),
        (False, 1, ["put_object"]),
        (False, 2, ["put_object", "send_message"]),
        (False, 3, ["put_object", "send_message", "put_item"]),
        (True, 0, []),
        (True, 1, ["put_object"]),
        (True, 2, ["put_object", "put_item"]),
        (True, 3, ["put_object", "put_item", "send_message"]),
    ],
)
def test_an_ingest_that_dies_leaves_nothing_or_an_event(
    local: Stage, keyed: bool, calls: int, made: list[str]
) -> None:
    # Given
    point = CrashPoint(calls)
    attempt = prepare(local, point, SMALL, unique("key") if keyed else None)

    # When
    with pytest.raises(CrashError):
        ingest_events.ingest(attempt.submission, attempt.using)

    # Then: no message, no ENQUEUED
    assert point.made == made
    if "send_message" in made:
        # The worker needs nobody's help with what was sent.
        local.follow(attempt.event_id)
    else:
        record = local.record(attempt.event_id)
        assert (record.status if record else None) is (
            Status.RECEIVED if "put_item" in made else None
        )
        local.reconcile()
    if made:
        assert_whole(local, attempt.event_id, SMALL, attempt.submission.owner)
        if "put_item" not in made or "send_message" in made:
            assert_handed_over(local, attempt.event_id)
    else:
        assert local.record(attempt.event_id) is None


def test_a_worker_faster_than_the_api_takes_nothing_from_the_event(local: Stage) -> None:
    # Given: an API that writes to the ledger only when the worker is done
    class Late:
        def add(self, event: Event, steps: list[Step]) -> Record | None:
            local.follow(event.event_id)
            return local.ledger().add(event, steps)

    attempt = prepare(local, CrashPoint(), SMALL, None)
    late: Any = Late()

    # When
    receipt = ingest_events.ingest(attempt.submission, replace(attempt.using, ledger=late))

    # Then
    assert receipt.event_id == attempt.event_id
    assert_whole(local, attempt.event_id, SMALL, attempt.submission.owner)
    assert_handed_over(local, attempt.event_id)


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_a_clients_repeat_ends_what_a_dead_ingest_began(local: Stage, calls: int) -> None:
    # Given
    attempt = prepare(local, CrashPoint(calls), SMALL, unique("key"))
    with pytest.raises(CrashError):
        ingest_events.ingest(attempt.submission, attempt.using)

    # When: the same request comes again, and nothing else
    owner, key = attempt.submission.owner, attempt.submission.idempotency_key
    answer = local.post(SMALL, local.token(owner), key)

    # Then
    assert answer.status_code == 202
    assert answer.json()["eventId"] == attempt.event_id
    assert_whole(local, attempt.event_id, SMALL, owner)
    assert_handed_over(local, attempt.event_id)


def test_a_repeat_with_another_body_after_a_dead_ingest_is_refused(local: Stage) -> None:
    # Given: only the payload was kept
    attempt = prepare(local, CrashPoint(1), SMALL, unique("key"))
    with pytest.raises(CrashError):
        ingest_events.ingest(attempt.submission, attempt.using)

    # When
    owner, key = attempt.submission.owner, attempt.submission.idempotency_key
    answer = local.post(b'{"eventType":"crash","message":"other"}', local.token(owner), key)
    local.reconcile()

    # Then
    assert answer.status_code == 422
    assert_whole(local, attempt.event_id, SMALL, owner)
    assert_handed_over(local, attempt.event_id)


@pytest.mark.parametrize(
    ("body", "recorded", "calls", "made"),
    [
        (SMALL, True, 0, []),
        (SMALL, True, 1, ["put_object"]),
        (SMALL, True, 2, ["put_object", "update_item"]),
        (LARGE, True, 1, ["get_object"]),
        (LARGE, True, 2, ["get_object", "put_object"]),
        (LARGE, True, 3, ["get_object", "put_object", "update_item"]),
        (SMALL, False, 2, ["put_object", "update_item"]),
        (SMALL, False, 3, ["put_object", "update_item", "put_item"]),
    ],
)
def test_a_worker_that_dies_is_followed_by_one_that_ends_the_work(
    local: Stage, body: bytes, recorded: bool, calls: int, made: list[str]
) -> None:
    with local.paused_worker():
        # Given: a message, with the ledger's entry or without
        attempt = prepare(local, CrashPoint(3 if recorded else 2), body, None)
        with pytest.raises(CrashError):
            ingest_events.ingest(attempt.submission, attempt.using)
        delivery, message = receive(local)
        point = CrashPoint(calls)

        # When
        with pytest.raises(CrashError):
            process_batch([delivery], processing(local, point))
        local.sqs.change_message_visibility(
            QueueUrl=local.events_url,
            ReceiptHandle=message["ReceiptHandle"],
            VisibilityTimeout=0,
        )

    # Then
    assert point.made == made
    assert_whole(local, attempt.event_id, body, attempt.submission.owner)
    assert_handed_over(local, attempt.event_id)


def test_two_workers_with_the_same_message_write_one_document(local: Stage) -> None:
    with local.paused_worker():
        # Given: the first worker stops between its document and its entry in the ledger
        attempt = prepare(local, CrashPoint(3), SMALL, None)
        with pytest.raises(CrashError):
            ingest_events.ingest(attempt.submission, attempt.using)
        delivery, _ = receive(local)
        with pytest.raises(CrashError):
            process_batch([delivery], processing(local, CrashPoint(1)))
        record = local.record(attempt.event_id)
        assert record is not None
        written = local.silver(record.event)

        # When
        process_batch([delivery], processing(local, CrashPoint()))
        process_batch([delivery], processing(local, CrashPoint()))
        local.queue().delete([delivery.receipt_handle])

    # Then
    assert local.silver(record.event) == written
    assert_whole(local, attempt.event_id, SMALL, attempt.submission.owner)
    assert_handed_over(local, attempt.event_id)


@pytest.mark.parametrize("operation", ["head_object", "put_item", "send_message"])
def test_a_reconcile_that_dies_over_an_orphan_is_followed_by_one_that_ends_the_work(
    local: Stage, operation: str
) -> None:
    # Given
    attempt = prepare(local, CrashPoint(1), SMALL, None)
    with pytest.raises(CrashError):
        ingest_events.ingest(attempt.submission, attempt.using)

    # When
    assert_reconcile_dies(local, operation)
    local.reconcile()

    # Then
    assert_whole(local, attempt.event_id, SMALL, attempt.submission.owner)
    assert_handed_over(local, attempt.event_id)


@pytest.mark.parametrize("operation", ["batch_get_item", "send_message", "update_item"])
def test_a_reconcile_that_dies_over_a_stuck_event_is_followed_by_one_that_ends_the_work(
    local: Stage, operation: str
) -> None:
    # Given
    attempt = prepare(local, CrashPoint(2), SMALL, unique("key"))
    with pytest.raises(CrashError):
        ingest_events.ingest(attempt.submission, attempt.using)

    # When
    assert_reconcile_dies(local, operation)
    local.reconcile()

    # Then
    assert_whole(local, attempt.event_id, SMALL, attempt.submission.owner)
    assert_handed_over(local, attempt.event_id)


def assert_reconcile_dies(stage: Stage, operation: str) -> None:
    """Run `reconcile` in this process until right after its first call of `operation`."""
    point = CrashPoint(operation=operation)
    config = stage.settings
    dynamodb = point.guard(stage.dynamodb)
    using = Reconciling(
        ledger=stage.ledger(dynamodb),
        index=EventIndex(dynamodb, config.events_table, config.ledger_shards),
        lake=stage.lake(point.guard(stage.s3)),
        queue=stage.queue(point.guard(stage.sqs)),
        checkpoints=CheckpointStore(dynamodb, config.events_table),
        stuck_after=0,
        max_requeues=config.max_requeues,
        backlog_limit=config.backlog_limit,
        full_sweep_every=timedelta(0),
        run_id=unique("run"),
        remaining=lambda: 60.0,
    )
    with pytest.raises(CrashError):
        reconcile.reconcile(using)
    assert point.made[-1] == operation

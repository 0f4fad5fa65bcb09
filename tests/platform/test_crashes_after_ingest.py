"""A worker or `reconcile` that dies between any two calls: nothing is lost or happens twice.

The services run here with clients that die at a given call, against the same stage whose deployed
functions then take over.
"""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.aws.effects import CheckpointStore
from chalicelib.aws.sqs import Delivery
from chalicelib.core import clock
from chalicelib.core.errors import BatchIncompleteError
from chalicelib.events import ingest
from chalicelib.events.finish import WorkerDeps
from chalicelib.events.journal import Journal
from chalicelib.events.keys import silver_key
from chalicelib.events.ledger import EventIndex
from chalicelib.events.processors import PROCESSORS
from chalicelib.events.worker import process_batch
from chalicelib.recovery import reconcile
from chalicelib.recovery.reconcile import ReconcileDeps
from tests.support.crash import (
    MEDIUM,
    SMALL,
    CrashError,
    CrashPoint,
    assert_handed_over,
    assert_whole,
    prepare,
)
from tests.support.deployed_stage import Stage, unique

pytestmark = pytest.mark.emulator

LARGE = b'{"eventType":"crash","blob":"' + b"x" * 100_000 + b'"}'


class DyingDeps(WorkerDeps, frozen=True):
    """Those of a run that dies, so that others need not wait for its end."""

    def lease(self) -> timedelta:
        return timedelta(0)


def processing(stage: Stage, point: CrashPoint, make: type[WorkerDeps] = WorkerDeps) -> WorkerDeps:
    """A worker in this process that dies at `point`."""
    return make(
        ledger=stage.ledger(point.guard(stage.dynamodb)),
        journal=Journal(point.guard(stage.dynamodb), stage.settings.events_table),
        lake=stage.lake(point.guard(stage.s3)),
        bus=stage.bus(),
        queue=stage.queue(point.guard(stage.sqs)),
        alerts=stage.alert_queue(),
        dead_letters=stage.queue(point.guard(stage.sqs)),
        processors=PROCESSORS,
        max_attempts=stage.settings.max_attempts,
        retry_base=0,
        seconds_left=lambda: 5.0,
        webhook_owner="webhooks",
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


SMALL_CALLS = ["put_object", "put_item", "put_object", "update_item", "update_item"]
"""Bronze, journal, silver, ledger, the end of the journal's entry."""
LARGE_CALLS = ["get_object", *SMALL_CALLS[1:]]


@pytest.mark.parametrize(
    ("body", "recorded", "made"),
    [
        *((SMALL, True, SMALL_CALLS[:calls]) for calls in range(6)),
        *((LARGE, True, LARGE_CALLS[:calls]) for calls in range(1, 6)),
        (SMALL, False, SMALL_CALLS[:4]),
        (SMALL, False, [*SMALL_CALLS[:4], "put_item"]),
    ],
)
def test_a_worker_that_dies_is_followed_by_one_that_ends_the_work(
    local: Stage, body: bytes, recorded: bool, made: list[str]
) -> None:
    with local.paused_worker():
        # Given: a message, with the ledger's entry or without
        attempt = prepare(local, CrashPoint(), body, None)
        if recorded:
            ingest.ingest(attempt.submission, attempt.deps)
        else:
            attempt = prepare(local, CrashPoint(1), body, None, queue_first=True)
            with pytest.raises(CrashError):
                ingest.ingest(attempt.submission, attempt.deps)
        delivery, message = receive(local)
        point = CrashPoint(len(made))

        # When
        with pytest.raises(CrashError):
            process_batch([delivery], processing(local, point, DyingDeps))
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
        attempt = prepare(local, CrashPoint(), SMALL, None)
        ingest.ingest(attempt.submission, attempt.deps)
        delivery, _ = receive(local)
        with pytest.raises(CrashError):
            process_batch([delivery], processing(local, CrashPoint(3)))
        record = local.record(attempt.event_id)
        assert record is not None
        written = local.lake().get_silver(silver_key(record.event))

        # When
        with pytest.raises(BatchIncompleteError):
            # A first delivery leaves it to the one that seems to be at work.
            process_batch([delivery], processing(local, CrashPoint()))
        again = replace(delivery, attempt=2)
        with pytest.raises(BatchIncompleteError):
            # A later one waits until that one must be over.
            process_batch([again], processing(local, CrashPoint()))
        later = clock.utc_now() + timedelta(minutes=2)
        deps = replace(processing(local, CrashPoint()), now=lambda: later)
        process_batch([again], deps)
        process_batch([again], processing(local, CrashPoint()))
        local.queue().delete([delivery.receipt_handle])

    # Then
    assert local.lake().get_silver(silver_key(record.event)) == written
    assert_whole(local, attempt.event_id, SMALL, attempt.submission.owner)


@pytest.mark.parametrize("operation", ["head_object", "put_item", "send_message"])
def test_a_reconcile_that_dies_over_an_orphan_is_followed_by_one_that_ends_the_work(
    local: Stage, operation: str
) -> None:
    # Given
    attempt = prepare(local, CrashPoint(1), MEDIUM, None)
    with pytest.raises(CrashError):
        ingest.ingest(attempt.submission, attempt.deps)

    # When
    assert_reconcile_dies(local, operation)
    local.reconcile()

    # Then
    assert_whole(local, attempt.event_id, MEDIUM, attempt.submission.owner)
    assert_handed_over(local, attempt.event_id)


@pytest.mark.parametrize("operation", ["batch_get_item", "send_message", "update_item"])
def test_a_reconcile_that_dies_over_a_stuck_event_is_followed_by_one_that_ends_the_work(
    local: Stage, operation: str
) -> None:
    # Given
    attempt = prepare(local, CrashPoint(1), SMALL, unique("key"))
    with pytest.raises(CrashError):
        ingest.ingest(attempt.submission, attempt.deps)

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
    deps = ReconcileDeps(
        ledger=stage.ledger(dynamodb),
        index=EventIndex(dynamodb, config.events_table, config.ledger_shards),
        lake=stage.lake(point.guard(stage.s3)),
        queue=stage.queue(point.guard(stage.sqs)),
        checkpoints=CheckpointStore(dynamodb, config.events_table),
        alerts=stage.alert_queue(),
        stuck_after=0,
        max_requeues=config.max_requeues,
        backlog_limit=config.backlog_limit,
        full_scan_every=timedelta(0),
        run_id=unique("run"),
        remaining=lambda: 60.0,
    )
    with pytest.raises(CrashError):
        reconcile.reconcile(deps)
    assert point.made[-1] == operation

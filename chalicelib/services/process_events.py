"""Processing: from a queue message to one silver document, whatever is delivered how often.

A batch is processed message by message; each ends in one of three ways: done, to be retried, or set
aside (not ours). If all are done the batch returns and SQS deletes it. Otherwise the worker deletes
what is done, puts the rest off with back-off, and raises: right whether or not the event source
reports partial batches (ADR 0003).
"""

import random
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.adapters.event_store import EventStore
from chalicelib.adapters.lake import Lake
from chalicelib.adapters.queue import Queue
from chalicelib.domain import clock
from chalicelib.domain.events import Event, Failure, Handover, sha256, silver_key
from chalicelib.domain.messages import EventMessage
from chalicelib.domain.payloads import dump_json, parse_json
from chalicelib.errors import (
    BatchIncompleteError,
    ForeignMessageError,
    NotFoundError,
    PermanentError,
    ProcessingError,
    aws_code,
    is_aws_fault,
)
from chalicelib.observability import log, log_context
from chalicelib.services.processors import Incoming, Processor, find_processor, time_limit

SCHEMA_VERSION = 1
MAX_WAIT_SECONDS = 900
MARGIN_SECONDS = 2.0
"""Time kept at the end of an invocation for deleting and putting off messages."""
_ERROR_MESSAGE_LIMIT = 500


@dataclass(frozen=True)
class Delivery:
    """One message as SQS delivered it; `attempt` counts its deliveries from 1."""

    body: str
    receipt_handle: str
    message_id: str
    attempt: int
    sent_at: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Delivery":
        """Read a record of a Lambda SQS event."""
        attributes = record["attributes"]
        return cls(
            body=record["body"],
            receipt_handle=record["receiptHandle"],
            message_id=record["messageId"],
            attempt=int(attributes["ApproximateReceiveCount"]),
            sent_at=clock.to_text(clock.from_millis(int(attributes["SentTimestamp"]))),
        )


@dataclass(frozen=True)
class Processing:
    """The collaborators of `process_batch`; `remaining` gives the seconds left to this run."""

    ledger: EventStore
    lake: Lake
    queue: Queue
    dead_letters: Queue
    processors: Mapping[str, Processor]
    max_attempts: int
    retry_base: int
    remaining: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now
    jitter: Callable[[], float] = random.random


def process_batch(deliveries: Sequence[Delivery], using: Processing) -> None:
    """Process a batch; two AWS calls for an event (silver, ledger), none for the batch when all
    goes well, else one to delete and one to put off.

    Messages that were delivered before come last, after the others have been deleted: should one of
    them kill the process, it kills no neighbour. Raises `BatchIncompleteError` when some are to be
    retried.
    """
    done: list[str] = []
    retries: list[tuple[str, int]] = []
    in_order = sorted(deliveries, key=lambda delivery: delivery.attempt)
    for number, delivery in enumerate(in_order):
        if delivery.attempt > 1:
            using.queue.delete(done)
            done.clear()
        # A fair share of the time left, so that one event that hangs leaves some to the others.
        share = (using.remaining() - MARGIN_SECONDS) / (len(in_order) - number)
        wait = _handle(delivery, share, using)
        if wait is None:
            done.append(delivery.receipt_handle)
        else:
            retries.append((delivery.receipt_handle, wait))
    if retries:
        using.queue.delete(done)
        using.queue.put_off(retries)
        raise BatchIncompleteError(f"{len(retries)} of {len(deliveries)} messages to retry")


def _handle(delivery: Delivery, seconds: float, using: Processing) -> int | None:
    """Process one message; None when it is done with, else the seconds to wait for a retry."""
    if seconds <= 0:
        return 0
    try:
        message = EventMessage.decode(delivery.body)
    except ForeignMessageError as error:
        return _set_aside(delivery, error, using)
    event = message.event
    with log_context(eventId=event.event_id, owner=event.owner, requestId=message.request_id):
        # What the API did not note, the first attempt does.
        handover = Handover(delivery.sent_at, noted=message.recorded or delivery.attempt > 1)
        try:
            _process(message, handover, delivery.attempt, seconds, using)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - every failure is recorded
            return _fail(event, handover, delivery, error, using)
    return None


def _process(
    message: EventMessage, handover: Handover, attempt: int, seconds: float, using: Processing
) -> None:
    event = message.event
    data = parse_json(_payload(message, using))
    with time_limit(seconds):
        result = find_processor(event.event_type, using.processors)(Incoming(event, data, attempt))
    processed_at = clock.to_text(using.now())
    key = silver_key(event)
    using.lake.put_silver(key, _silver(event, result, processed_at, using))
    first = using.ledger.mark_processed(
        event, processed_at, using.lake.silver_bucket, key, handover
    )
    log.info(
        "event processed" if first else "event was processed before",
        extra={"eventType": event.event_type, "attempt": attempt},
    )


def _payload(message: EventMessage, using: Processing) -> bytes:
    if message.payload is not None:
        return message.payload
    try:
        payload = using.lake.get_bronze(message.event.s3_key)
    except NotFoundError as error:
        raise PermanentError("the payload is not in bronze", code="payload-missing") from error
    if sha256(payload) != message.event.payload_sha256:
        raise PermanentError("the payload in bronze is another", code="payload-changed")
    return payload


def _silver(event: Event, data: Any, processed_at: str, using: Processing) -> str:
    document = {
        "eventId": event.event_id,
        "eventType": event.event_type,
        "source": event.source,
        "subject": event.subject,
        "owner": event.owner,
        "time": event.received_at,
        "receivedAt": event.received_at,
        "processedAt": processed_at,
        "schemaVersion": SCHEMA_VERSION,
        "data": data,
        "bronze": {
            "bucket": using.lake.bronze_bucket,
            "key": event.s3_key,
            "sha256": event.payload_sha256,
        },
    }
    try:
        return dump_json(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentError("the processor's result is no JSON", code="result") from error


def _fail(
    event: Event,
    handover: Handover,
    delivery: Delivery,
    error: BaseException,
    using: Processing,
) -> int | None:
    failure = _classify(error)
    final = failure.kind == "permanent" or delivery.attempt >= using.max_attempts
    log.warning(
        "event failed" if final else "attempt failed",
        extra={
            "attempt": delivery.attempt,
            "class": failure.kind,
            "code": failure.code,
            "where": _where(error),
        },
    )
    wait = _back_off(delivery.attempt, using)
    try:
        at = clock.to_text(using.now())
        using.ledger.mark_attempt_failed(event, at, failure, final, handover)
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        # Unrecorded, so not finished: SQS keeps the message, and after the last attempt the
        # dead-letter queue does, until `reconcile` takes the event up again.
        log.error("failure not recorded", extra={"code": aws_code(fault), "where": _where(fault)})
        return wait
    return None if final else wait


def _classify(error: BaseException) -> Failure:
    if isinstance(error, ProcessingError):
        kind = "transient" if error.retryable else "permanent"
        return Failure(kind, error.code, error.detail[:_ERROR_MESSAGE_LIMIT])
    if is_aws_fault(error):
        return Failure("transient", aws_code(error), "AWS did not do what was asked")
    return Failure("unknown", type(error).__name__, str(error)[:_ERROR_MESSAGE_LIMIT])


def _where(error: BaseException) -> str:
    """File and line that raised `error`. Its message may quote the payload, so it is not logged."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _back_off(attempt: int, using: Processing) -> int:
    """Seconds before the next attempt: doubling, with up to a half more at random."""
    wait = using.retry_base * 2.0 ** min(attempt - 1, 20) * (1 + using.jitter() / 2)
    return min(round(wait), MAX_WAIT_SECONDS)


def _set_aside(delivery: Delivery, error: ForeignMessageError, using: Processing) -> int | None:
    """Put a message that is not ours on the dead-letter queue, with the reason."""
    log.warning("foreign message", extra={"messageId": delivery.message_id})
    reason = {"reason": error.detail, "code": error.code, "messageId": delivery.message_id}
    try:
        using.dead_letters.send(delivery.body, reason)
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        log.error("foreign message not set aside", extra={"code": aws_code(fault)})
        return _back_off(delivery.attempt, using)
    return None

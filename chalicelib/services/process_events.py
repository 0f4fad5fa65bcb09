"""Processing: from a queue message to one silver document, whatever is delivered how often.

Three steps for an event: its silver document is written, the bus is told, the ledger says
PROCESSED. A message ends in one of three ways: done, to be retried, or set aside (not ours). If all
are done the batch returns and SQS deletes it. Otherwise the worker deletes what is done, puts the
rest off with back-off, and raises: right whether or not the event source reports partial batches
(ADR 0003).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from chalicelib.adapters.bus import Bus, Entry
from chalicelib.adapters.event_store import EventStore
from chalicelib.adapters.lake import Lake
from chalicelib.adapters.queue import Queue
from chalicelib.domain import clock
from chalicelib.domain.alerts import event_failed
from chalicelib.domain.deliveries import Delivery, back_off
from chalicelib.domain.events import Event, Handover, Status, sha256, silver_key
from chalicelib.domain.failures import classify, where
from chalicelib.domain.messages import EventMessage
from chalicelib.domain.payloads import parse_json
from chalicelib.domain.silver import envelope, silver_document
from chalicelib.errors import (
    BatchIncompleteError,
    ForeignMessageError,
    NotFoundError,
    PermanentError,
    TransientError,
    aws_code,
    is_aws_fault,
)
from chalicelib.observability import log, log_context
from chalicelib.services.processors import Incoming, Processor, find_processor, time_limit

LONGEST_WAIT_SECONDS = 900
BUSY_SECONDS = 30
"""How long a repeated message waits for the delivery that seems to be at work on its event."""
MARGIN_SECONDS = 2.0
"""Time kept at the end of an invocation for deleting and putting off messages."""


@dataclass(frozen=True)
class Processing:
    """The collaborators of `process_batch`; `remaining` gives the seconds left to this run."""

    ledger: EventStore
    lake: Lake
    bus: Bus
    queue: Queue
    dead_letters: Queue
    alerts: Queue
    processors: Mapping[str, Processor]
    max_attempts: int
    retry_base: int
    remaining: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now
    jitter: Callable[[], float] = random.random


@dataclass(frozen=True)
class _Written:
    """An event whose silver document is there, and of which nobody has been told yet."""

    delivery: Delivery
    event: Event
    handover: Handover
    request_id: str
    processed_at: str
    repeats: list[Delivery] = field(default_factory=list)
    """Other messages of the batch for the same event: they end as this one does."""


@dataclass
class _Batch:
    """How far a batch has come; the lists hold receipt handles."""

    written: list[_Written] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    retries: list[tuple[str, int]] = field(default_factory=list)

    def settle(self, delivery: Delivery, wait: int | None) -> None:
        """Note that a message is done with, or the seconds it has to wait."""
        if wait is None:
            self.done.append(delivery.receipt_handle)
        else:
            self.retries.append((delivery.receipt_handle, wait))


def process_batch(deliveries: Sequence[Delivery], using: Processing) -> None:
    """Process a batch; two AWS calls for an event (silver, ledger) and one for ten (bus); none to
    finish when all went well, else one to delete and one to put off.

    Messages that were delivered before come last, one by one, after the others have been finished
    and deleted: should one of them kill the process, it kills no neighbour. Raises
    `BatchIncompleteError` when some are to be retried.
    """
    batch = _Batch()
    in_order = sorted(deliveries, key=lambda delivery: delivery.attempt)
    for number, delivery in enumerate(in_order):
        if delivery.attempt > 1:
            _finish(batch, using)
            using.queue.delete(batch.done)
            batch.done.clear()
        # A fair share of the time left, so that one event that hangs leaves some to the others.
        share = (using.remaining() - MARGIN_SECONDS) / (len(in_order) - number)
        _begin(delivery, share, batch, using)
    _finish(batch, using)
    if batch.retries:
        using.queue.delete(batch.done)
        using.queue.put_off(batch.retries)
        raise BatchIncompleteError(f"{len(batch.retries)} of {len(deliveries)} messages to retry")


def _begin(delivery: Delivery, seconds: float, batch: _Batch, using: Processing) -> None:
    """Take one message as far as its silver document, or to its end."""
    if seconds <= 0:
        batch.settle(delivery, wait=0)
        return
    try:
        message = EventMessage.decode(delivery.body)
    except ForeignMessageError as error:
        batch.settle(delivery, _set_aside(delivery, error, using))
        return
    event = message.event
    leader = next((one for one in batch.written if one.event == event), None)
    if leader is not None:
        leader.repeats.append(delivery)
        return
    # What the API did not note, the first attempt does.
    handover = Handover(delivery.sent_at, noted=message.recorded or delivery.attempt > 1)
    with log_context(eventId=event.event_id, owner=event.owner, requestId=message.request_id):
        try:
            now = clock.to_text(using.now())
            is_new = _write_silver(message, delivery.attempt, seconds, now, using)
            if not is_new and _is_processed(event, using):
                log.info("event was processed before", extra={"attempt": delivery.attempt})
                batch.settle(delivery, wait=None)
            elif not is_new and delivery.attempt == 1:
                # Another delivery is at work on it, or died at it; then the next attempt goes on.
                batch.settle(delivery, wait=BUSY_SECONDS)
            else:
                batch.written.append(_Written(delivery, event, handover, message.request_id, now))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - every failure is recorded
            batch.settle(delivery, _fail(event, handover, delivery, error, using))


def _is_processed(event: Event, using: Processing) -> bool:
    record = using.ledger.get(event.event_id)
    return record is not None and record.status is Status.PROCESSED


def _write_silver(
    message: EventMessage, attempt: int, seconds: float, processed_at: str, using: Processing
) -> bool:
    """Run the processor and write its document; False when there is a document already."""
    event = message.event
    data = parse_json(_payload(message, using))
    with time_limit(seconds):
        result = find_processor(event.event_type, using.processors)(Incoming(event, data, attempt))
    document = silver_document(event, result, processed_at, using.lake.bronze_bucket)
    return using.lake.put_silver(silver_key(event), document)


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


def _finish(batch: _Batch, using: Processing) -> None:
    """Tell the bus of what was written, then the ledger; what either refuses is retried."""
    written, batch.written = batch.written, []
    if not written:
        return
    codes = _publish(written, using)
    for one, code in zip(written, codes, strict=True):
        event = one.event
        with log_context(eventId=event.event_id, owner=event.owner, requestId=one.request_id):
            try:
                if code is not None:
                    raise TransientError("EventBridge did not take the entry", code=code)
                _mark_processed(one, using)
            except Exception as error:  # noqa: BLE001 - every failure is recorded
                wait = _fail(event, one.handover, one.delivery, error, using)
            else:
                wait = None
        for delivery in (one.delivery, *one.repeats):
            batch.settle(delivery, wait)


def _publish(written: list[_Written], using: Processing) -> Sequence[str | None]:
    entries = [
        Entry(
            one.event.event_type,
            envelope(
                one.event,
                one.processed_at,
                using.lake.bronze_bucket,
                using.lake.silver_bucket,
                silver_key(one.event),
            ),
        )
        for one in written
    ]
    try:
        return using.bus.put(entries)
    except Exception as error:
        if not is_aws_fault(error):
            raise
        return [aws_code(error)] * len(written)


def _mark_processed(one: _Written, using: Processing) -> None:
    first = using.ledger.mark_processed(
        one.event,
        one.processed_at,
        using.lake.silver_bucket,
        silver_key(one.event),
        one.handover,
        detail=f"published to {using.bus.name}",
    )
    log.info(
        "event processed" if first else "event was processed before",
        extra={"eventType": one.event.event_type, "attempt": one.delivery.attempt},
    )


def _fail(
    event: Event,
    handover: Handover,
    delivery: Delivery,
    error: BaseException,
    using: Processing,
) -> int | None:
    """Record a failed attempt; None when it was the last, else the seconds to wait."""
    failure = classify(error)
    is_last = delivery.attempt >= using.max_attempts
    final = failure.kind == "permanent" or is_last
    log.warning(
        "event failed" if final else "attempt failed",
        extra={
            "attempt": delivery.attempt,
            "class": failure.kind,
            "code": failure.code,
            "where": where(error),
        },
    )
    wait = _back_off(delivery, using)
    at = clock.to_text(using.now())
    try:
        if final:
            using.alerts.send(event_failed(event, failure, at))
        using.ledger.mark_attempt_failed(event, at, failure, final, handover)
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        # Unrecorded, so not finished: SQS keeps the message, and after the last attempt the
        # dead-letter queue does, until `reconcile` takes the event up again.
        log.error("failure not recorded", extra={"code": aws_code(fault), "where": where(fault)})
        return wait
    return None if final else wait


def _back_off(delivery: Delivery, using: Processing) -> int:
    return back_off(delivery.attempt, using.retry_base, LONGEST_WAIT_SECONDS, using.jitter())


def _set_aside(delivery: Delivery, error: ForeignMessageError, using: Processing) -> int | None:
    """Put a message that is not ours on the dead-letter queue, with the reason."""
    log.warning("foreign message", extra={"messageId": delivery.message_id})
    reason = {"reason": error.detail, "code": error.code, "messageId": delivery.message_id}
    try:
        using.dead_letters.send(delivery.body, reason)
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        log.error("foreign message not set aside", extra={"code": aws_code(fault)})
        return _back_off(delivery, using)
    return None

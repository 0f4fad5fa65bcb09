"""Process queue messages: one silver document an event, whatever comes how often.

An event takes three steps: its silver document is written, it is published to the bus, and the
ledger says PROCESSED. A message ends in one of three ways: done, to be retried, or set aside on the
dead-letter queue (a foreign message). If all are done the batch returns and SQS deletes it.
Otherwise the worker deletes those that are done, puts the others off with back-off, and raises:
right whether or not the event source reports partial batches (ADR 0003).
"""

from collections.abc import Sequence
from contextlib import suppress

from msgspec import Struct, field

from chalicelib.aws.sqs import Delivery
from chalicelib.core import clock, metrics
from chalicelib.core.errors import (
    BatchIncompleteError,
    ForeignMessageError,
    NotFoundError,
    aws_code,
)
from chalicelib.core.log import log, log_context
from chalicelib.core.tracing import span
from chalicelib.events.bus import Written
from chalicelib.events.finish import (
    BUSY_SECONDS,
    WorkerDeps,
    check_payload,
    publish,
    record_failure,
    run_processor,
    wait_after,
)
from chalicelib.events.keys import silver_key
from chalicelib.events.message import (
    EventMessage,
    Message,
    ReplayMessage,
    UnitMessage,
    decode_message,
)
from chalicelib.events.model import Dispatch, Event, Status
from chalicelib.events.process_unit import process_unit
from chalicelib.events.stats import Count, count

MARGIN_SECONDS = 4.0
"""Time left at the end of an invocation for deleting and putting off messages."""


class _Open(Struct, frozen=True):
    """An event that is written and not published yet, and the message that brought it."""

    delivery: Delivery
    written: Written
    repeats: list[Delivery] = field(default_factory=list)
    """Other messages of the batch for the same event: they end as this one does."""


class _Batch(Struct):
    """How far a batch has come; `done` and `retries` hold receipt handles."""

    written: list[_Open] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    retries: list[tuple[str, int]] = field(default_factory=list)

    def settle(self, delivery: Delivery, wait: int | None) -> None:
        """A message is done (None), or waits so many seconds."""
        if wait is None:
            self.done.append(delivery.receipt_handle)
        else:
            self.retries.append((delivery.receipt_handle, wait))


def process_batch(deliveries: Sequence[Delivery], deps: WorkerDeps) -> None:
    """Process a batch; two AWS calls for an event (silver, ledger) and one for ten (bus); none to
    finish when all went well, else one to delete and one to put off. For the calls of a unit, see
    `process_unit`.

    Messages that were delivered before come last, one by one, after the others have been finished
    and deleted: should one of them kill the process, it kills no neighbour. Steps of replays come
    after all events. Raises `BatchIncompleteError` when some are to be retried.
    """
    metrics.sample("BatchSize", len(deliveries))
    batch = _Batch()
    in_order = sorted(deliveries, key=lambda one: one.attempt)
    messages = [(delivery, _read(delivery)) for delivery in in_order]
    events = [(one, message) for one, message in messages if not isinstance(message, ReplayMessage)]
    steps = [(one, message) for one, message in messages if isinstance(message, ReplayMessage)]
    left = sum(_size(message) for _, message in events)
    for delivery, message in events:
        if delivery.attempt == 1:
            _count_accepted(message)
        if delivery.attempt > 1:
            _finish(batch, deps)
            _delete_done(batch, deps)
        # A fair share of the time left, so that one event that hangs leaves some to the others.
        share = (deps.seconds_left() - MARGIN_SECONDS) * _size(message) / left
        left -= _size(message)
        _begin(delivery, message, share, batch, deps)
    _finish(batch, deps)
    for number, (delivery, step) in enumerate(steps):
        _delete_done(batch, deps)
        share = (deps.seconds_left() - MARGIN_SECONDS) / (len(steps) - number)
        batch.settle(delivery, 0 if share <= 0 else deps.step_replay(step, delivery, share))
    if batch.retries:
        _delete_done(batch, deps)
        deps.queue.put_off(batch.retries)
        raise BatchIncompleteError(f"{len(batch.retries)} of {len(deliveries)} messages to retry")


def _read(delivery: Delivery) -> Message | ForeignMessageError:
    try:
        return decode_message(delivery.body)
    except ForeignMessageError as error:
        return error


def _size(message: Message | ForeignMessageError) -> int:
    return len(message.events) if isinstance(message, UnitMessage) else 1


def _count_accepted(message: EventMessage | UnitMessage | ForeignMessageError) -> None:
    """Count the events of a message that comes for the first time."""
    events: Sequence[Event] = ()
    if isinstance(message, UnitMessage):
        events = message.events
    elif isinstance(message, EventMessage) and not message.attempts:
        events = (message.event,)
    for event in events:
        with suppress(ValueError):  # A time that cannot be read fails no event.
            count(event.owner, Count.ACCEPTED, clock.from_text(event.received_at))


def _delete_done(batch: _Batch, deps: WorkerDeps) -> None:
    deps.queue.delete(batch.done)
    batch.done.clear()


def _begin(
    delivery: Delivery,
    message: EventMessage | UnitMessage | ForeignMessageError,
    seconds: float,
    batch: _Batch,
    deps: WorkerDeps,
) -> None:
    """Take a message as far as its silver document, or to its end."""
    if seconds <= 0:
        batch.settle(delivery, wait=0)
    elif isinstance(message, ForeignMessageError):
        batch.settle(delivery, _set_aside(delivery, message, deps))
    elif isinstance(message, UnitMessage):
        batch.settle(delivery, process_unit(message, delivery, seconds, deps))
    else:
        _begin_one(delivery, message, seconds, batch, deps)


def _begin_one(
    delivery: Delivery, message: EventMessage, seconds: float, batch: _Batch, deps: WorkerDeps
) -> None:
    event, key = message.event, silver_key(message.event)
    leader = next((one for one in batch.written if one.written.event == event), None)
    if leader is not None:
        leader.repeats.append(delivery)
        return
    attempt = message.attempts + delivery.attempt
    # If the API did not record that the message was sent, the first attempt does.
    dispatch = Dispatch(delivery.sent_at, noted=message.recorded or delivery.attempt > 1)
    with log_context(eventId=event.event_id, owner=event.owner, requestId=message.request_id):
        try:
            now = clock.to_text(deps.now())
            payload = _payload(message, deps)
            with span("processor", namespace=None):
                result = run_processor(event, payload, attempt, seconds, now, deps)
            with span("silver"):
                is_new = deps.lake.put_silver(key, result.document)
            if not is_new and _is_processed(event, deps):
                log.info("event was processed before", extra={"attempt": attempt})
                batch.settle(delivery, wait=None)
            elif not is_new and delivery.attempt == 1:
                # Another delivery is at work on it, or died; in that case the next attempt goes on.
                batch.settle(delivery, wait=BUSY_SECONDS)
            else:
                written = Written(
                    event=event,
                    attempt=attempt,
                    dispatch=dispatch,
                    request_id=message.request_id,
                    processed_at=now,
                    at=now,
                    silver_key=key,
                    alert=result.alert,
                )
                batch.written.append(_Open(delivery, written))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - every failure is recorded
            batch.settle(delivery, record_failure(event, dispatch, attempt, error, deps))


def _is_processed(event: Event, deps: WorkerDeps) -> bool:
    record = deps.ledger.get(event.event_id)
    return record is not None and record.status is Status.PROCESSED


def _payload(message: EventMessage, deps: WorkerDeps) -> bytes:
    event, payload = message.event, message.payload
    if payload is None:
        with suppress(NotFoundError), span("bronze"):
            payload = deps.lake.get_bronze(event.s3_key, event.s3_range)
    return check_payload(event, payload)


def _finish(batch: _Batch, deps: WorkerDeps) -> None:
    """Publish and record what is written; what AWS refuses is retried."""
    open_ones, batch.written = batch.written, []
    errors = publish([one.written for one in open_ones], deps)
    for one, error in zip(open_ones, errors, strict=True):
        wait = None
        if error is not None:
            written, event = one.written, one.written.event
            fields = {"eventId": event.event_id, "owner": event.owner}
            with log_context(**fields, requestId=written.request_id):
                wait = record_failure(event, written.dispatch, written.attempt, error, deps)
        for delivery in (one.delivery, *one.repeats):
            batch.settle(delivery, wait)


def _set_aside(delivery: Delivery, error: ForeignMessageError, deps: WorkerDeps) -> int | None:
    """Put a foreign message on the dead-letter queue, with the reason."""
    log.warning("foreign message", extra={"messageId": delivery.message_id})
    reason = {"reason": error.detail, "code": error.code, "messageId": delivery.message_id}
    try:
        deps.dead_letters.send(delivery.body, reason)
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        log.error("foreign message not set aside", extra={"code": aws_code(fault)})
        return wait_after(delivery.attempt, deps)
    return None

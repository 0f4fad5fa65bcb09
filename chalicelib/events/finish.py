"""What the worker does with one event, whichever message brought it: run its processor, publish and
record its silver document, or record why the attempt failed.

Effects come before their record (ADR 0009): the bus, then the queue of alerts, then the ledger.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from msgspec import Struct

from chalicelib.aws.sqs import Delivery, Queue, back_off
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock, metrics
from chalicelib.core.errors import (
    PermanentError,
    ProcessingError,
    TransientError,
    aws_code,
    is_aws_fault,
)
from chalicelib.core.ids import sha256
from chalicelib.core.log import correlation, log, log_context, where
from chalicelib.core.tracing import span
from chalicelib.events.alerts import alert_of, event_failed
from chalicelib.events.bus import Bus, Written, bus_entry, silver_document
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventStore
from chalicelib.events.message import ReplayMessage
from chalicelib.events.model import Dispatch, Event, Failure
from chalicelib.events.processors import Incoming, Processor, find_processor, read_data, time_limit
from chalicelib.events.stats import Count, count

LONGEST_WAIT_SECONDS = 900
BUSY_SECONDS = 30
"""How long a repeated message waits for the delivery that seems to be working on its event."""
_MESSAGE_LIMIT = 500

StepReplay = Callable[[ReplayMessage, Delivery, float], int | None]
"""Takes a step of a bulk replay in about so many seconds; None when the message is done, else the
seconds until its next delivery."""


def put_off_step(_message: ReplayMessage, _delivery: Delivery, _seconds: float) -> int | None:
    """Take no step: another worker shall."""
    return BUSY_SECONDS


class WorkerDeps(Struct, frozen=True):
    """The collaborators of `process_batch`. `seconds_left` gives the seconds left to this run,
    `each` makes many calls at a time. An event of `webhook_owner` came by webhook, and may be an
    alert."""

    ledger: EventStore
    lake: Lake
    bus: Bus
    queue: Queue
    dead_letters: Queue
    alerts: Queue
    processors: Mapping[str, Processor]
    max_attempts: int
    retry_base: int
    seconds_left: Callable[[], float]
    webhook_owner: str
    now: Callable[[], datetime] = clock.utc_now
    jitter: Callable[[], float] = random.random
    each: Each = in_threads
    step_replay: StepReplay = put_off_step


class Result(Struct, frozen=True):
    """A silver document, and the message for the queue of alerts if the event is one."""

    document: str
    alert: str | None


def check_payload(event: Event, payload: bytes | None) -> bytes:
    """The payload; `PermanentError` if there is none, or it is not the one that was received."""
    if payload is None:
        raise PermanentError("the payload is not in bronze", code="payload-missing")
    if sha256(payload) != event.payload_sha256:
        raise PermanentError("the payload in bronze is another", code="payload-changed")
    return payload


def run_processor(
    event: Event,
    payload: bytes,
    attempt: int,
    seconds: float,
    processed_at: str,
    deps: WorkerDeps,
) -> Result:
    """Run the processor of an event's type for up to `seconds`; its errors pass through."""
    data, is_base64 = read_data(event, payload)
    with time_limit(seconds):
        result = find_processor(event.event_type, deps.processors)(Incoming(event, data, attempt))
    unchanged = is_base64 and result is data
    document = silver_document(
        event, result, processed_at, deps.lake.bronze_bucket, is_base64=unchanged
    )
    is_webhook = event.owner == deps.webhook_owner
    return Result(document, alert_of(event.event_type, data) if is_webhook else None)


def publish(written: Sequence[Written], deps: WorkerDeps) -> list[Exception | None]:
    """Publish documents to the bus and record their events as PROCESSED; for each, in order, None
    or the error that prevented it.

    AWS calls: one for ten to the bus, one for each to the ledger, one for each alert.
    """
    with span("bus"):
        lake = deps.lake
        entries = [bus_entry(one, lake.bronze_bucket, lake.silver_bucket) for one in written]
        codes = deps.bus.put(entries)

    def record(pair: tuple[Written, str | None]) -> Exception | None:
        one, code = pair
        event = one.event
        with log_context(eventId=event.event_id, owner=event.owner, requestId=one.request_id):
            try:
                if code is not None:
                    raise TransientError("EventBridge did not take the entry", code=code)
                if one.alert is not None:
                    deps.alerts.send(one.alert, correlation())
                _mark_processed(one, deps)
            except Exception as error:  # noqa: BLE001 - every failure is for the caller to record
                return error
            return None

    with span("ledger"):
        return deps.each(record, zip(written, codes, strict=True))


def record_failure(
    event: Event, dispatch: Dispatch, attempt: int, error: BaseException, deps: WorkerDeps
) -> int | None:
    """Record a failed attempt; None if it was the last, else the seconds to wait."""
    failure, final = classify(error), is_final(error, attempt, deps)
    log_failure("event failed" if final else "attempt failed", failure, attempt, error)
    wait = wait_after(attempt, deps)
    at = clock.to_text(deps.now())
    try:
        if final:
            deps.alerts.send(event_failed(event, failure, at), correlation())
        with span("ledger"):
            noted = deps.ledger.mark_attempt_failed(event, at, failure, final, dispatch)
        if final and noted:
            metrics.add("Failed", failure_class=failure.kind)
            count(event.owner, Count.FAILED, deps.now())
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        # Not recorded, so not finished: SQS keeps the message, and after the last attempt the
        # dead-letter queue does, until `reconcile` sends the event again.
        log.error("failure not recorded", extra={"code": aws_code(fault), "where": where(fault)})
        return wait
    return None if final else wait


def classify(error: BaseException) -> Failure:
    """Permanent or transient as the processor said; an AWS error is transient; anything else is
    unknown, which is retried too."""
    if isinstance(error, ProcessingError):
        kind = "transient" if error.retryable else "permanent"
        return Failure(kind, error.code, error.detail[:_MESSAGE_LIMIT])
    if is_aws_fault(error):
        return Failure("transient", aws_code(error), "AWS did not do what was asked")
    return Failure("unknown", type(error).__name__, str(error)[:_MESSAGE_LIMIT])


def is_final(error: BaseException, attempt: int, deps: WorkerDeps) -> bool:
    """Whether a failed attempt is the last one."""
    return classify(error).kind == "permanent" or attempt >= deps.max_attempts


def log_failure(message: str, failure: Failure, attempt: int, error: BaseException) -> None:
    """Log a failed attempt; never the error's text, which may hold what was sent."""
    fields = {"attempt": attempt, "class": failure.kind, "code": failure.code}
    log.warning(message, extra={**fields, "where": where(error)})


def wait_after(attempt: int, deps: WorkerDeps) -> int:
    """The seconds to wait after a failed attempt."""
    return back_off(attempt, deps.retry_base, LONGEST_WAIT_SECONDS, deps.jitter())


def _mark_processed(one: Written, deps: WorkerDeps) -> None:
    first = deps.ledger.mark_processed(
        one.event,
        one.at,
        deps.lake.silver_bucket,
        one.silver_key,
        one.dispatch,
        detail=f"published to {deps.bus.name}",
        silver_range=one.silver_range,
    )
    fields: dict[str, Any] = {"eventType": one.event.event_type, "attempt": one.attempt}
    if not first:
        log.info("event was processed before", extra=fields)
        return
    metrics.add("Processed")
    with suppress(ValueError):  # A time that cannot be read fails no event.
        took = (deps.now() - clock.from_text(one.event.received_at)) / clock.MILLISECOND
        fields["latencyMs"] = max(0, round(took))
        metrics.sample("EndToEndLatency", fields["latencyMs"])
        count(one.event.owner, Count.PROCESSED, deps.now(), fields["latencyMs"])
    log.info("event processed", extra=fields)

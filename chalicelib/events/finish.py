"""The end of an attempt at an event: it is told of and noted as done, or its failure is noted.

Done first, noted after (ADR 0009): the bus, then the queue of alerts, then the ledger.

What an error says of a failed attempt.

Running the processor of one event: from its payload to its silver document.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

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
from chalicelib.events.bus import Bus, BusEntry, envelope, silver_document
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventStore
from chalicelib.events.message import ReplayMessage
from chalicelib.events.model import Dispatch, Event, Failure
from chalicelib.events.processors import Incoming, Processor, find_processor, read_data, time_limit

LONGEST_WAIT_SECONDS = 900
BUSY_SECONDS = 30
"""How long a repeated message waits for the delivery that seems to be at work on its event."""
_ENTRIES_A_CALL = 10


class StepReplay(Protocol):
    """Takes a step of a bulk replay; `step_replays.take_step`, given its collaborators, is one."""

    def __call__(
        self, message: ReplayMessage, delivery: Delivery, seconds: float, /
    ) -> int | None: ...


def put_off_step(_message: ReplayMessage, _delivery: Delivery, _seconds: float, /) -> int | None:
    """The part of a worker that takes no steps of replays: it leaves them to others."""
    return BUSY_SECONDS


class WorkerDeps(Struct, frozen=True):
    """The collaborators of `process_batch`; `remaining` gives the seconds left to this run, `each`
    does many calls at a time. `webhook_owner` owns what came by webhook, which may be an alert."""

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
    webhook_owner: str
    now: Callable[[], datetime] = clock.utc_now
    jitter: Callable[[], float] = random.random
    each: Each = in_threads
    step_replay: StepReplay = put_off_step


class Written(Struct, frozen=True):
    """An event whose silver document is there, and of which nobody has been told yet."""

    event: Event
    attempt: int
    dispatch: Dispatch
    request_id: str
    processed_at: str
    """What the document says."""
    at: str
    """When the attempt that goes on from it began: the step in the timeline."""
    silver_key: str
    silver_range: str | None = None
    alert: str | None = None
    """The message for the queue of alerts that the event gives rise to."""


def end_written(written: Sequence[Written], deps: WorkerDeps) -> list[Exception | None]:
    """Tell of what was written and note it; for each, in order, what stood against it.

    AWS calls: one for ten to the bus, one for each to the ledger, one for each alert.
    """
    with span("bus"):
        codes = [code for some in _in_tens(written) for code in _publish(some, deps)]

    def end(pair: tuple[Written, str | None]) -> Exception | None:
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
        return deps.each(end, zip(written, codes, strict=True))


def record_failure(
    event: Event, dispatch: Dispatch, attempt: int, error: BaseException, deps: WorkerDeps
) -> int | None:
    """Record a failed attempt; None when it was the last, else the seconds to wait."""
    failure = classify(error)
    final = failure.kind == "permanent" or attempt >= deps.max_attempts
    log.warning(
        "event failed" if final else "attempt failed",
        extra={
            "attempt": attempt,
            "class": failure.kind,
            "code": failure.code,
            "where": where(error),
        },
    )
    wait = wait_after(attempt, deps)
    at = clock.to_text(deps.now())
    try:
        if final:
            deps.alerts.send(event_failed(event, failure, at), correlation())
        with span("ledger"):
            noted = deps.ledger.mark_attempt_failed(event, at, failure, final, dispatch)
        if final and noted:
            metrics.add("Failed", failure_class=failure.kind)
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        # Unrecorded, so not finished: SQS keeps the message, and after the last attempt the
        # dead-letter queue does, until `reconcile` takes the event up again.
        log.error("failure not recorded", extra={"code": aws_code(fault), "where": where(fault)})
        return wait
    return None if final else wait


def wait_after(attempt: int, deps: WorkerDeps) -> int:
    """The seconds to wait after an attempt that failed."""
    return back_off(attempt, deps.retry_base, LONGEST_WAIT_SECONDS, deps.jitter())


def _in_tens(written: Sequence[Written]) -> Iterator[Sequence[Written]]:
    for start in range(0, len(written), _ENTRIES_A_CALL):
        yield written[start : start + _ENTRIES_A_CALL]


def _publish(written: Sequence[Written], deps: WorkerDeps) -> Sequence[str | None]:
    """Tell the bus, one call; for each, EventBridge's error code."""
    lake = deps.lake
    entries = [
        BusEntry(
            one.event.event_type,
            envelope(
                one.event,
                one.processed_at,
                lake.bronze_bucket,
                lake.silver_bucket,
                one.silver_key,
                silver_range=one.silver_range,
            ),
        )
        for one in written
    ]
    try:
        return deps.bus.put(entries)
    except Exception as error:
        if not is_aws_fault(error):
            raise
        return [aws_code(error)] * len(written)


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
    facts: dict[str, Any] = {"eventType": one.event.event_type, "attempt": one.attempt}
    if not first:
        log.info("event was processed before", extra=facts)
        return
    metrics.add("Processed")
    with suppress(ValueError):  # Nothing fails for a time that cannot be read.
        took = (deps.now() - clock.from_text(one.event.received_at)) / clock.MILLISECOND
        facts["latencyMs"] = max(0, round(took))
        metrics.sample("EndToEndLatency", facts["latencyMs"])
    log.info("event processed", extra=facts)


_MESSAGE_LIMIT = 500


def classify(error: BaseException) -> Failure:
    """Permanent and transient as the processor said; AWS's refusals are transient; the rest is
    unknown, and so worth another attempt."""
    if isinstance(error, ProcessingError):
        kind = "transient" if error.retryable else "permanent"
        return Failure(kind, error.code, error.detail[:_MESSAGE_LIMIT])
    if is_aws_fault(error):
        return Failure("transient", aws_code(error), "AWS did not do what was asked")
    return Failure("unknown", type(error).__name__, str(error)[:_MESSAGE_LIMIT])


class Result(Struct, frozen=True):
    """A silver document, and the message for the queue of alerts if the event is one."""

    document: str
    alert: str | None


def run_processor(
    event: Event,
    payload: bytes,
    attempt: int,
    seconds: float,
    processed_at: str,
    deps: WorkerDeps,
) -> Result:
    """Run the processor for an event's type, for up to `seconds`; what it raises passes."""
    data, is_base64 = read_data(event, payload)
    with time_limit(seconds):
        result = find_processor(event.event_type, deps.processors)(Incoming(event, data, attempt))
    untouched = is_base64 and result is data
    document = silver_document(
        event, result, processed_at, deps.lake.bronze_bucket, is_base64=untouched
    )
    return Result(document, _alert(event, data, deps))


def read_alert(event: Event, payload: bytes, deps: WorkerDeps) -> str | None:
    """The alert that an event gives rise to, without running its processor."""
    if event.owner != deps.webhook_owner:
        return None
    return _alert(event, read_data(event, payload)[0], deps)


def check_payload(event: Event, payload: bytes) -> bytes:
    """The payload, if it is the one that was received; `PermanentError` if not."""
    if sha256(payload) != event.payload_sha256:
        raise PermanentError("the payload in bronze is another", code="payload-changed")
    return payload


def missing_payload() -> PermanentError:
    """The error for a payload that is gone."""
    return PermanentError("the payload is not in bronze", code="payload-missing")


def _alert(event: Event, data: Any, deps: WorkerDeps) -> str | None:
    if event.owner != deps.webhook_owner:
        return None
    return alert_of(event.event_type, data)

"""The end of an attempt at an event: it is told of and noted as done, or its failure is noted.

Done first, noted after (ADR 0009): the bus, then the queue of alerts, then the ledger.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from chalicelib import metrics
from chalicelib.adapters.bus import Bus, Entry
from chalicelib.adapters.event_store import EventStore
from chalicelib.adapters.lake import Lake
from chalicelib.adapters.queue import Queue
from chalicelib.domain import clock
from chalicelib.domain.alerts import event_failed
from chalicelib.domain.deliveries import Delivery, back_off
from chalicelib.domain.events import Event, Handover
from chalicelib.domain.failures import classify, where
from chalicelib.domain.messages import ReplayMessage
from chalicelib.domain.silver import envelope
from chalicelib.errors import TransientError, aws_code, is_aws_fault
from chalicelib.observability import correlation, log, log_context
from chalicelib.services.processors import Processor
from chalicelib.spread import Each, in_threads
from chalicelib.tracing import span

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


@dataclass(frozen=True)
class Processing:
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


@dataclass(frozen=True)
class Written:
    """An event whose silver document is there, and of which nobody has been told yet."""

    event: Event
    attempt: int
    handover: Handover
    request_id: str
    processed_at: str
    """What the document says."""
    at: str
    """When the attempt that goes on from it began: the step in the timeline."""
    silver_key: str
    silver_range: str | None = None
    alert: str | None = None
    """The message for the queue of alerts that the event gives rise to."""


def end_written(written: Sequence[Written], using: Processing) -> list[Exception | None]:
    """Tell of what was written and note it; for each, in order, what stood against it.

    AWS calls: one for ten to the bus, one for each to the ledger, one for each alert.
    """
    with span("bus"):
        codes = [code for some in _in_tens(written) for code in _publish(some, using)]

    def end(pair: tuple[Written, str | None]) -> Exception | None:
        one, code = pair
        event = one.event
        with log_context(eventId=event.event_id, owner=event.owner, requestId=one.request_id):
            try:
                if code is not None:
                    raise TransientError("EventBridge did not take the entry", code=code)
                if one.alert is not None:
                    using.alerts.send(one.alert, correlation())
                _mark_processed(one, using)
            except Exception as error:  # noqa: BLE001 - every failure is for the caller to record
                return error
            return None

    with span("ledger"):
        return using.each(end, zip(written, codes, strict=True))


def record_failure(
    event: Event, handover: Handover, attempt: int, error: BaseException, using: Processing
) -> int | None:
    """Record a failed attempt; None when it was the last, else the seconds to wait."""
    failure = classify(error)
    final = failure.kind == "permanent" or attempt >= using.max_attempts
    log.warning(
        "event failed" if final else "attempt failed",
        extra={
            "attempt": attempt,
            "class": failure.kind,
            "code": failure.code,
            "where": where(error),
        },
    )
    wait = wait_after(attempt, using)
    at = clock.to_text(using.now())
    try:
        if final:
            using.alerts.send(event_failed(event, failure, at), correlation())
        with span("ledger"):
            noted = using.ledger.mark_attempt_failed(event, at, failure, final, handover)
        if final and noted:
            metrics.add("Failed", failure_class=failure.kind)
    except Exception as fault:  # noqa: BLE001 - SQS delivers it again
        # Unrecorded, so not finished: SQS keeps the message, and after the last attempt the
        # dead-letter queue does, until `reconcile` takes the event up again.
        log.error("failure not recorded", extra={"code": aws_code(fault), "where": where(fault)})
        return wait
    return None if final else wait


def wait_after(attempt: int, using: Processing) -> int:
    """The seconds to wait after an attempt that failed."""
    return back_off(attempt, using.retry_base, LONGEST_WAIT_SECONDS, using.jitter())


def _in_tens(written: Sequence[Written]) -> Iterator[Sequence[Written]]:
    for start in range(0, len(written), _ENTRIES_A_CALL):
        yield written[start : start + _ENTRIES_A_CALL]


def _publish(written: Sequence[Written], using: Processing) -> Sequence[str | None]:
    """Tell the bus, one call; for each, EventBridge's error code."""
    lake = using.lake
    entries = [
        Entry(
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
        return using.bus.put(entries)
    except Exception as error:
        if not is_aws_fault(error):
            raise
        return [aws_code(error)] * len(written)


def _mark_processed(one: Written, using: Processing) -> None:
    first = using.ledger.mark_processed(
        one.event,
        one.at,
        using.lake.silver_bucket,
        one.silver_key,
        one.handover,
        detail=f"published to {using.bus.name}",
        silver_range=one.silver_range,
    )
    facts: dict[str, Any] = {"eventType": one.event.event_type, "attempt": one.attempt}
    if not first:
        log.info("event was processed before", extra=facts)
        return
    metrics.add("Processed")
    with suppress(ValueError):  # Nothing fails for a time that can not be read.
        took = (using.now() - clock.from_text(one.event.received_at)) / clock.MILLISECOND
        facts["latencyMs"] = max(0, round(took))
        metrics.sample("EndToEndLatency", facts["latencyMs"])
    log.info("event processed", extra=facts)

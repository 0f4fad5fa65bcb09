"""What the worker does with one event, run its processor or record why the attempt failed, and what
it works with.
"""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from chalicelib.aws.faults import aws_code, is_aws_fault
from chalicelib.aws.sqs import Delivery, Queue, back_off
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock, metrics
from chalicelib.core.errors import PermanentError, ProcessingError
from chalicelib.core.ids import sha256
from chalicelib.core.log import correlation, log, log_context, where
from chalicelib.core.strict_json import dump_json
from chalicelib.core.tracing import span
from chalicelib.events.alerts import alert_of, event_failed
from chalicelib.events.bus import Bus, silver_document
from chalicelib.events.journal import Journal
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventStore
from chalicelib.events.message import Parcel, ReplayMessage
from chalicelib.events.model import Dispatch, Event, Failure
from chalicelib.events.processors import Incoming, Processor, find_processor, read_data, time_limit
from chalicelib.events.stats import Count, count

LONGEST_WAIT_SECONDS = 900
BUSY_SECONDS = 30
"""How long a repeated message waits for the delivery that seems to be working on its event."""
LEASE_MARGIN_SECONDS = 15
"""More than clocks differ, and than a request may still be on its way when Lambda ends a run."""
_MESSAGE_LIMIT = 500

StepReplay = Callable[[ReplayMessage, Delivery, float], int | None]
"""Takes a step of a bulk replay in about so many seconds; None when the message is done, else the
seconds until its next delivery."""


def put_off_step(_message: ReplayMessage, _delivery: Delivery, _seconds: float) -> int | None:
    """Take no step: another worker shall."""
    return BUSY_SECONDS


class Handed(Struct, frozen=True):
    """A document that is handed over to whoever subscribed to it: its head, its JSON text, and
    where it is in silver. `again`: a run that died may have handed it over. `request_id` is that of
    the request that brought the event, "" if it is not known."""

    head: Mapping[str, Any]
    text: str
    key: str
    byte_range: str | None
    again: bool
    request_id: str = ""


HandOver = Callable[[Sequence[Handed]], list[str | None]]
"""Hands documents over; for each in order None when that is done, else the code of what refused."""


def hand_to_nobody(documents: Sequence[Handed]) -> list[str | None]:
    """Hand over nothing: nobody has subscribed."""
    return [None] * len(documents)


class WorkerDeps(Struct, frozen=True):
    """The collaborators of `process_batch`. `seconds_left` gives the seconds left to this run,
    `each` makes many calls at a time. An event of `webhook_owner` came by webhook, and may be an
    alert."""

    ledger: EventStore
    journal: Journal
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
    random: Callable[[int], bytes] = os.urandom
    each: Each = in_threads
    step_replay: StepReplay = put_off_step
    hand_over: HandOver = hand_to_nobody

    def lease(self) -> timedelta:
        """How long this run may be at work on what it begins now."""
        return timedelta(seconds=max(self.seconds_left(), 0) + LEASE_MARGIN_SECONDS)


class Result(Struct, frozen=True):
    """What a processor made of an event, in JSON, and the message for the queue of alerts if the
    event is one. `is_base64`: a payload that is neither JSON nor text, unchanged."""

    data: str
    is_base64: bool
    alert: str | None

    def document(self, head: Mapping[str, Any]) -> str:
        """The silver document that begins with `head`."""
        return silver_document(head, self.data, is_base64=self.is_base64)


def check_payload(event: Event, payload: bytes | None) -> bytes:
    """The payload; `PermanentError` if there is none, or it is not the one that was received."""
    if payload is None:
        raise PermanentError("the payload is not in bronze", code="payload-missing")
    if sha256(payload) != event.payload_sha256:
        raise PermanentError("the payload in bronze is another", code="payload-changed")
    return payload


def run_processor(
    event: Event, payload: bytes, attempt: int, seconds: float, deps: WorkerDeps
) -> Result:
    """Run the processor of an event's type for up to `seconds`; its errors pass through, and
    `PermanentError` if JSON cannot hold its result."""
    data, is_base64 = read_data(event, payload)
    with time_limit(seconds):
        result = find_processor(event.event_type, deps.processors)(Incoming(event, data, attempt))
    try:
        text = dump_json(result, exact=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentError("the processor's result is no JSON", code="result") from error
    is_webhook = event.owner == deps.webhook_owner
    alert = alert_of(event.event_type, data) if is_webhook else None
    return Result(text, is_base64=is_base64 and result is data, alert=alert)


def record_failure(
    parcel: Parcel, dispatch: Dispatch, attempt: int, error: BaseException, deps: WorkerDeps
) -> int | None:
    """Record a failed attempt; None if it was the last, else the seconds to wait. One call, three
    for the last: an alert, and the payload, which bronze gets if it has not."""
    event, payload = parcel.event, None if parcel.in_bronze else parcel.payload
    failure, final = classify(error), is_final(error, attempt, deps)
    log_failure("event failed" if final else "attempt failed", failure, attempt, error)
    wait = wait_after(attempt, deps)
    at = clock.to_text(deps.now())
    try:
        if final:
            if payload is not None:
                event = deps.lake.store(event, payload)
            deps.alerts.send(event_failed(event, failure, at), correlation())
        with span("ledger"):
            kept = None if final else payload
            noted = deps.ledger.mark_attempt_failed(event, at, failure, final, dispatch, kept)
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


def log_processed(head: Mapping[str, Any], attempt: int, request_id: str, deps: WorkerDeps) -> None:
    """Log and measure that an event became PROCESSED; `head` begins its document."""
    fields: dict[str, Any] = {"eventType": head["eventType"], "attempt": attempt}
    metrics.add("Processed")
    with suppress(ValueError):  # A time that cannot be read fails no event.
        took = (deps.now() - clock.from_text(head["receivedAt"])) / clock.MILLISECOND
        fields["latencyMs"] = max(0, round(took))
        metrics.sample("EndToEndLatency", fields["latencyMs"])
        count(head["owner"], Count.PROCESSED, deps.now(), fields["latencyMs"])
    with log_context(eventId=head["eventId"], owner=head["owner"], requestId=request_id):
        log.info("event processed", extra=fields)

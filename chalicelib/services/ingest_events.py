"""Ingest: from a request's body to an event that is kept.

The order of the calls is what promise 1 rests on (ADR 0005). Each line is one AWS call:

    no key          bronze -> queue -> ledger (ENQUEUED)
    idempotency key bronze -> ledger (RECEIVED: also the check for a duplicate) -> queue

Wherever it stops, an event is either in no place that counts (not acknowledged), or in bronze or in
the ledger, where `reconcile` finds it. ENQUEUED is written only after the message was sent. If the
queue does not answer, the event is kept as RECEIVED and acknowledged: `reconcile` sends it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.adapters.event_store import EventStore
from chalicelib.adapters.lake import Lake
from chalicelib.adapters.queue import Queue
from chalicelib.domain import clock
from chalicelib.domain.events import (
    MAX_NAME_BYTES,
    MAX_TYPE_BYTES,
    Event,
    Record,
    Status,
    Step,
    bronze_key,
    keyed_event_id,
    name_fault,
    new_event_id,
    sha256,
)
from chalicelib.domain.messages import EventMessage
from chalicelib.domain.payloads import parse_json
from chalicelib.errors import (
    IdempotencyConflictError,
    InvalidRequestError,
    PayloadTooLargeError,
    is_aws_fault,
)
from chalicelib.observability import log

DEFAULT_SOURCE = "/events"
"""The source of a plain JSON event that names none; a URI reference, as in CloudEvents."""
MAX_KEY_CHARACTERS = 255


@dataclass(frozen=True)
class Submission:
    """What a sender asks to be kept. `body` is stored as it is, byte for byte."""

    body: bytes
    content_type: str
    owner: str
    idempotency_key: str | None
    request_id: str


@dataclass(frozen=True)
class Receipt:
    """The acknowledgement: the event is kept. `replayed` when it was kept before."""

    event_id: str
    replayed: bool


@dataclass(frozen=True)
class Ingest:
    """The collaborators of `ingest`."""

    ledger: EventStore
    lake: Lake
    queue: Queue
    max_event_bytes: int
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


def ingest(submission: Submission, using: Ingest) -> Receipt:
    """Keep one plain JSON event and hand it to the worker; three AWS calls.

    A repeat of an idempotency key costs two or three calls, one more while the first has not been
    processed. Raises `InvalidRequestError`, `PayloadTooLargeError`,
    `IdempotencyConflictError`; an AWS error passes through, and then nothing was acknowledged.
    """
    event = _read_event(submission, using)
    if submission.idempotency_key is None:
        using.lake.put_bronze(event, submission.body)
        sent = _send(event, submission, using, recorded=True)
        using.ledger.add(event, _steps(event, sent))
        return Receipt(event.event_id, replayed=False)
    claimed, before = _claim(event, submission.body, using)
    if before is not None:
        _check_same(before, event)
    if before is None or before.status is Status.RECEIVED:
        # A first request may have died before it sent; if not, the worker drops the repeat.
        _send(claimed, submission, using, recorded=False)
    return Receipt(event.event_id, replayed=before is not None)


def _read_event(submission: Submission, using: Ingest) -> Event:
    body = submission.body
    if len(body) > using.max_event_bytes:
        raise PayloadTooLargeError(
            f"the event has {len(body)} bytes; at most {using.max_event_bytes} are accepted"
        )
    document = parse_json(body)
    if not isinstance(document, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    if "eventType" not in document:
        raise InvalidRequestError.at("/eventType", "is required")
    fault = name_fault(document["eventType"], MAX_TYPE_BYTES)
    if fault:
        raise InvalidRequestError.at("/eventType", fault)
    now = using.now()
    received_at = clock.to_text(now)
    key = submission.idempotency_key
    if key is None:
        event_id = new_event_id(now, using.random(10))
    else:
        check_idempotency_key(key)
        event_id = keyed_event_id(submission.owner, key)
    event_type: str = document["eventType"]
    return Event(
        event_id=event_id,
        event_type=event_type,
        owner=submission.owner,
        source=_optional_name(document, "source") or DEFAULT_SOURCE,
        subject=_optional_name(document, "subject"),
        received_at=received_at,
        payload_sha256=sha256(body),
        payload_bytes=len(body),
        content_type=submission.content_type,
        s3_key=bronze_key(event_type, received_at, event_id),
    )


def _optional_name(document: dict[str, Any], field: str) -> str | None:
    """A plain event's own `source` or `subject`. The whole body is the payload and may mean
    something else by these names, so one that can not be a name is left alone, not refused."""
    value = document.get(field)
    return None if name_fault(value, MAX_NAME_BYTES) else value


def check_idempotency_key(key: str) -> None:
    """Raise `InvalidRequestError` unless `key` is 1 to 255 printable ASCII characters."""
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise InvalidRequestError.at(
            "/header/Idempotency-Key",
            f"must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters",
        )


def _claim(event: Event, body: bytes, using: Ingest) -> tuple[Event, Record | None]:
    """Take the id that a key stands for; the event that has it now, and its record if the ledger
    knew it before."""
    if not using.lake.put_bronze(event, body):
        kept = using.lake.bronze_event(event.s3_key)
        if kept is None or kept.payload_sha256 != event.payload_sha256:
            # Never point the ledger at another body than the one hashed.
            before = using.ledger.get(event.event_id)
            if before is None:
                raise _conflict()
            return before.event, before
        event = kept
    before = using.ledger.add(event, _steps(event, sent_at=None))
    return (event, None) if before is None else (before.event, before)


def _check_same(before: Record, event: Event) -> None:
    if before.event.payload_sha256 != event.payload_sha256:
        raise _conflict()


def _send(event: Event, submission: Submission, using: Ingest, recorded: bool) -> str | None:
    """Send to the worker; the time of that, None when the queue did not take it.

    The time is taken before the call, since the worker may be done with the event before it ends.
    """
    message = EventMessage(event, submission.body, recorded, submission.request_id)
    sent_at = clock.to_text(using.now())
    try:
        using.queue.send(message.encode())
    except Exception as error:
        if not is_aws_fault(error):
            raise
        log.warning("event kept but not sent", extra={"eventId": event.event_id}, exc_info=True)
        return None
    return sent_at


def _steps(event: Event, sent_at: str | None) -> list[Step]:
    received = Step(Status.RECEIVED, event.received_at)
    return [received] if sent_at is None else [received, Step(Status.ENQUEUED, sent_at)]


def _conflict() -> IdempotencyConflictError:
    return IdempotencyConflictError("this idempotency key came before with another body")

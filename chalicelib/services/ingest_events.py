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
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from chalicelib.adapters.event_store import EventStore
from chalicelib.adapters.lake import Lake
from chalicelib.adapters.queue import Queue
from chalicelib.domain import bronze_metadata, clock
from chalicelib.domain.drafts import Draft
from chalicelib.domain.event_ids import keyed_event_id, new_event_id
from chalicelib.domain.events import Event, Record, Status, Step
from chalicelib.domain.lake_keys import bronze_key
from chalicelib.domain.messages import EventMessage, message_for
from chalicelib.errors import (
    FieldError,
    IdempotencyConflictError,
    InvalidRequestError,
    PayloadTooLargeError,
    SchemaViolationError,
    is_aws_fault,
)
from chalicelib.metrics import add
from chalicelib.observability import log
from chalicelib.tracing import span


class CheckSchema(Protocol):
    """Checks an event's data against its type's schema; `SchemaCheck.check` is one."""

    def __call__(self, event_type: str, data: object, is_json: bool, /) -> int | None:
        """The version checked against, None without a schema; or raises `SchemaViolationError`."""


@dataclass(frozen=True)
class Submission:
    """What a sender asks to be kept: `payload` is stored as it is, byte for byte, and `read` makes
    a draft of it or raises `InvalidRequestError`."""

    payload: bytes
    content_type: str
    owner: str
    request_id: str
    read: Callable[[], Draft]


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
    check_schema: CheckSchema
    max_event_bytes: int
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


def ingest(submission: Submission, using: Ingest) -> Receipt:
    """Keep one event and hand it to the worker; three AWS calls.

    A repeat of an identity costs two or three calls, one more while the first has not been
    processed. A payload that is refused for its content is kept as REJECTED, two calls, and the
    `InvalidRequestError` names it. Raises `PayloadTooLargeError` and `IdempotencyConflictError`
    too; an AWS error passes through, and then nothing was acknowledged.
    """
    receipt = _ingest(submission, using)
    add("Duplicate" if receipt.replayed else "Accepted")
    return receipt


def _ingest(submission: Submission, using: Ingest) -> Receipt:
    check_size(submission.payload, using.max_event_bytes)
    draft = event = None
    try:
        draft = submission.read()
        event = _make_event(draft, submission.owner, using)
        version = check_draft(draft, using.check_schema)
    except InvalidRequestError as error:
        if draft and event and draft.identity and _is_repeat(event, using):
            # It was accepted before its schema came to refuse it.
            return Receipt(event.event_id, replayed=True)
        from chalicelib.services.reject_events import keep_rejected

        now = clock.to_text(using.now())
        error.event_id = keep_rejected(submission, draft, error, now, using.lake, using.ledger)
        raise
    event = replace(event, schema_version=version)
    if draft.identity is None:
        with span("bronze"):
            using.lake.put_bronze(event, submission.payload)
        sent_at = _send(event, submission, using, recorded=True)
        with span("ledger"):
            using.ledger.add(event, _steps(event, sent_at))
        return Receipt(event.event_id, replayed=False)
    claimed, before = _claim(event, submission.payload, using)
    if before is not None:
        check_same(before.event, event)
    if before is None or before.status is Status.RECEIVED:
        # A first request may have died before it sent; if not, the worker drops the repeat.
        _send(claimed, submission, using, recorded=False)
    return Receipt(event.event_id, replayed=before is not None)


def check_draft(draft: Draft, check_schema: CheckSchema) -> int | None:
    """The version of the schema that a draft's data match; None if their type has none. The
    pointers of a `SchemaViolationError` lead into the payload."""
    try:
        return check_schema(draft.event_type, draft.data, not draft.data_is_base64)
    except SchemaViolationError as error:
        faults = [FieldError(draft.data_pointer + at.pointer, at.detail) for at in error.errors]
        raise SchemaViolationError(error.detail, faults) from error


def check_size(payload: bytes, limit: int) -> None:
    """Raise `PayloadTooLargeError` for a payload beyond `limit` bytes."""
    if len(payload) > limit:
        raise PayloadTooLargeError(
            f"the event has {len(payload)} bytes; at most {limit} are accepted"
        )


def check_same(before: Event, event: Event) -> None:
    """Raise `IdempotencyConflictError` unless both were sent with the same content."""
    if not _is_same(before, event):
        raise _conflict()


def _is_same(before: Event, event: Event) -> bool:
    return (
        before.payload_sha256 == event.payload_sha256
        and before.event_type == event.event_type
        and before.cloud_event == event.cloud_event
    )


def _is_repeat(event: Event, using: Ingest) -> bool:
    before = using.ledger.get(event.event_id)
    return before is not None and _is_same(before.event, event)


def _make_event(draft: Draft, owner: str, using: Ingest) -> Event:
    now = using.now()
    received_at = clock.to_text(now)
    identity = draft.identity
    if identity is None:
        event_id = new_event_id(now, using.random(10))
    else:
        event_id = keyed_event_id(owner, identity.key, identity.kind)
    key = bronze_key(draft.event_type, received_at, event_id)
    event = draft.to_event(event_id, owner, received_at, key)
    if not bronze_metadata.fits(event):
        raise InvalidRequestError.at("", "the event's attributes are too long to be kept together")
    return event


def _claim(event: Event, body: bytes, using: Ingest) -> tuple[Event, Record | None]:
    """Take the id that a key stands for; the event that has it now, and its record if the ledger
    knew it before."""
    with span("bronze"):
        is_new = using.lake.put_bronze(event, body)
    if not is_new:
        kept = using.lake.bronze_event(event.s3_key)
        if kept is None or kept.payload_sha256 != event.payload_sha256:
            # Never point the ledger at another body than the one hashed.
            before = using.ledger.get(event.event_id)
            if before is None:
                raise _conflict()
            return before.event, before
        event = kept
    with span("ledger"):
        before = using.ledger.add(event, _steps(event, sent_at=None))
    return (event, None) if before is None else (before.event, before)


def _send(event: Event, submission: Submission, using: Ingest, recorded: bool) -> str | None:
    """Send to the worker; the time of that, None when the queue did not take it.

    The time is taken before the call, since the worker may be done with the event before it ends.
    """
    payload, request_id = submission.payload, submission.request_id
    # A repeat may be of an event that came in a batch; that one goes with its unit.
    body = (
        EventMessage(event, payload, recorded, request_id).encode()
        if recorded
        else message_for(event, payload, request_id)
    )
    sent_at = clock.to_text(using.now())
    try:
        with span("queue"):
            using.queue.send(body)
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

"""Ingest: from a request's body to an event that is kept.

The order of the calls is what promise 1 rests on (ADR 0005). Each line is one AWS call:

    no key          bronze -> queue -> ledger (ENQUEUED)
    idempotency key bronze -> ledger (RECEIVED: also the check for a duplicate) -> queue

Wherever it stops, an event is either in no place that counts (not acknowledged), or in bronze or in
the ledger, where `reconcile` finds it. ENQUEUED is written only after the message was sent. If the
queue does not answer, the event is kept as RECEIVED and acknowledged: `reconcile` sends it.

Keeping what is refused for its content (promise 4): stored, listed as REJECTED, with the reason.

The same payload refused again is the same rejected event, so a sender that retries for ever fills
nothing. An identity (an idempotency key) is not used up by what was rejected.
"""

import os
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.sqs import Queue
from chalicelib.core import clock
from chalicelib.core.errors import (
    FieldError,
    IdempotencyConflictError,
    InvalidRequestError,
    PayloadTooLargeError,
    SchemaViolationError,
    is_aws_fault,
)
from chalicelib.core.ids import keyed_event_id, new_event_id, sha256
from chalicelib.core.log import log
from chalicelib.core.metrics import add
from chalicelib.core.tracing import span
from chalicelib.events.keys import bronze_key, fits
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventStore
from chalicelib.events.message import EventMessage, message_for
from chalicelib.events.model import DEFAULT_SOURCE, Draft, Event, Record, Status, Step


class CheckSchema(Protocol):
    """Checks an event's data against its type's schema; `SchemaCheck.check` is one."""

    def __call__(self, event_type: str, data: object, is_json: bool, /) -> int | None:
        """The version checked against, None without a schema; or raises `SchemaViolationError`."""


class Submission(Struct, frozen=True):
    """What a sender asks to be kept: `payload` is stored as it is, byte for byte, and `read` makes
    a draft of it or raises `InvalidRequestError`."""

    payload: bytes
    content_type: str
    owner: str
    request_id: str
    read: Callable[[], Draft]


class Receipt(Struct, frozen=True):
    """The acknowledgement: the event is kept. `replayed` when it was kept before."""

    event_id: str
    replayed: bool


class IngestDeps(Struct, frozen=True):
    """The collaborators of `ingest`."""

    ledger: EventStore
    lake: Lake
    queue: Queue
    check_schema: CheckSchema
    max_event_bytes: int
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


def ingest(submission: Submission, deps: IngestDeps) -> Receipt:
    """Keep one event and hand it to the worker; three AWS calls.

    A repeat of an identity costs two or three calls, one more while the first has not been
    processed. A payload that is refused for its content is kept as REJECTED, two calls, and the
    `InvalidRequestError` names it. Raises `PayloadTooLargeError` and `IdempotencyConflictError`
    too; an AWS error passes through, and then nothing was acknowledged.
    """
    receipt = _ingest(submission, deps)
    add("Duplicate" if receipt.replayed else "Accepted")
    return receipt


def _ingest(submission: Submission, deps: IngestDeps) -> Receipt:
    check_size(submission.payload, deps.max_event_bytes)
    draft = event = None
    try:
        draft = submission.read()
        event = _make_event(draft, submission.owner, deps)
        version = check_draft(draft, deps.check_schema)
    except InvalidRequestError as error:
        if draft and event and draft.identity and _is_repeat(event, deps):
            # It was accepted before its schema came to refuse it.
            return Receipt(event.event_id, replayed=True)
        now = clock.to_text(deps.now())
        error.event_id = keep_rejected(submission, draft, error, now, deps.lake, deps.ledger)
        raise
    event = replace(event, schema_version=version)
    if draft.identity is None:
        with span("bronze"):
            deps.lake.put_bronze(event, submission.payload)
        sent_at = _send(event, submission, deps, recorded=True)
        with span("ledger"):
            deps.ledger.add(event, _steps(event, sent_at))
        return Receipt(event.event_id, replayed=False)
    claimed, before = _claim(event, submission.payload, deps)
    if before is not None:
        check_same(before.event, event)
    if before is None or before.status is Status.RECEIVED:
        # A first request may have died before it sent; if not, the worker drops the repeat.
        _send(claimed, submission, deps, recorded=False)
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


def _is_repeat(event: Event, deps: IngestDeps) -> bool:
    before = deps.ledger.get(event.event_id)
    return before is not None and _is_same(before.event, event)


def _make_event(draft: Draft, owner: str, deps: IngestDeps) -> Event:
    now = deps.now()
    received_at = clock.to_text(now)
    identity = draft.identity
    if identity is None:
        event_id = new_event_id(now, deps.random(10))
    else:
        event_id = keyed_event_id(owner, identity.key, identity.kind)
    key = bronze_key(draft.event_type, received_at, event_id)
    event = draft.to_event(event_id, owner, received_at, key)
    if not fits(event):
        raise InvalidRequestError.at("", "the event's attributes are too long to be kept together")
    return event


def _claim(event: Event, body: bytes, deps: IngestDeps) -> tuple[Event, Record | None]:
    """Take the id that a key stands for; the event that has it now, and its record if the ledger
    knew it before."""
    with span("bronze"):
        is_new = deps.lake.put_bronze(event, body)
    if not is_new:
        kept = deps.lake.bronze_event(event.s3_key)
        if kept is None or kept.payload_sha256 != event.payload_sha256:
            # Never point the ledger at another body than the one hashed.
            before = deps.ledger.get(event.event_id)
            if before is None:
                raise _conflict()
            return before.event, before
        event = kept
    with span("ledger"):
        before = deps.ledger.add(event, _steps(event, sent_at=None))
    return (event, None) if before is None else (before.event, before)


def _send(event: Event, submission: Submission, deps: IngestDeps, recorded: bool) -> str | None:
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
    sent_at = clock.to_text(deps.now())
    try:
        with span("queue"):
            deps.queue.send(body)
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


UNREADABLE = "eventline.unreadable"
"""The event type of a payload from which no type could be read."""
_MAX_MESSAGE = 500


def keep_rejected(
    submission: "Submission",
    draft: Draft | None,
    error: InvalidRequestError,
    now: str,
    lake: Lake,
    ledger: EventStore,
) -> str:
    """Keep a payload that was refused with `error`; the id of the rejected event. Two calls.

    `draft` is None if it could not even be read. An AWS error passes through.
    """
    event = rejected_event(submission, draft, error, now)
    lake.put_bronze(event, submission.payload, rejected=error.code)
    note_rejected(event, error, now, ledger)
    add("Rejected")
    return event.event_id


def rejected_event(
    submission: "Submission", draft: Draft | None, error: InvalidRequestError, now: str
) -> Event:
    """The event that a refused payload is kept as; by default in an object of its own."""
    digest = sha256(submission.payload)
    known_by = f"{digest}\0{error.code}\0{error.detail}"
    event_id = keyed_event_id(submission.owner, known_by, kind="rejected")
    event_type = UNREADABLE if draft is None else draft.event_type
    key = bronze_key(event_type, now, event_id)
    if draft is not None:
        event = draft.to_event(event_id, submission.owner, now, key)
        return event if fits(event) else replace(event, subject=None, cloud_event=None)
    return Event(
        event_id=event_id,
        event_type=event_type,
        owner=submission.owner,
        source=DEFAULT_SOURCE,
        subject=None,
        received_at=now,
        payload_sha256=digest,
        payload_bytes=len(submission.payload),
        content_type=submission.content_type,
        s3_key=key,
    )


def note_rejected(event: Event, error: InvalidRequestError, now: str, ledger: EventStore) -> None:
    """Enter a rejected event in the ledger; one call."""
    steps = [
        Step(Status.RECEIVED, event.received_at),
        Step(Status.REJECTED, now, f"refused: {error.code}"),
    ]
    ledger.add(event, steps, lastError=reason(error))
    extra = {"eventId": event.event_id, "owner": event.owner, "code": error.code}
    log.info("event rejected", extra=extra)


def reason(error: InvalidRequestError) -> dict[str, Any]:
    """Why a payload was refused, as the ledger's `lastError`."""
    return {
        "class": "permanent",
        "code": error.code,
        "message": error.detail[:_MAX_MESSAGE],
        "errors": [
            {"pointer": fault.pointer, "detail": fault.detail[:_MAX_MESSAGE]}
            for fault in error.errors[:20]
        ],
    }

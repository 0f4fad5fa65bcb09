"""Ingest of one event: from a request's body to an event that is stored.

Two AWS calls, and 202 only when both have said yes (ADR 0024):

    no key          ledger (RECEIVED, with the payload) and queue at the same time
    idempotency key ledger (also the check for a duplicate) -> queue

A payload over `inline_bytes` goes to bronze first. Wherever it stops, an event is not acknowledged;
what is there of it is found: an entry by `reconcile`, a message by the worker, which makes the
entry. The sender's repeat with a key goes on from there.

A payload that is refused for its content is stored too (promise 4), as a REJECTED event with the
reason. The same payload refused again is the same rejected event, so a sender that retries for
ever fills nothing. A refusal does not use up an idempotency key.
"""

import os
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Protocol

from msgspec import Struct
from msgspec.structs import asdict, replace

from chalicelib.aws.sqs import Queue
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.errors import (
    FieldError,
    IdempotencyConflictError,
    InvalidRequestError,
    PayloadTooLargeError,
    SchemaViolationError,
)
from chalicelib.core.ids import keyed_event_id, new_event_id, sha256
from chalicelib.core.log import log
from chalicelib.core.metrics import add
from chalicelib.core.tracing import span
from chalicelib.events.batch import one_line
from chalicelib.events.cloudevents import is_json
from chalicelib.events.keys import bronze_key, fits
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventStore
from chalicelib.events.message import Parcel, encode_message
from chalicelib.events.model import DEFAULT_SOURCE, Draft, Event, Record, Status, Step
from chalicelib.events.stats import Count, count

UNREADABLE = "eventline.unreadable"
"""The event type of a payload from which no type could be read."""
_MAX_MESSAGE = 500
_MAX_FAULTS = 20


class CheckSchema(Protocol):
    """Checks an event's data against its type's schema; `SchemaCheck.check` is one."""

    def __call__(self, event_type: str, data: object, is_json: bool, /) -> int | None:
        """The version checked against, None without a schema; or raises `SchemaViolationError`."""


class Submission(Struct, frozen=True):
    """What a sender submits: `payload` is stored byte for byte, and `read` makes a draft of it or
    raises `InvalidRequestError`."""

    payload: bytes
    content_type: str
    owner: str
    request_id: str
    read: Callable[[], Draft]


class Receipt(Struct, frozen=True):
    """The acknowledgement of a stored event; `replayed` when an earlier request stored it."""

    event_id: str
    replayed: bool


def _load_none(_event_types: Iterable[str]) -> None:
    """For a stage without schemas."""


class IngestDeps(Struct, frozen=True):
    """The collaborators of `ingest` and `ingest_batch`. `load_schemas` reads the schemas of many
    types in one call, for a batch; `each` makes many calls at a time."""

    ledger: EventStore
    lake: Lake
    queue: Queue
    check_schema: CheckSchema
    max_event_bytes: int
    inline_bytes: int = 4096
    """The largest payload that the ledger keeps until the worker puts it into bronze."""
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom
    load_schemas: Callable[[Iterable[str]], None] = _load_none
    each: Each = in_threads


def ingest(submission: Submission, deps: IngestDeps) -> Receipt:
    """Store one event and send it to the worker; two AWS calls, three for a large payload.

    A repeat of an identity costs one call, two while the first has not been sent for sure. A
    payload that is refused for its content is stored as REJECTED, two calls, and the
    `InvalidRequestError` names it. Raises `PayloadTooLargeError` and `IdempotencyConflictError`
    too; an AWS error passes through, and then nothing was acknowledged.
    """
    receipt = _ingest(submission, deps)
    add("Duplicate" if receipt.replayed else "Accepted")
    return receipt


def _ingest(submission: Submission, deps: IngestDeps) -> Receipt:
    payload = submission.payload
    check_size(payload, deps.max_event_bytes)
    draft = event = None
    try:
        draft = submission.read()
        event = _make_event(draft, submission.owner, deps)
        version = check_draft(draft, deps.check_schema)
    except InvalidRequestError as error:
        if draft and event and draft.identity:
            before = deps.ledger.get(event.event_id)
            if before is not None and has_content(before.event, draft):
                # It was accepted before its schema came to refuse it.
                return Receipt(event.event_id, replayed=True)
        now, sent_as = clock.to_text(deps.now()), submission.content_type
        rejected = rejected_event(payload, sent_as, submission.owner, draft, error, now)
        store_rejected(rejected, payload, error, deps)
        raise
    event = replace(event, schema_version=version)
    parcel = Parcel(event, payload, in_bronze=len(payload) > deps.inline_bytes)
    if draft.identity is None:
        if parcel.in_bronze:
            _put_bronze(event, payload, deps)
        writes: tuple[Callable[[IngestDeps], object], ...] = (
            partial(_add, parcel),
            partial(_send, parcel, submission),
        )
        deps.each(lambda write: write(deps), writes)
        return Receipt(event.event_id, replayed=False)
    parcel, before = _claim(parcel, draft, deps)
    if before is not None and not has_content(before.event, draft):
        raise _conflict()
    if before is None:
        _send(parcel, submission, deps)
    elif before.status is Status.RECEIVED:
        # A first request may have died before it sent; if not, the worker drops the repeat.
        again = Parcel(before.event, payload, in_bronze=before.payload is None)
        _send(again, submission, deps)
    return Receipt(event.event_id, replayed=before is not None)


def check_size(payload: bytes, limit: int) -> None:
    """Raise `PayloadTooLargeError` for a payload beyond `limit` bytes."""
    if len(payload) > limit:
        raise PayloadTooLargeError(
            f"the event has {len(payload)} bytes; at most {limit} are accepted"
        )


def check_facts(event: Event) -> None:
    """Raise `InvalidRequestError` for an event whose metadata S3 has no room for."""
    if not fits(event):
        raise InvalidRequestError.at("", "the event's attributes are too long to be kept together")


def check_draft(draft: Draft, check_schema: CheckSchema) -> int | None:
    """The version of the schema that a draft's data match; None if their type has none. The
    pointers of a `SchemaViolationError` lead into the payload."""
    try:
        return check_schema(draft.event_type, draft.data, not draft.data_is_base64)
    except SchemaViolationError as error:
        faults = [FieldError(draft.data_pointer + at.pointer, at.detail) for at in error.errors]
        raise SchemaViolationError(error.detail, faults) from error


def has_content(event: Event, draft: Draft, sent: bytes | None = None) -> bool:
    """Whether a stored event was sent with the content of `draft`; `sent` is the item of a batch
    that it was read from. A batch makes one line of an item, so JSON may have come as that."""
    payloads = [draft.payload] if sent is None else [draft.payload, sent]
    if is_json(draft.content_type):
        payloads.append(one_line(draft.payload))
    return (
        event.payload_sha256 in map(sha256, payloads)
        and event.event_type == draft.event_type
        and event.cloud_event == draft.cloud_event
    )


def rejected_event(
    payload: bytes,
    content_type: str,
    owner: str,
    draft: Draft | None,
    error: InvalidRequestError,
    now: str,
) -> Event:
    """The event as which a payload refused with `error` is stored, by default in an object of its
    own; `draft` is None if the payload could not be read."""
    known_by = f"{sha256(payload)}\0{error.code}\0{error.detail}"
    event_id = keyed_event_id(owner, known_by, kind="rejected")
    if draft is None:
        draft = Draft(payload, content_type, UNREADABLE, DEFAULT_SOURCE, subject=None, data=None)
    key = bronze_key(draft.event_type, now, event_id)
    event = draft.to_event(event_id, owner, now, key)
    return event if fits(event) else replace(event, subject=None, cloud_event=None)


def store_rejected(
    event: Event, payload: bytes, error: InvalidRequestError, deps: IngestDeps
) -> None:
    """Store a refused payload and name its event in `error`; two calls. An AWS error passes."""
    deps.lake.put_bronze(event, payload, rejected=error.code)
    record_rejected(event, error, deps.ledger)
    add("Rejected")
    error.event_id = event.event_id


def record_rejected(event: Event, error: InvalidRequestError, ledger: EventStore) -> None:
    """Enter a rejected event in the ledger; one call."""
    faults = [asdict(fault) for fault in error.errors[:_MAX_FAULTS]]
    last_error = {
        "class": "permanent",
        "code": error.code,
        "message": error.detail[:_MAX_MESSAGE],
        "errors": [{**fault, "detail": fault["detail"][:_MAX_MESSAGE]} for fault in faults],
    }
    now = event.received_at
    steps = [Step(Status.RECEIVED, now), Step(Status.REJECTED, now, f"refused: {error.code}")]
    ledger.add(event, steps, lastError=last_error)
    count(event.owner, Count.REJECTED, clock.from_text(now))
    extra = {"eventId": event.event_id, "owner": event.owner, "code": error.code}
    log.info("event rejected", extra=extra)


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
    check_facts(event)
    return event


def _put_bronze(event: Event, payload: bytes, deps: IngestDeps) -> bool:
    with span("bronze"):
        return deps.lake.put_bronze(event, payload)


def _add(parcel: Parcel, deps: IngestDeps) -> Record | None:
    """Enter an event in the ledger, with its payload if that is not in bronze; the record that was
    there before. One call."""
    event, payload = parcel.event, None if parcel.in_bronze else parcel.payload
    with span("ledger"):
        return deps.ledger.add(event, [Step(Status.RECEIVED, event.received_at)], payload)


def _claim(parcel: Parcel, draft: Draft, deps: IngestDeps) -> tuple[Parcel, Record | None]:
    """Take the id that an identity stands for: (the event to send, the record that the ledger had
    of it)."""
    event, payload = parcel.event, parcel.payload or b""
    if parcel.in_bronze and not _put_bronze(event, payload, deps):
        before = deps.ledger.get(event.event_id)
        if before is not None:
            return parcel, before
        # A first request died before it wrote the ledger, or is about to. Never point the ledger at
        # another body than the one hashed.
        stored = deps.lake.bronze_event(event.s3_key)
        if stored is None or not has_content(stored, draft):
            raise _conflict()
        parcel = replace(parcel, event=stored)
    return parcel, _add(parcel, deps)


def _conflict() -> IdempotencyConflictError:
    return IdempotencyConflictError("this idempotency key came before with another body")


def _send(parcel: Parcel, submission: Submission, deps: IngestDeps) -> None:
    """Send to the worker; one call."""
    with span("queue"):
        deps.queue.send(encode_message(parcel, submission.request_id))

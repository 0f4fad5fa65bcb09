"""From requests with many events to what `ingest_batches` takes."""

import re
from collections.abc import Callable
from functools import partial

from chalicelib.core import clock
from chalicelib.core.errors import InvalidRequestError, UnsupportedMediaTypeError
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.events.batch import Form
from chalicelib.events.cloudevents import read_structured
from chalicelib.events.cloudevents_http import is_binary, read_binary
from chalicelib.events.ingest import Submission
from chalicelib.events.ingest_batch import Batch
from chalicelib.events.model import JSON, Draft, Identity, Listing, Status, read_plain
from chalicelib.web.api import Call
from chalicelib.web.parse import (
    _UTF_8,
    JSON_TYPE,
    check_idempotency_key,
    moment_of,
    read_cursor,
    read_limit,
    single_values,
)

CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENT_TYPE = re.compile(rf"application/cloudevents\+json{_UTF_8}", re.IGNORECASE)
CLOUD_EVENTS_TYPE = re.compile(rf"application/cloudevents-batch\+json{_UTF_8}", re.IGNORECASE)


def decode_submission(call: Call) -> Submission:
    """`POST /events`, one event: a CloudEvent (its `ce-` headers or its media type say so), or
    plain JSON (no content type counts as JSON)."""
    identity = read_identity(call)
    sent_as = (call.header("content-type") or JSON).strip()
    if CLOUD_EVENT_TYPE.fullmatch(sent_as):
        return _submission(call, CLOUD_EVENT, partial(read_structured, call.body, identity))
    if is_binary(call.headers):
        read = partial(read_binary, call.headers, call.body, identity)
        return _submission(call, sent_as, read)
    if not JSON_TYPE.fullmatch(sent_as):
        raise UnsupportedMediaTypeError(f"an event is sent as {JSON} or {CLOUD_EVENT}, in UTF-8")
    return _submission(call, JSON, partial(read_plain, call.body, identity))


def is_cloud_event_batch(call: Call) -> bool:
    """Whether `POST /events` brings CloudEvents in batched mode."""
    return CLOUD_EVENTS_TYPE.fullmatch((call.header("content-type") or "").strip()) is not None


def wants_cloud_event(call: Call) -> bool:
    """Whether `GET /events/{id}` is to answer with the event as a CloudEvent."""
    accepted = (call.header("accept") or "").split(",")
    return any(part.partition(";")[0].strip().lower() == CLOUD_EVENT for part in accepted)


def read_identity(call: Call) -> Identity | None:
    """What the header `Idempotency-Key` makes the event; None without it."""
    key = call.header("idempotency-key")
    if key is None:
        return None
    check_idempotency_key(key)
    return Identity("idempotency", key)


def _submission(call: Call, content_type: str, read: Callable[[], Draft]) -> Submission:
    return Submission(call.body, content_type, call.caller.owner, call.request_id, read)


def decode_listing(call: Call) -> tuple[Listing, str | None]:
    """`GET /events`: (what to list, the list key to go on below)."""
    query = single_values(call.query, ("eventType", "status", "from", "to", "limit", "cursor"))
    status = query.get("status")
    if status is not None and status not in set(Status):
        raise InvalidRequestError.at("/query/status", f"must be one of {', '.join(Status)}")
    event_type = query.get("eventType")
    fault = None if event_type is None else name_fault(event_type, MAX_TYPE_BYTES)
    if fault:
        raise InvalidRequestError.at("/query/eventType", fault)
    start, end = moment_of(query, "from"), moment_of(query, "to")
    listing = Listing(
        owner=call.caller.sees_only,
        event_type=event_type,
        status=None if status is None else Status(status),
        limit=read_limit(query),
        **({} if start is None else {"start": clock.to_text(start)}),
        **({} if end is None else {"end": clock.to_text(end)}),
    )
    return listing, read_cursor(query)


def decode_batch(call: Call) -> Batch:
    """`POST /events/batch`: `{"events":[...]}` (no content type counts as JSON)."""
    if not JSON_TYPE.fullmatch((call.header("content-type") or JSON).strip()):
        raise UnsupportedMediaTypeError(f"a batch is sent as {JSON}, in UTF-8")
    return _batch(call, Form.PLAIN, "idempotencyKey")


def decode_cloud_events(call: Call) -> Batch:
    """`POST /events` with CloudEvents in batched mode."""
    return _batch(call, Form.CLOUD_EVENTS, "source and id")


def _batch(call: Call, form: Form, identity: str) -> Batch:
    if call.header("idempotency-key") is not None:
        # To pass it over in silence would let a sender believe that a repeat is safe.
        detail = f"is for one event; in a batch each has its own {identity}"
        raise InvalidRequestError.at("/header/Idempotency-Key", detail)
    return Batch(call.body, form, call.caller.owner, call.request_id)

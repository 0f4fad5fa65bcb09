"""Replay: process an event again from bronze, as a new event that names the one it repeats.

The old event keeps its record, its result and its place in lists; the new one has an id, a silver
document and an entry on the bus of its own, and shares the bronze object. What was REJECTED is read
and checked anew, so it gets through once its type's schema allows it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib.adapters.event_store import EventStore
from chalicelib.adapters.lake import Lake
from chalicelib.adapters.queue import Queue
from chalicelib.domain import clock
from chalicelib.domain.drafts import JSON, Draft, read_plain
from chalicelib.domain.event_ids import new_event_id
from chalicelib.domain.events import Event, Status, Step
from chalicelib.domain.messages import EventMessage
from chalicelib.domain.tokens import Caller
from chalicelib.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    is_aws_fault,
)
from chalicelib.observability import log
from chalicelib.services.ingest_events import CheckSchema, Receipt
from chalicelib.services.processors import read_data
from chalicelib.services.read_events import Reading, read_event
from chalicelib.services.reject_events import UNREADABLE


@dataclass(frozen=True)
class Replaying:
    """The collaborators of `replay`."""

    reading: Reading
    ledger: EventStore
    lake: Lake
    queue: Queue
    check_schema: CheckSchema
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


def replay(event_id: str, caller: Caller, request_id: str, using: Replaying) -> Receipt:
    """Take a kept payload through processing once more; four calls.

    Raises `NotFoundError` for an event that is not the caller's, `ConflictError` while it has not
    come to an end, `InvalidRequestError` when a rejected payload would be refused again (nothing is
    written then). An AWS error passes through; if only the send failed, `reconcile` sends.
    """
    record = read_event(event_id, caller, using.reading)
    if record.status in (Status.RECEIVED, Status.ENQUEUED):
        raise ConflictError(f"the event is {record.status}: it is still to be processed")
    before = record.event
    try:
        payload = using.lake.get_bronze(before.s3_key, before.s3_range)
    except NotFoundError as error:
        raise ConflictError(
            "the payload is no longer kept, so there is nothing to replay"
        ) from error
    now = using.now()
    received_at = clock.to_text(now)
    if record.status is Status.REJECTED:
        before = read_again(before, payload, using.check_schema)
    event_id = new_event_id(now, using.random(10))
    event = replace(before, event_id=event_id, received_at=received_at)
    received = Step(Status.RECEIVED, received_at, f"replay of {before.event_id}")
    using.ledger.add(event, [received], replayOf=before.event_id)
    message = EventMessage(event, payload, recorded=False, request_id=request_id)
    try:
        using.queue.send(message.encode())
    except Exception as error:
        if not is_aws_fault(error):
            raise
        log.warning("replay kept but not sent", extra={"eventId": event.event_id}, exc_info=True)
    return Receipt(event.event_id, replayed=False)


def read_again(before: Event, payload: bytes, check_schema: CheckSchema) -> Event:
    """The event that a rejected payload is by now; `InvalidRequestError` if it is still refused."""
    if before.event_type == UNREADABLE:
        draft = _read(before.content_type, payload)
        data, is_base64 = draft.data, draft.data_is_base64
        event = draft.to_event(
            before.event_id,
            before.owner,
            before.received_at,
            before.s3_key,
            s3_range=before.s3_range,
        )
    else:
        event = before
        data, is_base64 = read_data(before, payload)
    return replace(event, schema_version=check_schema(event.event_type, data, not is_base64))


def _read(content_type: str, payload: bytes) -> Draft:
    if content_type == JSON:
        return read_plain(payload)
    from chalicelib.domain import cloudevents

    if content_type == cloudevents.STRUCTURED:
        return cloudevents.read_structured(payload)
    raise InvalidRequestError("the CloudEvent's attributes were refused, and are not kept")

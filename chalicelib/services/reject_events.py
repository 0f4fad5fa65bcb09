"""Keeping what is refused for its content (promise 4): stored, listed as REJECTED, with the reason.

The same payload refused again is the same rejected event, so a sender that retries for ever fills
nothing. An identity (an idempotency key) is not used up by what was rejected.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.event_store import EventStore
from chalicelib.adapters.lake import Lake
from chalicelib.domain.bronze_metadata import fits
from chalicelib.domain.drafts import DEFAULT_SOURCE, Draft
from chalicelib.domain.event_ids import keyed_event_id
from chalicelib.domain.events import Event, Status, Step, sha256
from chalicelib.domain.lake_keys import bronze_key
from chalicelib.errors import InvalidRequestError
from chalicelib.metrics import add
from chalicelib.observability import log

if TYPE_CHECKING:
    from chalicelib.services.ingest_events import Submission

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

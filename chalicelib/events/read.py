"""Read events: one, its payload, its result, and pages of many; only what the caller may see."""

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.core.errors import ConflictError, NotFoundError, NotReadyError
from chalicelib.core.ids import is_event_id
from chalicelib.core.paging import just_below
from chalicelib.events.cloudevents import to_cloud_event
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventIndex, EventStore
from chalicelib.events.model import Listing, Record, Status
from chalicelib.web.callers import Caller


class ReadDeps(Struct, frozen=True):
    """The collaborators of the functions below."""

    ledger: EventStore
    index: EventIndex
    lake: Lake


def read_event(event_id: str, caller: Caller, deps: ReadDeps) -> Record:
    """The record of one event; `NotFoundError` unless it exists and the caller may see it. One
    call."""
    record = deps.ledger.get(event_id) if is_event_id(event_id) else None
    if record is None:
        raise NotFoundError("no such event")
    caller.check_owner(record.event.owner, "event")
    return record


def read_cloud_event(event_id: str, caller: Caller, deps: ReadDeps) -> bytes:
    """The event as a CloudEvent in JSON; `ConflictError` for a rejected event, which may not be
    one. Two calls."""
    record = read_event(event_id, caller, deps)
    if record.status is Status.REJECTED:
        raise ConflictError("the event was rejected: see its record and its payload")
    return to_cloud_event(record.event, record.event.cloud_event, payload_of(record, deps.lake))


def read_payload(event_id: str, caller: Caller, deps: ReadDeps) -> tuple[bytes, str]:
    """(bytes, content type) as they were sent; two calls, one while the ledger has them."""
    record = read_event(event_id, caller, deps)
    return payload_of(record, deps.lake), record.event.content_type


def payload_of(record: Record, lake: Lake) -> bytes:
    """The payload of an event; one call unless the ledger has it. `NotFoundError` if it is gone."""
    if record.payload is not None:
        return record.payload
    return lake.get_bronze(record.event.s3_key, record.event.s3_range)


def read_result(event_id: str, caller: Caller, deps: ReadDeps) -> bytes:
    """The silver document; `NotReadyError` unless the event is PROCESSED. Two calls."""
    record = read_event(event_id, caller, deps)
    if record.status is not Status.PROCESSED or record.silver_key is None:
        raise NotReadyError(f"the event is {record.status}, so it has no result")
    return deps.lake.get_silver(record.silver_key, record.silver_range)


def list_events(
    listing: Listing, resume_below: str | None, deps: ReadDeps
) -> tuple[list[Record], str | None]:
    """(records, the list key to go on below) of one page, newest first.

    Calls: those of `EventIndex.newest`, and one to read the records of the page. An index is
    updated a moment after the table, so the status is checked again.
    """
    if resume_below is not None:
        listing = replace(listing, end=min(listing.end, just_below(resume_below)))
    if listing.start > listing.end:
        return [], None
    page = deps.index.newest(listing)
    records = deps.ledger.get_many([entry.event_id for entry in page.entries])
    shown = [
        record
        for entry in page.entries
        if (record := records.get(entry.event_id)) and listing.status in (None, record.status)
    ]
    return shown, page.resume_below

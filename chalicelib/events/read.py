"""Read events: one, its payload, its result, and pages of many; only what the caller may see."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.core.errors import ConflictError, NotFoundError, NotReadyError
from chalicelib.core.ids import is_event_id, keyed_event_id
from chalicelib.core.paging import NEWEST, Entry, just_below
from chalicelib.events.cloudevents import to_cloud_event
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventIndex, EventStore
from chalicelib.events.model import Identity, Listing, Record, Status
from chalicelib.events.tail import Mark, next_mark
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
    return _read_entries(page.entries, listing, deps), page.resume_below


def list_newer(
    listing: Listing, mark: Mark, now: datetime, deps: ReadDeps
) -> tuple[list[Record], Mark]:
    """(the oldest records that are newer than `mark`, newest first; the mark to go on at). When
    there are none, the reader has had everything.

    Calls: as `list_events`.
    """
    newer = replace(
        listing,
        start=max(listing.start, f"{mark.above}{NEWEST}"),
        limit=listing.limit + len(mark.shown),
        oldest_first=True,
    )
    if newer.start > newer.end:
        return [], mark
    page = deps.index.newest(newer)
    fresh = [entry for entry in page.entries if not mark.is_shown(entry)]
    until = page.resume_below
    if len(fresh) > listing.limit:
        fresh = fresh[: listing.limit]
        until = fresh[-1].list_key
    seen = [entry for entry in page.entries if until is None or entry.list_key <= until]
    records = _read_entries(fresh[::-1], listing, deps)
    return records, next_mark(seen, mark.above, until, now, mark.shown)


def first_mark(records: list[Record], resume_below: str | None, now: datetime) -> Mark:
    """The mark of who has read the first page of a list: what comes after it is newer."""
    return next_mark(map(_entry, records), resume_below or "", None, now)


def find_event(identity: Identity, owner: str, deps: ReadDeps) -> Record | None:
    """The event of an owner with that identity; None when there is none. One call."""
    return deps.ledger.get(keyed_event_id(owner, identity.key, identity.kind))


def _entry(record: Record) -> Entry:
    event = record.event
    return Entry(f"{event.received_at}#{event.event_id}", event.event_id)


def _read_entries(entries: Sequence[Entry], listing: Listing, deps: ReadDeps) -> list[Record]:
    """The records of entries, in their order, without those that have left the list's status."""
    records = deps.ledger.get_many([entry.event_id for entry in entries])
    return [
        record
        for entry in entries
        if (record := records.get(entry.event_id)) and listing.status in (None, record.status)
    ]

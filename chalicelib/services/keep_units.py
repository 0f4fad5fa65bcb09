"""Keeping the items of a batch: bronze, then the ledger, then the queue.

Whatever AWS refuses concerns the items it was asked for; the others go on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from chalicelib.domain import clock
from chalicelib.domain.batches import Form
from chalicelib.domain.event_ids import new_event_id
from chalicelib.domain.events import Event, Record, Status, Step, sha256
from chalicelib.domain.lake_keys import rejected_unit_key
from chalicelib.domain.messages import UnitMessage, message_for
from chalicelib.domain.units import Checked, Unit, make_events, pack, plan, to_metadata
from chalicelib.domain.verdicts import Item
from chalicelib.errors import FieldError, InvalidRequestError, UnavailableError, is_aws_fault
from chalicelib.observability import log
from chalicelib.services.reject_events import note_rejected
from chalicelib.tracing import span

if TYPE_CHECKING:
    from chalicelib.services.ingest_batches import Batching


@dataclass
class Keeping:
    """How far the keeping of a batch has come."""

    owner: str
    form: Form
    request_id: str
    received_at: str
    until: datetime
    faults: list[Exception] = field(default_factory=list)
    to_send: dict[str, tuple[Event, bytes]] = field(default_factory=dict)
    """Events that the ledger has as RECEIVED, and their payloads, by id."""

    def new_unit(self, using: "Batching") -> Unit:
        unit_id = new_event_id(clock.from_text(self.received_at), using.random(10))
        return Unit(unit_id, self.owner, self.received_at, self.form)

    def check_time(self, using: "Batching") -> None:
        """Raise `UnavailableError` when there is no time for another call."""
        if using.now() > self.until:
            raise UnavailableError("AWS took too long to keep all of the batch")

    def note(self, error: Exception, items: Sequence[Item]) -> None:
        """Note that items were not kept; anything but a fault of AWS is raised."""
        if not (is_aws_fault(error) or isinstance(error, UnavailableError)):
            raise error
        log.warning("items not kept", extra={"count": len(items)}, exc_info=error)
        self.faults.append(error)
        for item in items:
            item.fail()


def answer_known(item: Item, record: Record, keeping: Keeping) -> None:
    """Answer an item whose identity the ledger knows; one that was refused by a schema that came
    later is the repeat that it is, too."""
    before, draft = record.event, item.draft
    same = (
        draft is not None
        and before.payload_sha256 == sha256(item.payload)
        and before.event_type == draft.event_type
        and before.cloud_event == draft.cloud_event
    )
    if same:
        item.accept(before.event_id, before=True)
        if record.status is Status.RECEIVED:
            # A first request may have died before it sent; if not, the worker drops the repeat.
            keeping.to_send[before.event_id] = before, item.payload
    elif item.refusal is None:
        item.reject_conflict()


def reject_as(item: Item, error: InvalidRequestError, event_id: str | None) -> None:
    """The verdict for an item that was refused with `error`."""
    item.reject(error.errors or [FieldError("", error.detail)], event_id)


def keep_new(items: Sequence[Item], keeping: Keeping, using: "Batching") -> None:
    """Keep items as events, in units, and give each its verdict."""
    by_draft = {id(item.draft): item for item in items}
    drafts = [Checked(item.draft, item.schema_version) for item in items if item.draft]
    for checked in plan(drafts):
        members = [by_draft[id(one.draft)] for one in checked]
        unit = keeping.new_unit(using)
        events = make_events(unit, checked)
        lines, _ = pack([item.payload for item in members])
        try:
            keeping.check_time(using)
            # The id is new: a file that is there was written by a repetition of this call.
            with span("bronze"):
                using.lake.put_unit(unit.key, lines, to_metadata(unit, checked))
        except Exception as error:  # noqa: BLE001 - `note` raises what is no fault of AWS
            keeping.note(error, members)
            continue
        pairs = list(zip(members, events, strict=True))
        with span("ledger"):
            _note_new([pair for pair in pairs if pair[0].event_id is None], keeping, using)
            _note_keyed([pair for pair in pairs if pair[0].event_id is not None], keeping, using)


def _note_new(pairs: Sequence[tuple[Item, Event]], keeping: Keeping, using: "Batching") -> None:
    """Enter events with new ids in the ledger; one call for `NEW_AT_ONCE`."""
    for some in _chunks(pairs, using.ledger.NEW_AT_ONCE):
        try:
            keeping.check_time(using)
            left = using.ledger.add_new([event for _, event in some])
        except Exception as error:  # noqa: BLE001 - `note` raises what is no fault of AWS
            keeping.note(error, [item for item, _ in some])
            continue
        missed = [item for item, event in some if event.event_id in left]
        if missed:
            keeping.note(UnavailableError("the ledger is being throttled"), missed)
        for item, event in some:
            if event.event_id not in left:
                item.accept(event.event_id)
                keeping.to_send[event.event_id] = event, item.payload


def _note_keyed(pairs: Sequence[tuple[Item, Event]], keeping: Keeping, using: "Batching") -> None:
    """Take the ids that identities stand for; one call each."""

    def claim(pair: tuple[Item, Event]) -> Record | Exception | None:
        _, event = pair
        try:
            keeping.check_time(using)
            return using.ledger.add(event, [Step(Status.RECEIVED, event.received_at)])
        except Exception as error:  # noqa: BLE001 - `note` raises what is no fault of AWS
            return error

    for (item, event), before in zip(pairs, using.each(claim, pairs), strict=True):
        if isinstance(before, Exception):
            keeping.note(before, [item])
        elif before is None or before.event == event:
            # The latter was written by a repetition of this call.
            item.accept(event.event_id)
            keeping.to_send[event.event_id] = event, item.payload
        else:
            answer_known(item, before, keeping)


def keep_refused(pairs: Sequence[tuple[Item, Event]], keeping: Keeping, using: "Batching") -> None:
    """Keep refused items as REJECTED events, together in one file, and give each its verdict."""
    if not pairs:
        return
    first = {event.event_id: (item, event) for item, event in reversed(pairs)}
    unit = keeping.new_unit(using)
    key = rejected_unit_key(unit.received_at, unit.unit_id)
    lines, ranges = pack([item.payload for item, _ in first.values()])
    kept = {
        event.event_id: (item, replace(event, s3_key=key, s3_range=within))
        for (item, event), within in zip(first.values(), ranges, strict=True)
    }
    try:
        keeping.check_time(using)
        with span("bronze"):
            using.lake.put_unit(key, lines, {**to_metadata(unit, []), "rejected": "true"})
    except Exception as error:  # noqa: BLE001 - `note` raises what is no fault of AWS
        keeping.note(error, [item for item, _ in pairs])
        return

    def note(pair: tuple[Item, Event]) -> Exception | None:
        item, event = pair
        try:
            keeping.check_time(using)
            if item.refusal is not None:
                note_rejected(event, item.refusal, keeping.received_at, using.ledger)
        except Exception as error:  # noqa: BLE001 - `note` raises what is no fault of AWS
            return error
        return None

    with span("ledger"):
        errors = dict(zip(kept, using.each(note, kept.values()), strict=True))
    for item, event in pairs:
        fault = errors[event.event_id]
        if fault is not None:
            keeping.note(fault, [item])
        elif item.refusal is not None:
            reject_as(item, item.refusal, event.event_id)


def send_kept(keeping: Keeping, using: "Batching") -> None:
    """Send what the ledger has as RECEIVED, a message for each unit; one call, more where messages
    are many or long. What the queue does not take is for `reconcile`."""
    groups: dict[str, list[tuple[Event, bytes]]] = {}
    for event, payload in keeping.to_send.values():
        groups.setdefault(event.s3_key, []).append((event, payload))
    bodies = [_message(group, keeping.request_id) for group in groups.values()]
    try:
        with span("queue"):
            if len(bodies) == 1:
                using.queue.send(bodies[0])
                return
            codes = using.queue.send_many(bodies)
    except Exception as error:
        if not is_aws_fault(error):
            raise
        log.warning("events kept but not sent", exc_info=True)
        return
    failed = [code for code in codes if code is not None]
    if failed:
        log.warning("events kept but not sent", extra={"count": len(failed), "code": failed[0]})


def _message(group: Sequence[tuple[Event, bytes]], request_id: str) -> str:
    event, payload = group[0]
    if event.s3_range is None:
        return message_for(event, payload, request_id)
    events, payloads = zip(*group, strict=True)
    return UnitMessage(events, payloads, request_id).encode()


def _chunks(
    pairs: Sequence[tuple[Item, Event]], size: int
) -> Iterator[Sequence[tuple[Item, Event]]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]

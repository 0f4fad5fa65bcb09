"""Reconcile's part for units: events that came in a batch, stuck or lost, go on with their unit.

An event of a unit is never sent alone before it has left the unit (ADR 0013), so what is stuck of
one unit is sent together, with what the ledger has not heard of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from chalicelib.domain import clock
from chalicelib.domain.events import Event, Record, Status, Step
from chalicelib.domain.messages import UnitMessage
from chalicelib.domain.units import read_unit
from chalicelib.observability import log

if TYPE_CHECKING:
    from chalicelib.services.reconcile import Reconciling

UNIT_SETTLED = timedelta(seconds=60)
"""Ingest enters new events of a unit in the ledger without looking, so a unit must be left alone
for as long as a request may be at work on it, whatever an operator asks for."""


@dataclass(frozen=True)
class Found:
    """The events of a unit, and those of them that the ledger knows, by id."""

    events: Sequence[Event]
    known: dict[str, Record]


def is_settled(received_at: str, using: "Reconciling") -> bool:
    """Whether no request can be at work any more on what was received then."""
    return clock.from_text(received_at) <= using.now() - UNIT_SETTLED


def find_unit(key: str, using: "Reconciling") -> Found | None:
    """Read a unit's bronze file and look its events up; None if it is gone, or not ours. Two
    calls."""
    kept = using.lake.get_unit(key)
    events = None if kept is None else read_unit(key, *kept)
    if events is None:
        return None
    ids = sorted({event.event_id for event in events})
    return Found(events, using.ledger.get_many(ids))


def add_missing(found: Found, using: "Reconciling") -> list[Event]:
    """Enter what the ledger has not heard of as RECEIVED, one call each; the events that it had
    not, which are to be sent."""
    now = clock.to_text(using.now())

    def add(event: Event) -> bool:
        received = Step(Status.RECEIVED, event.received_at, "found in bronze by reconcile")
        return using.ledger.add(event, [received], updatedAt=now) is None

    # Of a file that repeats an identity, the first line counts.
    missing: dict[str, Event] = {}
    for event in found.events:
        if event.event_id not in found.known:
            missing.setdefault(event.event_id, event)
    events = list(missing.values())
    added = [event for event, is_new in zip(events, using.each(add, events), strict=True) if is_new]
    for event in added:
        log.warning("orphan recovered", extra={"eventId": event.event_id})
    return added


def send_unit(events: Sequence[Event], using: "Reconciling") -> None:
    """Send events of one unit, one call."""
    using.queue.send(UnitMessage(tuple(events), None, using.run_id).encode())


def note_requeued(records: Sequence[Record], using: "Reconciling") -> int:
    """Note that stuck events were sent again, one call each; how many it was noted of."""
    now = clock.to_text(using.now())

    def note(record: Record) -> bool:
        return using.ledger.mark_requeued(record, now, "sent again by reconcile")

    noted = sum(using.each(note, records))
    for record in records:
        log.warning("stuck event sent again", extra={"eventId": record.event.event_id})
    return noted

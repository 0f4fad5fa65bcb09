"""Reconcile's part for units: events that came in a batch, stuck or lost, go on with their unit.

An event of a unit is never sent alone before it has left the unit (ADR 0013), so what is stuck of
one unit is sent together, with what the ledger has not heard of.

Reconcile: find what got stuck, and repair it or make it visible.

Two kinds of trouble, both after `stuck_after` seconds: an event that the ledger has as RECEIVED or
ENQUEUED and nothing happened to (the process died before it sent, or the message was lost), and a
payload in bronze that the ledger has not heard of (the process died after the first write). Both
are sent again, the former at most `max_requeues` times with doubling waits; then it is FAILED,
where people look. Repeats are harmless: the worker's effects happen once. What came in a batch
goes on with its unit, see `reconcile_units`. After a full sweep the stores are compared with each
other, see `compare_stores`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict

from chalicelib.aws.effects import CheckpointStore
from chalicelib.aws.sqs import Queue
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock, metrics
from chalicelib.core.log import correlation, log, log_context
from chalicelib.core.paging import NEWEST
from chalicelib.events.alerts import event_failed
from chalicelib.events.keys import is_rejected_unit, parse_bronze_key, parse_unit_key
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventIndex, EventStore
from chalicelib.events.message import EventMessage, UnitMessage
from chalicelib.events.model import OPEN, Event, Failure, Record, Status, Step
from chalicelib.events.unit import may_go_alone, read_unit
from chalicelib.recovery.compare import CompareDeps, compare
from chalicelib.recovery.model import Sweep

UNIT_SETTLED = timedelta(seconds=60)
"""Ingest enters new events of a unit in the ledger without looking, so a unit must be left alone
for as long as a request may be at work on it, whatever an operator asks for."""


class Found(Struct, frozen=True):
    """The events of a unit, and those of them that the ledger knows, by id."""

    events: Sequence[Event]
    known: dict[str, Record]


def is_settled(received_at: str, deps: "ReconcileDeps") -> bool:
    """Whether no request can be at work any more on what was received then."""
    return clock.from_text(received_at) <= deps.now() - UNIT_SETTLED


def find_unit(key: str, deps: "ReconcileDeps") -> Found | None:
    """Read a unit's bronze file and look its events up; None if it is gone, or not ours. Two
    calls."""
    kept = deps.lake.get_unit(key)
    events = None if kept is None else read_unit(key, *kept)
    if events is None:
        return None
    ids = sorted({event.event_id for event in events})
    return Found(events, deps.ledger.get_many(ids))


def add_missing(found: Found, deps: "ReconcileDeps") -> list[Event]:
    """Enter what the ledger has not heard of as RECEIVED, one call each; the events that it had
    not, which are to be sent."""
    now = clock.to_text(deps.now())

    def add(event: Event) -> bool:
        received = Step(Status.RECEIVED, event.received_at, "found in bronze by reconcile")
        return deps.ledger.add(event, [received], updatedAt=now) is None

    # Of a file that repeats an identity, the first line counts.
    missing: dict[str, Event] = {}
    for event in found.events:
        if event.event_id not in found.known:
            missing.setdefault(event.event_id, event)
    events = list(missing.values())
    added = [event for event, is_new in zip(events, deps.each(add, events), strict=True) if is_new]
    for event in added:
        log.warning("orphan recovered", extra={"eventId": event.event_id})
    return added


def send_unit(events: Sequence[Event], deps: "ReconcileDeps") -> None:
    """Send events of one unit, one call."""
    deps.queue.send(UnitMessage(tuple(events), None, deps.run_id).encode())


def note_requeued(records: Sequence[Record], deps: "ReconcileDeps") -> int:
    """Note that stuck events were sent again, one call each; how many it was noted of."""
    now = clock.to_text(deps.now())

    def note(record: Record) -> bool:
        return deps.ledger.mark_requeued(record, now, "sent again by reconcile")

    noted = sum(deps.each(note, records))
    for record in records:
        log.warning("stuck event sent again", extra={"eventId": record.event.event_id})
    return noted


PAGE = 100
MARGIN_SECONDS = 5.0
"""Time kept at the end of a run: nothing new is looked at any more."""
CHECKPOINT = "bronze"
WINDOW_DAYS = 2
"""Days of bronze that a sweep goes through: today and those before."""


class ReconcileDeps(Struct, frozen=True):
    """The collaborators of `reconcile`; `remaining` gives the seconds left to this run."""

    ledger: EventStore
    index: EventIndex
    lake: Lake
    queue: Queue
    checkpoints: CheckpointStore
    alerts: Queue
    stuck_after: int
    max_requeues: int
    backlog_limit: int
    full_sweep_every: timedelta | None
    run_id: str
    remaining: Callable[[], float]
    comparing: CompareDeps | None = None
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


class Report(Struct):
    """What a run did: counts by name, the events it found without an entry, what a comparison came
    to if one ended, and whether it got through everything."""

    counts: Counter[str] = field(default_factory=Counter)
    orphans: list[str] = field(default_factory=list)
    comparison: dict[str, Any] | None = None
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        names = ("stuck", "waiting", "requeued", "failed", "orphans", "recovered", "foreign")
        counts = {name: self.counts[name] for name in names}
        compared = {} if self.comparison is None else {"comparison": self.comparison}
        return {**counts, "complete": self.complete, **compared}


def reconcile(deps: ReconcileDeps, margin: float = MARGIN_SECONDS) -> Report:
    """Run once, stopping `margin` seconds before the time is up; the next run goes on.

    Calls: one a ledger shard and open status, one for every hundred events found there, two to
    send one again; one for a thousand bronze objects of the window, and ten to look up those that
    are new since the last sweep (all, when a full sweep is due).
    """
    report = Report()
    _requeue_stuck(deps, report, margin)
    sweep = _recover_orphans(deps, report, margin)
    _compare(sweep, deps, report, margin)
    log.info("reconciled", extra=report.to_dict())
    metrics.add("StuckEvents", report.counts["stuck"] + report.counts["orphans"])
    metrics.add("GivenUpEvents", report.counts["failed"])
    return report


def _requeue_stuck(deps: ReconcileDeps, report: Report, margin: float) -> None:
    # One moment for the whole run, so that what it sends again is not stuck again to it.
    run = _Requeueing(deps, report, deps.now())
    cutoff = clock.to_text(run.begun - timedelta(seconds=deps.stuck_after))
    for status in OPEN:
        for event_ids in deps.index.oldest(status, cutoff, PAGE):
            run.go_through(deps.ledger.get_many(event_ids))
            if deps.remaining() < margin:
                report.complete = False
                return


class _Requeueing(Struct):
    """The search for stuck events, and how long the queue was when the first was found."""

    deps: ReconcileDeps
    report: Report
    begun: datetime
    backlog: int | None = None

    def go_through(self, records: Mapping[str, Record]) -> None:
        """Repair what is stuck of a page."""
        seen: set[str] = set()
        for event_id, record in records.items():
            if event_id in seen or not self._is_stuck(record):
                continue
            if not self._is_due(record):
                self.report.counts.update(("stuck", "waiting"))
                continue
            due = [record] if may_go_alone(record) else self._with_its_unit(record)
            seen |= {one.event.event_id for one in due}
            self.report.counts["stuck"] += len(due)
            _repair(due, self.deps, self.report)

    def _is_stuck(self, record: Record) -> bool:
        if record.status not in OPEN:
            return False
        if not may_go_alone(record) and not is_settled(record.event.received_at, self.deps):
            return False
        wait = timedelta(seconds=self.deps.stuck_after * 2**record.requeues)
        return clock.from_text(record.updated_at) <= self.begun - wait

    def _with_its_unit(self, record: Record) -> list[Record]:
        """An event and all others of its unit that are to be sent again, so that they stay one
        message. Other events of the unit that the ledger has not heard of are the sweep's."""
        found = find_unit(record.event.s3_key, self.deps)
        others = found.known.values() if found else ()
        due = [
            one
            for one in others
            if one.event.s3_key == record.event.s3_key
            and not may_go_alone(one)
            and self._is_stuck(one)
            and self._is_due(one)
        ]
        ids = {one.event.event_id for one in due}
        return due if record.event.event_id in ids else [record, *due]

    def _is_due(self, record: Record) -> bool:
        if self.backlog is None:
            self.backlog = self.deps.queue.visible()
        return record.status is not Status.ENQUEUED or self.backlog <= self.deps.backlog_limit


def _repair(records: Sequence[Record], deps: ReconcileDeps, report: Report) -> None:
    """Send events again, those of a unit together, or give them up. Sent first, then noted:
    ENQUEUED always was sent."""
    for record in records:
        if record.requeues >= deps.max_requeues:
            _give_up(record, deps, report)
    again = [record for record in records if record.requeues < deps.max_requeues]
    if not again:
        return
    if may_go_alone(again[0]):
        _send(again[0], deps)
    else:
        send_unit([record.event for record in again], deps)
    report.counts["requeued"] += note_requeued(again, deps)


def _give_up(record: Record, deps: ReconcileDeps, report: Report) -> None:
    now = clock.to_text(deps.now())
    message = f"not processed after being sent again {record.requeues} times"
    failure = Failure("stuck", "requeue-limit", message)
    with log_context(eventId=record.event.event_id, owner=record.event.owner):
        deps.alerts.send(event_failed(record.event, failure, now), correlation())
        if deps.ledger.mark_given_up(record, now, failure):
            report.counts["failed"] += 1
            metrics.add("Failed", failure_class=failure.kind)
            log.error("stuck event given up")


def _send(record: Record, deps: ReconcileDeps) -> None:
    recorded = record.status is Status.ENQUEUED
    message = EventMessage(record.event, None, recorded=recorded, request_id=deps.run_id)
    deps.queue.send(message.encode())


def _compare(sweep: Sweep, deps: ReconcileDeps, report: Report, margin: float) -> None:
    """Compare the stores, or go on with that; not while a sweep may still repair what differs."""
    if deps.comparing is None or sweep.position:
        return
    whole = (sweep.full_at, sweep.until)
    report.comparison = compare(whole, WINDOW_DAYS, report.orphans, margin, deps.comparing)


def _recover_orphans(deps: ReconcileDeps, report: Report, margin: float) -> Sweep:
    """Sweep recent bronze for payloads without a ledger entry, from where the last run stopped;
    where the sweep stands now."""
    settled_for = timedelta(seconds=deps.stuck_after)
    saved = Sweep.from_dict(deps.checkpoints.get(CHECKPOINT))
    sweep = saved.started(deps.now(), settled_for, deps.full_sweep_every)
    position = _go_through(sweep, deps, report, margin)
    report.complete = report.complete and not position
    stands = sweep.at(position)
    deps.checkpoints.put(CHECKPOINT, asdict(stands))
    return stands


def _go_through(sweep: Sweep, deps: ReconcileDeps, report: Report, margin: float) -> str:
    """Go on with a sweep while there is time; where it stopped, "" when it is through."""
    for prefix in _day_prefixes(deps, after=sweep.position):
        start = sweep.position if sweep.position.startswith(prefix) else ""
        for page in deps.lake.bronze_keys(prefix, after=start):
            covered = [key for key, modified in page if sweep.covers(modified)]
            for first in range(0, len(covered), PAGE):
                _recover_missing(covered[first : first + PAGE], deps, report)
            if page and deps.remaining() < margin:
                return page[-1][0]
        if deps.remaining() < margin:
            return f"{prefix}{NEWEST}"
    return ""


def _day_prefixes(deps: ReconcileDeps, after: str) -> Iterator[str]:
    """`bronze/<type>/<yyyy>/<mm>/<dd>/` for every type and day of the window, in key order, from
    the one that holds the key `after`."""
    days = sorted(deps.now() - timedelta(days=back) for back in range(WINDOW_DAYS))
    for type_prefix in deps.lake.bronze_types():
        for day in days:
            prefix = f"{type_prefix}{day:%Y/%m/%d}/"
            is_through = after == f"{prefix}{NEWEST}"
            if prefix >= after or (after.startswith(prefix) and not is_through):
                yield prefix


def _recover_missing(keys: list[str], deps: ReconcileDeps, report: Report) -> None:
    units = [key for key in keys if parse_unit_key(key)]
    named = {parsed[1]: key for key in keys if (parsed := parse_bronze_key(key))}
    refused = sum(map(is_rejected_unit, keys))
    report.counts["foreign"] += len(keys) - len(units) - len(named) - refused
    known = deps.ledger.get_many(list(named))
    for event_id, key in named.items():
        if event_id not in known:
            _recover(key, deps, report)
    for key in units:
        _recover_unit(key, deps, report)


def _recover(key: str, deps: ReconcileDeps, report: Report) -> None:
    event = deps.lake.bronze_event(key)
    if event is None:
        report.counts["foreign"] += 1
        return
    report.counts["orphans"] += 1
    received = Step(Status.RECEIVED, event.received_at, "found in bronze by reconcile")
    now = clock.to_text(deps.now())
    if deps.ledger.add(event, [received], updatedAt=now) is not None:
        return
    message = EventMessage(event, None, recorded=False, request_id=deps.run_id)
    deps.queue.send(message.encode())
    report.counts["recovered"] += 1
    report.orphans.append(event.event_id)
    log.warning("orphan recovered", extra={"eventId": event.event_id})


def _recover_unit(key: str, deps: ReconcileDeps, report: Report) -> None:
    found = find_unit(key, deps)
    if found is None:
        report.counts["foreign"] += 1
        return
    if not is_settled(found.events[0].received_at, deps):
        return
    report.counts["orphans"] += len({one.event_id for one in found.events} - found.known.keys())
    added = add_missing(found, deps)
    if added:
        send_unit(added, deps)
    report.counts["recovered"] += len(added)
    report.orphans += [event.event_id for event in added]

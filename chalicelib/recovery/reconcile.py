"""Reconcile: find events that are stuck or lost, and send them again, or make them visible.

Both show after `stuck_after` seconds. A stuck event is RECEIVED or ENQUEUED in the ledger and does
not move on: the process died before it sent, or the message was lost. A lost event, an orphan, is a
payload in bronze without an entry in the ledger: the process died after its first write. Stuck
events are sent again at most `max_requeues` times, with doubling waits, and then are FAILED, where
people look. Repeats are harmless: the worker's effects happen once.

Events of a unit are not sent alone before they have left it (ADR 0013), so the stuck events of a
unit are sent together, and so are its orphans. After a full scan of bronze the stores are compared
with each other, see `compare`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, convert, field
from msgspec.structs import asdict, replace

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
from chalicelib.events.stats import Count, count
from chalicelib.events.unit import may_go_alone, read_unit
from chalicelib.recovery.compare import CompareDeps, compare
from chalicelib.recovery.model import Scan

PAGE = 100
MARGIN_SECONDS = 5.0
"""A run looks at nothing new with less time than this."""
CHECKPOINT = "bronze"
WINDOW_DAYS = 2
"""Days of bronze that a scan goes through: today and those before."""
UNIT_SETTLED = timedelta(seconds=60)
"""Ingest adds new events of a unit to the ledger without looking, so reconcile leaves a unit alone
for as long as a request may be at work on it, whatever `stuck_after` is."""


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
    full_scan_every: timedelta | None
    run_id: str
    remaining: Callable[[], float]
    comparing: CompareDeps | None = None
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


class Report(Struct):
    """What a run did: counts by name, the ids of the orphans that it recovered, the report of a
    comparison that ended, and whether the run is complete."""

    counts: Counter[str] = field(default_factory=Counter)
    orphans: list[str] = field(default_factory=list)
    comparison: dict[str, Any] | None = None
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The counts, 0 included, and the rest as the function returns it."""
        names = ("stuck", "waiting", "requeued", "failed", "orphans", "recovered", "foreign")
        counts = {name: self.counts[name] for name in names}
        compared = {} if self.comparison is None else {"comparison": self.comparison}
        return {**counts, "complete": self.complete, **compared}


def reconcile(deps: ReconcileDeps) -> Report:
    """Run once, until `MARGIN_SECONDS` before the time is up; the next run goes on.

    Calls: one for each ledger shard and open status, one for a hundred events found there, two to
    send one again; one for a thousand bronze objects of the window, and ten to look up those that
    are new since the last scan (all of them in a full scan).
    """
    # One moment for the whole run, so that what it sends again is not stuck again to it.
    report = Report()
    run = _Run(deps, report, deps.now())
    run.requeue_stuck()
    scan = run.recover_orphans()
    # While a scan is under way it may still repair what differs.
    if deps.comparing is not None and not scan.position:
        report.comparison = compare(
            scan, WINDOW_DAYS, report.orphans, MARGIN_SECONDS, deps.comparing
        )
    log.info("reconciled", extra=report.to_dict())
    metrics.add("StuckEvents", report.counts["stuck"] + report.counts["orphans"])
    metrics.add("GivenUpEvents", report.counts["failed"])
    return report


class _Run(Struct):
    """A run, when it began, and the length of the queue when the first stuck event was found."""

    deps: ReconcileDeps
    report: Report
    begun: datetime
    backlog: int | None = None

    def requeue_stuck(self) -> None:
        """Repair the stuck events, the oldest first."""
        cutoff = clock.to_text(self.begun - timedelta(seconds=self.deps.stuck_after))
        for status in OPEN:
            for event_ids in self.deps.index.oldest(status, cutoff, PAGE):
                self._repair_page(self.deps.ledger.get_many(event_ids))
                if self._is_over():
                    self.report.complete = False
                    return

    def recover_orphans(self) -> Scan:
        """Go on with the scan of recent bronze from where the last run stopped; the scan as it
        stands now."""
        deps = self.deps
        saved = convert(deps.checkpoints.get(CHECKPOINT), Scan)
        settled_for = timedelta(seconds=deps.stuck_after)
        scan = saved.started(deps.now(), settled_for, deps.full_scan_every)
        scan = replace(scan, position=self._scan_bronze(scan))
        self.report.complete = self.report.complete and not scan.position
        deps.checkpoints.put(CHECKPOINT, asdict(scan))
        return scan

    def _repair_page(self, records: Mapping[str, Record]) -> None:
        repaired: set[str] = set()
        for event_id, record in records.items():
            if event_id in repaired or not self._is_stuck(record):
                continue
            if not self._is_due(record):
                self.report.counts.update(("stuck", "waiting"))
                continue
            stuck = [record] if may_go_alone(record) else self._stuck_in_unit(record)
            repaired |= {one.event.event_id for one in stuck}
            self.report.counts["stuck"] += len(stuck)
            self._repair(stuck)

    def _is_stuck(self, record: Record) -> bool:
        if record.status not in OPEN:
            return False
        if not may_go_alone(record) and not self._is_settled(record.event):
            return False
        wait = timedelta(seconds=self.deps.stuck_after * 2**record.requeues)
        return clock.from_text(record.updated_at) <= self.begun - wait

    def _is_due(self, record: Record) -> bool:
        """Whether to send it now: with a backlog, an ENQUEUED event just waits in the queue."""
        if self.backlog is None:
            self.backlog = self.deps.queue.visible()
        return record.status is not Status.ENQUEUED or self.backlog <= self.deps.backlog_limit

    def _is_settled(self, event: Event) -> bool:
        """Whether no request can still be at work on the event's unit."""
        return clock.from_text(event.received_at) <= self.deps.now() - UNIT_SETTLED

    def _stuck_in_unit(self, record: Record) -> list[Record]:
        """An event and all others of its unit that are stuck and due, so that they stay one
        message. The scan finds those without an entry in the ledger."""
        _, known = self._read_unit(record.event.s3_key) or ((), {})
        due = [
            one
            for one in known.values()
            if one.event.s3_key == record.event.s3_key
            and not may_go_alone(one)
            and self._is_stuck(one)
            and self._is_due(one)
        ]
        is_among = record.event.event_id in {one.event.event_id for one in due}
        return due if is_among else [record, *due]

    def _repair(self, records: Sequence[Record]) -> None:
        """Send events again, those of a unit together, or give them up. Sent first, then noted:
        an ENQUEUED event must have been sent."""
        again = []
        for record in records:
            if record.requeues < self.deps.max_requeues:
                again.append(record)
            else:
                self._give_up(record)
        if not again:
            return
        is_enqueued = again[0].status is Status.ENQUEUED
        events = [record.event for record in again]
        self._send(events, alone=may_go_alone(again[0]), recorded=is_enqueued)
        now = clock.to_text(self.deps.now())

        def note(record: Record) -> bool:
            return self.deps.ledger.mark_requeued(record, now, "sent again by reconcile")

        self.report.counts["requeued"] += sum(self.deps.each(note, again))
        for event in events:
            log.warning("stuck event sent again", extra={"eventId": event.event_id})

    def _give_up(self, record: Record) -> None:
        now = clock.to_text(self.deps.now())
        message = f"not processed after being sent again {record.requeues} times"
        failure = Failure("stuck", "requeue-limit", message)
        with log_context(eventId=record.event.event_id, owner=record.event.owner):
            self.deps.alerts.send(event_failed(record.event, failure, now), correlation())
            if self.deps.ledger.mark_given_up(record, now, failure):
                self.report.counts["failed"] += 1
                metrics.add("Failed", failure_class=failure.kind)
                count(record.event.owner, Count.FAILED, self.deps.now())
                log.error("stuck event given up")

    def _scan_bronze(self, scan: Scan) -> str:
        """Scan while there is time; the key where it stopped, "" when it is through."""
        for prefix in self._day_prefixes(after=scan.position):
            start = scan.position if scan.position.startswith(prefix) else ""
            for page in self.deps.lake.bronze_keys(prefix, after=start):
                covered = [key for key, modified in page if scan.covers(modified)]
                for first in range(0, len(covered), PAGE):
                    self._recover_missing(covered[first : first + PAGE])
                if page and self._is_over():
                    return page[-1][0]
            if self._is_over():
                return f"{prefix}{NEWEST}"
        return ""

    def _day_prefixes(self, after: str) -> Iterator[str]:
        """`bronze/<type>/<yyyy>/<mm>/<dd>/` for every type and day of the window, in key order,
        from the one that holds the key `after`."""
        days = sorted(self.deps.now() - timedelta(days=back) for back in range(WINDOW_DAYS))
        for type_prefix in self.deps.lake.bronze_types():
            for day in days:
                prefix = f"{type_prefix}{day:%Y/%m/%d}/"
                is_through = after == f"{prefix}{NEWEST}"
                if prefix >= after or (after.startswith(prefix) and not is_through):
                    yield prefix

    def _recover_missing(self, keys: list[str]) -> None:
        """Recover the orphans among bronze objects."""
        units = [key for key in keys if parse_unit_key(key)]
        single = {parsed[1]: key for key in keys if (parsed := parse_bronze_key(key))}
        refused = sum(map(is_rejected_unit, keys))
        self.report.counts["foreign"] += len(keys) - len(units) - len(single) - refused
        known = self.deps.ledger.get_many(list(single))
        for event_id, key in single.items():
            if event_id not in known:
                event = self.deps.lake.bronze_event(key)
                self._recover(None if event is None else [event], alone=True)
        for key in units:
            self._recover(self._orphans_in_unit(key), alone=False)

    def _orphans_in_unit(self, key: str) -> list[Event] | None:
        """None for a foreign file. Of lines with the same identity the first counts."""
        found = self._read_unit(key)
        if found is None:
            return None
        events, known = found
        lost: dict[str, Event] = {}
        for event in events:
            if event.event_id not in known:
                lost.setdefault(event.event_id, event)
        return list(lost.values()) if self._is_settled(events[0]) else []

    def _recover(self, events: Sequence[Event] | None, *, alone: bool) -> None:
        """Add orphans to the ledger as RECEIVED, one call each, and send those that are new to it:
        alone, or as one unit. None counts as a foreign object."""
        if events is None:
            self.report.counts["foreign"] += 1
            return
        now = clock.to_text(self.deps.now())

        def add(event: Event) -> bool:
            received = Step(Status.RECEIVED, event.received_at, "found in bronze by reconcile")
            return self.deps.ledger.add(event, [received], updatedAt=now) is None

        is_new = self.deps.each(add, events)
        added = [event for event, new in zip(events, is_new, strict=True) if new]
        self.report.counts["orphans"] += len(events)
        self.report.counts["recovered"] += len(added)
        if added:
            self._send(added, alone=alone)
        for event in added:
            self.report.orphans.append(event.event_id)
            log.warning("orphan recovered", extra={"eventId": event.event_id})

    def _read_unit(self, key: str) -> tuple[Sequence[Event], Mapping[str, Record]] | None:
        """(the events of a unit's bronze file, the records of those that the ledger has); None if
        the file is gone or foreign. Two calls."""
        stored = self.deps.lake.get_unit(key)
        events = None if stored is None else read_unit(key, *stored)
        if events is None:
            return None
        return events, self.deps.ledger.get_many(sorted({event.event_id for event in events}))

    def _send(self, events: Sequence[Event], *, alone: bool, recorded: bool = False) -> None:
        """Send one event, or events of one unit; one call."""
        run_id = self.deps.run_id
        if alone:
            message = EventMessage(events[0], None, recorded=recorded, request_id=run_id).encode()
        else:
            message = UnitMessage(tuple(events), None, run_id).encode()
        self.deps.queue.send(message)

    def _is_over(self) -> bool:
        return self.deps.remaining() < MARGIN_SECONDS

"""Reconcile: find events that are stuck or lost, and send them again, or make them visible.

Both show after `stuck_after` seconds. A stuck event is RECEIVED or ENQUEUED in the ledger and does
not move on: the process died before it sent, or the message was lost. A lost event, an orphan, is a
payload in bronze without an entry in the ledger: the process died after its first write. Stuck
events are sent again at most `max_requeues` times, with doubling waits, and then are FAILED, where
people look. Units that a dead run of the worker left are finished. Repeats are harmless: the
worker's effects happen once.

That costs what is new, not what is there. The scan of bronze, after which the stores are compared
with each other (see `compare`), goes through everything of the last days, so it takes small steps:
`SCAN_SECONDS` a run, while nothing waits.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
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
from chalicelib.events.message import Parcel, encode_messages
from chalicelib.events.model import OPEN, Event, Failure, Record, Status, Step
from chalicelib.events.stats import Count, count
from chalicelib.events.unit import read_unit
from chalicelib.recovery.compare import LONGEST_SECONDS, CompareDeps, compare
from chalicelib.recovery.model import Scan

PAGE = 100
MARGIN_SECONDS = 5.0
"""A run looks at nothing new with less time than this."""
SCAN_SECONDS = 2.0
"""A run's share of a scan, and of a comparison, unless an operator asked for it."""
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
    finish_units: Callable[[], int] = lambda: 0
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
        names = (
            *("stuck", "waiting", "requeued", "failed", "unitsFinished"),
            *("orphans", "recovered", "foreign"),
        )
        counts = {name: self.counts[name] for name in names}
        compared = {} if self.comparison is None else {"comparison": self.comparison}
        return {**counts, "complete": self.complete, **compared}


def reconcile(deps: ReconcileDeps) -> Report:
    """Run once, until `MARGIN_SECONDS` before the time is up; the next run goes on.

    Calls: one for each ledger shard and open status and one for each shard of open units, one for a
    hundred events found there, two to send one again. A step of a scan: one for a thousand bronze
    objects of the window, ten to look them up, two for each file of many; a pass begins each
    `full_scan_every`.
    """
    # One moment for the whole run, so that what it sends again is not stuck again to it.
    report = Report()
    run = _Run(deps, report, deps.now())
    run.finish_units()
    run.requeue_stuck()
    scan = run.recover_orphans()
    # While a scan is under way it may still repair what differs.
    if deps.comparing is not None and scan is not None and not scan.position:
        report.comparison = compare(
            scan, WINDOW_DAYS, report.orphans, run.step_end(), deps.comparing
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
        """Repair the stuck events, the oldest first, a hundred together."""
        cutoff = clock.to_text(self.begun - timedelta(seconds=self.deps.stuck_after))
        due: list[Record] = []
        for event_ids in chain.from_iterable(
            self.deps.index.oldest(status, cutoff, PAGE) for status in OPEN
        ):
            due += self._due(self.deps.ledger.get_many(event_ids))
            if len(due) >= PAGE:
                self._repair(due)
                due = []
            if self._is_over():
                self.report.complete = False
                break
        self._repair(due)

    def finish_units(self) -> None:
        """Finish what dead runs of the worker left."""
        self.report.counts["unitsFinished"] += self.deps.finish_units()

    def recover_orphans(self) -> Scan | None:
        """Go on with the scan of recent bronze from where the last run stopped, or begin one that
        is due; the scan as it stands now, None while traffic goes first."""
        deps = self.deps
        if deps.full_scan_every is not None and self._backlog() > deps.backlog_limit:
            return None
        saved = convert(deps.checkpoints.get(CHECKPOINT), Scan)
        settled_for = timedelta(seconds=deps.stuck_after)
        scan = saved.started(deps.now(), settled_for, deps.full_scan_every)
        if scan == saved and not scan.position:
            return scan
        scan = replace(scan, position=self._scan_bronze(scan))
        self.report.complete = self.report.complete and not scan.position
        deps.checkpoints.put(CHECKPOINT, asdict(scan))
        return scan

    def step_end(self) -> float:
        """The seconds that this run has left when a step that begins now is to end."""
        step = 0.0 if self.deps.full_scan_every is None else self.deps.remaining() - SCAN_SECONDS
        return max(MARGIN_SECONDS + LONGEST_SECONDS, step)

    def _due(self, records: Mapping[str, Record]) -> list[Record]:
        """The stuck events to send now: with a backlog they just wait in the queue."""
        stuck = [record for record in records.values() if self._is_stuck(record)]
        self.report.counts["stuck"] += len(stuck)
        if stuck and self._backlog() > self.deps.backlog_limit:
            self.report.counts["waiting"] += len(stuck)
            return []
        return stuck

    def _is_stuck(self, record: Record) -> bool:
        if record.status not in OPEN:
            return False
        if record.event.s3_range is not None and not self._is_settled(record.event):
            return False
        wait = timedelta(seconds=self.deps.stuck_after * 2**record.requeues)
        return clock.from_text(record.updated_at) <= self.begun - wait

    def _backlog(self) -> int:
        if self.backlog is None:
            self.backlog = self.deps.queue.visible()
        return self.backlog

    def _is_settled(self, event: Event) -> bool:
        """Whether no request can still be at work on the event's batch."""
        return clock.from_text(event.received_at) <= self.deps.now() - UNIT_SETTLED

    def _repair(self, records: Sequence[Record]) -> None:
        """Send events again, or give them up. Sent first, then noted: an ENQUEUED event must have
        been sent."""
        again = []
        for record in records:
            if record.requeues < self.deps.max_requeues:
                again.append(record)
            else:
                self._give_up(record)
        if not again:
            return
        self._send([Parcel(one.event, one.payload, one.payload is None) for one in again])
        now = clock.to_text(self.deps.now())

        def note(record: Record) -> bool:
            return self.deps.ledger.mark_requeued(record, now, "sent again by reconcile")

        self.report.counts["requeued"] += sum(self.deps.each(note, again))
        for record in again:
            log.warning("stuck event sent again", extra={"eventId": record.event.event_id})

    def _give_up(self, record: Record) -> None:
        now = clock.to_text(self.deps.now())
        message = f"not processed after being sent again {record.requeues} times"
        failure = Failure("stuck", "requeue-limit", message)
        with log_context(eventId=record.event.event_id, owner=record.event.owner):
            event = record.event
            if record.payload is not None:
                event = self.deps.lake.store(event, record.payload)
            self.deps.alerts.send(event_failed(record.event, failure, now), correlation())
            if self.deps.ledger.mark_given_up(record, event, now, failure):
                self.report.counts["failed"] += 1
                metrics.add("Failed", failure_class=failure.kind)
                count(record.event.owner, Count.FAILED, self.deps.now())
                log.error("stuck event given up")

    def _scan_bronze(self, scan: Scan) -> str:
        """Scan while there is time; the key where it stopped, "" when it is through."""
        end = self.step_end()
        for prefix in self._day_prefixes(after=scan.position):
            position = scan.position if scan.position.startswith(prefix) else ""
            for page in self.deps.lake.bronze_keys(prefix, after=position):
                for first in range(0, len(page), PAGE):
                    some = page[first : first + PAGE]
                    self._recover_missing([key for key, at in some if scan.covers(at)])
                    if self.deps.remaining() < end:
                        return some[-1][0]
            if self.deps.remaining() < end:
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
                self._recover(None if event is None else [event])
        for orphans in self.deps.each(self._orphans_in_unit, units):
            self._recover(orphans)

    def _orphans_in_unit(self, key: str) -> list[Event] | None:
        """The events of a file that the ledger does not have, two calls; None for a foreign file.
        Of lines with the same identity the first counts."""
        stored = self.deps.lake.get_unit(key)
        events = None if stored is None else read_unit(key, *stored)
        if events is None:
            return None
        known = self.deps.ledger.get_many(sorted({event.event_id for event in events}))
        lost: dict[str, Event] = {}
        for event in events:
            if event.event_id not in known and self._is_settled(event):
                lost.setdefault(event.event_id, event)
        return list(lost.values())

    def _recover(self, events: Sequence[Event] | None) -> None:
        """Add orphans to the ledger as RECEIVED, one call each, and send those that are new to it.
        None counts as a foreign object."""
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
        self._send([Parcel(event) for event in added])
        for event in added:
            self.report.orphans.append(event.event_id)
            log.warning("orphan recovered", extra={"eventId": event.event_id})

    def _send(self, parcels: Sequence[Parcel]) -> None:
        """Send events to the worker; one call for a hundred."""
        for body, _ in encode_messages(parcels, self.deps.run_id):
            self.deps.queue.send(body)

    def _is_over(self) -> bool:
        return self.deps.remaining() < MARGIN_SECONDS

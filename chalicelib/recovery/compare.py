"""Comparing the ledger, bronze and silver with each other, and reporting the differences.

Once after each full scan of `reconcile`, over the scan's days and up to its `until`, in three
phases: count bronze; look for every event of the ledger in bronze and, if it is PROCESSED, in
silver; look for every document of silver in the ledger. Differences go to a report, to metrics and
to the log. A lost document is made again from bronze, as `remake` says.

A list costs one call for a thousand objects; an object that the ledger points to is asked for once
a page of events. Where a run's step ends the comparison stops, and the next run goes on.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct, field

from chalicelib.aws.dynamodb import Table, to_item
from chalicelib.aws.effects import CheckpointStore
from chalicelib.aws.faults import aws_code, is_aws_fault
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock, metrics
from chalicelib.core.errors import NotFoundError
from chalicelib.core.log import log, log_context, where
from chalicelib.events.finish import check_payload
from chalicelib.events.keys import (
    is_rejected_unit,
    parse_bronze_key,
    parse_silver_key,
    parse_unit_key,
    silver_key,
)
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventIndex, EventStore
from chalicelib.events.model import Event, Record, Status, Step
from chalicelib.events.read import payload_of
from chalicelib.events.unit import blank, read_documents
from chalicelib.recovery.model import (
    MADE_AGAIN,
    NOT_MADE,
    WITHDRAWN,
    Comparison,
    Difference,
    Phase,
    Scan,
    report_key,
)

CHECKPOINT = "comparison"
PAGE = 100
LONGEST_SECONDS = 10.0
"""The most that a processor gets, so that one that hangs does not use up a run."""
REMADE = "silver document made again by reconcile"
"""The detail of the step that `point_at` adds."""
_MAX_FILES = 64

Keys = list[tuple[str, Any]]
"""Keys, and when each was last modified."""


class MakeDocument(Protocol):
    """Runs an event's processor for at most `seconds`; returns its silver document, or raises the
    processor's error."""

    def __call__(
        self, event: Event, payload: bytes, attempt: int, seconds: float, processed_at: str, /
    ) -> str: ...


class CompareDeps(Struct, frozen=True):
    """The collaborators of `compare` and `remake`; `point_at` is the function below, given its
    table, `remaining` gives the seconds left to this run."""

    ledger: EventStore
    index: EventIndex
    lake: Lake
    checkpoints: CheckpointStore
    point_at: Callable[[Record, str, str], bool]
    make_document: MakeDocument
    stage: str
    remaining: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


def compare(
    scan: Scan, days: int, orphans: Iterable[str], margin: float, deps: CompareDeps
) -> dict[str, Any] | None:
    """Go on with the comparison that follows a full scan, while there is time for one more document
    before the last `margin` seconds; the report if the comparison ended.

    `orphans` are the events that this run found without an entry. Calls: one for a thousand objects
    of bronze and, twice, of silver; one for a hundred events, twice; two for each file of a unit;
    three for each document that is made again.
    """
    state = Comparison.from_state(deps.checkpoints.get(CHECKPOINT))
    if state.phase is Phase.DONE:
        if state.scan == scan.full_at:
            return None
        state = Comparison.of(scan.full_at, scan.until, deps.now(), days)
    state.counts["runs"] += 1
    for event_id in orphans:
        state.differ(Difference.BRONZE_WITHOUT_LEDGER, event_id)
    run = _Run(state, deps, margin)
    phases = {
        Phase.BRONZE: run.count_bronze,
        Phase.LEDGER: run.check_ledger,
        Phase.SILVER: run.check_silver,
    }
    while state.phase is not Phase.DONE and phases[state.phase]():
        state.advance()
    # The state is saved last: a run that dies before repeats the end, under another report key.
    report = _store_report(state, deps) if state.phase is Phase.DONE else None
    deps.checkpoints.put(CHECKPOINT, state.to_state())
    return report


def remake(record: Record, deps: CompareDeps) -> bool:
    """Make the lost silver document of a PROCESSED event again; three calls.

    The event is not published again, and no attempt is counted. The document says when it was
    processed the first time, so it equals the lost one byte for byte if its processor still makes
    the same of the same payload. One that was a line in the file of its unit becomes an object of
    its own: nothing is added to a file that is there.

    False, with a reason in the log, when the payload is gone or changed, or the processor fails. An
    AWS error passes through.
    """
    event = record.event
    with log_context(eventId=event.event_id, owner=event.owner):
        try:
            payload = check_payload(event, payload_of(record, deps.lake))
            document = deps.make_document(
                event, payload, max(record.attempts, 1), LONGEST_SECONDS, _processed_at(record)
            )
        except NotFoundError:
            log.error("silver document not made again", extra={"code": "payload-missing"})
            return False
        except (Exception, SystemExit) as error:
            if is_aws_fault(error):
                raise
            extra = {"code": getattr(error, "code", aws_code(error)), "where": where(error)}
            log.error("silver document not made again", extra=extra)
            return False
        key = silver_key(event)
        # False if another run was faster: then the document is there, which is all that counts.
        deps.lake.put_silver(key, document.encode())
        deps.point_at(record, key, clock.to_text(deps.now()))
        log.warning("silver document made again")
        return True


def point_at(ledger: Table, record: Record, key: str, at: str) -> bool:
    """Make the ledger say that an event's document is the silver object `key`, all of it; False if
    the event has changed since `record` was read. One call."""
    values = {
        ":key": key,
        ":payload": record.event.s3_key,
        ":steps": [Step(Status.PROCESSED, at, REMADE).to_dict()],
        ":processed": Status.PROCESSED,
        ":before": record.silver_key or "",
        ":seen": len(record.timeline),
    }
    is_unchanged = "#status = :processed AND silverKey = :before AND size(#timeline) = :seen"
    outcome = ledger.write(
        "update_item",
        Key={"pk": {"S": f"EVENT#{record.event.event_id}"}},
        # The key of the payload was known by the file that is left.
        UpdateExpression="SET silverKey = :key, s3Key = :payload,"
        " #timeline = list_append(#timeline, :steps) REMOVE silverRange, updatedAt",
        ConditionExpression=is_unchanged,
        ExpressionAttributeNames={"#status": "status", "#timeline": "timeline"},
        ExpressionAttributeValues=to_item(values),
    )
    return outcome.made


def _store_report(state: Comparison, deps: CompareDeps) -> dict[str, Any]:
    ended = clock.to_text(deps.now())
    report = state.report(ended, deps.stage)
    deps.lake.put_report(report_key(ended), json.dumps(report, indent=1))
    differences = state.differences()
    log.info("stores compared", extra={"clean": report["clean"], **differences})
    metrics.add("ComparedEvents", sum(report["ledger"].values()))
    metrics.add("ComparedDocuments", report["silver"]["documents"])
    metrics.add("UnrepairedDifferences", state.unrepaired())
    for name, count in differences.items():
        metrics.add(name[0].upper() + name[1:], count)
    return report


class _Run(Struct):
    """One run's part of a comparison. Each phase returns whether it is through."""

    state: Comparison
    deps: CompareDeps
    margin: float
    _members: dict[str, dict[str, str]] = field(default_factory=dict)
    """The events of the files that were read last, by key: the range of each."""

    def count_bronze(self) -> bool:
        """Phase one: how much there is."""
        lake, state = self.deps.lake, self.state
        folders = (
            f"{folder}{day:%Y/%m/%d}/" for folder in lake.bronze_types() for day in state.days()
        )
        for page in _pages(folders, lake.bronze_keys, state.position):
            for key, modified in page:
                if clock.to_text(modified) <= state.until:
                    state.counts[f"bronze.{_kind_in_bronze(key)}"] += 1
            state.position = page[-1][0]
            if self._is_over():
                return False
        return True

    def check_ledger(self) -> bool:
        """Phase two: look for the ledger's events in bronze and silver."""
        deps, state = self.deps, self.state
        # `until` sorts before the keys of its moment, which are left to the next comparison.
        for page in deps.index.between(state.position or state.since, state.until, PAGE):
            keys = {entry.event_id: entry.list_key for entry in page}
            records = deps.ledger.get_many(list(keys))
            gone = self._missing(records.values())
            for event_id, list_key in keys.items():
                if event_id in records and list_key > state.position:
                    self._check_record(records[event_id], list_key, gone)
                state.position = max(state.position, list_key)
                if self._is_over():
                    return False
        return True

    def _missing(self, records: Iterable[Record]) -> set[str]:
        """The keys that records point to and that are not there; a call for each key."""
        lake = self.deps.lake
        bronze = {one.event.s3_key for one in records if one.payload is None}
        silver = {one.silver_key for one in records if one.silver_key}

        def ask(key: str) -> bool:
            return lake.has_bronze(key) if key in bronze else lake.has_silver(key)

        wanted = sorted(bronze | silver)
        return {
            key for key, found in zip(wanted, self.deps.each(ask, wanted), strict=True) if not found
        }

    def check_silver(self) -> bool:
        """Phase three: look for silver's documents in the ledger."""
        lake, state = self.deps.lake, self.state
        folders = (
            f"{folder}dt={day:%Y-%m-%d}/" for folder in lake.silver_types() for day in state.days()
        )
        for page in _pages(folders, lake.silver_keys, state.position):
            for start in range(0, len(page), PAGE):
                some = page[start : start + PAGE]
                self._check_documents(some)
                state.position = some[-1][0]
                if self._is_over():
                    return False
        return True

    def _check_record(self, record: Record, list_key: str, gone: set[str]) -> None:
        state, event = self.state, record.event
        has_payload = event.s3_key not in gone
        is_missing = record.status is Status.PROCESSED and not self._has_document(record, gone)
        before = state.to_state() if is_missing else {}
        state.counts[f"ledger.{record.status}"] += 1
        if not has_payload:
            self._differ(Difference.LEDGER_WITHOUT_BRONZE, event.event_id)
        if is_missing:
            self._differ(Difference.SILVER_MISSING, event.event_id)
            state.position = list_key
            self._remake(record, before)

    def _remake(self, record: Record, before: dict[str, str]) -> None:
        """Make a document again. The checkpoint first moves past its event, so that a processor
        that kills the process stops no other event; the next comparison tries again. If only AWS
        failed, the next run tries again, from the state `before`."""
        state, checkpoints = self.state, self.deps.checkpoints
        state.counts[NOT_MADE] += 1
        try:
            checkpoints.put(CHECKPOINT, state.to_state())
            is_made = remake(record, self.deps)
        except Exception:
            checkpoints.put(CHECKPOINT, before)
            raise
        if is_made:
            state.counts[NOT_MADE] -= 1
            state.counts[MADE_AGAIN] += 1

    def _has_document(self, record: Record, gone: set[str]) -> bool:
        key = record.silver_key or ""
        if not key or key in gone:
            return False
        if record.silver_range is None:
            return True
        return self._members_of(key).get(record.event.event_id) == record.silver_range

    def _check_documents(self, objects: Keys) -> None:
        """Look up the events of some silver objects."""
        documents: list[tuple[str, str, bool]] = []
        for key, modified in objects:
            is_settled = clock.to_text(modified) <= self.state.until
            parsed = parse_silver_key(key)
            if parsed is None:
                self.state.counts["silver.foreign"] += 1
            elif parsed[1]:
                self.state.counts["silver.units"] += is_settled
                documents += [(event_id, key, is_settled) for event_id in self._members_of(key)]
            else:
                documents.append((parsed[0], key, is_settled))
        records = self.deps.ledger.get_many(sorted({event_id for event_id, _, _ in documents}))
        for event_id, key, is_settled in documents:
            self._check_document(event_id, records.get(event_id), key, is_settled=is_settled)

    def _check_document(
        self, event_id: str, record: Record | None, key: str, *, is_settled: bool
    ) -> None:
        """A young object whose event is not of the window is left to the next comparison."""
        state, difference = self.state, None
        if record is None:
            if not is_settled:
                return
            difference = Difference.SILVER_WITHOUT_LEDGER
        elif record.event.received_at >= state.until:
            return
        elif record.status is not Status.PROCESSED:
            # A record that changed since is on its way, such as an entry that was made again.
            if record.updated_at <= state.until:
                difference = Difference.SILVER_NOT_PROCESSED
        elif record.silver_key != key:
            body = self.deps.lake.get_silver(key)
            if not body.strip():
                # It was withdrawn before.
                return
            difference = Difference.SILVER_ELSEWHERE
            self._withdraw(event_id, record, key, body)
        state.counts["silver.documents"] += 1
        if difference is not None:
            self._differ(difference, event_id)

    def _withdraw(self, event_id: str, record: Record, key: str, body: bytes) -> None:
        """Take a second document out of the silver object `key`, if the one that the ledger points
        to is there; two calls."""
        lake = self.deps.lake
        if not lake.has_silver(record.silver_key or ""):
            return
        place = self._members_of(key).get(event_id, f"bytes=0-{len(body)}")
        lake.withdraw(key, blank(body, [place]))
        self.state.counts[WITHDRAWN] += 1
        log.warning("second silver document withdrawn", extra={"eventId": event_id})

    def _members_of(self, key: str) -> dict[str, str]:
        """The members of a unit's file, none if it is gone or spoilt. One call, none if it was read
        lately."""
        if key not in self._members:
            try:
                documents = read_documents(self.deps.lake.get_silver(key))
                members = {one["eventId"]: place for one, place in documents if one["processedAt"]}
            except (NotFoundError, ValueError, KeyError, TypeError):
                members = {}
            while len(self._members) >= _MAX_FILES:
                del self._members[next(iter(self._members))]
            self._members[key] = members
        return self._members[key]

    def _differ(self, difference: Difference, event_id: str) -> None:
        self.state.differ(difference, event_id)
        log.warning("stores differ", extra={"difference": difference, "eventId": event_id})

    def _is_over(self) -> bool:
        return self.deps.remaining() < self.margin


def _pages(
    folders: Iterable[str], keys: Callable[[str, str], Iterator[Keys]], position: str
) -> Iterator[Keys]:
    """The pages of keys, after the key `position`, of folders that come in order."""
    for folder in folders:
        is_here = position.startswith(folder)
        if is_here or folder > position:
            yield from (page for page in keys(folder, position if is_here else "") if page)


def _kind_in_bronze(key: str) -> str:
    if parse_bronze_key(key):
        return "events"
    if parse_unit_key(key):
        return "units"
    return "refusedUnits" if is_rejected_unit(key) else "foreign"


def _processed_at(record: Record) -> str:
    """When it was processed, as its document said."""
    for step in record.timeline:
        if step["status"] == Status.PROCESSED:
            return step["at"]
    return record.updated_at

"""Stores in memory: the adapters' interfaces and conditions, without AWS.

The tests of `store_backends` run on these and on the real adapters. All fakes of a `FakeAws` share
its data and count their calls on it, named and numbered as the real ones' API calls are, so that a
test can say "the third call fails" and mean the same thing for both.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from chalicelib.aws.effects import CheckpointStore
from chalicelib.core.errors import ConflictError, TransientError, UnavailableError
from chalicelib.core.paging import Entry, Page, shard_of
from chalicelib.events.journal import Journal, OpenUnit
from chalicelib.events.ledger import Done, EventIndex, EventStore, Standing
from chalicelib.events.model import (
    REDRIVEN,
    Dispatch,
    Event,
    Failure,
    Listing,
    Record,
    Status,
    Step,
    may_become,
)
from chalicelib.replays.model import Replay
from chalicelib.tokens.model import Token
from chalicelib.tokens.store import TokenStore
from tests.support.factories import Clock
from tests.support.faults import Fault, suffer

SHARDS = 4
_RACE_ROUNDS = 3
_BATCH_GET = 100
T = TypeVar("T")


@dataclass
class StoredObject:
    """An object of a bucket. `event` is what its metadata would say; None for one put by hand.
    `metadata` is that of a unit."""

    body: bytes
    event: Event | None
    modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass
class FakeAws:
    """The data behind all fakes, and the one place that all their calls go through."""

    clock: Clock = field(default_factory=Clock)
    records: dict[str, Record] = field(default_factory=dict)
    objects: dict[tuple[str, str], StoredObject] = field(default_factory=dict)
    checkpoints: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    replays: dict[str, Replay] = field(default_factory=dict)
    running: dict[str, Mapping[str, str]] = field(default_factory=dict)
    units: dict[str, OpenUnit] = field(default_factory=dict)
    processed_by: dict[str, str] = field(default_factory=dict)
    """Events to the unit that the ledger names as theirs."""
    calls: list[str] = field(default_factory=list)
    faults: dict[int, Fault] = field(default_factory=dict)
    gate: Callable[[str, Callable[[], Any]], Any] | None = None

    def fail(self, call: int, fault: Fault = Fault.REFUSED) -> None:
        """Let call number `call` (the next is 1) go wrong."""
        self.faults[len(self.calls) + call] = fault

    def call(self, operation: str, effect: Callable[[], T]) -> T:
        """One API call: `effect` happens at once and whole, or not at all."""
        self.calls.append(operation)
        number = len(self.calls)
        if self.gate:
            answer: T = self.gate(operation, effect)
            return answer
        again: T = suffer(self.faults.get(number), operation, effect)
        return again


class FakeEventStore(EventStore):
    """The ledger."""

    def __init__(self, aws: FakeAws, bronze_bucket: str = "bronze") -> None:
        self._aws = aws
        self._bronze = bronze_bucket
        self._repeated = False

    def add(
        self, event: Event, steps: Iterable[Step], payload: bytes | None = None, **more: Any
    ) -> Record | None:
        unit = more.pop("unit", None)
        record = self._new(event, steps, {**more, "payload": payload})

        def effect() -> Record | None:
            before = self._aws.records.get(event.event_id)
            if before is None:
                self._aws.records[event.event_id] = record
                self._note_unit(event.event_id, unit)
            return before

        return self._aws.call("PutItem", effect)

    def add_new(self, events: Sequence[Event]) -> set[str]:
        if len(events) > self.NEW_AT_ONCE:
            raise ValueError("DynamoDB refuses so long a batch")

        def effect() -> set[str]:
            for event in events:
                received = Step(Status.RECEIVED, event.received_at)
                self._aws.records[event.event_id] = self._new(event, [received], {})
            return set()

        return self._aws.call("BatchWriteItem", effect)

    def get(self, event_id: str) -> Record | None:
        return self._aws.call("GetItem", lambda: self._aws.records.get(event_id))

    def get_many(self, event_ids: list[str]) -> dict[str, Record]:
        found: dict[str, Record] = {}
        for start in range(0, len(event_ids), _BATCH_GET):
            some = event_ids[start : start + _BATCH_GET]
            if len(set(some)) != len(some):
                raise ValueError("DynamoDB refuses a batch with a key twice")
            found |= self._aws.call("BatchGetItem", partial(self._known, some))
        return found

    def mark_processed(
        self, done: Done, dispatch: Dispatch, event: Event | None
    ) -> Standing | None:
        values = {"silverBucket": "silver", "silverKey": done.silver_key}
        if done.silver_range is not None:
            values["silverRange"] = done.silver_range
        if done.s3_range is not None:
            values |= {"s3Key": done.s3_key, "s3Range": done.s3_range}
        step = Step(Status.PROCESSED, done.at)
        if done.unit_id:
            values["unit"] = done.unit_id
        if self._go_on(done.event_id, event, step, dispatch, values):
            return None
        record = self._aws.records.get(done.event_id)
        key = (record.silver_key or "") if record else ""
        by = self._aws.processed_by.get(done.event_id, "")
        is_own = key == done.silver_key and by == done.unit_id
        return None if self._repeated and is_own else Standing(key, is_own)

    def mark_attempt_failed(
        self,
        event: Event,
        at: str,
        failure: Failure,
        final: bool,
        dispatch: Dispatch,
        payload: bytes | None = None,
    ) -> bool:
        status = Status.FAILED if final else Status.ENQUEUED
        step = Step(status, at, f"attempt failed: {failure.kind} {failure.code}")
        values: dict[str, Any] = {"lastError": failure.to_dict()}
        if final and event.s3_range is not None:
            values |= {"s3Key": event.s3_key, "s3Range": event.s3_range}
        return self._go_on(event.event_id, event, step, dispatch, values, payload)

    def mark_requeued(self, record: Record, at: str, detail: str) -> bool:
        step = Step(Status.ENQUEUED, at, detail)
        return self._change_seen(record, step, requeues=record.requeues + 1)

    def mark_given_up(self, record: Record, event: Event, at: str, failure: Failure) -> bool:
        step = Step(Status.FAILED, at, f"gave up: {failure.code}")
        return self._change_seen(record, step, event=event, last_error=failure.to_dict())

    def mark_redriven(self, record: Record, at: str) -> bool:
        return self._change_seen(record, Step(Status.ENQUEUED, at, REDRIVEN), requeues=0)

    def _new(self, event: Event, steps: Iterable[Step], more: Mapping[str, Any]) -> Record:
        timeline = [step.to_dict() for step in steps]
        last = {"status": timeline[-1]["status"], "updatedAt": timeline[-1]["at"]}
        shared = {"s3Bucket": self._bronze, "timeline": timeline}
        return Record.from_dict({**event.to_dict(), **last, **shared, **more})

    def _known(self, event_ids: list[str]) -> dict[str, Record]:
        return {id_: self._aws.records[id_] for id_ in event_ids if id_ in self._aws.records}

    def _go_on(
        self,
        event_id: str,
        event: Event | None,
        step: Step,
        dispatch: Dispatch,
        values: dict[str, Any],
        payload: bytes | None = None,
    ) -> bool:
        enqueued = Step(Status.ENQUEUED, dispatch.sent_at)
        if dispatch.noted:
            ways = [([step], may_become(step.status))]
        else:
            # Once the event has gone on, the note would come too late: out of order.
            ways = [([enqueued, step], (Status.RECEIVED,)), ([step], may_become(step.status))]
        for _ in range(_RACE_ROUNDS):
            for steps, allowed in ways:
                sent: list[None] = []
                advance = partial(self._advance_from, event_id, allowed, steps, values, sent)
                changed, old = self._aws.call("UpdateItem", advance)
                self._repeated = len(sent) > 1
                if changed or old is None or old.status not in may_become(step.status):
                    break
            if old is not None:
                return changed
            if event is None:
                return False
            received = Step(Status.RECEIVED, event.received_at)
            steps = [received, enqueued, step]
            if self.add(event, steps, payload, **values, attempts=1) is None:
                return True
        raise UnavailableError("the ledger keeps changing under the worker")

    def _note_unit(self, event_id: str, unit_id: str | None) -> None:
        if unit_id is not None:
            self._aws.processed_by[event_id] = unit_id

    def _advance_from(
        self,
        event_id: str,
        allowed: tuple[Status, ...],
        steps: Sequence[Step],
        values: dict[str, Any],
        sent: list[None],
    ) -> tuple[bool, Record | None]:
        """(was it changed, the record before); `sent` counts how often the SDK sent it."""
        sent.append(None)
        old = self._aws.records.get(event_id)
        if old is None or old.status not in allowed:
            return False, old
        moved = _moved(old, steps, attempts=old.attempts + 1)
        key, place = values.get("s3Key"), values.get("s3Range")
        if key is not None:
            moved = replace(moved, event=replace(old.event, s3_key=key, s3_range=place))
        self._note_unit(event_id, values.get("unit"))
        self._aws.records[event_id] = replace(
            moved,
            silver_bucket=values.get("silverBucket", old.silver_bucket),
            silver_key=values.get("silverKey", old.silver_key),
            silver_range=values.get("silverRange", old.silver_range),
            last_error=values.get("lastError", old.last_error),
        )
        return True, old

    def _change_seen(self, seen: Record, step: Step, **changes: Any) -> bool:
        def effect() -> bool:
            old = self._aws.records.get(seen.event.event_id)
            if old is None or (old.status, old.updated_at) != (seen.status, seen.updated_at):
                return False
            self._aws.records[seen.event.event_id] = _moved(old, [step], **changes)
            return True

        return self._aws.call("UpdateItem", effect)


def _moved(record: Record, steps: Sequence[Step], **changes: Any) -> Record:
    timeline = (*record.timeline, *(step.to_dict() for step in steps))
    last = steps[-1]
    if last.status in (Status.PROCESSED, Status.FAILED):
        changes["payload"] = None
    moved: Record = replace(
        record, status=last.status, updated_at=last.at, timeline=timeline, **changes
    )
    return moved


class FakeJournal(Journal):
    """The journal of open units. Unlike the real one it never trails what is written."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def put(self, unit: OpenUnit) -> None:
        self._aws.call("PutItem", lambda: self._aws.units.update({unit.unit_id: unit}))

    def take(self, unit: OpenUnit, until: str) -> bool:
        def effect() -> bool:
            now = self._aws.units.get(unit.unit_id)
            if now is None or now.until != unit.until:
                return False
            self._aws.units[unit.unit_id] = replace(unit, until=until)
            return True

        return self._aws.call("UpdateItem", effect)

    def close(self, unit_id: str, now: datetime) -> None:
        self._aws.call("UpdateItem", lambda: self._aws.units.pop(unit_id, None))

    def open_units(self) -> list[OpenUnit]:
        return self._aws.call("Query", lambda: list(self._aws.units.values()))


class FakeEventIndex(EventIndex):
    """The ledger's indexes. Unlike the real ones they never trail the table."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def newest(self, listing: Listing) -> Page:
        def effect() -> list[Entry]:
            wanted = [
                _entry(record)
                for record in self._aws.records.values()
                if listing.owner in (None, record.event.owner)
                and listing.event_type in (None, record.event.event_type)
                and listing.status in (None, record.status)
                and listing.replay_of in (None, record.replay_of)
            ]
            seen = [entry for entry in wanted if listing.start <= entry.list_key <= listing.end]
            newest_first = not listing.oldest_first
            return sorted(seen, key=lambda entry: entry.list_key, reverse=newest_first)

        entries = tuple(self._aws.call("Query", effect))
        page = entries[: listing.limit]
        return Page(page, page[-1].list_key if len(entries) > len(page) else None)

    def oldest(self, status: Status, before: str, limit: int) -> Iterable[list[str]]:
        for shard in range(SHARDS):
            after = ""
            while True:

                def effect(shard: int = shard, after: str = after) -> list[Entry]:
                    entries = [
                        _entry(record)
                        for record in self._aws.records.values()
                        if record.status is status
                        and shard_of(record.event.event_id, SHARDS) == shard
                    ]
                    due = [entry for entry in entries if after < entry.list_key < before]
                    return sorted(due, key=lambda entry: entry.list_key)[:limit]

                page = self._aws.call("Query", effect)
                yield [entry.event_id for entry in page]
                if len(page) < limit:
                    break
                after = page[-1].list_key

    def between(self, after: str, before: str, size: int) -> Iterator[list[Entry]]:
        while True:

            def effect(after: str = after) -> list[Entry]:
                entries = map(_entry, self._aws.records.values())
                found = [entry for entry in entries if after < entry.list_key < before]
                return sorted(found, key=lambda entry: entry.list_key)[:size]

            page = self._aws.call("Query", effect)
            if page:
                yield page
            if len(page) < size:
                return
            after = page[-1].list_key


def _entry(record: Record) -> Entry:
    event = record.event
    return Entry(f"{event.received_at}#{event.event_id}", event.event_id)


class FakeTokenStore(TokenStore):
    """Tokens."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def put(self, token: Token, replace: bool = False) -> None:
        def effect() -> bool:
            if token.token_id in self._aws.tokens and not replace:
                return False
            self._aws.tokens[token.token_id] = token
            return True

        if not self._aws.call("PutItem", effect):
            raise ConflictError("a token of that id exists")

    def get(self, token_id: str) -> Token | None:
        return self._aws.call("GetItem", lambda: self._aws.tokens.get(token_id))

    def note_use(self, token_id: str, hour: str) -> None:
        def effect() -> None:
            token = self._aws.tokens.get(token_id)
            if token is None:
                raise TransientError("the use was not noted", code="ConditionalCheckFailed")
            self._aws.tokens[token_id] = replace(token, last_used_at=hour)

        self._aws.call("UpdateItem", effect)

    def delete(self, token_id: str) -> bool:
        return self._aws.call(
            "DeleteItem", lambda: self._aws.tokens.pop(token_id, None) is not None
        )

    def page(self, limit: int, after: str | None) -> tuple[list[Token], str | None]:
        def effect() -> list[Token]:
            ids = sorted(id_ for id_ in self._aws.tokens if after is None or id_ > after)
            return [self._aws.tokens[id_] for id_ in ids]

        found = self._aws.call("Scan", effect)
        more = len(found) > limit
        return found[:limit], found[limit - 1].token_id if more else None


class FakeCheckpointStore(CheckpointStore):
    """Checkpoints."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def get(self, job: str) -> dict[str, str]:
        return self._aws.call("GetItem", lambda: dict(self._aws.checkpoints.get(job, {})))

    def put(self, job: str, state: Mapping[str, str]) -> None:
        def effect() -> None:
            self._aws.checkpoints[job] = dict(state)

        self._aws.call("PutItem", effect)

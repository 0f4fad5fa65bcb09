"""Replay: process an event again from bronze, as a new event that names the one it repeats.

The old event keeps its record, its result and its place in lists; the new one has an id, a silver
document and an entry on the bus of its own, and shares the bronze object. What was REJECTED is read
and checked anew, so it gets through once its type's schema allows it.

Bulk replay, the operator's side: count what it would take, start it, look at it, abort it.

The work is done step by step by the worker, see `step_replays`. A replay that was entered in the
ledger's table runs, whatever dies: `restart_replays` takes up one whose chain of messages broke.
"""

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.sqs import Queue
from chalicelib.core import clock
from chalicelib.core.errors import (
    ConflictError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
    is_aws_fault,
)
from chalicelib.core.ids import is_event_id, keyed_event_id, new_event_id, sha256
from chalicelib.core.log import log
from chalicelib.core.paging import NEWEST, OLDEST, Entry
from chalicelib.core.strict_json import dump_json
from chalicelib.events import cloudevents
from chalicelib.events.ingest import UNREADABLE, CheckSchema, Receipt
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventStore, EventWindow
from chalicelib.events.message import EventMessage, ReplayMessage
from chalicelib.events.model import JSON, Draft, Event, Partition, Status, Step, read_plain
from chalicelib.events.processors import read_data
from chalicelib.events.read import ReadDeps, read_event
from chalicelib.replays.model import Replay, ReplayStatus, Selection, Verdict
from chalicelib.replays.store import ReplayStore
from chalicelib.web.callers import Caller


class ReplayDeps(Struct, frozen=True):
    """The collaborators of `replay`."""

    reading: ReadDeps
    ledger: EventStore
    lake: Lake
    queue: Queue
    check_schema: CheckSchema
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


def replay(event_id: str, caller: Caller, request_id: str, deps: ReplayDeps) -> Receipt:
    """Take a kept payload through processing once more; four calls.

    Raises `NotFoundError` for an event that is not the caller's, `ConflictError` while it has not
    come to an end, `InvalidRequestError` when a rejected payload would be refused again (nothing is
    written then). An AWS error passes through; if only the send failed, `reconcile` sends.
    """
    record = read_event(event_id, caller, deps.reading)
    if record.status in (Status.RECEIVED, Status.ENQUEUED):
        raise ConflictError(f"the event is {record.status}: it is still to be processed")
    before = record.event
    try:
        payload = deps.lake.get_bronze(before.s3_key, before.s3_range)
    except NotFoundError as error:
        raise ConflictError(
            "the payload is no longer kept, so there is nothing to replay"
        ) from error
    now = deps.now()
    received_at = clock.to_text(now)
    if record.status is Status.REJECTED:
        before = read_again(before, payload, deps.check_schema)
    event_id = new_event_id(now, deps.random(10))
    event = replace(before, event_id=event_id, received_at=received_at)
    received = Step(Status.RECEIVED, received_at, f"replay of {before.event_id}")
    deps.ledger.add(event, [received], replayOf=before.event_id)
    message = EventMessage(event, payload, recorded=False, request_id=request_id)
    try:
        deps.queue.send(message.encode())
    except Exception as error:
        if not is_aws_fault(error):
            raise
        log.warning("replay kept but not sent", extra={"eventId": event.event_id}, exc_info=True)
    return Receipt(event.event_id, replayed=False)


def read_again(before: Event, payload: bytes, check_schema: CheckSchema) -> Event:
    """The event that a rejected payload is by now; `InvalidRequestError` if it is still refused."""
    if before.event_type == UNREADABLE:
        draft = _read(before.content_type, payload)
        data, is_base64 = draft.data, draft.data_is_base64
        event = draft.to_event(
            before.event_id,
            before.owner,
            before.received_at,
            before.s3_key,
            s3_range=before.s3_range,
        )
    else:
        event = before
        data, is_base64 = read_data(before, payload)
    return replace(event, schema_version=check_schema(event.event_type, data, not is_base64))


def _read(content_type: str, payload: bytes) -> Draft:
    if content_type == JSON:
        return read_plain(payload)
    if content_type == cloudevents.STRUCTURED:
        return cloudevents.read_structured(payload)
    raise InvalidRequestError("the CloudEvent's attributes were refused, and are not kept")


MAX_RUNNING = 5
"""Replays of one owner at the same time."""
PAGE = 100
MAX_COUNTED = 10_000
MAX_LOOKED_AT = 100_000
"""Where a count stops: each event that it counts costs a read."""
COUNT_SECONDS = 10.0
_LOOKED_AT_ONCE = 1_000
_RACE_ROUNDS = 10


class BulkReplayDeps(Struct, frozen=True):
    """The collaborators of the functions below; `shards` are the ledger's."""

    replays: ReplayStore
    ledger: EventStore
    window: EventWindow
    queue: Queue
    shards: int
    seconds: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


class Order(Struct, frozen=True):
    """What `POST /replays` asks for. `key` makes it safe to repeat; `asked` is the request as it
    was read, to tell a repeat from another order."""

    selection: Selection
    rate: int
    asked: dict[str, Any]
    key: str | None = None


class Count(Struct, frozen=True):
    """How many events a replay would take; `at_least`: the count stopped before its end."""

    matched: int
    at_least: bool

    def to_dict(self, order: Order) -> dict[str, Any]:
        """The answer to a dry run."""
        return {
            "dryRun": True,
            "filter": order.selection.to_dict(),
            "rate": order.rate,
            "matched": self.matched,
            "atLeast": self.at_least,
            "estimatedSeconds": -(-self.matched // order.rate),
        }


def count(order: Order, deps: BulkReplayDeps) -> Count:
    """Count what a replay would take now, up to `MAX_COUNTED` of them, `MAX_LOOKED_AT` entries of
    the index, and `COUNT_SECONDS`.

    Calls: one for a thousand entries and one for a hundred events that are counted.
    """
    selection = order.selection
    deadline = deps.seconds() + COUNT_SECONDS
    matched: set[str] = set()
    looked_at = 0
    for partition in selection.partitions(deps.shards):
        for entries, seen in _pages(partition, selection, deps):
            for start in range(0, len(entries), PAGE):
                some = entries[start : start + PAGE]
                records = deps.ledger.get_many([entry.event_id for entry in some])
                matched |= {
                    event_id
                    for event_id, record in records.items()
                    if selection.verdict(record, partition) is Verdict.MATCHED
                }
                if len(matched) >= MAX_COUNTED:
                    return Count(len(matched), at_least=True)
            looked_at += seen
            if looked_at >= MAX_LOOKED_AT or deps.seconds() > deadline:
                return Count(len(matched), at_least=True)
    return Count(len(matched), at_least=False)


def start(order: Order, caller: Caller, deps: BulkReplayDeps) -> tuple[Replay, bool]:
    """(the replay, whether it had been started before); four calls.

    Raises `ConflictError` when the caller has `MAX_RUNNING` already, `IdempotencyConflictError`
    when the key came before with another order. If only the send failed, reconcile sends.
    """
    now = deps.now()
    at = clock.to_text(now)
    if order.key is None:
        replay_id = new_event_id(now, deps.random(10))
    else:
        replay_id = keyed_event_id(caller.owner, order.key, kind="bulk-replay")
    replay = Replay(
        replay_id=replay_id,
        owner=caller.owner,
        selection=order.selection,
        rate=order.rate,
        shards=deps.shards,
        order=sha256(dump_json(order.asked).encode()),
        started_at=at,
        updated_at=at,
    )
    if order.key is not None:
        before = deps.replays.get(replay_id)
        if before is not None:
            return _same(before, replay), True
    running = deps.replays.running()
    others = [id_ for id_, entry in running.items() if entry["owner"] == caller.owner]
    if len(set(others) - {replay_id}) >= MAX_RUNNING:
        raise ConflictError(f"{MAX_RUNNING} replays of yours are running; wait or abort one")
    # First the register: what is not in it would not be taken up again.
    deps.replays.enter(replay_id, caller.owner, at)
    before = deps.replays.add(replay)
    if before is not None:
        return _same(before, replay), True
    log.info("replay started", extra={"replayId": replay_id})
    try:
        deps.queue.send(ReplayMessage(replay_id, 0).encode())
    except Exception as error:
        if not is_aws_fault(error):
            raise
        log.warning("replay kept but not sent", extra={"replayId": replay_id}, exc_info=True)
    return replay, False


def read(replay_id: str, caller: Caller, deps: BulkReplayDeps) -> Replay:
    """One replay; `NotFoundError` unless it exists and is the caller's. One call."""
    replay = deps.replays.get(replay_id) if is_event_id(replay_id) else None
    if replay is None:
        raise NotFoundError("no such replay")
    caller.check_owner(replay.owner, "replay")
    return replay


def abort(replay_id: str, caller: Caller, deps: BulkReplayDeps) -> Replay:
    """End a replay where it is; what it has handed over already is processed. Three calls.

    Raises as `read` does, and `ConflictError` for one that has come to its end by itself.
    """
    for _ in range(_RACE_ROUNDS):
        replay = read(replay_id, caller, deps)
        if replay.status is ReplayStatus.ABORTED:
            return replay
        if replay.status is not ReplayStatus.RUNNING:
            raise ConflictError(f"the replay is {replay.status} already")
        saved = deps.replays.save(replay.ended(ReplayStatus.ABORTED, clock.to_text(deps.now())))
        if saved is not None:
            log.info("replay aborted", extra={"replayId": replay_id})
            deps.replays.leave(replay_id)
            return saved
    raise UnavailableError("the replay keeps changing")


def filters_of(selection: Selection, partition: Partition) -> dict[str, str]:
    """What the entries of a partition are to be filtered by."""
    filters = {}
    if selection.event_type is not None:
        filters["eventType"] = selection.event_type
    if selection.owner is not None and partition.index == "by-status":
        filters["owner"] = selection.owner
    return filters


def _pages(
    partition: Partition, selection: Selection, deps: BulkReplayDeps
) -> Iterator[tuple[list[Entry], int]]:
    """(entries that match, how many were looked at) of each page of a partition."""
    filters = filters_of(selection, partition)
    limit = _LOOKED_AT_ONCE if filters else PAGE
    start: str | None = selection.start or OLDEST
    while start is not None:
        bounds = (start, selection.end)
        entries, last = deps.window.read(partition, bounds, filters, limit)
        yield entries, limit if last else len(entries)
        start = None if last is None else f"{last}{NEWEST}"


def _same(before: Replay, replay: Replay) -> Replay:
    if before.order != replay.order:
        raise IdempotencyConflictError("this idempotency key came before with another replay")
    return before

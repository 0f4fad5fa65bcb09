"""Replays as an operator asks for them: of one event, or of many.

A replay processes an event again from bronze, as a new event that names the first. The first keeps
its record, its result and its place in lists. The new one has its own id, silver document and
entry on the bus, and shares the bronze object. A REJECTED payload is read and checked again, so it
gets through once its type's schema allows it.

A bulk replay runs step by step in the worker, see `steps`. Once it is stored it runs, whatever
dies: `restart_replays` restarts one whose chain of messages broke.
"""

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.faults import aws_faults
from chalicelib.aws.sqs import Queue
from chalicelib.core import clock
from chalicelib.core.errors import (
    ConflictError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from chalicelib.core.ids import is_event_id, keyed_event_id, new_event_id, sha256
from chalicelib.core.log import log
from chalicelib.core.media_types import CLOUD_EVENT, JSON
from chalicelib.core.paging import NEWEST, OLDEST, Entry
from chalicelib.core.strict_json import dump_json
from chalicelib.events import cloudevents
from chalicelib.events.ingest import UNREADABLE, CheckSchema, Receipt
from chalicelib.events.ledger import EventStore, EventWindow
from chalicelib.events.message import Parcel, ReplayMessage, encode_message
from chalicelib.events.model import OPEN, Draft, Event, Partition, Status, Step, read_plain
from chalicelib.events.processors import read_data
from chalicelib.events.read import ReadDeps, payload_of, read_event
from chalicelib.replays.model import SCAN_LIMIT, Decision, Replay, ReplayStatus, Selection
from chalicelib.replays.store import ReplayStore
from chalicelib.web.callers import Caller

MAX_RUNNING = 5
"""Replays of one owner at the same time."""
PAGE = 100
MAX_COUNTED, MAX_LOOKED_AT, COUNT_SECONDS = 10_000, 100_000, 10.0
"""Where a count stops: events, entries of the index, seconds. Each counted event costs a read."""
_RACE_ROUNDS = 10


class ReplayDeps(Struct, frozen=True):
    """The collaborators of `replay`."""

    reading: ReadDeps
    queue: Queue
    check_schema: CheckSchema
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


class BulkReplayDeps(Struct, frozen=True):
    """The collaborators of `count`, `start`, `read` and `abort`; `shards` are the ledger's."""

    replays: ReplayStore
    ledger: EventStore
    window: EventWindow
    queue: Queue
    shards: int
    now: Callable[[], datetime] = clock.utc_now
    random: Callable[[int], bytes] = os.urandom


class ReplayOrder(Struct, frozen=True):
    """What `POST /replays` asks for. `key` makes it safe to repeat; `asked` is the request's body,
    which distinguishes a repeat from another order."""

    selection: Selection
    rate: int
    asked: dict[str, Any]
    key: str | None = None


def replay(event_id: str, caller: Caller, request_id: str, deps: ReplayDeps) -> Receipt:
    """Process a stored payload again, as a new event; four calls.

    Raises `NotFoundError` unless the event is the caller's, `ConflictError` while it is open or
    when its payload is gone, `InvalidRequestError` when a rejected payload is refused again
    (nothing is written then). An AWS error passes through; if only the send failed, `reconcile`
    sends.
    """
    record = read_event(event_id, caller, deps.reading)
    if record.status in OPEN:
        raise ConflictError(f"the event is {record.status}: it is still to be processed")
    before = record.event
    try:
        payload = payload_of(record, deps.reading.lake)
    except NotFoundError as error:
        raise ConflictError("the payload is no longer stored, so it cannot be replayed") from error
    now = deps.now()
    if record.status is Status.REJECTED:
        before = read_again(before, payload, deps.check_schema)
    new_id = new_event_id(now, deps.random(10))
    event = replace(before, event_id=new_id, received_at=clock.to_text(now))
    received = Step(Status.RECEIVED, event.received_at, f"replay of {event_id}")
    deps.reading.ledger.add(event, [received], replayOf=event_id)
    _send(encode_message(Parcel(event, payload), request_id), deps.queue, eventId=new_id)
    return Receipt(new_id, replayed=False)


def read_again(before: Event, payload: bytes, check_schema: CheckSchema) -> Event:
    """Read and check a rejected payload again; raises `InvalidRequestError` if it is refused."""
    if before.event_type != UNREADABLE:
        data, is_base64 = read_data(before, payload)
        return replace(before, schema_version=check_schema(before.event_type, data, not is_base64))
    draft = _read_draft(before.content_type, payload)
    return draft.to_event(
        before.event_id,
        before.owner,
        before.received_at,
        before.s3_key,
        s3_range=before.s3_range,
        schema_version=check_schema(draft.event_type, draft.data, not draft.data_is_base64),
    )


def count(order: ReplayOrder, deps: BulkReplayDeps) -> tuple[int, bool]:
    """(how many events a replay would take now, whether the count stopped before its end).

    It stops after `MAX_COUNTED` events, `MAX_LOOKED_AT` entries of the index, or `COUNT_SECONDS`.
    Calls: one for a thousand entries and one for a hundred events that are counted.
    """
    selection = order.selection
    deadline = time.monotonic() + COUNT_SECONDS
    matched: set[str] = set()
    total = 0
    for partition, entries, looked_at in _pages(selection, deps):
        for first in range(0, len(entries), PAGE):
            ids = [entry.event_id for entry in entries[first : first + PAGE]]
            matched |= {
                event_id
                for event_id, record in deps.ledger.get_many(ids).items()
                if selection.decide(record, partition) is Decision.REPLAY
            }
            if len(matched) >= MAX_COUNTED:
                return len(matched), True
        total += looked_at
        if total >= MAX_LOOKED_AT or time.monotonic() > deadline:
            return len(matched), True
    return len(matched), False


def start(order: ReplayOrder, caller: Caller, deps: BulkReplayDeps) -> tuple[Replay, bool]:
    """(the replay, whether it had been started before); four calls.

    Raises `ConflictError` when `MAX_RUNNING` replays of the caller are running,
    `IdempotencyConflictError` when the key came before with another order. If only the send failed,
    `restart_replays` sends.
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
    before = None if order.key is None else deps.replays.get(replay_id)
    if before is not None:
        return _same(before, replay), True
    # The register comes first: a replay outside it would not be restarted.
    if not deps.replays.register(replay_id, caller.owner, at, MAX_RUNNING):
        raise ConflictError(f"{MAX_RUNNING} replays of yours are running; wait or abort one")
    before = deps.replays.add(replay)
    if before is not None:
        return _same(before, replay), True
    log.info("replay started", extra={"replayId": replay_id})
    _send(ReplayMessage(replay_id, 0).encode(), deps.queue, replayId=replay_id)
    return replay, False


def read(replay_id: str, caller: Caller, deps: BulkReplayDeps) -> Replay:
    """One replay; `NotFoundError` unless it exists and is the caller's. One call."""
    replay = deps.replays.get(replay_id) if is_event_id(replay_id) else None
    if replay is None:
        raise NotFoundError("no such replay")
    caller.check_owner(replay.owner, "replay")
    return replay


def abort(replay_id: str, caller: Caller, deps: BulkReplayDeps) -> Replay:
    """End a replay where it is; the events that it has made are processed. Three calls.

    Raises as `read` does, and `ConflictError` for one that is DONE or FAILED.
    """
    for _ in range(_RACE_ROUNDS):
        replay = read(replay_id, caller, deps)
        if replay.status is ReplayStatus.ABORTED:
            return replay
        if not replay.is_running:
            raise ConflictError(f"the replay is {replay.status} already")
        saved = deps.replays.save(replay.ended(ReplayStatus.ABORTED, clock.to_text(deps.now())))
        if saved is not None:
            log.info("replay aborted", extra={"replayId": replay_id})
            deps.replays.unregister(replay_id)
            return saved
    raise UnavailableError("the replay keeps changing")


def _send(body: str, queue: Queue, **fields: str) -> None:
    """Send the message of something that is stored; an AWS error is only logged, since the
    schedule sends it again."""
    try:
        queue.send(body)
    except aws_faults():
        log.warning("replay kept but not sent", extra=fields, exc_info=True)


def _read_draft(content_type: str, payload: bytes) -> Draft:
    if content_type == JSON:
        return read_plain(payload)
    if content_type == CLOUD_EVENT:
        return cloudevents.read_structured(payload)
    raise InvalidRequestError("the CloudEvent's attributes were refused, and are not stored")


def _pages(
    selection: Selection, deps: BulkReplayDeps
) -> Iterator[tuple[Partition, list[Entry], int]]:
    """(partition, entries that match, how many were looked at) of each page of each partition."""
    for partition in selection.partitions(deps.shards):
        filters = selection.filters(partition)
        limit = SCAN_LIMIT if filters else PAGE
        first: str | None = selection.start or OLDEST
        while first is not None:
            bounds = (first, selection.end)
            entries, last = deps.window.read(partition, bounds, filters, limit)
            yield partition, entries, limit if last else len(entries)
            first = None if last is None else f"{last}{NEWEST}"


def _same(before: Replay, replay: Replay) -> Replay:
    """The replay that exists, if it was started by the same order."""
    if before.order != replay.order:
        raise IdempotencyConflictError("this idempotency key came before with another replay")
    return before

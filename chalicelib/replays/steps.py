"""Bulk replays in the worker, step by step, and the restart of those whose chain broke.

    take the step -> (read a page -> make its events -> send them -> save the progress)* -> send the
    next message -> save the next step

If the worker dies, the step's message comes again and goes on from the saved progress. Events made
since then are made again under the same ids, so nothing is doubled. There is one chain of messages:
a step belongs to the message that took it, and other messages for it, or for an earlier step, are
dropped.

The schedule restarts broken chains. A running replay saves its progress at each step; one that has
not for `stuck_after` seconds gets a message for its present step, which is dropped if the chain is
intact. After `max_restarts` without progress the replay is FAILED, where its operator sees it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import asdict, replace

from chalicelib.aws.faults import aws_code
from chalicelib.aws.sqs import Delivery, Queue, back_off
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.errors import InvalidRequestError, NotFoundError, UnavailableError
from chalicelib.core.log import log, log_context, where
from chalicelib.core.paging import OLDEST, Entry
from chalicelib.events.ingest import CheckSchema
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventStore, EventWindow
from chalicelib.events.message import Parcel, ReplayMessage, encode_messages
from chalicelib.events.model import Event, Partition, Record, Status, Step
from chalicelib.replays.model import (
    LEASE,
    SCAN_LIMIT,
    Decision,
    Replay,
    ReplayStatus,
    ReplayTally,
    lineage,
    replayed_event,
)
from chalicelib.replays.start import read_again
from chalicelib.replays.store import ReplayStore

STEP_SECONDS = 10
"""A step takes as many events as the rate allows in this time."""
WAIT_SECONDS = 60
"""How long a replay waits while live traffic has a backlog."""
CHUNK = 100
"""Events between two saves of the progress."""
MARGIN_SECONDS = 3.0
"""A step begins no chunk with less time than this."""
_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 5, 300
_MESSAGE_LIMIT = 300


class StepDeps(Struct, frozen=True):
    """The collaborators of `take_step`; `remaining` gives the seconds left to this run."""

    replays: ReplayStore
    ledger: EventStore
    window: EventWindow
    lake: Lake
    queue: Queue
    check_schema: CheckSchema
    backlog_limit: int
    max_attempts: int
    remaining: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


class RestartDeps(Struct, frozen=True):
    """The collaborators of `restart_replays`."""

    replays: ReplayStore
    queue: Queue
    stuck_after: int
    max_restarts: int
    backlog_limit: int
    now: Callable[[], datetime] = clock.utc_now


class _Result(Struct, frozen=True):
    """What became of one event: how it counts, what to send for it, why it failed."""

    tally: ReplayTally
    event: Event | None = None
    failure: dict[str, str] | None = None


class _SupersededError(Exception):
    """Raised when the replay was written since it was read: aborted, or by another delivery."""


def take_step(
    message: ReplayMessage, delivery: Delivery, seconds: float, deps: StepDeps
) -> int | None:
    """Take one step within about `seconds`; returns None when the message can be deleted, else the
    seconds to wait before it is delivered again.

    AWS calls: four, and for each chunk of `CHUNK` events three and one for each event.
    """
    with log_context(replayId=message.replay_id):
        try:
            return _take(message, delivery, seconds, deps)
        except Exception as error:  # noqa: BLE001 - SQS delivers it again, and it goes on
            extra = {"code": aws_code(error), "where": where(error), "attempt": delivery.attempt}
            log.warning("replay's step not finished", extra=extra)
        return _retry(delivery, deps)


def restart_replays(deps: RestartDeps) -> Counter[str]:
    """Go through the running replays; how many were "restarted", "failed", and removed from the
    register as "ended". One call, and one for each replay; three for one that is stuck.

    With a backlog nothing is restarted: a replay's message waits like all others.
    """
    counts: Counter[str] = Counter()
    cutoff = clock.to_text(deps.now() - timedelta(seconds=deps.stuck_after))
    for replay_id, entry in deps.replays.running().items():
        replay = deps.replays.get(replay_id)
        # Without a replay, its start died, or is about to store it.
        has_ended = entry["at"] <= cutoff if replay is None else not replay.is_running
        if has_ended:
            deps.replays.unregister(replay_id)
            counts["ended"] += 1
        elif replay is not None and replay.updated_at <= cutoff:
            counts.update(_restart(replay, deps))
    return counts


def _take(message: ReplayMessage, delivery: Delivery, seconds: float, deps: StepDeps) -> int | None:
    replay = deps.replays.get(message.replay_id)
    if replay is None or not replay.is_running or message.step < replay.step:
        log.info("replay's message dropped", extra={"step": message.step})
        return None
    if message.step > replay.step:
        # Sent, but not saved yet; if that never happens, the present step sends it again.
        return _retry(delivery, deps)
    now = deps.now()
    if not replay.is_free(delivery.message_id, now):
        log.info("replay's message dropped", extra={"step": message.step, "holder": replay.holder})
        return None
    wait = replay.seconds_until_due(now)
    if wait:
        return wait
    at = clock.to_text(now)
    taken = deps.replays.save(
        replace(replay, holder=delivery.message_id, held_at=at, updated_at=at)
    )
    if taken is None:
        return _retry(delivery, deps)
    try:
        _run(taken, seconds, deps)
    except _SupersededError:
        log.info("replay goes on elsewhere, or not at all", extra={"step": message.step})
    return None


def _retry(delivery: Delivery, deps: StepDeps) -> int | None:
    """The seconds to wait; None at the last delivery: `restart_replays` sends another message, so
    this one would be of no use on the dead-letter queue."""
    if delivery.attempt >= deps.max_attempts:
        log.error("replay's message given up", extra={"attempt": delivery.attempt})
        return None
    return back_off(delivery.attempt, _RETRY_SECONDS, _LONGEST_RETRY_SECONDS, jitter=0)


def _run(replay: Replay, seconds: float, deps: StepDeps) -> None:
    """Replay a step's worth of events, then hand on, or end."""
    if deps.queue.visible() > deps.backlog_limit:
        log.info("replay waits for live traffic")
        _hand_on(replay, WAIT_SECONDS, deps)
        return
    begun = deps.remaining()
    partitions = replay.selection.partitions(replay.shards)
    quota = replay.rate * STEP_SECONDS
    matched_before = replay.tally.matched
    is_first = True
    while replay.partition < len(partitions):
        used = replay.tally.matched - matched_before
        spent = begun - deps.remaining()
        if used >= quota or (not is_first and spent > seconds - MARGIN_SECONDS):
            _hand_on(replay, max(round(used / replay.rate - spent), 0), deps)
            return
        is_first = False
        replay = _replay_chunk(replay, partitions[replay.partition], quota - used, deps)
    ended = _save(replay.ended(ReplayStatus.DONE, clock.to_text(deps.now())), deps)
    deps.replays.unregister(replay.replay_id)
    log.info("replay done", extra=asdict(ended.tally))


def _replay_chunk(replay: Replay, partition: Partition, room: int, deps: StepDeps) -> Replay:
    """Replay the next entries of a partition, at most `room` and `CHUNK`, and save the progress."""
    filters = replay.selection.filters(partition)
    size = min(CHUNK, room)
    entries, last = deps.window.read(
        partition, replay.bounds, filters, SCAN_LIMIT if filters else size
    )
    chunk = entries[:size]
    tally, failure = _replay_entries(chunk, partition, replay, deps)
    if len(entries) > size:
        last = chunk[-1].list_key
    moved = replace(
        replay,
        partition=replay.partition if last else replay.partition + 1,
        after=last or OLDEST,
        tally=replay.tally + tally,
        restarts=0,
        last_failure=failure or replay.last_failure,
        updated_at=clock.to_text(deps.now()),
    )
    return _save(moved, deps)


def _save(replay: Replay, deps: StepDeps) -> Replay:
    """The replay as it was written; raises `_SupersededError`. A replay that was aborted during
    this step still gets the step's counts."""
    saved = deps.replays.save(replay)
    if saved is not None:
        return saved
    now = deps.replays.get(replay.replay_id)
    if now is not None and now.status is ReplayStatus.ABORTED and now.holder == replay.holder:
        deps.replays.save(
            replace(now, tally=replay.tally, partition=replay.partition, after=replay.after)
        )
    raise _SupersededError


def _hand_on(replay: Replay, delay: int, deps: StepDeps) -> None:
    """Send the next message, then save the next step: in the other order, a death between the two
    would break the chain."""
    now = deps.now()
    deps.queue.send(ReplayMessage(replay.replay_id, replay.step + 1).encode(), delay=delay)
    _save(replay.handed_on(now, delay), deps)


def _replay_entries(
    entries: Sequence[Entry], partition: Partition, replay: Replay, deps: StepDeps
) -> tuple[ReplayTally, dict[str, str] | None]:
    """(how they count, the last failure). Raises `UnavailableError` when the queue did not take one
    of them, so that all are replayed again."""
    records = deps.ledger.get_many([entry.event_id for entry in entries])

    def replay_one(record: Record) -> _Result:
        decision = replay.selection.decide(record, partition)
        if decision is Decision.REPLAY:
            return _replay_event(record, replay, deps)
        return _Result(ReplayTally(skipped=int(decision is Decision.SKIP)))

    results = deps.each(replay_one, records.values())
    parcels = [Parcel(one.event) for one in results if one.event is not None]
    bodies = [body for body, _ in encode_messages(parcels, replay.replay_id)]
    refused = [code for code in deps.queue.send_many(bodies) if code is not None]
    if refused:
        raise UnavailableError(f"SQS did not take {len(refused)} messages: {refused[0]}")
    failures = [one.failure for one in results if one.failure is not None]
    tally = sum((one.tally for one in results), ReplayTally())
    return tally, failures[-1] if failures else None


def _replay_event(record: Record, replay: Replay, deps: StepDeps) -> _Result:
    """Add the new event to the ledger; one call, and one more for a REJECTED event, whose payload
    is read and checked again."""
    before = record.event
    try:
        if record.status is Status.REJECTED:
            payload = deps.lake.get_bronze(before.s3_key, before.s3_range)
            before = read_again(before, payload, deps.check_schema)
    except (InvalidRequestError, NotFoundError) as error:
        message = error.detail[:_MESSAGE_LIMIT]
        failure = {"eventId": before.event_id, "code": error.code, "message": message}
        return _Result(ReplayTally(matched=1, failed=1), failure=failure)
    event = replayed_event(before, replay, clock.to_text(deps.now()))
    detail = lineage(record, replay)
    received = Step(Status.RECEIVED, event.received_at, detail)
    known = deps.ledger.add(event, [received], replayOf=before.event_id)
    if known is None:
        return _Result(ReplayTally(matched=1, done=1), event)
    if known.timeline[0].get("detail") != detail:
        # It was listed, and counted, under its status of that time.
        return _Result(ReplayTally())
    is_unsent = known.status is Status.RECEIVED
    return _Result(ReplayTally(matched=1, done=1), known.event if is_unsent else None)


def _restart(replay: Replay, deps: RestartDeps) -> list[str]:
    """What was done, as names of counts."""
    if deps.queue.visible() > deps.backlog_limit:
        return []
    now = clock.to_text(deps.now())
    # An operator may ask for a `stuck_after` of 0, which does not mean that the chain broke.
    is_silent = clock.from_text(replay.updated_at) <= deps.now() - LEASE
    if is_silent and replay.restarts >= deps.max_restarts:
        message = f"no progress after {replay.restarts} restarts"
        failure = {"code": "restart-limit", "message": message}
        failed = replace(replay.ended(ReplayStatus.FAILED, now), last_failure=failure)
        if deps.replays.save(failed) is None:
            return []
        deps.replays.unregister(replay.replay_id)
        log.error("replay given up", extra={"replayId": replay.replay_id})
        return ["failed"]
    # Sent first: a save without a message would delay the next restart.
    deps.queue.send(ReplayMessage(replay.replay_id, replay.step).encode())
    if is_silent:
        deps.replays.save(
            replace(replay, restarts=replay.restarts + 1, updated_at=now, holder=None, held_at=None)
        )
    log.warning("replay restarted", extra={"replayId": replay.replay_id, "step": replay.step})
    return ["restarted"]

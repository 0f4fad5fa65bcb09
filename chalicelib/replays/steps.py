"""Bulk replay, the worker's side: one step of it, which hands on to the next by a message.

    take the step -> (read a page -> make its events -> send them -> note how far)* -> send the next
    message -> note the next step

Wherever it dies, the message of the step comes again and goes on from the last note. What was made
since then is made once more under the same ids, so nothing is doubled. There is one chain: a step
belongs to the message that took it, any other for the same step is dropped, and so is one for a
step that is over. A chain that broke is taken up by `restart_replays`.

Bulk replays whose chain of messages broke: reconcile's part, which sends the next one.

A replay that runs notes its progress at each step. One that has not for `stuck_after` seconds gets
a message for its present step; should the chain not have been broken, the step drops it. After
`max_restarts` without progress the replay is FAILED, where its operator looks.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict, replace

from chalicelib.aws.sqs import Delivery, Queue, back_off
from chalicelib.aws.threads import Each, in_threads
from chalicelib.core import clock
from chalicelib.core.errors import InvalidRequestError, NotFoundError, UnavailableError, aws_code
from chalicelib.core.log import log, log_context, where
from chalicelib.core.paging import OLDEST, Entry
from chalicelib.events.lake import Lake
from chalicelib.events.ledger import EventStore, EventWindow
from chalicelib.events.message import EventMessage, ReplayMessage
from chalicelib.events.model import Event, Partition, Record, Status, Step
from chalicelib.replays.model import (
    LEASE,
    Replay,
    ReplayStatus,
    Tally,
    Verdict,
    lineage,
    replayed_event,
)
from chalicelib.replays.start import filters_of, read_again
from chalicelib.replays.store import ReplayStore

if TYPE_CHECKING:
    from chalicelib.events.ingest import CheckSchema

STEP_SECONDS = 10
"""The time over which the rate is kept: a step takes the events of so many seconds, then waits."""
WAIT_SECONDS = 60
"""How long a replay stands back while live traffic waits."""
CHUNK = 50
"""Events between two notes of how far it has come."""
MARGIN_SECONDS = 3.0
"""A step begins no chunk with less time than this."""
_LOOKED_AT_ONCE = 1_000
_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 5, 300
_MESSAGE_LIMIT = 300


class StepDeps(Struct, frozen=True):
    """The collaborators of `take_step`; `remaining` gives the seconds left to this run."""

    replays: ReplayStore
    ledger: EventStore
    window: EventWindow
    lake: Lake
    queue: Queue
    check_schema: "CheckSchema"
    backlog_limit: int
    max_attempts: int
    remaining: Callable[[], float]
    now: Callable[[], datetime] = clock.utc_now
    each: Each = in_threads


class _Made(Struct, frozen=True):
    """A replayed event: what to send for it, if anything, and how it counts."""

    tally: Tally
    event: Event | None = None
    failure: dict[str, str] | None = None


class _LostError(Exception):
    """Somebody else has written the replay: it was aborted, or another delivery goes on with it."""


def take_step(
    message: ReplayMessage, delivery: Delivery, seconds: float, deps: StepDeps
) -> int | None:
    """Take one step within about `seconds`; None when its message is done with, else the seconds
    to wait before it is delivered again.

    AWS calls: four and for each chunk of `CHUNK` events two, one for each event, and one for ten.
    """
    with log_context(replayId=message.replay_id):
        try:
            return _take(message, delivery, seconds, deps)
        except Exception as error:  # noqa: BLE001 - SQS delivers it again, and it goes on
            extra = {"code": aws_code(error), "where": where(error), "attempt": delivery.attempt}
            log.warning("replay's step not finished", extra=extra)
        return _again(delivery, deps)


def _take(message: ReplayMessage, delivery: Delivery, seconds: float, deps: StepDeps) -> int | None:
    replay = deps.replays.get(message.replay_id)
    if replay is None or replay.status is not ReplayStatus.RUNNING or message.step < replay.step:
        log.info("replay's message dropped", extra={"step": message.step})
        return None
    if message.step > replay.step:
        # Sent, but not noted yet; if that never happens, the present step sends it again.
        return _again(delivery, deps)
    now = deps.now()
    if not replay.is_free(delivery.message_id, now):
        log.info("replay's message dropped", extra={"step": message.step, "holder": replay.holder})
        return None
    early = replay.early(now)
    if early:
        return early
    taken = deps.replays.save(replay.taken(delivery.message_id, clock.to_text(now)))
    if taken is None:
        return _again(delivery, deps)
    try:
        _run(taken, seconds, deps)
    except _LostError:
        log.info("replay goes on elsewhere, or not at all", extra={"step": message.step})
    return None


def _again(delivery: Delivery, deps: StepDeps) -> int | None:
    """The wait of a message; None at its last delivery: on the dead-letter queue it would be of no
    use, since `restart_replays` sends another."""
    if delivery.attempt >= deps.max_attempts:
        log.error("replay's message given up", extra={"attempt": delivery.attempt})
        return None
    return back_off(delivery.attempt, _RETRY_SECONDS, _LONGEST_RETRY_SECONDS, jitter=0)


def _run(replay: Replay, seconds: float, deps: StepDeps) -> None:
    """Go on for a step's worth of events, then hand on, or end."""
    if deps.queue.visible() > deps.backlog_limit:
        log.info("replay waits for live traffic")
        _hand_on(replay, WAIT_SECONDS, deps)
        return
    begun = deps.remaining()
    partitions = replay.selection.partitions(replay.shards)
    quota = replay.rate * STEP_SECONDS
    met = replay.tally.matched
    is_first = True
    while replay.partition < len(partitions):
        used = replay.tally.matched - met
        spent = begun - deps.remaining()
        if used >= quota or (not is_first and spent > seconds - MARGIN_SECONDS):
            _hand_on(replay, max(round(used / replay.rate - spent), 0), deps)
            return
        is_first = False
        replay = _go_on(replay, partitions[replay.partition], quota - used, deps)
    ended = _saved(replay.ended(ReplayStatus.DONE, clock.to_text(deps.now())), deps)
    deps.replays.leave(replay.replay_id)
    log.info("replay done", extra=asdict(ended.tally))


def _go_on(replay: Replay, partition: Partition, room: int, deps: StepDeps) -> Replay:
    """Replay the next entries of a partition, at most `room` and `CHUNK`; the replay after them."""
    filters = filters_of(replay.selection, partition)
    size = min(CHUNK, room)
    limit = _LOOKED_AT_ONCE if filters else size
    entries, last = deps.window.read(partition, replay.bounds, filters, limit)
    some = entries[:size]
    tally, failure = _replay_entries(some, partition, replay, deps)
    if len(entries) > size:
        last = some[-1].list_key
    moved = replace(
        replay,
        partition=replay.partition if last else replay.partition + 1,
        after=last or OLDEST,
        tally=replay.tally + tally,
        restarts=0,
        last_failure=failure or replay.last_failure,
        updated_at=clock.to_text(deps.now()),
    )
    return _saved(moved, deps)


def _saved(replay: Replay, deps: StepDeps) -> Replay:
    """The replay as it was written; raises `_LostError` when somebody else was faster, after what
    was done meanwhile has been counted with what was aborted."""
    saved = deps.replays.save(replay)
    if saved is not None:
        return saved
    now = deps.replays.get(replay.replay_id)
    if now is not None and now.status is ReplayStatus.ABORTED and now.holder == replay.holder:
        deps.replays.save(
            replace(now, tally=replay.tally, partition=replay.partition, after=replay.after)
        )
    raise _LostError


def _hand_on(replay: Replay, delay: int, deps: StepDeps) -> None:
    """Send the next message, then note the next step: were it the other way round, a death between
    the two would end the chain."""
    now = deps.now()
    deps.queue.send(ReplayMessage(replay.replay_id, replay.step + 1).encode(), delay=delay)
    _saved(replay.handed_on(now, delay), deps)


def _replay_entries(
    entries: Sequence[Entry], partition: Partition, replay: Replay, deps: StepDeps
) -> tuple[Tally, dict[str, str] | None]:
    """(what became of them, the last failure). Raises when the queue did not take one: then they
    are all gone through again."""
    records = deps.ledger.get_many([entry.event_id for entry in entries])

    def make(record: Record) -> _Made:
        verdict = replay.selection.verdict(record, partition)
        if verdict is Verdict.MATCHED:
            return _make(record, replay, deps)
        return _Made(Tally(skipped=int(verdict is Verdict.SKIPPED)))

    made = deps.each(make, records.values())
    bodies = [
        EventMessage(one.event, None, recorded=False, request_id=replay.replay_id).encode()
        for one in made
        if one.event is not None
    ]
    refused = [code for code in deps.queue.send_many(bodies) if code is not None]
    if refused:
        raise UnavailableError(f"SQS did not take {len(refused)} messages: {refused[0]}")
    failures = [one.failure for one in made if one.failure is not None]
    return sum((one.tally for one in made), Tally()), failures[-1] if failures else None


def _make(record: Record, replay: Replay, deps: StepDeps) -> _Made:
    """Enter the event that a record is replayed as; one call, and one more for what was REJECTED,
    which is read and checked again."""
    before = record.event
    try:
        if record.status is Status.REJECTED:
            before = _read_again(before, deps)
    except (InvalidRequestError, NotFoundError) as error:
        reason = {"eventId": before.event_id, "code": error.code, "message": error.detail}
        reason["message"] = reason["message"][:_MESSAGE_LIMIT]
        return _Made(Tally(matched=1, failed=1), failure=reason)
    event = replayed_event(before, replay, clock.to_text(deps.now()))
    told = lineage(record, replay)
    received = Step(Status.RECEIVED, event.received_at, told)
    known = deps.ledger.add(event, [received], replayOf=before.event_id)
    if known is None:
        return _Made(Tally(matched=1, done=1), event)
    if known.timeline[0].get("detail") != told:
        # It was met before, under the status that it had then.
        return _Made(Tally())
    is_unsent = known.status is Status.RECEIVED
    return _Made(Tally(matched=1, done=1), known.event if is_unsent else None)


def _read_again(before: Event, deps: StepDeps) -> Event:
    payload = deps.lake.get_bronze(before.s3_key, before.s3_range)
    return read_again(before, payload, deps.check_schema)


class RestartDeps(Struct, frozen=True):
    """The collaborators of `restart_replays`."""

    replays: ReplayStore
    queue: Queue
    stuck_after: int
    max_restarts: int
    backlog_limit: int
    now: Callable[[], datetime] = clock.utc_now


def restart_replays(deps: RestartDeps) -> Counter[str]:
    """Go through the replays that run; how many were "restarted", "failed", and struck from the
    register as "ended". One call, and one for each replay; three for one that is stuck.

    With a backlog nothing is restarted: its messages wait like all others.
    """
    counts: Counter[str] = Counter()
    cutoff = clock.to_text(deps.now() - timedelta(seconds=deps.stuck_after))
    for replay_id, entry in deps.replays.running().items():
        replay = deps.replays.get(replay_id)
        if replay is None:
            # Its start died, or is at work on it just now.
            if entry["at"] <= cutoff:
                deps.replays.leave(replay_id)
                counts["ended"] += 1
        elif replay.status is not ReplayStatus.RUNNING:
            deps.replays.leave(replay_id)
            counts["ended"] += 1
        elif replay.updated_at <= cutoff:
            counts.update(_restart(replay, deps))
    return counts


def _restart(replay: Replay, deps: RestartDeps) -> list[str]:
    if deps.queue.visible() > deps.backlog_limit:
        return []
    now = clock.to_text(deps.now())
    # An operator may ask for a `stuck_after` of nothing; that alone says nothing of the chain.
    is_silent = clock.from_text(replay.updated_at) <= deps.now() - LEASE
    if is_silent and replay.restarts >= deps.max_restarts:
        message = f"no progress after {replay.restarts} restarts"
        reason = {"code": "restart-limit", "message": message}
        failed = replace(replay.ended(ReplayStatus.FAILED, now), last_failure=reason)
        if deps.replays.save(failed) is None:
            return []
        deps.replays.leave(replay.replay_id)
        log.error("replay given up", extra={"replayId": replay.replay_id})
        return ["failed"]
    # Sent first, then noted: a note alone would put it off once more.
    deps.queue.send(ReplayMessage(replay.replay_id, replay.step).encode())
    if is_silent:
        noted = replace(replay, restarts=replay.restarts + 1, updated_at=now)
        deps.replays.save(replace(noted, holder=None, held_at=None))
    log.warning("replay restarted", extra={"replayId": replay.replay_id, "step": replay.step})
    return ["restarted"]
